package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"mipvpn/cmd/miplab/internal/company"
	"mipvpn/cmd/miplab/internal/holder"
	"mipvpn/cmd/miplab/internal/topology"
)

// standing is the line by which the holder says that the lab stands.
const standing = "standing"

// labFlags are those of the commands on a standing lab.
type labFlags struct {
	dir           string
	strongSwan    bool
	withoutClient bool
}

func (l labFlags) socket() string { return filepath.Join(l.dir, "holder.sock") }

// own makes sure that the directory, which may be in a place where everybody can make one, is this user's alone: its
// secrets are there, and commands go to the socket in it.
func (l labFlags) own() error {
	info, err := os.Lstat(l.dir)
	if err != nil {
		return err
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int(s.Uid) != os.Geteuid() || info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s is not a directory that is this user's alone (mode 0700); choose another with --dir", l.dir)
	}
	return nil
}

// elsewhere is the flag that leads other commands to this lab, with a space before it: nothing for the usual directory.
func (l labFlags) elsewhere() string {
	if l.dir == defaultDir() {
		return ""
	}
	return " --dir " + l.dir
}

// request asks the holder.
func (l labFlags) request(r holder.Request, files []*os.File, signals <-chan os.Signal) (holder.Answer, error) {
	if err := l.own(); errors.Is(err, os.ErrNotExist) {
		return holder.Answer{}, holder.ErrNotStanding
	} else if err != nil {
		return holder.Answer{}, err
	}
	return holder.Ask(l.socket(), r, files, signals)
}

// defaultDir is where a standing lab has its files: one lab a user.
func defaultDir() string {
	if d := os.Getenv("XDG_RUNTIME_DIR"); d != "" {
		return filepath.Join(d, "miplab")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("miplab-%d", os.Getuid()))
}

// labCommands are the commands on a lab.
func labCommands() []*cobra.Command {
	var l labFlags
	all := []*cobra.Command{
		{Use: "up", Short: "Make the lab with all its programs and leave it standing", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return l.up(cmd.OutOrStdout()) }},
		{Use: "down", Short: "Take the standing lab down", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return l.ask(cmd.OutOrStdout(), holder.Request{Op: "down"})
			}},
		{Use: "plug INTERFACE NETWORK", Short: "Put a cable of the laptop into a network", Args: cobra.ExactArgs(2),
			Long: "Put the cable of eth0 or eth1 into one of the networks " + wireNames() + ".",
			RunE: func(cmd *cobra.Command, args []string) error {
				return l.ask(cmd.OutOrStdout(), holder.Request{Op: "plug", Interface: args[0], Network: args[1]})
			}},
		{Use: "unplug INTERFACE", Short: "Pull a cable of the laptop", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return l.ask(cmd.OutOrStdout(), holder.Request{Op: "unplug", Interface: args[0]})
			}},
		{Use: "exec BOX -- COMMAND [ARGUMENT...]", Short: "Run a command in a box of the standing lab", Args: cobra.MinimumNArgs(2),
			Example: "  miplab exec laptop -- mipvpn status\n  miplab exec correspondent -- ping -c 3 10.0.8.100",
			RunE:    func(_ *cobra.Command, args []string) error { return l.exec(args[0], args[1:]) }},
		{Use: "hold", Hidden: true, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return l.hold(cmd.Context(), cmd.OutOrStdout()) }},
	}
	for _, c := range all {
		c.Flags().StringVar(&l.dir, "dir", defaultDir(), "directory of the standing lab's files (default: miplab in $XDG_RUNTIME_DIR, without that /tmp/miplab-UID)")
		c.Flags().Lookup("dir").DefValue = "" // the manual page says the same whoever makes it
		if c.Use == "up" || c.Use == "hold" {
			c.Flags().BoolVar(&l.strongSwan, "strongswan", false, "strongSwan is the VPN gateway")
			c.Flags().BoolVar(&l.withoutClient, "without-client", false, "leave the laptop without mipvpn, to bring one's own; keys and mipvpn.toml are in the directory")
		}
	}
	return append(append(all, soakCommand(), pinnedCommand()), withHandoff(benchCommands())...)
}

func wireNames() string {
	var names []string
	for _, w := range topology.Wires {
		names = append(names, string(w))
	}
	return strings.Join(names, ", ")
}

// ask asks the holder and prints its answer.
func (l labFlags) ask(out io.Writer, r holder.Request) error {
	a, err := l.request(r, nil, nil)
	if err != nil {
		return err
	}
	if a.Text != "" {
		fmt.Fprintln(out, a.Text)
	}
	return nil
}

// exec runs a command in a box with this process's streams and returns its exit code as an exitError.
func (l labFlags) exec(box string, args []string) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP)
	defer signal.Stop(signals)
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	var env []string
	for _, v := range os.Environ() {
		// What the lab sets is the lab's to say.
		if !strings.HasPrefix(v, "PATH=") && !strings.HasPrefix(v, "MIPVPN_SOCKET=") {
			env = append(env, v)
		}
	}
	a, err := l.request(holder.Request{Op: "exec", Box: box, Args: args, Dir: dir, Env: env},
		[]*os.File{os.Stdin, os.Stdout, os.Stderr}, signals)
	if err != nil {
		return err
	}
	if a.Code != 0 {
		return exitError(a.Code)
	}
	return nil
}

// up starts the holder and waits until the lab stands.
func (l labFlags) up(out io.Writer) error {
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return err
	}
	if err := l.own(); err != nil {
		return err
	}
	if _, err := l.request(holder.Request{Op: "ping"}, nil, nil); err == nil {
		return fmt.Errorf("a lab is standing already, with its files in %s: `miplab down%s` takes it down", l.dir, l.elsewhere())
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(l.dir, "holder.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	args := []string{"hold", "--dir", l.dir}
	if l.strongSwan {
		args = append(args, "--strongswan")
	}
	if l.withoutClient {
		args = append(args, "--without-client")
	}
	cmd := exec.Command(self, args...)
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives the terminal
	said, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(said)
	for lines.Scan() {
		if lines.Text() == standing {
			first := [2]string{"laptop -- mipvpn status", "what the client sees"}
			if l.withoutClient {
				first = [2]string{"laptop -- sh", "the laptop, where nothing runs"}
			}
			to := l.elsewhere()
			fmt.Fprintf(out, "The lab stands; the laptop's eth0 is in the office. Files and logs are in %s.\n\n"+
				"  miplab exec%s %-28s  %s\n"+
				"  miplab plug%s %-28s  move the laptop (%s)\n"+
				"  miplab exec%s correspondent -- ping 10.0.8.100\n"+
				"  miplab down%s\n", l.dir, to, first[0], first[1], to, "eth0 cafe", wireNames(), to, to)
			return cmd.Process.Release()
		}
	}
	err = cmd.Wait()
	why, readErr := os.ReadFile(log.Name())
	return errors.Join(fmt.Errorf("the lab does not stand (%v): %s", err, strings.TrimSpace(string(why))), readErr)
}

// hold makes the lab, says so, and holds it until it is asked to stop.
func (l labFlags) hold(ctx context.Context, out io.Writer) (err error) {
	if err := becomeAble(); err != nil {
		return err
	}
	dir, err := filepath.Abs(l.dir)
	if err != nil {
		return err
	}
	listener, err := holder.Listen(l.socket())
	if err != nil {
		return err
	}
	defer listener.Close()
	done := func() {}
	defer func() { done() }() // last of all
	binaries, err := company.Binaries()
	if err != nil {
		return err
	}
	lab, err := topology.New(topology.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	if err := os.RemoveAll(filepath.Join(dir, "strongswan")); err != nil {
		return err
	}
	c, err := company.Start(ctx, lab, dir, binaries, company.Options{StrongSwan: l.strongSwan, WithoutClient: l.withoutClient, Optional: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	if err := lab.Plug("eth0", topology.Office); err != nil {
		return err
	}
	if !l.withoutClient {
		if err := c.Up(ctx); err != nil {
			return err
		}
		if err := awaitMode(ctx, c, "c"); err != nil {
			return fmt.Errorf("%w\n%s", err, c.Tail(20))
		}
	}
	if _, err := fmt.Fprintln(out, standing); err != nil {
		return err
	}
	env := []string{"PATH=" + binaries + string(os.PathListSeparator) + os.Getenv("PATH")}
	if !l.withoutClient {
		env = append(env, "MIPVPN_SOCKET="+filepath.Join(dir, company.Socket))
	}
	done, err = holder.New(lab, env).Serve(ctx, listener)
	return err
}
