package e2e

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
)

// Addresses of agents and gateway where a placement has them elsewhere than the lab does.
var (
	borderInside    = netip.MustParsePrefix("10.0.1.31/24")    // of a home agent on the border, inside
	besideGateway   = netip.MustParsePrefix("192.0.2.21/24")   // of the x-HA in the gateway's box
	operatorHA      = netip.MustParsePrefix("203.0.112.20/24") // of the x-HA in an operator's network
	operatorRouter  = netip.MustParsePrefix("203.0.112.1/24")
	localLinkRouter = netip.MustParsePrefix("203.0.114.1/28") // the firewall on the local link, with the company's public addresses there
	localLinkVPN    = netip.MustParsePrefix("203.0.114.10/28")
	localLinkHA     = netip.MustParsePrefix("203.0.114.9/28")
	localLinkInner  = netip.MustParsePrefix("10.0.1.50/24")
)

// placement is where RFC 4093 §2 has home agents and VPN gateway.
type placement struct {
	name string
	// place moves what the lab has elsewhere, and returns wires that are external besides.
	place func(*simnet.Lab) []*simnet.Wire
	// internal, external and vpn are the addresses of i-HA, x-HA and gateway, the zero Addr where they are as in the lab.
	internal, external, vpn netip.Addr
	// alone has no x-HA.
	alone bool
}

// placements are those of RFC 4093 §2.1 to 2.5. There is an i-HA inside in each, since RFC 5265 asks for one.
var placements = []placement{
	{name: "2.1 home agent behind the gateway", alone: true},
	{name: "2.1 home agent behind the gateway, and another one outside for what RFC 4093 cannot do"},
	// One host on the border is home agent on both of its sides, beside the gateway.
	{name: "2.2 home agent and gateway on the border", internal: borderInside.Addr(), place: func(l *simnet.Lab) []*simnet.Wire {
		l.ExternalHA.AddNIC(simnet.NICConfig{Name: "eth1", Address: borderInside}).Attach(l.Core)
		l.ExternalHA.AddRoute(simnet.Route{Prefix: simnet.LabEnterprise, Via: netip.MustParseAddr("10.0.1.1")})
		l.Firewall.AddRoute(simnet.Route{Prefix: simnet.LabHomeNetwork, Via: borderInside.Addr()})
		l.InternalHA = l.ExternalHA
		return nil
	}},
	{name: "2.3 home agents and gateway in one box", internal: borderInside.Addr(), external: besideGateway.Addr(), place: func(l *simnet.Lab) []*simnet.Wire {
		l.Gateway.AddNIC(simnet.NICConfig{Name: "eth2", Address: borderInside}).Attach(l.Core)
		l.Gateway.AddNIC(simnet.NICConfig{Name: "eth3", Address: besideGateway}).Attach(l.Internet)
		l.Firewall.AddRoute(simnet.Route{Prefix: simnet.LabHomeNetwork, Via: borderInside.Addr()})
		l.InternetRouter.AddRoute(simnet.Route{Prefix: simnet.LabExternalHomeNetwork, Via: besideGateway.Addr()})
		l.InternalHA, l.ExternalHA = l.Gateway, l.Gateway
		return nil
	}},
	{name: "2.4 home agent in an operator's network", external: operatorHA.Addr(), place: func(l *simnet.Lab) []*simnet.Wire {
		wire := l.NewWire(simnet.WireConfig{Name: "operator", Impairment: simnet.Impairment{Latency: 10 * time.Millisecond}})
		l.InternetRouter.AddNIC(simnet.NICConfig{Name: "operator0", Address: operatorRouter}).Attach(wire)
		l.ExternalHA = l.NewHost("operator-ha")
		l.ExternalHA.AddNIC(simnet.NICConfig{Name: "eth0", Address: operatorHA, Gateway: operatorRouter.Addr()}).Attach(wire)
		l.InternetRouter.AddRoute(simnet.Route{Prefix: simnet.LabExternalHomeNetwork, Via: operatorHA.Addr()})
		return []*simnet.Wire{wire}
	}},
	// The box is on the link of the inside, behind the firewall, which lets the Internet reach its public addresses.
	{name: "2.5 home agents and gateway in one box on the local link", internal: borderInside.Addr(), external: localLinkHA.Addr(), vpn: localLinkVPN.Addr(),
		place: func(l *simnet.Lab) []*simnet.Wire {
			local := l.Firewall.AddNIC(simnet.NICConfig{Name: "local0", Address: localLinkRouter})
			local.Attach(l.Core)
			l.Firewall.SetFirewall(simnet.Rule{In: l.FirewallCore, Verdict: simnet.Accept}, simnet.Rule{In: l.FirewallOffice, Verdict: simnet.Accept},
				simnet.Rule{In: local, Verdict: simnet.Accept}, simnet.Rule{Destination: localLinkRouter.Masked(), Verdict: simnet.Accept})
			public := netip.MustParseAddr("192.0.2.2")
			l.InternetRouter.AddRoute(simnet.Route{Prefix: localLinkRouter.Masked(), Via: public})
			l.InternetRouter.AddRoute(simnet.Route{Prefix: simnet.LabExternalHomeNetwork, Via: public})
			l.Firewall.AddRoute(simnet.Route{Prefix: simnet.LabExternalHomeNetwork, Via: localLinkHA.Addr()})
			l.Firewall.AddRoute(simnet.Route{Prefix: simnet.LabHomeNetwork, Via: borderInside.Addr()})
			l.Firewall.AddRoute(simnet.Route{Prefix: simnet.LabInnerPool, Via: localLinkInner.Addr()})
			l.Gateway = l.NewHost("box")
			l.GatewayOuter = l.Gateway.AddNIC(simnet.NICConfig{Name: "eth0", Address: localLinkVPN, Gateway: localLinkRouter.Addr()})
			l.GatewayInner = l.Gateway.AddNIC(simnet.NICConfig{Name: "eth1", Address: localLinkInner})
			for _, c := range []*simnet.NIC{l.GatewayOuter, l.GatewayInner, l.Gateway.AddNIC(simnet.NICConfig{Name: "eth2", Address: borderInside}),
				l.Gateway.AddNIC(simnet.NICConfig{Name: "eth3", Address: localLinkHA})} {
				c.Attach(l.Core)
			}
			l.Gateway.AddRoute(simnet.Route{Prefix: simnet.LabEnterprise, Via: netip.MustParseAddr("10.0.1.1")})
			l.InternalHA, l.ExternalHA = l.Gateway, l.Gateway
			return nil
		}},
}

// options makes the world of a placement, and appends to external the wires that it adds outside.
func (p placement) options(external *[]*simnet.Wire) Options {
	o := Options{Seed: 901, Log: zap.NewNop()}
	set := func(at *netip.Addr, to netip.Addr) {
		if to.IsValid() {
			*at = to
		}
	}
	o.Lab = func(l *simnet.Lab) {
		if p.place != nil {
			*external = append(*external, p.place(l)...)
		}
	}
	o.InternalHA = func(c *agent.HomeAgentConfig) { set(&c.Address, p.internal) }
	o.ExternalHA = func(c *agent.HomeAgentConfig) { set(&c.Address, p.external) }
	o.Gateway = func(c *agent.GatewayConfig) { set(&c.Address, p.vpn) }
	o.Client = func(c *config.Config) {
		set(&c.Internal.Address, p.internal)
		set(&c.External.Address, p.external)
		set(&c.Gateway.Address, p.vpn)
		if p.alone {
			straight(c)
			c.External = config.HomeAgent{}
		}
	}
	return o
}

// Each placement of home agents and VPN gateway that RFC 4093 §2 has is one that works: a session that begins in a café goes on at a
// hotspot with a foreign agent, in the office, in the office with a foreign agent and on a campus, and nothing of it is in the clear outside.
//
// Shows: GDL-9, MOD-keep
func TestPlacements(t *testing.T) {
	t.Parallel()
	for _, p := range placements {
		t.Run(p.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var external []*simnet.Wire
				w := world(t, p.options(&external))
				j := Watch(append(w.External(), external...)...)
				stay := func(wire *simnet.Wire, mode string) {
					t.Helper()
					if p.alone && mode == "cvc" {
						mode = "vc"
					}
					carry(w, wire)
					if _, err := w.UntilMode(time.Minute, mode); err != nil {
						t.Fatal(err)
					}
				}
				stay(w.Cafe, "cvc")
				c := converse(t, w)
				both := func() {
					t.Helper()
					c.pass(t, c.near, c.far, 20_000)
					c.pass(t, c.far, c.near, 20_000)
				}
				both()
				if !p.alone { // without an x-HA nobody registers through a foreign agent outside (RFC 4093 §4.2)
					stay(w.Hotspot, "fvc")
					both()
				}
				stay(w.Office, "c")
				both()
				stay(w.OfficeFA, "f")
				both()
				stay(w.Campus, "cvc")
				both()
				c.end(t)
				judge(t, j)
			})
		})
	}
}
