package e2e

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// vendor is the private enterprise number for documentation (RFC 5612).
const vendor = 32473

// grantsSwitching has the x-HA switch addresses.
func grantsSwitching(c *agent.HomeAgentConfig) {
	c.ZeroOverhead = homeagent.ZeroOverhead{Vendor: vendor, Destinations: []netip.Addr{simnet.LabGateway}}
}

// asksForSwitching has the laptop ask for it, and use no other optional mechanism.
func asksForSwitching(c *config.Config) {
	c.Mechanisms = config.Mechanisms{EndpointUpdate: config.MechanismOff, GatewayAgent: config.MechanismOff, ZeroOverhead: config.MechanismAuto, Vendor: vendor}
}

func switchingWorld(t *testing.T, seed uint64) *World {
	return world(t, Options{Seed: seed, Client: asksForSwitching, ExternalHA: grantsSwitching})
}

// protocols counts the octets on a wire by IPv4 protocol, between the laptop and the x-HA.
func protocols(w *simnet.Wire) (octets map[uint8]int, stop func()) {
	octets = make(map[uint8]int)
	return octets, w.Tap(func(f simnet.Frame) {
		if ip := packet.IPv4(f.Packet); ip.Valid() && (ip.Src() == simnet.LabExternalHA || ip.Dst() == simnet.LabExternalHA) {
			octets[ip.Protocol()] += len(ip)
		}
	})
}

// untilSwitched waits for mode cvc with that encapsulation of x-MIP.
func untilExternal(t *testing.T, w *World, encapsulation string) control.Status {
	t.Helper()
	s, err := w.Until(60*time.Second, func(s control.Status) bool {
		return s.Mode == "cvc" && layer(s, "x-mip").Encapsulation == encapsulation
	})
	if err != nil {
		t.Fatalf("x-MIP is not %q: %v; layers %+v", encapsulation, err, s.Layers)
	}
	return s
}

// Shows: MEC-D (cvc with switched addresses: the session's packets are ESP between laptop and x-HA, nothing is encapsulated
// besides, and the overhead is that of the VPN and the inner tunnel, 57 and 20 octets)
func TestZeroOverheadCVC(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := switchingWorld(t, 901)
		j := Watch(w.External()...)
		octets, stop := protocols(w.Campus)
		w.Plug(w.Wlan0, w.Campus)
		s := untilExternal(t, w, "switched")
		time.Sleep(10 * time.Second) // the trial is over
		if s, _ = w.Client.Status(context.Background()); s.PathMTU == nil || s.PathMTU.Overhead != 77 {
			t.Errorf("path %+v, want 77 octets of overhead", s.PathMTU)
		}
		if l := layer(s, "x-mip"); l.Encapsulation != "switched" || !strings.Contains(l.Why, simnet.LabGateway.String()) {
			t.Errorf("layer %+v", l)
		}
		use(t, w)
		stop()
		synctest.Wait()
		if octets[packet.ProtocolESP] < 100*chunk || octets[packet.ProtocolIPIP] != 0 {
			t.Errorf("octets between laptop and x-HA by protocol: %v", octets)
		}
		if to, from := w.ExternalAgent.SwitchedPackets(); to == 0 || from == 0 {
			t.Errorf("the x-HA has switched %d packets to the laptop and %d from it", to, from)
		}
		judge(t, j)
	})
}

// A session goes on through a network where addresses are switched, a NAT, where they are not, a foreign agent, and inside, and
// back.
//
// Shows: MEC-D, MOD-keep (falls back to normal tunnelling by itself, and is used again where it works)
func TestZeroOverheadRoams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := switchingWorld(t, 902)
		w.Plug(w.Wlan0, w.Campus)
		untilExternal(t, w, "switched")
		s, err := StartSession(w)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		w.Plug(w.Wlan0, w.Cafe)
		st := untilExternal(t, w, "udp")
		if why := layer(st, "x-mip").Why; !strings.Contains(why, "NAT") {
			t.Errorf("behind a NAT: %q", why)
		}
		time.Sleep(3 * time.Second)
		w.Plug(w.Wlan0, w.Hotspot)
		if _, err := w.UntilMode(60*time.Second, "fvc"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		w.Plug(w.Wlan0, w.Office)
		if _, err := w.UntilMode(60*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		w.Plug(w.Wlan0, w.Campus)
		untilExternal(t, w, "switched")
		time.Sleep(10 * time.Second)
		untilExternal(t, w, "switched")
		if _, _, err := s.Finish(); err != nil {
			t.Error(err)
		}
	})
}

// A network that lets UDP through and no ESP: the first trial finds it out.
//
// Shows: MEC-D (falls back by itself where switched packets do not get through)
func TestZeroOverheadBlocked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := switchingWorld(t, 903)
		defer w.Campus.Intercept(func(f simnet.Frame) []simnet.Relay {
			if ip := packet.IPv4(f.Packet); ip.Valid() && ip.Protocol() == packet.ProtocolESP {
				return nil
			}
			return []simnet.Relay{f.Relay()}
		})()
		w.Plug(w.Wlan0, w.Campus)
		s := untilExternal(t, w, "udp")
		if why := layer(s, "x-mip").Why; !strings.Contains(why, "nothing comes back") {
			t.Errorf("layer says %q", why)
		}
		use(t, w)
	})
}

// Shows: MEC-D (a home agent that is restarted without the mechanism, and again with it)
func TestZeroOverheadAgentRestarted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := switchingWorld(t, 904)
		w.Plug(w.Wlan0, w.Campus)
		untilExternal(t, w, "switched")
		s, err := StartSession(w)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.RestartExternalHA(nil); err != nil {
			t.Fatal(err)
		}
		untilExternal(t, w, "udp")
		time.Sleep(5 * time.Second)
		if _, _, err := s.Finish(); err != nil {
			t.Error(err)
		}
		if err := w.RestartExternalHA(grantsSwitching); err != nil {
			t.Fatal(err)
		}
		time.Sleep(mobilenode.SwitchingRefusalTime + 10*time.Minute) // the first renewal after that asks
		untilExternal(t, w, "switched")
		use(t, w)
	})
}

// Shows: MEC-D (always: nothing is carried without it, and the status says why)
func TestZeroOverheadAlways(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 905, Client: func(c *config.Config) {
			asksForSwitching(c)
			c.Mechanisms.ZeroOverhead = config.MechanismAlways
		}})
		w.Plug(w.Wlan0, w.Campus)
		s, err := w.Until(30*time.Second, func(s control.Status) bool {
			for _, p := range s.Problems {
				if strings.Contains(p.Message, "nothing is carried") {
					return true
				}
			}
			return false
		})
		if err != nil {
			t.Fatalf("%v; %+v", err, s.Problems)
		}
		time.Sleep(20 * time.Second)
		if s, _ := w.Client.Status(context.Background()); s.VPN != nil && s.VPN.Established {
			t.Error("the VPN is up all the same")
		}
	})
}

// The first gateway of the list is dead: the x-HA is asked anew when the second one's turn comes.
//
// Shows: MEC-D (another gateway is another default destination, which is registered at once)
func TestZeroOverheadOtherGateway(t *testing.T) {
	t.Parallel()
	dead := netip.MustParseAddr("192.0.2.99")
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 906,
			Client: func(c *config.Config) {
				asksForSwitching(c)
				c.Gateway.Address, c.Gateway.Fallback = dead, []config.Endpoint{{Address: simnet.LabGateway}}
			},
			ExternalHA: func(c *agent.HomeAgentConfig) {
				c.ZeroOverhead = homeagent.ZeroOverhead{Vendor: vendor, Destinations: []netip.Addr{dead, simnet.LabGateway}}
			}})
		w.Plug(w.Wlan0, w.Campus)
		s, err := w.Until(60*time.Second, func(s control.Status) bool {
			l := layer(s, "x-mip")
			return s.State == control.StateConnected && l.Encapsulation == "switched" && strings.Contains(l.Why, simnet.LabGateway.String())
		})
		if err != nil {
			t.Fatalf("%v; layers %+v", err, s.Layers)
		}
		use(t, w)
	})
}

// Shows: MEC-D, MOD-keep (loss both ways, of registrations and of switched packets alike)
func TestZeroOverheadWithLoss(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := 0
		w := switchingWorld(t, 907)
		defer w.Campus.Intercept(func(f simnet.Frame) []simnet.Relay {
			if n++; n%50 == 0 {
				return nil
			}
			return []simnet.Relay{f.Relay()}
		})()
		w.Plug(w.Wlan0, w.Campus)
		untilExternal(t, w, "switched")
		s, err := StartSession(w)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			time.Sleep(8 * time.Second)
			w.Plug(w.Wlan0, w.Cafe)
			untilExternal(t, w, "udp")
			time.Sleep(2 * time.Second)
			w.Plug(w.Wlan0, w.Campus)
			untilExternal(t, w, "switched")
		}
		if _, _, err := s.Finish(); err != nil {
			t.Error(err)
		}
	})
}

// A path that is narrower than both ends know is measured, 20 octets wider than in a tunnel.
//
// Shows: MEC-D, HST-4 (MTU handling)
func TestZeroOverheadNarrowPath(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const narrow = 1400
		w := switchingWorld(t, 908)
		w.Campus.SetMTU(narrow)
		w.Plug(w.Wlan0, w.Campus)
		untilExternal(t, w, "switched")
		s, err := w.Until(2*time.Minute, func(s control.Status) bool {
			return layer(s, "x-mip").Encapsulation == "switched" && s.PathMTU != nil && s.PathMTU.Measured > narrow-100
		})
		if err != nil {
			t.Fatalf("%v; %+v", err, s.PathMTU)
		}
		if most := narrow - 77; s.PathMTU.MTU > most+8 || s.PathMTU.MTU < most-8 { // what padding leaves
			t.Errorf("packets of up to %d octets, want about %d", s.PathMTU.MTU, most)
		}
		use(t, w)
	})
}

// Shows: MEC-D, MEC-B, MOD-cvf (addresses are switched on the way to the gateway, whose agent saves the inner tunnel: 57 octets of
// overhead are left, and it goes on through a NAT, where addresses are not switched, inside, and back)
func TestZeroOverheadThroughTheAgent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 909, ExternalHA: grantsSwitching, Gateway: withAgent, Client: func(c *config.Config) {
			asksForSwitching(c)
			c.Mechanisms.GatewayAgent = config.MechanismAuto
		}})
		j := Watch(w.External()...)
		octets, stop := protocols(w.Campus)
		switched := func() {
			t.Helper()
			if _, err := w.Until(time.Minute, func(s control.Status) bool {
				return s.State == control.StateConnected && s.Mode == "cvf" && layer(s, "x-mip").Encapsulation == "switched" && s.PathMTU != nil && s.PathMTU.Overhead == 57
			}); err != nil {
				s, _ := w.Client.Status(t.Context())
				t.Fatalf("%v; layers %+v, path %+v", err, s.Layers, s.PathMTU)
			}
		}
		w.Plug(w.Wlan0, w.Campus)
		switched()
		time.Sleep(10 * time.Second) // the trial is over
		switched()
		c := converse(t, w)
		both := func() {
			t.Helper()
			c.pass(t, c.near, c.far, 100_000)
			c.pass(t, c.far, c.near, 100_000)
		}
		both()
		stop()
		synctest.Wait()
		if octets[packet.ProtocolESP] < 200_000 || octets[packet.ProtocolIPIP] != 0 {
			t.Errorf("octets between laptop and x-HA by protocol: %v", octets)
		}
		if to, from := w.ExternalAgent.SwitchedPackets(); to < 70 || from < 70 {
			t.Errorf("the x-HA has switched %d packets to the laptop and %d from it", to, from)
		}
		for _, at := range []place{agentPlaces[2], officePlace} {
			carry(w, at.wire(w))
			reach(t, w, at.mode)
			both()
		}
		carry(w, w.Campus)
		switched()
		both()
		c.end(t)
		judge(t, j)
	})
}
