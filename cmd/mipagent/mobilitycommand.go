package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// mobilityCommands are the commands that ask the running agents about mobile nodes.
func mobilityCommands(socket *string) []*cobra.Command {
	var asJSON bool
	bindings := &cobra.Command{
		Use: "bindings [HOME-ADDRESS|NETWORK]", Short: "Show the mobility bindings of the home agents", Args: cobra.MaximumNArgs(1),
		Long: "Show the mobility bindings of the home agents: of one mobile node by its home address, of those whose home\n" +
			"addresses are in a network such as 10.0.8.0/24, or of all.",
		RunE: func(cmd *cobra.Command, args []string) error {
			var d bindingsDocument
			if err := callControl(cmd.Context(), *socket, http.MethodGet, "/v1/bindings"+about(args), nil, &d); err != nil {
				return failure{err}
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), d)
			}
			t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "role\thome address\tcare-of address\tencapsulation\tremote\tlifetime\tleft")
			for _, b := range d.Bindings {
				granted, left := times(b.Granted, b.Left)
				fmt.Fprintf(t, "%s\t%v\t%v\t%s\t%v\t%s\t%s\n", b.Role, b.Home, b.CareOf, b.Encapsulation, b.Remote, granted, left)
			}
			return t.Flush()
		},
	}
	visitors := &cobra.Command{
		Use: "visitors [HOME-ADDRESS|NETWORK]", Short: "Show the visitors of the foreign agents", Args: cobra.MaximumNArgs(1),
		Long: "Show the visitors of the foreign agent, and of the one in the VPN gateway: of one mobile node by its home\n" +
			"address, of those whose home addresses are in a network, or all.",
		RunE: func(cmd *cobra.Command, args []string) error {
			var d visitorsDocument
			if err := callControl(cmd.Context(), *socket, http.MethodGet, "/v1/visitors"+about(args), nil, &d); err != nil {
				return failure{err}
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), d)
			}
			t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "role\thome address\thome agent\tstation\tlifetime\tleft")
			for _, v := range d.Visitors {
				granted, left := times(v.Granted, v.Left)
				fmt.Fprintf(t, "%s\t%v\t%v\t%s\t%s\t%s\n", v.Role, v.Home, v.HomeAgent, v.Station, granted, left)
			}
			return t.Flush()
		},
	}
	for _, c := range []*cobra.Command{bindings, visitors} {
		c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	}
	drop := &cobra.Command{
		Use: "drop HOME-ADDRESS", Short: "Take the bindings of a mobile node away", Args: cobra.ExactArgs(1),
		Long: "Take the bindings of a mobile node away at the home agents, and strike it off the visitor lists of the foreign agents that\n" +
			"run here. It may register again: to keep it out, take it from the configuration and run `mipagent reload`.",
		RunE: func(cmd *cobra.Command, args []string) error {
			home, err := netip.ParseAddr(args[0])
			if err != nil || !home.Is4() {
				return failure{fmt.Errorf("%q: expected a home address, an IPv4 address", args[0])}
			}
			body, err := json.Marshal(dropRequest{Home: home})
			if err != nil {
				return failure{err}
			}
			var d dropDocument
			if err := callControl(cmd.Context(), *socket, http.MethodPost, "/v1/drop", bytes.NewReader(body), &d); err != nil {
				return failure{err}
			}
			if len(d.Dropped) == 0 {
				return failure{fmt.Errorf("%v is not registered here", home)}
			}
			for _, role := range slices.Sorted(maps.Keys(d.Dropped)) {
				fmt.Fprintf(cmd.OutOrStdout(), "%v: %d dropped at %s\n", home, d.Dropped[role], role)
			}
			return nil
		},
	}
	return []*cobra.Command{bindings, visitors, drop}
}

// about returns the query for what the arguments ask about.
func about(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return "?" + url.Values{"home_address": args}.Encode()
}

// times returns a lifetime and what is left of it for people.
func times(granted *int, left *float64) (string, string) {
	if granted == nil || left == nil {
		return "-", "-"
	}
	return (time.Duration(*granted) * time.Second).String(), time.Duration(*left * float64(time.Second)).Round(time.Second).String()
}

func printJSON(w io.Writer, document any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(document)
}
