package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/client/metrics"
	"mipvpn/cmd/manual"
	"mipvpn/cmd/usage"
)

// socketVariable names the environment variable that gives the daemon's socket.
const socketVariable = "MIPVPN_SOCKET"

// backend is a running client.
type backend interface {
	control.Backend
	metrics.Source
	// Close ends the client; the enterprise's traffic stays blocked.
	Close() error
}

// terminal is what a command runs with.
type terminal struct {
	out, err io.Writer
	// screen is what out is for the eye.
	screen screen
	// start starts the client, for the daemon.
	start func(*config.Config, *zap.Logger) (backend, error)
	// lift gives back what a daemon that has ended has left blocked.
	lift func() error
	// examine checks this machine, for the doctor; nil where there is nothing to check.
	examine func() []finding
	// lookup asks this machine's resolver about a name, for the doctor; nil leaves that out.
	lookup func(ctx context.Context, name string) error
	// line works on the kill switch without a daemon.
	line func() firewall
	// console takes the terminal for a live view; nil where there is none.
	console func() (*console, error)
	// prompt asks the person at the terminal for a secret; nil where there is no terminal. The result is the caller's to wipe.
	prompt func(ctx context.Context, text string) ([]byte, error)
	// state is the file of the chosen profile; empty for profile.DefaultState.
	state string
	// question asks the person at the terminal for a line that may be seen; nil where there is no terminal.
	question func(ctx context.Context, text string) (string, error)
	// ring looks a secret up in the key ring of the person's desktop; nil for none.
	ring func(ctx context.Context, name string) ([]byte, error)
	// keep puts a secret into that key ring; nil for none.
	keep func(ctx context.Context, name string, secret []byte) error
	// pause is the time between attempts of `answer` to reach a daemon; 0 for reachPause.
	pause time.Duration
}

// app is one run of the program.
type app struct {
	terminal
	socket string
}

// run runs one command line and returns its exit code.
func run(ctx context.Context, args []string, t terminal) int {
	out := &counted{w: t.out}
	t.out = out
	a := &app{terminal: t}
	root := a.root()
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	code := exitCode(err)
	if err != nil {
		text := printable(err.Error())
		if errors.Is(err, context.Canceled) && ctx.Err() != nil {
			text = "interrupted before it was done"
		}
		if asJSON := command.Flags().Lookup("json"); asJSON != nil && asJSON.Value.String() == "true" && out.written == 0 {
			// Who cannot write it reads the exit code.
			_ = writeLine(out, failure{Schema: control.Schema, Error: failureError{code, text}})
		}
		fmt.Fprintf(t.err, "mipvpn: %s\n", text)
		if code == exitUsage {
			fmt.Fprintf(t.err, "Run `%s --help` for what is possible.\n", command.CommandPath())
		}
	}
	return code
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "mipvpn",
		Short:         "VPN client on Mobile IPv4 and IPsec: one address wherever the laptop goes",
		Long:          "mipvpn keeps one address, and every session on it, wherever the laptop goes: plain Mobile IPv4 inside the\ncompany, Mobile IPv4 in IPsec outside it (RFC 5265).",
		SilenceErrors: true, SilenceUsage: true,
		Args: cobra.NoArgs,
	}
	version := root.Flags().Bool("version", false, "show the version of this program, as the command of that name does")
	root.RunE = func(cmd *cobra.Command, _ []string) error {
		if *version {
			return failed(writeVersion(a.out, thisBuild()))
		}
		return cmd.Help()
	}
	root.SetOut(a.out)
	root.SetErr(a.err)
	socket := config.DefaultSocket
	if s := os.Getenv(socketVariable); s != "" {
		socket = s
	}
	root.PersistentFlags().StringVar(&a.socket, "socket", socket, "unix socket of the daemon (or $"+socketVariable+")")
	root.AddCommand(a.daemon(), a.up(), a.answer(), a.down(), a.reload(), a.status(), a.mode(), a.detect(), a.events(), a.wait(), a.explain(), a.ping(), a.monitor(), a.doctor(), a.bugreport(), a.config(), a.firewall(), a.portal(), a.portalBrowser(), a.version(), manual.Command(manualPage))
	root.AddCommand(a.initialise(), a.importer(), a.profile())
	for name, others := range elsewhere {
		for _, c := range root.Commands() {
			if c.Name() == name {
				c.SuggestFor = others
			}
		}
	}
	usage.Explain(root)
	return root
}

// elsewhere has, by command, what other programs of this kind call it.
var elsewhere = map[string][]string{
	"up":        {"connect", "start", "login", "on"},
	"down":      {"disconnect", "stop", "logout", "off"},
	"status":    {"state", "ip", "info", "show"},
	"monitor":   {"top", "watch"},
	"events":    {"listen", "log", "logs"},
	"reload":    {"reconnect", "restart", "refresh"},
	"doctor":    {"netcheck", "diagnose"},
	"bugreport": {"report", "problem-report"},
	"explain":   {"route", "routes", "whois"},
	"profile":   {"switch", "account", "profiles"},
	"config":    {"check", "schema", "validate"},
	"firewall":  {"killswitch", "kill-switch", "lockdown", "lockdown-mode"},
	"init":      {"setup", "configure"},
	"mode":      {"set", "pin"},
}

// ask connects to the daemon for f.
func (a *app) ask(ctx context.Context, f func(*control.Client) error) error {
	c, err := control.Dial(ctx, a.socket)
	if err != nil {
		return failed(err)
	}
	defer c.Close()
	if a.prompt != nil { // somebody is there
		c.Interactive()
	}
	return failed(f(c))
}
