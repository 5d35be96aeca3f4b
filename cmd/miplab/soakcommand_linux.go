package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// soakOptions are the flags of `miplab soak`.
type soakOptions struct {
	json        bool
	transitions int
	seed        uint64
	dir         string
	dwell       time.Duration
	patience    time.Duration
}

func soakCommand() *cobra.Command {
	var o soakOptions
	c := &cobra.Command{
		Use: "soak", Short: "Take the laptop for a random walk, kill its daemon on the way, and count what leaks", Args: cobra.NoArgs,
		Long: "Take the laptop for a random walk through the networks with both of its cables, in an order that follows from a seed,\n" +
			"kill its daemon with SIGKILL on the way, and judge every frame on the wires outside, while TCP, UDP, ICMP, DNS and IPv6\n" +
			"go on all the time. The exit code is 1 if a frame of enterprise traffic was to be seen outside, the session broke, an\n" +
			"octet differed, or the client did not get connected.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.transitions < 1 {
				return fmt.Errorf("%w: --transitions %d: at least one is needed", errUsage, o.transitions)
			}
			return soak(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.BoolVar(&o.json, "json", false, "write the report as one JSON document; what happens meanwhile goes to standard error")
	f.IntVar(&o.transitions, "transitions", 200, "how many transitions to make")
	f.Uint64Var(&o.seed, "seed", 1, "where the order of transitions comes from")
	f.StringVar(&o.dir, "dir", "", "directory to keep configuration files and logs in; a temporary one without it")
	f.DurationVar(&o.dwell, "dwell", 250*time.Millisecond, "how long to stay in each network once traffic flows")
	f.DurationVar(&o.patience, "patience", time.Minute, "how long a change may take before it counts as failed")
	return c
}
