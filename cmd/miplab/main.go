package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"mipvpn/cmd/manual"
	"mipvpn/cmd/usage"
)

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

// exitError ends the program with a code of its own and nothing said.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// version is that of the build, as the other programs say it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// run runs one command line and returns the exit code.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	root := &cobra.Command{
		Use: "miplab", Short: "A company, the Internet and a laptop on one machine",
		Long: "miplab makes a company, the Internet and the networks where laptops are of network namespaces, on this machine and apart\n" +
			"from its own networks, and runs mipagent and mipvpn in them. `miplab up` leaves that standing, to look around in; `miplab demo` takes\n" +
			"the laptop through the access modes and judges what is to be seen on the wires. It needs root,\n" +
			"or a user namespace in which /dev/net/tun can be opened; `miplab demo --simulated` needs neither.",
		SilenceErrors: true, SilenceUsage: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	root.AddCommand(demoCommand(), reportCommand(), overheadCommand())
	root.AddCommand(labCommands()...)
	root.AddCommand(manual.Command(func() manual.About {
		return manual.About{Section: 1, Version: version(), Exits: [][2]string{{"0", "done"}, {"1", "failed, or not all went as it should"}, {"2", "wrong usage"}}, See: []string{"mipvpn(1)", "mipagent(8)"}}
	}))
	usage.Explain(root)
	command, err := root.ExecuteContextC(ctx)
	var code exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	}
	fmt.Fprintf(errOut, "miplab: %v\n", err)
	if errors.Is(err, usage.ErrWrong) {
		fmt.Fprintf(errOut, "Run `%s --help` for what is possible.\n", command.CommandPath())
		return exitUsage
	}
	return exitFailed
}
