package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"mipvpn/cmd/miplab/internal/company"
	octets "mipvpn/cmd/miplab/internal/overhead"
	"mipvpn/cmd/miplab/internal/simulated"
	"mipvpn/cmd/miplab/internal/verdict"
	"mipvpn/cmd/usage"
	"mipvpn/stack/simnet"
)

// overheadOptions are the flags of `miplab overhead`.
type overheadOptions struct {
	json      bool
	simulated bool
	dir       string
	modes     []string
	patience  time.Duration
}

// composed are the names of the compositions of modes and mechanisms.
func composed() []string {
	var names []string
	for _, c := range octets.Compositions() {
		names = append(names, c.String())
	}
	return names
}

func overheadCommand() *cobra.Command {
	var o overheadOptions
	c := &cobra.Command{
		Use: "overhead", Short: "Count the octets that each access mode adds to packets", Args: cobra.NoArgs,
		Long: "Send datagrams of 64 lengths one by one through each access mode and mechanism, count the octets that are added between the\n" +
			"laptop and its first router, both ways, and print them beside the table of the draft (§6.2). The exit code is 1 if a packet\n" +
			"got another number of octets than on paper, or a mode was not reached.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return overhead(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.BoolVar(&o.json, "json", false, "write the figures as one JSON document")
	f.BoolVar(&o.simulated, "simulated", false, "count on the simulated network, which needs no rights")
	f.StringVar(&o.dir, "dir", "", "directory to keep configuration files and logs in; a temporary one without it")
	f.StringSliceVar(&o.modes, "modes", composed(), "modes to measure, +zot with zero-overhead tunnelling")
	f.DurationVar(&o.patience, "patience", 30*time.Second, "how long a change of mode may take before it counts as failed")
	return c
}

func (o overheadOptions) check() error {
	for _, m := range o.modes {
		if !slices.Contains(composed(), m) {
			return fmt.Errorf("%w: --modes %s: must be of %s", usage.ErrWrong, m, strings.Join(composed(), ", "))
		}
	}
	return nil
}

// run measures in the beds and writes the report.
func (o overheadOptions) run(ctx context.Context, bed octets.Bed, out, errOut io.Writer) error {
	cfg := octets.Config{Patience: o.patience, Log: errOut, HomeAddresses: []netip.Addr{simnet.LabHomeAddress, simnet.LabExternalHomeAddress}}
	for _, c := range octets.Compositions() {
		if slices.Contains(o.modes, c.String()) {
			cfg.Compositions = append(cfg.Compositions, c)
		}
	}
	r, err := octets.Run(ctx, cfg, bed)
	if err != nil {
		return err
	}
	if err := verdict.Publish(out, r, o.json); err != nil {
		return err
	}
	if !r.Passed {
		return exitError(exitFailed)
	}
	return nil
}

// simulatedBed is a bed on the simulated network.
func (o overheadOptions) simulatedBed(_ context.Context, c company.Options) (octets.World, func() error, error) {
	w, err := simulated.Start(seed, c, zap.NewNop())
	if err != nil {
		return nil, nil, err
	}
	return w, w.Close, nil
}
