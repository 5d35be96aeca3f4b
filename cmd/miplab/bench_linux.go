package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"mipvpn/cmd/miplab/internal/bench"
	"mipvpn/cmd/miplab/internal/bench/contest"
	"mipvpn/cmd/miplab/internal/bench/tunnel"
	"mipvpn/cmd/miplab/internal/verdict"
	"mipvpn/cmd/usage"
)

// benchOptions are the flags of `miplab bench`.
type benchOptions struct {
	json          bool
	svg           string
	tunnels       []string
	wires         []string
	measures      []string
	pairs         int
	duration      time.Duration
	encapsulation string
	profile       string
	dir           string
}

func benchCommands() []*cobra.Command {
	var o benchOptions
	b := &cobra.Command{Use: "bench", Short: "Measure tunnels beside one another", Args: cobra.NoArgs,
		Long: "Measure the data path beside wireguard-go, strongSwan's userspace ESP and a tunnel that does nothing, on wires with segmentation\n" +
			"offload and on wires that carry only real frames. Runs that are compared follow one another; the table has the median of the\n" +
			"pairs' ratios, the least and the most, and says of each goal whether it is met. Both ends share this machine.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return runBench(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		}}
	f := b.Flags()
	f.BoolVar(&o.json, "json", false, "write the figures as one JSON document")
	f.StringVar(&o.svg, "svg", "", "draw the ratios and goals into this file, too")
	f.StringSliceVar(&o.tunnels, "tunnels", tunnelNames(), "tunnels to measure")
	f.StringSliceVar(&o.wires, "wires", tunnel.Wires, "kinds of wires to measure on")
	f.StringSliceVar(&o.measures, "measures", contest.Measures, "what to measure")
	f.IntVar(&o.pairs, "pairs", 7, "how often each pair of runs is made")
	f.DurationVar(&o.duration, "duration", 2*time.Second, "what counts of each TCP flow; the other measures follow it")
	f.StringVar(&o.encapsulation, "encapsulation", "udp", "what the modes c and cvc ask home agents for: udp, auto or ipip")
	f.StringVar(&o.profile, "profile", "", "directory for profiles of the near ends (by perf) in further runs")
	f.StringVar(&o.dir, "dir", "", "directory to keep configuration files and logs in; a temporary one without it")
	return []*cobra.Command{b, wireguardCommand()}
}

func tunnelNames() []string {
	var names []string
	for _, k := range tunnel.Kinds {
		names = append(names, k.Name)
	}
	return names
}

// check says what of the flags cannot be.
func (o benchOptions) check() error {
	for _, l := range []struct {
		flag         string
		given, valid []string
	}{
		{"tunnels", o.tunnels, tunnelNames()}, {"wires", o.wires, tunnel.Wires}, {"measures", o.measures, contest.Measures},
		{"encapsulation", []string{o.encapsulation}, []string{"udp", "auto", "ipip"}},
	} {
		for _, v := range l.given {
			if !slices.Contains(l.valid, v) {
				return fmt.Errorf("%w: --%s %q: valid is %s", usage.ErrWrong, l.flag, v, strings.Join(l.valid, ", "))
			}
		}
	}
	if o.pairs < 1 || o.duration < 10*time.Millisecond {
		return fmt.Errorf("%w: --pairs %d --duration %v: at least 1 and 10ms are needed", usage.ErrWrong, o.pairs, o.duration)
	}
	return nil
}

// runBench measures, and writes the table or the JSON document, and the picture.
func runBench(ctx context.Context, o benchOptions, out, errOut io.Writer) error {
	if err := becomeAble(); err != nil {
		return err
	}
	dir, remove, err := directory(o.dir)
	if err != nil {
		return err
	}
	defer remove()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if o.profile != "" {
		if err := os.MkdirAll(o.profile, 0o755); err != nil {
			return err
		}
	}
	r := &bench.Report{Schema: bench.Schema, Cores: runtime.NumCPU(), System: system(), Pairs: o.pairs, Seconds: o.duration.Seconds()}
	err = contest.Run(ctx, contest.Options{Tunnels: o.tunnels, Wires: o.wires, Measures: o.measures, Pairs: o.pairs, Duration: o.duration,
		Programs: tunnel.Programs{Self: self, Binaries: filepath.Dir(self), Encapsulation: o.encapsulation},
		Dir:      dir, Profile: o.profile, Log: errOut}, r)
	if len(r.Figures) == 0 {
		return err
	}
	// What was measured before an error or an interrupt is worth having.
	if o.svg != "" {
		err = errors.Join(err, os.WriteFile(o.svg, r.SVG(), 0o644))
	}
	err = errors.Join(err, verdict.Publish(out, r, o.json))
	if n := len(r.Failures); n > 0 {
		err = errors.Join(err, fmt.Errorf("%d runs failed, the first: %s", n, r.Failures[0]))
	}
	return err
}

// system names kernel, architecture and compiler.
func system() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return runtime.GOOS + " " + runtime.GOARCH + " " + runtime.Version()
	}
	return fmt.Sprintf("Linux %s %s %s", unix.ByteSliceToString(u.Release[:]), runtime.GOARCH, runtime.Version())
}
