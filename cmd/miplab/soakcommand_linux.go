package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"mipvpn/cmd/usage"
)

// soakOptions are the flags of `miplab soak`.
type soakOptions struct {
	json        bool
	transitions int
	seed        uint64
	dir         string
	load        bool
	offload     bool
	megabytes   int
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
			"octet differed, or the client did not get connected.\n\n" +
			"With --load the laptop moves while a TCP connection and trains of datagrams go both ways as fast as they do, and every octet\n" +
			"is looked at; nothing is captured then. The exit code is 1 if one was corrupted, or if datagrams overtook each other while the\n" +
			"path did not change.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.transitions < 1 {
				return fmt.Errorf("%w: --transitions %d: at least one is needed", usage.ErrWrong, o.transitions)
			}
			if o.load {
				return soakLoad(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
			}
			return soak(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.BoolVar(&o.json, "json", false, "write the report as one JSON document; what happens meanwhile goes to standard error")
	f.IntVar(&o.transitions, "transitions", 200, "how many transitions to make")
	f.Uint64Var(&o.seed, "seed", 1, "where the order of transitions comes from")
	f.StringVar(&o.dir, "dir", "", "directory to keep configuration files and logs in; a temporary one without it")
	f.BoolVar(&o.load, "load", false, "move under full load and look at every octet")
	f.BoolVar(&o.offload, "offload", false, "with --load: leave segmentation offload on at the wires, so that superframes cross them")
	f.IntVar(&o.megabytes, "megabytes", 16, "with --load: how much TCP has to carry each way in each network, at least, before the laptop goes on")
	f.DurationVar(&o.dwell, "dwell", 250*time.Millisecond, "how long to stay in each network once traffic flows")
	f.DurationVar(&o.patience, "patience", time.Minute, "how long a change may take before it counts as failed")
	return c
}
