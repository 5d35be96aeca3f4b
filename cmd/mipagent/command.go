package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"mipvpn/cmd/manual"
	"mipvpn/cmd/usage"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// defaultConfig is where the configuration is looked for.
const defaultConfig = "/etc/mipvpn/mipagent.toml"

// failure is an error of a command that was used rightly.
type failure struct{ err error }

func (f failure) Error() string { return f.err.Error() }

func (f failure) Unwrap() error { return f.err }

// execute runs the command line and returns the exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newCommand(stderr)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	fmt.Fprintf(stderr, "mipagent: %v\n", err)
	var f failure
	if errors.As(err, &f) {
		return exitFailed
	}
	fmt.Fprintf(stderr, "Run `%s --help` for what is possible.\n", command.CommandPath())
	return exitUsage
}

func newCommand(stderr io.Writer) *cobra.Command {
	var file string
	run := func(cmd *cobra.Command, _ []string) error {
		cfg, err := loadConfig(file)
		if err != nil {
			return failure{err}
		}
		log, err := newLog(cfg.Log, stderr)
		if err != nil {
			return failure{err}
		}
		defer func() { _ = log.Sync() }()
		reload := make(chan os.Signal, 1)
		notifyReload(reload)
		defer signal.Stop(reload)
		if err := runRoles(cmd.Context(), cfg, kernelHosts(cfg.roles(), log), reload, log); err != nil {
			return failure{err}
		}
		return nil
	}
	root := &cobra.Command{
		Use:   "mipagent",
		Short: "Home agent, foreign agent and VPN gateway for Mobile IPv4 VPNs",
		Long: "mipagent runs the roles that its configuration file has tables for: [home_agent.internal], [home_agent.external],\n" +
			"[foreign_agent] and [gateway]. Without a command it does what `mipagent run` does. It logs to standard error, reads its\n" +
			"configuration again on SIGHUP, and ends on SIGTERM or SIGINT. It needs the rights to make TUN devices, raw sockets and routes\n" +
			"(root, or CAP_NET_ADMIN and CAP_NET_RAW).",
		SilenceErrors: true, SilenceUsage: true, Args: cobra.NoArgs, RunE: run,
	}
	root.Flags().StringVar(&file, "config", defaultConfig, "configuration `FILE`")
	runCommand := &cobra.Command{Use: "run", Short: "Run the roles that the configuration names", Args: cobra.NoArgs, RunE: run}
	runCommand.Flags().StringVar(&file, "config", defaultConfig, "configuration `FILE`")
	root.AddCommand(runCommand, &cobra.Command{
		Use: "check FILE", Short: "Check a configuration file and the keys that it names", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := loadConfig(args[0])
			if err != nil {
				return failure{err}
			}
			for _, r := range cfg.roles() {
				fmt.Fprintf(cmd.OutOrStdout(), "%s: [%s] is right\n", args[0], r.name)
			}
			return nil
		},
	}, &cobra.Command{
		Use: "version", Short: "Show the version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fmt.Fprintf(cmd.OutOrStdout(), "mipagent %s (%s, %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	})
	root.AddCommand(controlCommands()...)
	root.AddCommand(manual.Command(manualPage))
	usage.Explain(root)
	return root
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// manualPage is what mipagent(8) says beside commands and flags.
func manualPage() manual.About {
	return manual.About{
		Section: 8, Version: version(),
		Exits: [][2]string{{"0", "done"}, {"1", "failed; standard error says why and what to do"}, {"2", "wrong usage"}},
		Files: [][2]string{{defaultConfig, "the configuration: a table for each role; the files in the packages' examples show all keys"}, {defaultSocket, "socket of the running agents, for the other commands"}},
		See:   []string{"mipagent-operations(7)", "mipvpn(1)", "miplab(1)"},
	}
}
