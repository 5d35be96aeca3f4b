package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"mipvpn/cmd/miplab/internal/bench"
)

// wireguardCommand runs one end of a WireGuard tunnel, of which a file tells.
func wireguardCommand() *cobra.Command {
	return &cobra.Command{Use: "wireguard FILE", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			w, err := bench.LoadWireGuard(args[0])
			if err != nil {
				return err
			}
			return w.Run(func() { fmt.Fprintln(cmd.OutOrStdout(), standing) }, cmd.Context().Done())
		}}
}
