package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"mipvpn/cmd/miplab/internal/company"
	octets "mipvpn/cmd/miplab/internal/overhead"
	"mipvpn/cmd/miplab/internal/recording"
	"mipvpn/cmd/miplab/internal/scenario"
	"mipvpn/cmd/miplab/internal/verdict"
	"mipvpn/cmd/usage"
	"mipvpn/stack"
)

// demoOptions are the flags of `miplab demo`.
type demoOptions struct {
	json      bool
	simulated bool
	gateway   string
	pcap      string
	dir       string
	modes     []string
	matrix    bool
	overTCP   bool
	period    string
	dwell     time.Duration
	patience  time.Duration
	web       bool
	listen    string
	report    string

	recording *recording.Recording // nil where nothing is shown but in the terminal
}

// mainModes are the access modes of the main job, which need nothing optional.
var mainModes = []string{"c", "f", "cvc", "fvc"}

// modeNames are the names of all access modes.
func modeNames() []string {
	var names []string
	for _, m := range stack.Modes() {
		names = append(names, string(m))
	}
	return names
}

func demoCommand() *cobra.Command {
	var o demoOptions
	c := &cobra.Command{
		Use: "demo", Short: "Take the laptop through every access mode with one TCP session", Args: cobra.NoArgs,
		Long: "Take the laptop through every access mode with one TCP session alive all the while, and judge every frame on the\nwires outside. The exit code is 1 if the session broke, an octet differed, a mode was not reached, or a frame of\nenterprise traffic was to be seen outside.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd)
		},
	}
	f := c.Flags()
	f.BoolVar(&o.json, "json", false, "write the report as one JSON document; what happens meanwhile goes to standard error")
	f.BoolVar(&o.web, "web", false, "show it on a page too, live, which stays until you press Ctrl-C")
	f.StringVar(&o.listen, "listen", "127.0.0.1:0", "where --web serves the page: 127.0.0.1 or [::1] with a port, 0 for any that is free")
	o.flags(f)
	return c
}

// flags are the flags of every command that plays the tour.
func (o *demoOptions) flags(f *pflag.FlagSet) {
	f.BoolVar(&o.simulated, "simulated", false, "play on the simulated network, which needs no rights")
	f.StringVar(&o.gateway, "gateway", "mipagent", "program that is the VPN gateway: mipagent or strongswan")
	f.StringVar(&o.pcap, "pcap", "", "directory to keep a capture of each wire in")
	f.StringVar(&o.dir, "dir", "", "directory to keep configuration files and logs in; a temporary one without it")
	f.StringSliceVar(&o.modes, "modes", mainModes, "modes to go through; \"all\" for the eight, with the optional mechanisms")
	f.BoolVar(&o.matrix, "matrix", false, "make every change between any two of the modes, by cable and pin, instead of the tour")
	f.BoolVar(&o.overTCP, "over-tcp", false, "let TCP alone out of the café and the cellular network, and go there and back instead of the tour")
	f.StringVar(&o.period, "period", "", "the client's detection.period, such as 2s; without it what the configuration has by default")
	f.DurationVar(&o.dwell, "dwell", 4*time.Second, "how long to stay in each network")
	f.DurationVar(&o.patience, "patience", 30*time.Second, "how long a change may take before it counts as failed")
}

// run plays the tour as the command line says.
func (o demoOptions) run(cmd *cobra.Command) error {
	if slices.Equal(o.modes, []string{"all"}) {
		o.modes = modeNames()
	}
	if err := o.check(); err != nil {
		return err
	}
	return demo(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
}

func (o demoOptions) check() error {
	if err := checkListen(o.listen); o.web && err != nil {
		return err
	}
	if !slices.Contains([]string{"mipagent", "strongswan"}, o.gateway) {
		return fmt.Errorf("%w: --gateway %s: must be mipagent or strongswan", usage.ErrWrong, o.gateway)
	}
	for _, m := range o.modes {
		known, ok := stack.Mode(m).Composition()
		if !ok {
			return fmt.Errorf("%w: --modes %s: must be all, or of %s", usage.ErrWrong, m, strings.Join(modeNames(), ", "))
		}
		if known.GatewayAgent && o.gateway != "mipagent" {
			return fmt.Errorf("%w: --modes %s: strongSwan is no foreign agent; without vf, cvf and fvf it can be the gateway", usage.ErrWrong, m)
		}
	}
	if len(o.steps()) == 0 {
		return fmt.Errorf("%w: --modes names none", usage.ErrWrong)
	}
	if o.overTCP && (o.simulated || o.gateway != "mipagent" || o.matrix) {
		return fmt.Errorf("%w: --over-tcp is for namespaces, with mipagent as the gateway, and is a tour of its own", usage.ErrWrong)
	}
	if o.simulated && o.gateway != "mipagent" {
		return fmt.Errorf("%w: strongSwan cannot run on the simulated network", usage.ErrWrong)
	}
	return nil
}

func (o demoOptions) company() company.Options {
	return company.Options{Period: o.period, StrongSwan: o.gateway == "strongswan", Optional: scenario.Optional(o.modes), Straight: o.overTCP}
}

// steps are what the laptop does.
func (o demoOptions) steps() []scenario.Step {
	if o.overTCP {
		return scenario.OverTCP
	}
	if o.matrix && len(o.modes) > 0 {
		return scenario.Matrix(o.modes)
	}
	return scenario.Through(o.modes)
}

// log is where what happens meanwhile is written.
func (o demoOptions) log(out, errOut io.Writer) io.Writer {
	if o.json {
		return errOut
	}
	return out
}

// play plays the tour in the world and writes the report, which review may add to. tail is asked for the programs' last
// words when it failed.
func (o demoOptions) play(ctx context.Context, w octets.World, review func(*scenario.Report) error, tail func() string, out, errOut io.Writer) error {
	s := scenario.Scenario{Steps: o.steps(), Dwell: o.dwell, Patience: o.patience, Log: o.log(out, errOut)}
	finish := func(*scenario.Report, error) {}
	if o.recording != nil {
		camera := recording.NewCamera(o.recording, recording.NewStage(w.Describe(), s.Steps), w.Tap)
		s.Observe, finish = camera.Observe, camera.Close
	}
	report, err := s.Run(ctx, w)
	if err == nil {
		err = review(report)
	}
	finish(report, err)
	if err != nil || !report.Passed {
		fmt.Fprintln(errOut, tail())
	}
	if err != nil {
		return err
	}
	if !o.json {
		fmt.Fprintln(out)
	}
	if err := verdict.Publish(out, report, o.json); err != nil {
		return err
	}
	if !report.Passed {
		return exitError(exitFailed)
	}
	return nil
}

// directory returns a fresh directory at o.dir or a temporary one, and what removes the latter.
func directory(name string) (dir string, remove func(), err error) {
	if name == "" {
		dir, err = os.MkdirTemp("", "miplab")
		return dir, func() { os.RemoveAll(dir) }, err
	}
	if err := os.MkdirAll(name, 0o700); err != nil {
		return "", nil, err
	}
	return name, func() {}, nil
}

// lastLines returns the last n lines of s.
func lastLines(s string, n int) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-n):], "\n")
}
