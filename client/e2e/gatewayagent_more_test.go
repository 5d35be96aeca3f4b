package e2e

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/mipv4/homeagent"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
)

// Shows: MEC-B, IKE-5 (rekeyings stay with the agent; an IKE SA that has been authenticated anew carries data once the i-HA has
// answered through it, and meanwhile that waits: nothing is lost, doubled or out of order)
func TestNothingIsLostByRenewalThroughTheAgent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		gateway func(*agent.GatewayConfig)
		client  func(*config.Config)
	}{
		"both rekey": {func(g *agent.GatewayConfig) {
			g.IKE.Lifetimes.Child, g.IKE.Lifetimes.IKE = 15*time.Second, 22*time.Second
		}, func(c *config.Config) {
			c.Gateway.ChildLifetime, c.Gateway.IKELifetime = 15*time.Second, 22*time.Second
		}},
		"reauthentication": {func(g *agent.GatewayConfig) { g.IKE.Lifetimes.Authentication = 20 * time.Second }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 670, Client: asking(c.client), Gateway: func(g *agent.GatewayConfig) {
					withAgent(g)
					c.gateway(g)
				}})
				w.Plug(w.Eth0, w.Cafe)
				if _, err := w.UntilMode(time.Minute, "cvf"); err != nil {
					t.Fatal(err)
				}
				seen := make(map[string]bool)
				n, stop := count(t, w, 16*time.Millisecond)
				for range 70 {
					time.Sleep(time.Second)
					s := present(t, w)
					seen[spis(s)] = true
					if s.Mode != "cvf" {
						t.Errorf("mode %s", s.Mode)
					}
				}
				stop()
				n.whole(t)
				if len(seen) < 3 {
					t.Errorf("only %d child SAs were used: nothing was renewed", len(seen))
				}
			})
		})
	}
}

// Shows: MOD-cvf, MOD-fvf, MOD-keep (over a bad café and a bad hotspot)
func TestBadWiresThroughTheAgent(t *testing.T) {
	t.Parallel()
	for _, at := range agentPlaces[2:] {
		t.Run(at.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 671, Gateway: withAgent, Client: asking()})
				j := Watch(w.External()...)
				at.wire(w).Impair(simnet.Impairment{Latency: 20 * time.Millisecond, Jitter: 10 * time.Millisecond, Loss: 0.03, Reorder: 0.1, Duplicate: 0.1})
				w.Plug(w.Wlan0, at.wire(w))
				if _, err := w.UntilMode(time.Minute, at.mode); err != nil {
					t.Fatal(err)
				}
				s, err := StartSession(w)
				must(t, err)
				time.Sleep(8 * time.Second)
				up, down, err := s.Finish()
				must(t, err)
				if written := float64(8*time.Second/pace) * chunk; float64(up) < written/3 || float64(down) < written/3 {
					t.Errorf("%d octets up, %d down, of %.0f each", up, down, written)
				}
				if s := present(t, w); s.Mode != at.mode || len(s.Problems) != 0 {
					t.Errorf("mode %s, problems %v", s.Mode, s.Problems)
				}
				judge(t, j)
			})
		})
	}
}

// Shows: MEC-B, MOD-park, IKE-5 (an IKE SA that is resumed with its ticket goes through the agent again)
func TestResumedThroughTheAgent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 672, Gateway: withAgent, Client: asking(func(c *config.Config) { c.Gateway.Park = config.ParkResume })})
		j := Watch(w.External()...)
		w.Plug(w.Wlan0, w.Cafe)
		_, err := w.UntilMode(20*time.Second, "cvf")
		must(t, err)
		w.Plug(w.Wlan0, w.Office)
		_, err = w.UntilMode(20*time.Second, "c")
		must(t, err)
		time.Sleep(10 * time.Second)
		w.Plug(w.Wlan0, w.Hotspot)
		s, err := w.UntilMode(20*time.Second, "fvf")
		must(t, err)
		if a := vpnAddress(s); a != simnet.LabHomeAddress.String() {
			t.Errorf("address %s", a)
		}
		use(t, w)
		judge(t, j)
	})
}

// Shows: MEC-B, IKE-5 (a list of gateways of which the first has no agent, where one is demanded: the second is used)
func TestGatewaysWithAndWithoutAgent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 673, Gateway: withAgent, Client: asking(func(cfg *config.Config) {
			cfg.Mechanisms.GatewayAgent = config.MechanismAlways
			cfg.Gateway.Address, cfg.Gateway.Fallback = frontGateway, []config.Endpoint{{Address: simnet.LabGateway}}
		})})
		j := Watch(w.External()...)
		startFront(t, w, nil)
		w.Plug(w.Wlan0, w.Cafe)
		s, err := w.UntilMode(2*time.Minute, "cvf")
		if err != nil {
			t.Fatal(err)
		}
		if at := s.Layers[2].Remote; at != simnet.LabGateway || len(s.Problems) != 0 {
			t.Errorf("gateway %v, problems %v", at, s.Problems)
		}
		use(t, w)
		judge(t, j)
	})
}

// Shows: MEC-B (a gateway whose pool has the home address and that knows no agent, or lies: the home address is no care-of address;
// nothing is carried, status says why, and no IKE SA follows on the heels of another)
func TestGatewayGivesTheHomeAddressWithoutAgent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 674, Client: asking(), Gateway: func(c *agent.GatewayConfig) { c.Pool = simnet.LabHomeNetwork }})
		j := Watch(w.External()...)
		inner := watchInner(w)
		w.Plug(w.Wlan0, w.Cafe)
		_, err := w.Until(30*time.Second, func(s control.Status) bool {
			return s.State == control.StateBlocked && len(s.Problems) == 1 && strings.Contains(s.Problems[0].Message, "is no care-of address")
		})
		must(t, err)
		began := countInits(w)
		time.Sleep(5 * time.Minute)
		if n := began(); n < 5 || n > 15 {
			t.Errorf("%d IKE SAs in 5 min", n)
		}
		if n, from := inner(); n != 0 {
			t.Errorf("%d packets came to the i-HA, the last from %v", n, from)
		}
		must(t, w.RestartGateway(nil))
		_, err = w.UntilMode(time.Minute, "cvc")
		must(t, err)
		judge(t, j)
	})
}

// Shows: MEC-B (the agent, or the i-HA through it, denies: the ordinary way is taken at once, and status has the denial)
func TestAgentDenies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		gateway  func(*agent.GatewayConfig)
		internal func(*agent.HomeAgentConfig)
		why      string
	}{
		"the agent": {gateway: func(g *agent.GatewayConfig) {
			withAgent(g)
			g.ForeignAgent.PermittedHomeAgents = []netip.Prefix{netip.PrefixFrom(simnet.LabCorrespondent, 32)}
		}, why: "foreign agent 10.0.1.30 denied registration"},
		"the i-HA": {gateway: withAgent, internal: func(c *agent.HomeAgentConfig) {
			c.ForeignAgents = []homeagent.ForeignAgent{{Address: simnet.LabGatewayInner, Association: association(3001, internalKey)}}
		}, why: "home agent 10.0.1.10 denied registration"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 675, Gateway: c.gateway, InternalHA: c.internal, Client: asking()})
				j := Watch(w.External()...)
				w.Plug(w.Wlan0, w.Cafe)
				s, err := w.UntilMode(5*time.Second, "cvc")
				must(t, err)
				if !strings.Contains(s.VPN.NoAgent, c.why) || len(s.Problems) != 0 {
					t.Errorf("no agent %q, problems %v", s.VPN.NoAgent, s.Problems)
				}
				use(t, w)
				judge(t, j)
			})
		})
	}
}

// Shows: MEC-B, MOD-switch (a person who sets the mode has an agent tried again at once that did not serve)
func TestAPersonHasTheAgentTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 676, Gateway: withAgent, InternalHA: refuseAgent, Client: asking()})
		j := Watch(w.External()...)
		w.Plug(w.Wlan0, w.Cafe)
		_, err := w.UntilMode(time.Minute, "cvc")
		must(t, err)
		must(t, w.RestartInternalHA(nil))
		must(t, w.Client.SetMode(t.Context(), "auto"))
		_, err = w.UntilMode(20*time.Second, "cvf")
		must(t, err)
		use(t, w)
		judge(t, j)
	})
}
