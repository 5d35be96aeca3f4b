package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// controlCommands are the commands that ask the agents that run.
func controlCommands() []*cobra.Command {
	var socket string
	var asJSON bool
	list := &cobra.Command{
		Use: "sessions", Short: "Show the clients that are connected to the VPN gateway", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var d sessionsDocument
			if err := callControl(cmd.Context(), socket, http.MethodGet, "/v1/sessions", nil, &d); err != nil {
				return failure{err}
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), d)
			}
			t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "identity\taddress\thome address\tfrom\tfor\toctets from\toctets to\tsuite")
			for _, s := range d.Sessions {
				home := "-" // not known here: it is inside of the tunnel
				if s.Home != nil {
					home = s.Home.String()
				}
				fmt.Fprintf(t, "%s\t%v\t%s\t%v\t%v\t%d\t%d\t%s\n", s.Identity, s.Address, home, s.Remote,
					time.Duration(s.Seconds*float64(time.Second)).Round(time.Second), s.OctetsIn, s.OctetsOut, s.Suite)
			}
			return t.Flush()
		},
	}
	list.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	disconnect := &cobra.Command{
		Use: "disconnect IDENTITY", Short: "Close the sessions of a client of the VPN gateway", Args: cobra.ExactArgs(1),
		Long: "Close the sessions of a client and tell it. It may connect again: to keep it out, take it from the configuration and\n" +
			"run `mipagent reload`.",
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := json.Marshal(disconnectRequest{Identity: args[0]})
			if err != nil {
				return failure{err}
			}
			var d disconnectDocument
			if err := callControl(cmd.Context(), socket, http.MethodPost, "/v1/disconnect", bytes.NewReader(body), &d); err != nil {
				return failure{err}
			}
			if d.Disconnected == 0 {
				return failure{fmt.Errorf("%s is not connected", args[0])}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %d closed\n", args[0], d.Disconnected)
			return nil
		},
	}
	again := &cobra.Command{
		Use: "reload", Short: "Have the running agents read their configuration again", Args: cobra.NoArgs,
		Long: "Have the running agents read their configuration again, as SIGHUP does, and say what is wrong with it. Sessions that the\n" +
			"new configuration still allows go on.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var d struct{}
			if err := callControl(cmd.Context(), socket, http.MethodPost, "/v1/reload", nil, &d); err != nil {
				return failure{err}
			}
			return nil
		},
	}
	all := append(mobilityCommands(&socket), list, disconnect, again, firewallCommand(&socket))
	for _, c := range all {
		c.Flags().StringVar(&socket, "socket", defaultSocket, "control `SOCKET` of the running agents")
	}
	return all
}
