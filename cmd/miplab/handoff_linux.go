package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mipvpn/cmd/miplab/internal/bench"
	"mipvpn/cmd/miplab/internal/company"
	"mipvpn/cmd/miplab/internal/handoff"
	"mipvpn/cmd/miplab/internal/verdict"
	"mipvpn/cmd/usage"
	"mipvpn/ipsec/interop/charon"
)

// handoffOptions are the flags of `miplab bench --handoff`.
type handoffOptions struct {
	handoff     bool
	repetitions int
	simulated   int
	places      []string
	programs    []string
	dir         string
}

var handoffPrograms = []string{handoff.Mipvpn, handoff.StrongSwan, handoff.WireGuard}

// withHandoff gives the bench command among all its handoff flags, and what --handoff asks for.
func withHandoff(all []*cobra.Command) []*cobra.Command {
	for _, c := range all {
		if c.Name() != "bench" {
			continue
		}
		var o handoffOptions
		f := c.Flags()
		f.BoolVar(&o.handoff, "handoff", false, "measure changes of network instead of throughput")
		f.IntVar(&o.repetitions, "handoffs", 7, "with --handoff, how often each kind of change is made with each program; 0 for not at all")
		f.IntVar(&o.simulated, "simulated", 10_000, "with --handoff, how many make-before-break changes mipvpn makes on the simulated network; 0 for none")
		f.StringSliceVar(&o.places, "places", nil, "with --handoff, places to measure in: "+strings.Join(placeNames(), ", "))
		f.StringSliceVar(&o.programs, "handoff-programs", handoffPrograms, "with --handoff, programs to measure")
		throughput := c.RunE
		c.RunE = func(cmd *cobra.Command, args []string) error {
			if !o.handoff {
				return throughput(cmd, args)
			}
			json, err := cmd.Flags().GetBool("json")
			if err != nil {
				return err
			}
			if o.dir, err = cmd.Flags().GetString("dir"); err != nil {
				return err
			}
			return o.run(cmd.Context(), json, cmd.OutOrStdout(), cmd.ErrOrStderr())
		}
	}
	return append(all, simulationsCommand())
}

// simulationsCommand makes simulated changes in a process of its own, since they are made as tests are (handoff.RunSimulations).
func simulationsCommand() *cobra.Command {
	var seed uint64
	var changes int
	c := &cobra.Command{Use: "simulations FILE", Hidden: true, Args: cobra.ExactArgs(1),
		Run: func(_ *cobra.Command, args []string) { handoff.RunSimulations(seed, changes, args[0]) }}
	c.Flags().Uint64Var(&seed, "seed", 1, "seed of the first simulation")
	c.Flags().IntVar(&changes, "changes", 10_000, "changes to make in all")
	return c
}

func placeNames() []string {
	var names []string
	for _, p := range handoff.Places {
		names = append(names, string(p))
	}
	return names
}

func (o handoffOptions) check() error {
	if o.repetitions < 0 || o.simulated < 0 || o.repetitions+o.simulated == 0 {
		return fmt.Errorf("%w: --handoffs %d and --simulated %d: at least one of them must be more than 0, and none less", usage.ErrWrong, o.repetitions, o.simulated)
	}
	for _, p := range o.places {
		if !slices.Contains(placeNames(), p) {
			return fmt.Errorf("%w: --places %s: must be of %s", usage.ErrWrong, p, strings.Join(placeNames(), ", "))
		}
	}
	for _, p := range o.programs {
		if !slices.Contains(handoffPrograms, p) {
			return fmt.Errorf("%w: --handoff-programs %s: must be of %s", usage.ErrWrong, p, strings.Join(handoffPrograms, ", "))
		}
	}
	return nil
}

// run measures and writes the report.
func (o handoffOptions) run(ctx context.Context, asJSON bool, out, errOut io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	if o.repetitions > 0 {
		if err := becomeAble(); err != nil {
			return err
		}
	}
	begun := time.Now()
	dir, remove, err := directory(o.dir)
	if err != nil {
		return err
	}
	defer remove()
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	r := handoff.NewReport(o.repetitions)
	if o.simulated > 0 {
		if r.Simulated, err = o.simulate(ctx, dir, errOut); err != nil {
			return err
		}
	}
	if o.repetitions > 0 {
		if err := o.measure(ctx, r, dir, errOut); err != nil {
			return err
		}
	}
	r.Close(time.Since(begun))
	if !asJSON {
		return r.WriteTable(out)
	}
	return verdict.WriteJSON(out, struct {
		Schema  int             `json:"schema"`
		Cores   int             `json:"cores"`
		Handoff *handoff.Report `json:"handoff"`
	}{bench.Schema, runtime.NumCPU(), r})
}

// simulate makes the changes on the simulated network.
func (o handoffOptions) simulate(ctx context.Context, dir string, log io.Writer) (*handoff.Simulated, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(log, "simulating %d changes\n", o.simulated)
	file := filepath.Join(dir, "simulated.json")
	return handoff.Simulations(exec.CommandContext(ctx, self, "simulations", file, "--changes", strconv.Itoa(o.simulated)), file, log)
}

// measure makes a lab for each program and measures them side by side.
func (o handoffOptions) measure(ctx context.Context, r *handoff.Report, dir string, log io.Writer) (err error) {
	var beds []handoff.Bed
	defer func() {
		for _, b := range beds {
			err = errors.Join(err, b.(*handoff.Lab).Close())
		}
	}()
	for _, program := range o.programs {
		l, err := newHandoffLab(program, dir, log)
		if errors.Is(err, charon.ErrNotInstalled) {
			r.Missing = append(r.Missing, handoff.Missing{Program: program, Why: err.Error()})
			continue
		}
		if err != nil {
			return err
		}
		beds = append(beds, l)
	}
	cfg := handoff.Config{Repetitions: o.repetitions, Log: log}
	for _, p := range o.places {
		cfg.Places = append(cfg.Places, handoff.Place(p))
	}
	return handoff.Run(ctx, cfg, beds, r)
}

// newHandoffLab makes the lab for a program.
func newHandoffLab(program, dir string, log io.Writer) (*handoff.Lab, error) {
	switch program {
	case handoff.StrongSwan:
		if err := charon.Available(); err != nil {
			return nil, err
		}
		return handoff.NewStrongSwan(dir)
	case handoff.WireGuard:
		return handoff.NewWireGuard(dir, func(file string) (*exec.Cmd, error) {
			self, err := os.Executable()
			if err != nil {
				return nil, err
			}
			cmd := exec.Command(self, "wireguard", file)
			cmd.Stderr = log
			return cmd, nil
		})
	}
	binaries, err := company.Binaries()
	if err != nil {
		return nil, err
	}
	return handoff.NewMipvpn(binaries, dir)
}
