package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"mipvpn/stack/agent"
)

// exposed is a role that sees something of the firewall in front of it.
type exposed interface{ Exposure() agent.Exposure }

// exposureDocument is what one home agent has seen, in JSON.
type exposureDocument struct {
	Role      string            `json:"role"`
	Address   netip.Addr        `json:"address"`
	Internal  bool              `json:"internal"`
	Trusted   []netip.Prefix    `json:"trusted_networks"`
	Since     time.Time         `json:"since"`
	Untrusted uint64            `json:"untrusted_requests"`
	Last      []arrivalDocument `json:"last"`
}

type arrivalDocument struct {
	At     time.Time      `json:"at"`
	Source netip.AddrPort `json:"source"`
}

// firewallDocument is the answer to GET /v1/firewall.
type firewallDocument struct {
	Schema     int                `json:"schema"`
	HomeAgents []exposureDocument `json:"home_agents"`
}

func (s *controlServer) firewall(w http.ResponseWriter, _ *http.Request) {
	document := firewallDocument{Schema: controlSchema, HomeAgents: []exposureDocument{}}
	for _, role := range slices.Sorted(maps.Keys(s.roles)) {
		a, ok := s.roles[role].(exposed)
		if h, there := homeAgentOf(s.roles[role]).(exposed); there { // in a cluster it is there while it is the active one
			a, ok = h, true
		}
		if !ok {
			continue
		}
		e := a.Exposure()
		d := exposureDocument{Role: role, Address: e.Address, Internal: e.Internal, Trusted: e.TrustedNetworks, Since: e.Since.UTC().Round(time.Second), Untrusted: e.Untrusted, Last: []arrivalDocument{}}
		for _, l := range e.Last {
			d.Last = append(d.Last, arrivalDocument{l.At.UTC().Round(time.Second), l.Source})
		}
		document.HomeAgents = append(document.HomeAgents, d)
	}
	if len(document.HomeAgents) == 0 {
		answer(w, http.StatusNotFound, problemDocument{"no home agent runs here"})
		return
	}
	answer(w, http.StatusOK, document)
}

// errFirewall means that the rules of RFC 5265 §3.1 do not hold.
var errFirewall = errors.New("the firewall does not keep networks that are not trusted away from the internal home agent (RFC 5265 §3.1)")

// firewallCommand is `mipagent check-firewall`.
func firewallCommand(socket *string) *cobra.Command {
	var probe netip.Addr
	var home netip.Addr
	c := &cobra.Command{
		Use: "check-firewall", Short: "Check that the firewall keeps strangers away from the internal home agent", Args: cobra.NoArgs,
		Long: "The firewall must keep everything that comes from outside away from the internal home agent (RFC 5265 §3.1): laptops take an\n" +
			"answer of it as the proof that they are inside. This takes two looks. On a host outside, --probe ADDRESS sends packets to\n" +
			"the internal home agent; whatever comes back fails the check. On the home agent, without --probe, requests that have\n" +
			"arrived from outside of trusted_networks fail it: the agent drops them in silence, so that outside nothing is seen of them.\n" +
			"Neither sees what nobody has sent: ways that were not tried, and networks in trusted_networks that should not be there.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if probe.IsValid() {
				return reportProbes(cmd.OutOrStdout(), probe, probeFirewall(cmd.Context(), probe, home, probeWait))
			}
			var d firewallDocument
			if err := callControl(cmd.Context(), *socket, http.MethodGet, "/v1/firewall", nil, &d); err != nil {
				return failure{err}
			}
			return reportExposure(cmd.OutOrStdout(), d, localNetworks())
		},
	}
	c.Flags().TextVar(&probe, "probe", netip.Addr{}, "`ADDRESS` of an internal home agent: send packets there, from a host outside")
	c.Flags().TextVar(&home, "home-address", netip.Addr{}, "home `ADDRESS` that it serves: asked for that, it answers if this host's network is wrongly trusted")
	return c
}

// localNetwork is a network that an interface of this host is in.
type localNetwork struct {
	name   string
	prefix netip.Prefix
}

// localNetworks returns the IPv4 networks of this host's interfaces, but for the loopback's.
func localNetworks() (out []localNetwork) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil // no more is known then, and nothing is said
	}
	for _, i := range interfaces {
		addresses, err := i.Addrs()
		if err != nil || i.Flags&net.FlagLoopback != 0 || i.Flags&net.FlagUp == 0 {
			continue
		}
		for _, a := range addresses {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
				out = append(out, localNetwork{i.Name, p})
			}
		}
	}
	return out
}

// reportExposure says what the home agents have seen, and fails when a rule does not hold.
func reportExposure(w io.Writer, d firewallDocument, local []localNetwork) error {
	bad, internal := false, false
	for _, a := range d.HomeAgents {
		if !a.Internal {
			fmt.Fprintf(w, "%s: %v is an external home agent, which everybody may reach\n", a.Role, a.Address)
			continue
		}
		internal = true
		fmt.Fprintf(w, "%s: %v trusts %v\n", a.Role, a.Address, a.Trusted)
		if a.Untrusted == 0 {
			fmt.Fprintf(w, "  ok     no registration request from any other network has arrived since %s\n", a.Since.Format(time.RFC3339))
		} else {
			bad = true
			fmt.Fprintf(w, "  FAILS  %d registration requests from other networks have arrived since %s; the last ones:\n", a.Untrusted, a.Since.Format(time.RFC3339))
			for _, l := range a.Last {
				fmt.Fprintf(w, "         %s from %v\n", l.At.Format(time.RFC3339), l.Source)
			}
		}
		for _, n := range local {
			inside := slices.ContainsFunc(a.Trusted, func(p netip.Prefix) bool { return p.Contains(n.prefix.Addr()) && p.Bits() <= n.prefix.Bits() })
			if !inside {
				fmt.Fprintf(w, "  look   this host is in %v on %s, which is not trusted: only its own packet filter can stand in between\n", n.prefix.Masked(), n.name)
			}
		}
	}
	if bad {
		return failure{errFirewall}
	}
	if internal {
		fmt.Fprintln(w, "That nothing has arrived does not show that nothing can: run `mipagent check-firewall --probe ADDRESS` on a host outside, and\nthen this again.")
	}
	return nil
}

// probeResult is what became of one probe.
type probeResult struct {
	Probe string
	// Answer says what came back, empty for nothing.
	Answer string
	// Unsent says why it could not be sent, empty where it was.
	Unsent string
}

// reportProbes says what has come back, and fails when anything has.
func reportProbes(w io.Writer, target netip.Addr, results []probeResult) error {
	bad, sent := false, 0
	for _, r := range results {
		switch {
		case r.Unsent != "":
			fmt.Fprintf(w, "  not sent  %s: %s\n", r.Probe, r.Unsent)
			continue
		case r.Answer != "":
			bad = true
			fmt.Fprintf(w, "  FAILS     %s: %s\n", r.Probe, r.Answer)
		default:
			fmt.Fprintf(w, "  ok        %s: nothing came back from %v\n", r.Probe, target)
		}
		sent++
	}
	if bad {
		return failure{errFirewall}
	}
	if sent == 0 {
		return failure{errors.New("nothing could be sent: nothing is known")}
	}
	fmt.Fprintf(w, "That nothing came back does not show that nothing arrived: the home agent drops in silence what it does not trust. Run\n"+
		"`mipagent check-firewall` on the home agent now: it must not have seen anything of this host.\n")
	return nil
}
