package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/pprof"

	"github.com/spf13/cobra"

	"mipvpn/cmd/miplab/internal/pinned"
	"mipvpn/tun/packet"
)

// cpuProfileVariable names the file that an end of a pinned composition writes a CPU profile into at its end.
const cpuProfileVariable = "MIPLAB_CPUPROFILE"

// pinnedCommand runs one end of a pinned composition, as FILE has it, until it is ended.
func pinnedCommand() *cobra.Command {
	return &cobra.Command{Use: "pinned FILE", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			e, err := pinned.Load(args[0])
			if err != nil {
				return err
			}
			if name := os.Getenv(cpuProfileVariable); name != "" {
				stop, err := profileCPU(name)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, stop()) }()
			}
			var drops packet.Drops
			var dropped map[string]uint64 // before the end, at which what is under way is lost
			ctx, cancel := context.WithCancel(context.WithoutCancel(cmd.Context()))
			defer cancel()
			defer context.AfterFunc(cmd.Context(), func() {
				dropped = drops.Snapshot()
				cancel()
			})()
			err = e.Run(ctx, pinned.Options{Drops: &drops, Ready: func() { fmt.Fprintln(cmd.OutOrStdout(), standing) }})
			if ctx.Err() != nil && len(dropped) > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "pinned %v: dropped %v\n", e, dropped)
			}
			return err
		}}
}

// profileCPU writes a profile into the file until stop is called.
func profileCPU(name string) (stop func() error, err error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}
