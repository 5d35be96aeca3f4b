package e2e

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/mipv4/wire"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// homeWorld is the lab with the i-HA's home network a real link, behind the firewall, which is its router: Neighbour is another
// host there.
type homeWorld struct {
	*World
	Home      *simnet.Wire
	Neighbour *simnet.Host
}

// homeNeighbour is the neighbour's address.
var homeNeighbour = netip.MustParseAddr("10.0.8.7")

// newHomeWorld starts the lab with a home link, and the client with its configuration changed by each of more.
func newHomeWorld(t *testing.T, seed uint64, more ...func(*config.Config)) *homeWorld {
	t.Helper()
	h := &homeWorld{}
	h.World = world(t, Options{Seed: seed,
		Lab: func(l *simnet.Lab) {
			h.Home = l.NewWire(simnet.WireConfig{
				Name: "home", Impairment: simnet.Impairment{Latency: 200 * time.Microsecond},
				Pool: &simnet.AddressPool{First: netip.MustParsePrefix("10.0.8.150/24"), Gateway: netip.MustParseAddr("10.0.8.1")},
			})
			join := func(host *simnet.Host, address, gateway string) *simnet.NIC {
				cfg := simnet.NICConfig{Name: "home0", Address: netip.MustParsePrefix(address)}
				if gateway != "" {
					cfg.Gateway = netip.MustParseAddr(gateway)
				}
				c := host.AddNIC(cfg)
				c.Attach(h.Home)
				return c
			}
			router := join(l.Firewall, "10.0.8.1/24", "")
			l.Firewall.RemoveRoute(simnet.LabHomeNetwork)
			l.Firewall.SetFirewall(simnet.Rule{In: l.FirewallCore, Verdict: simnet.Accept}, simnet.Rule{In: l.FirewallOffice, Verdict: simnet.Accept},
				simnet.Rule{In: router, Verdict: simnet.Accept})
			join(l.InternalHA, "10.0.8.2/24", "")
			h.Neighbour = l.NewHost("neighbour")
			join(h.Neighbour, "10.0.8.7/24", "10.0.8.1")
		},
		InternalHA: func(c *agent.HomeAgentConfig) { c.HomeLink, c.Broadcasts = "home0", true },
		Client: func(c *config.Config) {
			c.Internal.HomeLink = []netip.Prefix{simnet.LabHomeNetwork}
			for _, change := range more {
				change(c)
			}
		},
	})
	return h
}

// home waits until the laptop is connected at home.
func (h *homeWorld) home(t *testing.T) {
	t.Helper()
	for range 100 {
		s, err := h.UntilMode(10*time.Second, "c")
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(s.Layers, func(l control.Layer) bool {
			return l.Kind == "i-mip" && l.Encapsulation == "none" && l.Local == simnet.LabHomeAddress && l.CareOf == simnet.LabHomeAddress
		}) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("not connected at the home address without a tunnel")
}

// homeWire counts what a tap of the home link sees.
type homeWire struct {
	tunnelled, data, requests, deregistrations atomic.Int64
}

func (h *homeWorld) tap(t *testing.T) *homeWire {
	c := &homeWire{}
	t.Cleanup(h.Home.Tap(func(f simnet.Frame) {
		ip := packet.IPv4(f.Packet)
		switch ip.Protocol() {
		case packet.ProtocolIPIP:
			c.tunnelled.Add(1)
		case packet.ProtocolTCP:
			if ip.Src() == simnet.LabHomeAddress || ip.Dst() == simnet.LabHomeAddress {
				c.data.Add(1)
			}
		case packet.ProtocolUDP:
			u := packet.UDP(ip.Payload())
			if u.DstPort() != wire.Port {
				return
			}
			r, err := wire.ParseRegistrationRequest(u.Payload())
			switch {
			case err != nil:
				c.tunnelled.Add(1)
			case ip.Dst() == simnet.LabInternalHA:
				c.requests.Add(1)
				if r.Deregistration() && r.DeregistersAll() && ip.Src() == simnet.LabHomeAddress {
					c.deregistrations.Add(1)
				}
			}
		}
	}))
	return c
}

// Shows: MOD-home (at home the laptop deregisters and uses its home address without a tunnel; neighbours and others reach it; the
// proof is repeated every T_MONITOR - N).
func TestAtHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHomeWorld(t, 1)
		seen := h.tap(t)
		h.Plug(h.Eth0, h.Home)
		h.home(t)
		if h.InternalAgent.Table().Len() != 0 {
			t.Error("the i-HA has a binding of a mobile node at home")
		}
		use(t, h.World)
		for _, from := range []*simnet.Host{h.Neighbour, h.Correspondent} {
			if _, err := from.Ping(simnet.LabHomeAddress, 1000, time.Second); err != nil {
				t.Errorf("from %s: %v", from.Name(), err)
			}
		}
		before := seen.deregistrations.Load()
		time.Sleep(5 * time.Minute)
		if s, err := h.Client.Status(t.Context()); err != nil || s.State != control.StateConnected || s.Mode != "c" {
			t.Errorf("after five minutes: %+v, %v", s, err)
		}
		if n := seen.deregistrations.Load() - before; n < 9 || n > 11 { // every T_MONITOR - N, 30 s
			t.Errorf("%d deregistrations in five minutes", n)
		}
		if seen.requests.Load() != seen.deregistrations.Load() || seen.tunnelled.Load() != 0 || seen.data.Load() == 0 {
			t.Errorf("on the home link: %d requests of which %d deregister, %d tunnelled packets, %d of data",
				seen.requests.Load(), seen.deregistrations.Load(), seen.tunnelled.Load(), seen.data.Load())
		}
	})
}

// Shows: MOD-home, DET-4 (at home, too, no packet passes either way once the proof has become too old).
func TestAtHomeNeedsProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHomeWorld(t, 2)
		h.Plug(h.Eth0, h.Home)
		h.home(t)
		var last atomic.Int64 // when the last packet of data left or came, in nanoseconds
		began := time.Now()
		m := messages(t, h.World)
		if _, ok := m.out(t, time.Second); !ok {
			t.Fatal("nothing passes at home")
		}
		t.Cleanup(h.Home.Tap(func(f simnet.Frame) {
			if ip := packet.IPv4(f.Packet); f.Source == h.Eth0.Hardware() && ip.Src() == simnet.LabHomeAddress && ip.Protocol() == packet.ProtocolUDP && packet.UDP(ip.Payload()).DstPort() != wire.Port {
				last.Store(int64(time.Since(began)))
			}
		}))
		h.Core.Impair(simnet.Impairment{Loss: 1}) // the i-HA's address is there
		cut := time.Since(began)
		for time.Since(began) < cut+70*time.Second {
			_, _ = m.near.WriteToAddrPort([]byte("anybody there"), netip.AddrPortFrom(homeNeighbour, talkPort))
			time.Sleep(500 * time.Millisecond)
		}
		if at := time.Duration(last.Load()) - cut; at <= 0 || at > time.Minute {
			t.Errorf("the last packet left %v after the i-HA was cut off, want it to have left within T_MONITOR", at)
		}
		if _, err := h.Neighbour.Ping(simnet.LabHomeAddress, 100, time.Second); err == nil {
			t.Error("a neighbour's packets come in without a proof")
		}
	})
}

// Shows: MOD-home, MOD-keep (a session goes from home to the café and to the office and back; outside no plaintext shows).
func TestFromHomeAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHomeWorld(t, 3)
		j := Watch(h.External()...)
		h.Plug(h.Eth0, h.Home)
		h.home(t)
		s, err := StartSession(h.World)
		if err != nil {
			t.Fatal(err)
		}
		near, far := s.Addresses()
		if near != far {
			t.Errorf("the laptop sees the socket pair %v, the correspondent %v", near, far)
		}
		neighbour := func(where string) {
			t.Helper()
			if _, err := h.Neighbour.Ping(simnet.LabHomeAddress, 100, time.Second); err != nil {
				t.Errorf("from the home link %s: %v", where, err)
			}
		}
		neighbour("at home")
		h.Unplug(h.Eth0)
		h.Plug(h.Wlan0, h.Cafe)
		if _, err := h.UntilMode(30*time.Second, "cvc"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		neighbour("outside")
		h.Unplug(h.Wlan0)
		h.Plug(h.Eth0, h.Home)
		h.home(t)
		time.Sleep(2 * time.Second)
		neighbour("back home")
		h.Plug(h.Eth0, h.Office)
		if _, err := h.UntilMode(30*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		neighbour("in the office")
		if h.InternalAgent.Table().Len() != 1 {
			t.Error("no binding in the office")
		}
		h.Plug(h.Eth0, h.Home)
		h.home(t)
		time.Sleep(2 * time.Second)
		if h.InternalAgent.Table().Len() != 0 {
			t.Error("a binding at home")
		}
		up, down, err := s.Finish()
		if err != nil {
			t.Error(err)
		}
		if up < 100*chunk || down < 100*chunk {
			t.Errorf("%d octets up, %d down", up, down)
		}
		judge(t, j)
	})
}

// Shows: MOD-home, DET-3 (a network that only has the home link's addresses is none: nothing leaves in the clear, and nobody there is
// answered for the home address once that is known).
func TestFalseHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHomeWorld(t, 4)
		h.Cafe.Impair(simnet.Impairment{Latency: time.Millisecond})
		fake := h.NewWire(simnet.WireConfig{
			Name: "false-home", Impairment: simnet.Impairment{Latency: time.Millisecond},
			Pool: &simnet.AddressPool{First: netip.MustParsePrefix("10.0.8.150/24"), Gateway: netip.MustParseAddr("10.0.8.1")},
		})
		nat := h.NewHost("false-nat")
		outside := nat.AddNIC(simnet.NICConfig{Name: "wan0", Address: netip.MustParsePrefix("192.0.2.31/24"), Gateway: netip.MustParseAddr("192.0.2.1")})
		outside.Attach(h.Internet)
		nat.AddNIC(simnet.NICConfig{Name: "lan0", Address: netip.MustParsePrefix("10.0.8.1/24")}).Attach(fake)
		nat.SetRouter(true)
		nat.SetNAT(simnet.NATConfig{Outside: outside, Filtering: simnet.AddressAndPortDependent})
		stranger := h.NewHost("stranger")
		stranger.AddNIC(simnet.NICConfig{Name: "eth0", Address: netip.MustParsePrefix("10.0.8.7/24"), Gateway: netip.MustParseAddr("10.0.8.1")}).Attach(fake)
		j := Watch(append(h.External(), fake)...)
		h.Plug(h.Eth0, fake)
		if _, err := h.UntilMode(30*time.Second, "cvc"); err != nil {
			t.Fatal(err)
		}
		use(t, h.World)
		if _, err := stranger.Ping(simnet.LabHomeAddress, 100, time.Second); err == nil {
			t.Error("a stranger reaches the home address")
		}
		judge(t, j)
	})
}

// Shows: MOD-home (the network gives the interface the home address itself: it is used all the same through device and gate).
func TestAtHomeByTheHomeAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHomeWorld(t, 5)
		h.Eth0.SetAddress(netip.PrefixFrom(simnet.LabHomeAddress, 24), netip.MustParseAddr("10.0.8.1"))
		h.Plug(h.Eth0, h.Home)
		h.home(t)
		use(t, h.World)
		if _, err := h.Neighbour.Ping(simnet.LabHomeAddress, 1000, time.Second); err != nil {
			t.Error(err)
		}
		h.Unplug(h.Eth0)
		h.Plug(h.Wlan0, h.Cafe)
		if _, err := h.UntilMode(30*time.Second, "cvc"); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Neighbour.Ping(simnet.LabHomeAddress, 1000, time.Second); err != nil {
			t.Errorf("outside: %v", err)
		}
	})
}
