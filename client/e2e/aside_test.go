package e2e

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/mipv4/foreignagent"
	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/wire"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// hears has the mobile node listen for foreign agents beside its own address, as it does by default.
func hears(c *config.Config) { c.Interfaces.HearAgents = true }

// relays has the x-HA take registrations of co-located care-of addresses that come from a foreign agent.
func relays(c *agent.HomeAgentConfig) { c.AllowRelayedCoLocated = true }

// requiring starts a foreign agent beside the DHCP server of a wire that wants every visitor to register through it.
func requiring(t *testing.T, w *World, wire *simnet.Wire, at, gateway string, change func(*foreignagent.Config)) *agent.ForeignAgent {
	t.Helper()
	host := w.NewHost("r-fa")
	own := netip.MustParsePrefix(at)
	host.AddNIC(simnet.NICConfig{Name: "visit0", Address: own, Gateway: netip.MustParseAddr(gateway)}).Attach(wire)
	cfg := foreignagent.Config{CareOfAddress: own.Addr(), RegistrationRequired: true}
	if change != nil {
		change(&cfg)
	}
	fa, err := agent.StartForeignAgent(host, agent.ForeignAgentConfig{Interface: "visit0", Config: cfg}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fa.Close() })
	return fa
}

// requiredInCampus is requiring in the campus network, where there is no NAT.
func requiredInCampus(t *testing.T, w *World, change func(*foreignagent.Config)) *agent.ForeignAgent {
	return requiring(t, w, w.Campus, "203.0.113.40/24", "203.0.113.1", change)
}

// visits reports whether the mobile node's own address is registered through the agent.
func visits(fa *agent.ForeignAgent) bool {
	v := fa.VisitorList(netip.PrefixFrom(simnet.LabExternalHomeAddress, 32))
	return len(v) == 1 && v[0].Visitor.CoLocated
}

// tunnelOf returns the tunnel that the x-HA has to the mobile node, the zero value without exactly one.
func tunnelOf(w *World) homeagent.Tunnel {
	r := w.ExternalAgent.Table().Route(simnet.LabExternalHomeAddress)
	if r == nil || len(r.Tunnels) != 1 {
		return homeagent.Tunnel{}
	}
	return *r.Tunnels[0]
}

// within waits until the condition holds.
func within(t *testing.T, d time.Duration, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(d); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v not yet: %s", d, what)
		}
	}
}

// An agent that asks for registrations is registered through, the laptop's own address remaining its care-of address, for as long as it is
// there; its data go past the agent. Nobody notices the agent's coming and going but the x-HA.
//
// Shows: MIP-7, MIP-5 (R bit, RFC 5944 §2.4.1, §3.1: a co-located care-of address registered through the foreign agent that asks for it,
// and straight again without it)
func TestRegistrationRequired(t *testing.T) {
	t.Parallel()
	for name, late := range map[string]bool{"there before": false, "comes later": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 70, Client: hears, ExternalHA: relays})
				clear := watchClear(w)
				k := talk(t, w, 200*time.Millisecond)
				var fa *agent.ForeignAgent
				if !late {
					fa = requiredInCampus(t, w, nil)
				}
				w.Plug(w.Wlan0, w.Campus)
				mended(t, w, k, 20*time.Second, "cvc")
				if late {
					time.Sleep(time.Minute)
					fa = requiredInCampus(t, w, nil)
				}
				within(t, 30*time.Second, "registered through the agent", func() bool { return visits(fa) })
				k.works(t, 10*time.Second)
				status, err := w.Client.Status(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if l := status.Layers[1]; l.Kind != "x-mip" || l.CareOf != w.Wlan0.Address().Addr() || l.Encapsulation != "ipip" {
					t.Errorf("layer %+v", l)
				}
				time.Sleep(25 * time.Minute) // renewals
				if !visits(fa) || status.Mode != "cvc" {
					t.Fatalf("mode %s, visitors %v after a while", status.Mode, fa.VisitorList(netip.Prefix{}))
				}
				k.works(t, 10*time.Second)
				if err := fa.Close(); err != nil { // it takes its advertisement back
					t.Fatal(err)
				}
				within(t, time.Minute, "registered straight again", func() bool { return tunnelOf(w).Encapsulation.String() == "udp" })
				k.works(t, 10*time.Second)
				if n := clear.on(w.Campus, w.Internet); n != 0 {
					t.Errorf("%d frames in the clear", n)
				}
			})
		})
	}
}

// Behind a NAT the agent's U bit has the tunnel be one of UDP that the first keepalive binds.
//
// Shows: MIP-7 (R flag, RFC 3519 §4.4, §4.11: the whole client behind agent and NAT)
func TestRegistrationRequiredBehindNAT(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 71, Client: hears, ExternalHA: relays})
		fa := requiring(t, w, w.Cafe, "192.168.1.40/24", "192.168.1.1", func(c *foreignagent.Config) {
			c.UDPTunnel, c.BehindNAT = foreignagent.UDPTunnelNAT, true
		})
		k := talk(t, w, 200*time.Millisecond)
		w.Plug(w.Wlan0, w.Cafe)
		mended(t, w, k, 20*time.Second, "cvc")
		bound := func() bool {
			tunnel := tunnelOf(w)
			return visits(fa) && tunnel.Encapsulation.String() == "udp" && !tunnel.HalfBound() && tunnel.Remote.Addr() == simnet.LabCafeNAT
		}
		within(t, 30*time.Second, "a bound tunnel", bound)
		k.works(t, 10*time.Second)
		time.Sleep(25 * time.Minute) // renewals and keepalives
		if !bound() {
			t.Errorf("tunnel %+v, visitors %v after a while", tunnelOf(w), fa.VisitorList(netip.Prefix{}))
		}
		k.works(t, 10*time.Second)
	})
}

// An agent that asks for registrations and does not serve is done without, and the session goes on.
//
// Shows: MIP-7, MIP-4 (fallback to direct registration: an agent that refuses, one that is silent, one that does not tell of its NAT)
func TestRequiringAgentThatDoesNotServe(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		wire    func(*World) *simnet.Wire
		at, via string
		change  func(*foreignagent.Config)
		silent  bool // its requests reach nobody
	}{
		"refuses":        {func(w *World) *simnet.Wire { return w.Campus }, "203.0.113.40/24", "203.0.113.1", func(c *foreignagent.Config) { c.NoCoLocated = true }, false},
		"silent":         {func(w *World) *simnet.Wire { return w.Campus }, "203.0.113.40/24", "203.0.113.99", nil, true},
		"NAT not told":   {func(w *World) *simnet.Wire { return w.Cafe }, "192.168.1.40/24", "192.168.1.1", nil, false},
		"revokes":        {func(w *World) *simnet.Wire { return w.Campus }, "203.0.113.40/24", "203.0.113.1", func(c *foreignagent.Config) { c.Revocation = true }, false},
		"wants a secret": {func(w *World) *simnet.Wire { return w.Campus }, "203.0.113.40/24", "203.0.113.1", func(c *foreignagent.Config) { c.Challenge = true }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 72, Client: hears, ExternalHA: relays})
				at := c.wire(w)
				fa := requiring(t, w, at, c.at, c.via, c.change)
				k := talk(t, w, 500*time.Millisecond)
				w.Plug(w.Wlan0, at)
				mended(t, w, k, 20*time.Second, "cvc")
				time.Sleep(time.Minute)
				if asked := fa.Registrations(); len(asked.Replies) == 0 && !c.silent {
					t.Error("the agent was never asked")
				}
				straight := func() bool { return tunnelOf(w).Encapsulation.String() == "udp" }
				if !straight() {
					t.Fatalf("tunnel %+v", tunnelOf(w))
				}
				k.works(t, 10*time.Second)
				time.Sleep(25 * time.Minute) // it is tried again meanwhile, and left again
				within(t, 15*time.Second, "registered straight again", straight)
				if status, err := w.Client.Status(t.Context()); err != nil || status.Mode != "cvc" || len(status.Problems) != 0 || !straight() {
					t.Errorf("mode %s, problems %v, tunnel %+v, %v", status.Mode, status.Problems, tunnelOf(w), err)
				}
				k.works(t, 10*time.Second)
			})
		})
	}
}

// A network that lets nobody register past its agent is used through it, and so it is where the x-HA seems to answer nothing that way:
// there is no other.
//
// Shows: MIP-7 (an agent that enforces what its R bit asks for)
func TestRegistrationEnforced(t *testing.T) {
	t.Parallel()
	straight := func(of netip.Addr) simnet.Rule {
		return simnet.Rule{Source: netip.PrefixFrom(of, 32), Protocol: packet.ProtocolUDP, DestinationPort: wire.Port, Verdict: simnet.Drop}
	}
	t.Run("with service", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := world(t, Options{Seed: 74, Client: hears, ExternalHA: relays})
			fa := requiredInCampus(t, w, nil)
			w.InternetRouter.SetFirewall(straight(netip.MustParseAddr("203.0.113.100")), simnet.Rule{Verdict: simnet.Accept})
			k := talk(t, w, 200*time.Millisecond)
			w.Plug(w.Wlan0, w.Campus)
			mended(t, w, k, 20*time.Second, "cvc")
			time.Sleep(25 * time.Minute)
			if !visits(fa) {
				t.Errorf("visitors %v", fa.VisitorList(netip.Prefix{}))
			}
			k.works(t, 10*time.Second)
		})
	})
	t.Run("without answers", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := world(t, Options{Seed: 75, Client: hears, ExternalHA: relays})
			fa := requiring(t, w, w.Cafe, "192.168.1.40/24", "192.168.1.1", nil)
			w.CafeNAT.SetFirewall(straight(netip.MustParseAddr("192.168.1.100")), simnet.Rule{Verdict: simnet.Accept})
			w.Plug(w.Wlan0, w.Cafe)
			asked := func() uint64 { return fa.Registrations().Replies[wire.CodeAccepted] }
			time.Sleep(10 * time.Second) // by now it has been registered, and left again
			before := asked()
			if before == 0 {
				t.Fatal("never registered through the agent")
			}
			within(t, 2*time.Minute, "registered through the agent again, since nothing else is there", func() bool { return asked() > before })
		})
	})
}

// Inside, the i-HA is asked straight through the interface whatever an agent there asks for: its answer proves that the way that data take
// is inside. Where only the agent's way leads inside there is no proof, and nothing leaves in the clear.
//
// Shows: DET-3, DET-4, MIP-7 (what is registered through an agent proves nothing of the way of data)
func TestRegistrationRequiredProvesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 73, Client: hears, ExternalHA: relays})
		fa := requiring(t, w, w.Office, "10.0.2.40/24", "10.0.2.1", nil)
		k := talk(t, w, 200*time.Millisecond)
		w.Plug(w.Eth0, w.Office)
		mended(t, w, k, 20*time.Second, "c")
		time.Sleep(5 * time.Minute)
		if s, err := w.Client.Status(t.Context()); err != nil || s.Mode != "c" || s.Proof.Verdict != control.VerdictInside {
			t.Fatalf("mode %s, proof %+v, %v", s.Mode, s.Proof, err)
		}
		// From now on the laptop's own packets do not get inside, and those of the agent do.
		w.Firewall.SetFirewall(
			simnet.Rule{In: w.FirewallOffice, Source: netip.PrefixFrom(w.Eth0.Address().Addr(), 32), Destination: simnet.LabEnterprise, Verdict: simnet.Drop},
			simnet.Rule{In: w.FirewallCore, Verdict: simnet.Accept}, simnet.Rule{In: w.FirewallOffice, Verdict: simnet.Accept})
		last := plaintextOn(w, w.Office)
		status, err := w.UntilMode(2*time.Minute, "cvc")
		if err != nil {
			t.Fatal(err)
		}
		within(t, time.Minute, "registered with the x-HA through the agent", func() bool { return visits(fa) })
		k.works(t, 10*time.Second)
		stopped := last()
		time.Sleep(15 * time.Minute) // the i-HA is probed again
		if status, err = w.Client.Status(t.Context()); err != nil || status.Mode != "cvc" || status.Proof.Verdict == control.VerdictInside {
			t.Errorf("mode %s, proof %+v, %v", status.Mode, status.Proof, err)
		}
		if at := last(); at != stopped {
			t.Errorf("plaintext at %v, and the last before was at %v", at, stopped)
		}
	})
}
