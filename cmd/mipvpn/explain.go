package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"mipvpn/client/control"
)

func (a *app) explain() *cobra.Command {
	c := &cobra.Command{
		Use: "explain ADDRESS", Short: "Show which way packets to an address go, and by which rule", Args: cobra.ExactArgs(1),
		Long: "Show which way packets to an address go at this moment, by which key of the configuration and through which layers,\nor why they would be dropped. A name is resolved first, as the laptop's programs do; each of its addresses is explained.",
	}
	asJSON := jsonFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if args[0] == "" {
			return errors.New("the address is empty: expected an IP address or a name")
		}
		return a.ask(cmd.Context(), func(c *control.Client) error {
			addresses, err := addressesOf(cmd.Context(), args[0])
			if err != nil {
				return failed(err)
			}
			all := make([]control.Explanation, 0, len(addresses))
			for _, address := range addresses {
				e, err := c.Explain(cmd.Context(), address)
				if err != nil {
					return err
				}
				all = append(all, e)
			}
			if *asJSON {
				return writeJSON(a.out, explained{Schema: control.Schema, Explanations: all})
			}
			for _, e := range all {
				if err := writeExplanation(a.out, e); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return c
}

// explained is the document of `explain --json`.
type explained struct {
	Schema       int                   `json:"schema"`
	Explanations []control.Explanation `json:"explanations"`
}

// addressesOf returns the address that the text is, or those of the name that it is.
func addressesOf(ctx context.Context, text string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return []netip.Addr{a}, nil
	}
	list, err := net.DefaultResolver.LookupNetIP(ctx, "ip", text)
	if err != nil {
		return nil, fmt.Errorf("%.80q is no IP address, and as a name it could not be resolved: %w", text, err)
	}
	return list, nil
}

// writeExplanation writes an explanation for people.
func writeExplanation(w io.Writer, e control.Explanation) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%v: %s\n", e.Address, wayText(e))
	if e.Rule != "" {
		fmt.Fprintf(&b, "  by      %s\n", e.Rule)
	}
	fmt.Fprintf(&b, "  because %s\n", e.Reason)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, l := range e.Layers {
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\n", l.Kind, orNone(addr(l.Local)), to(l), orNone(l.Encapsulation), layerDetail(l))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if e.MTU > 0 {
		fmt.Fprintf(&b, "  packets up to %d octets\n", e.MTU)
	}
	return plain(w, b.String())
}

func wayText(e control.Explanation) string {
	switch e.Way {
	case control.WayClient:
		if e.Plaintext {
			return fmt.Sprintf("through the client in the clear, mode %s on %s", orNone(e.Mode), orNone(e.Interface))
		}
		if e.Mode == "" {
			return "through the client"
		}
		return fmt.Sprintf("through the client encrypted, mode %s on %s", e.Mode, orNone(e.Interface))
	case control.WayHeld:
		return "dropped by the client for now"
	case control.WayRefused:
		return "refused"
	case control.WaySelf:
		return "this laptop"
	}
	return "left to the host's own routes"
}
