package e2e

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike/message"
	"mipvpn/mipv4/foreignagent"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// withAgent puts a foreign agent into the gateway, for the laptop's identity.
func withAgent(c *agent.GatewayConfig) { agentFor(LaptopIdentity)(c) }

// agentFor puts one into it that the identity may use with the laptop's home address.
func agentFor(identity string) func(*agent.GatewayConfig) {
	return func(c *agent.GatewayConfig) {
		id, err := message.NewIdentity(identity)
		if err != nil {
			panic(err)
		}
		c.Agent = &gateway.Agent{MobileNodes: []gateway.MobileNode{{Identity: id, HomeAddress: simnet.LabHomeAddress}}}
		c.ForeignAgent = &foreignagent.Config{CareOfAddress: simnet.LabGatewayInner, PermittedHomeAgents: []netip.Prefix{netip.PrefixFrom(simnet.LabInternalHA, 32)}}
	}
}

// withStraightAgent is that in a gateway that follows the laptop.
func withStraightAgent(c *agent.GatewayConfig) {
	withAgent(c)
	mobike(c)
}

// asking has the client ask for the gateway's agent, and changes it further by each of more that is not nil.
func asking(more ...func(*config.Config)) func(*config.Config) {
	return func(c *config.Config) {
		c.Mechanisms.GatewayAgent = config.MechanismAuto
		for _, change := range more {
			if change != nil {
				change(c)
			}
		}
	}
}

// agentPlaces are the access networks with the modes that they bring about with such a gateway.
var agentPlaces = []place{
	{"office", places[0].wire, "c"}, {"office FA", places[1].wire, "f"}, {"café", places[2].wire, "cvf"}, {"hotspot", places[3].wire, "fvf"},
}

// Shows: MOD-vf, MOD-cvf, MOD-fvf, MEC-B (i-MIP through the foreign agent in the gateway: the VPN's address is the home address, no
// tunnel is within the VPN's; nothing leaks)
func TestModesThroughTheGatewaysAgent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mode, kinds string
		wire        func(*World) *simnet.Wire
		gateway     func(*agent.GatewayConfig)
		client      func(*config.Config)
	}{
		{"cvf", "underlay x-mip vpn i-mip", places[2].wire, withAgent, nil},
		{"fvf", "underlay x-mip vpn i-mip", places[3].wire, withAgent, nil},
		{"vf", "underlay vpn i-mip", places[2].wire, withStraightAgent, straight},
	} {
		t.Run(c.mode, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 660, Gateway: c.gateway, Client: asking(c.client)})
				j := Watch(w.External()...)
				inner := watchInner(w)
				w.Plug(w.Wlan0, c.wire(w))
				s, err := w.UntilMode(20*time.Second, c.mode)
				if err != nil {
					t.Fatal(err)
				}
				if k := kinds(s); k != c.kinds {
					t.Errorf("layers %s, want %s", k, c.kinds)
				}
				vpn, mip := s.Layers[len(s.Layers)-2], s.Layers[len(s.Layers)-1]
				if vpn.Local != simnet.LabHomeAddress || mip.Local != simnet.LabHomeAddress || mip.Encapsulation != "none" ||
					mip.Remote != simnet.LabGatewayInner || mip.CareOf != simnet.LabGatewayInner || !strings.Contains(mip.Why, "foreign agent") {
					t.Errorf("VPN %+v, i-MIP %+v", vpn, mip)
				}
				if !strings.Contains(s.VPN.Agent, simnet.LabGatewayInner.String()) || s.VPN.NoAgent != "" || len(s.Problems) != 0 {
					t.Errorf("agent %q, no agent %q, problems %v", s.VPN.Agent, s.VPN.NoAgent, s.Problems)
				}
				use(t, w)
				if n, from := inner(); n == 0 || from != simnet.LabGatewayInner {
					t.Errorf("%d packets came to the i-HA, the last from %v", n, from)
				}
				judge(t, j)
			})
		})
	}
}

// watchInner counts the packets and registration requests that come to the i-HA, and tells where the last of them came from.
func watchInner(w *World) func() (n int, from netip.Addr) {
	var mu sync.Mutex
	var count int
	var last netip.Addr
	w.Core.Tap(func(f simnet.Frame) {
		ip := packet.IPv4(f.Packet)
		if ip.Valid() && ip.Dst() == simnet.LabInternalHA && (ip.Protocol() == packet.ProtocolIPIP || isRegistration(ip)) {
			mu.Lock()
			defer mu.Unlock()
			count++
			last = ip.Src()
		}
	})
	return func() (int, netip.Addr) {
		mu.Lock()
		defer mu.Unlock()
		return count, last
	}
}

// Shows: MOD-keep, MOD-cvf, MOD-fvf (between any two places, the way out being through the gateway's agent)
func TestSessionSurvivesEveryChangeWithAgent(t *testing.T) {
	t.Parallel()
	for fi, from := range agentPlaces {
		for ti, to := range agentPlaces {
			if strings.Contains(from.mode+to.mode, "v") && sampled(2, fi, ti) {
				t.Run(from.name+" to "+to.name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						testChange(t, Options{Seed: 661, Gateway: withAgent, Client: asking()}, from, to, false)
					})
				})
			}
		}
	}
}

// Shows: MOD-keep, MOD-vf (the same with a gateway that follows, by the other interface)
func TestSessionSurvivesEveryChangeStraightWithAgent(t *testing.T) {
	t.Parallel()
	all := slices.Clone(agentPlaces)
	all[2].mode = "vf"
	all = append(all, place{"campus", func(w *World) *simnet.Wire { return w.Campus }, "vf"})
	for fi, from := range all {
		for ti, to := range all {
			if (from.mode == "vf" || to.mode == "vf") && sampled(2, fi, ti, 1) {
				t.Run(from.name+" to "+to.name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						testChange(t, Options{Seed: 662, Gateway: withStraightAgent, Client: asking(straight)}, from, to, false)
					})
				})
			}
		}
	}
}

// Shows: MEC-B, MOD-park, GDL-5 (draft B.8: the SA stays when the laptop goes inside, and a registration through the agent is all
// that coming back takes; a move outside takes none with the i-HA)
func TestAgentsSAIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 663, Gateway: withAgent, Client: asking()})
		j := Watch(w.External()...)
		w.Plug(w.Wlan0, w.Cafe)
		before, err := w.UntilMode(20*time.Second, "cvf")
		must(t, err)
		count := &signalling{}
		defer w.TapAll(count.look)()
		w.Plug(w.Wlan0, w.Hotspot)
		moved, err := w.UntilMode(20*time.Second, "fvf")
		must(t, err)
		if count.ike() != 0 || spis(before) != spis(moved) {
			t.Errorf("%d IKE messages for a move outside; SPIs %s before, %s after", count.ike(), spis(before), spis(moved))
		}
		w.Plug(w.Wlan0, w.Office)
		_, err = w.UntilMode(20*time.Second, "c")
		must(t, err)
		time.Sleep(10 * time.Second)
		w.Plug(w.Wlan0, w.Cafe)
		after, err := w.UntilMode(20*time.Second, "cvf")
		must(t, err)
		if spis(before) != spis(after) {
			t.Errorf("SPIs %s before, %s after: the parked SA was not used", spis(before), spis(after))
		}
		use(t, w)
		judge(t, j)
	})
}

// Where the gateway has no agent, or none for this laptop, the way out is the ordinary one, over the same IKE SA, and status says why.
//
// Shows: MEC-B (fallback where the gateway refuses; an IKE identity may claim only its configured i-HoA; off: never asked for; pins)
func TestWithoutTheGatewaysAgent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		gateway func(*agent.GatewayConfig)
		client  func(*config.Config)
		why     string
	}{
		"no agent":             {nil, nil, "has no foreign agent for this laptop"},
		"for somebody else":    {agentFor("neighbour@corp.example"), nil, "has no foreign agent for this laptop"},
		"off":                  {withAgent, func(c *config.Config) { c.Mechanisms.GatewayAgent = config.MechanismOff }, `gateway_agent is "off"`},
		"another mode pinned":  {withAgent, func(c *config.Config) { c.Mode = "cvc" }, "mode cvc is pinned"},
		"pinned, and no agent": {nil, func(c *config.Config) { c.Mode = "cvf" }, "has no foreign agent for this laptop"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 664, Gateway: c.gateway, Client: asking(c.client)})
				j := Watch(w.External()...)
				w.Plug(w.Wlan0, w.Cafe)
				began := countInits(w)
				s, err := w.UntilMode(20*time.Second, "cvc")
				must(t, err)
				if s.VPN.Agent != "" || !strings.Contains(s.VPN.NoAgent, c.why) {
					t.Errorf("agent %q, no agent %q", s.VPN.Agent, s.VPN.NoAgent)
				}
				use(t, w)
				if n := began(); n > 1 {
					t.Errorf("%d IKE SAs were begun", n)
				}
				judge(t, j)
			})
		})
	}
}

// Shows: MEC-B ("always": nothing is carried without the agent, status says why, and it goes on when there is one)
func TestAgentIsDemanded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 665, Client: func(c *config.Config) { c.Mechanisms.GatewayAgent = config.MechanismAlways }})
		j := Watch(w.External()...)
		inner := watchInner(w)
		w.Plug(w.Wlan0, w.Cafe)
		s, err := w.Until(20*time.Second, func(s control.Status) bool {
			return s.State == control.StateBlocked && len(s.Problems) > 0 && strings.Contains(s.Problems[0].Message, "nothing is carried")
		})
		must(t, err)
		if len(s.Problems) != 1 || len(s.Layers) != 0 {
			t.Errorf("problems %v, layers %v", s.Problems, s.Layers)
		}
		time.Sleep(5 * time.Minute)
		if n, from := inner(); n != 0 {
			t.Errorf("%d packets came to the i-HA, the last from %v", n, from)
		}
		must(t, w.RestartGateway(withAgent))
		s, err = w.UntilMode(2*time.Minute, "cvf")
		must(t, err)
		if len(s.Problems) != 0 {
			t.Errorf("problems %v", s.Problems)
		}
		use(t, w)
		judge(t, j)
	})
}

// The agent is there and does not serve: the i-HA does not answer it. The ordinary way takes its place, the agent is tried again
// later beside that, and user data hardly notices; when the i-HA answers the agent, the way is through it.
//
// Shows: MEC-B (fallback, make before break; tried again)
func TestAgentThatDoesNotServe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 666, Gateway: withAgent, Client: asking(), InternalHA: refuseAgent})
		j := Watch(w.External()...)
		w.Plug(w.Wlan0, w.Cafe)
		s, err := w.UntilMode(time.Minute, "cvc")
		must(t, err)
		if s.VPN.NoAgent == "" || len(s.Problems) != 0 {
			t.Errorf("no agent %q, problems %v", s.VPN.NoAgent, s.Problems)
		}
		k := talk(t, w, 200*time.Millisecond)
		time.Sleep(agentPause)
		if s := present(t, w); s.Mode != "cvc" || s.State != control.StateConnected {
			t.Errorf("after the agent was tried again: mode %s, state %s", s.Mode, s.State)
		}
		if sent, answered, gap := k.counts(); answered < sent-25 || gap > 4*time.Second {
			t.Errorf("%d of %d answered, longest gap %v", answered, sent, gap)
		}
		must(t, w.RestartInternalHA(nil))
		_, err = w.UntilMode(2*agentPause+time.Minute, "cvf")
		must(t, err)
		k.reset()
		time.Sleep(5 * time.Second)
		if sent, answered, _ := k.counts(); answered < sent-2 || sent < 20 {
			t.Errorf("through the agent %d of %d answered", answered, sent)
		}
		judge(t, j)
	})
}

// agentPause is longer than an agent that did not serve once is left alone.
const agentPause = 11 * time.Minute

// refuseAgent has the i-HA not answer the gateway's agent.
func refuseAgent(c *agent.HomeAgentConfig) {
	c.RefusedNetworks = []netip.Prefix{netip.PrefixFrom(simnet.LabGatewayInner, 32)}
}

// Shows: MEC-B (the agent vanishes with a restart of the gateway, and appears with another: the way follows)
func TestAgentVanishesAndAppears(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 667, Gateway: withAgent, Client: asking()})
		j := Watch(w.External()...)
		w.Plug(w.Wlan0, w.Cafe)
		_, err := w.UntilMode(20*time.Second, "cvf")
		must(t, err)
		session, err := StartSession(w)
		must(t, err)
		must(t, w.RestartGateway(nil))
		_, err = w.UntilMode(2*time.Minute, "cvc")
		must(t, err)
		time.Sleep(10 * time.Second)
		must(t, w.RestartGateway(withAgent))
		_, err = w.UntilMode(2*time.Minute, "cvf")
		must(t, err)
		time.Sleep(10 * time.Second)
		if _, _, err := session.Finish(); err != nil {
			t.Error(err)
		}
		judge(t, j)
	})
}

// Shows: MOD-switch (pins that differ in the agent alone: a new tunnel is set up beside the old one, and the session goes on)
func TestPinsWithAndWithoutTheAgent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 668, Gateway: withAgent, Client: asking()})
		j := Watch(w.External()...)
		w.Plug(w.Wlan0, w.Cafe)
		_, err := w.UntilMode(20*time.Second, "cvf")
		must(t, err)
		session, err := StartSession(w)
		must(t, err)
		for _, m := range []string{"cvc", "cvf", "cvc", "auto"} {
			must(t, w.Client.SetMode(t.Context(), m))
			want := m
			if m == "auto" {
				want = "cvf"
			}
			if _, err := w.UntilMode(time.Minute, want); err != nil {
				t.Fatalf("%s: %v", m, err)
			}
			time.Sleep(3 * time.Second)
		}
		if _, _, err := session.Finish(); err != nil {
			t.Error(err)
		}
		judge(t, j)
	})
}
