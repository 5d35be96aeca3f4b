package ipsec

import (
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/vpn"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Further networks of the tests. twin gives the laptop the address that the café has given it.
var (
	libraryInside = netip.MustParsePrefix("192.168.7.50/24")
	twinInside    = netip.MustParsePrefix("192.168.1.100/24")
)

func (a *actor) library() *simnet.Wire {
	w, _ := a.lab.AddCafe("library", netip.MustParseAddr("192.0.2.50"), libraryInside, simnet.NATConfig{})
	return w
}

func (a *actor) twin() *simnet.Wire {
	w, _ := a.lab.AddCafe("twin", netip.MustParseAddr("192.0.2.51"), twinInside, simnet.NATConfig{})
	return w
}

// stand has the access stand on bearers.
func (a *actor) stand(bearers ...vpn.Bearer) {
	a.t.Helper()
	var err error
	a.do(func(now link.Instant) { err = a.access.Stand(now, bearers) })
	if err != nil {
		a.t.Fatal(err)
	}
}

// plug puts an interface into a network.
func (a *actor) plug(c *simnet.NIC, w *simnet.Wire) {
	a.lab.Plug(c, w)
	delete(a.bearers, c)
	time.Sleep(100 * time.Millisecond)
}

// where returns what the tunnel stands on, how it goes, and under which SPIs.
func (a *actor) where() (bearer netip.Addr, how, spis string) {
	a.do(func(link.Instant) {
		d := a.tunnel.Describe()
		bearer, how, spis = a.tunnel.Bearer(), d.Encapsulation, strings.Join(d.SPIs, "/")
	})
	return bearer, how, spis
}

// count returns the events so far: how often the tunnel has come up, and moved, and why it has ended.
func (a *actor) count() (ups, moves int, closed []error) {
	a.do(func(link.Instant) {
		for _, e := range a.events {
			switch e := e.(type) {
			case vpn.Up:
				ups++
			case vpn.Ready:
				if e.Moved {
					moves++
				}
			case vpn.Closed:
				closed = append(closed, e.Err)
			}
		}
	})
	return ups, moves, closed
}

// Shows: MEC-C, IKE-7, MOD-keep. One tunnel on several bearers: it moves to a preferred one when that has answered, stays where it is
// while a preferred one does not answer, leaves one that is gone at once, and notices that the same address is in another network.
// All that under the same security associations; the NAT is another one each time.
func TestTunnelMovesBetweenBearers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := world(t, nil)
		a.dial()
		time.Sleep(time.Second)
		cafe, how, spis := a.where()
		if cafe != a.lab.Eth0.Address().Addr() || how != "esp-in-udp" || !a.exchange() {
			t.Fatalf("on %v in %s; drops %v", cafe, how, a.drops.Snapshot())
		}
		follows := vpn.FollowingUnknown
		a.do(func(link.Instant) { follows = a.tunnel.Follows() })
		if follows != vpn.FollowsUpdates {
			t.Errorf("a gateway with MOBIKE follows as %d", follows)
		}
		check := func(what string, want netip.Addr) {
			t.Helper()
			bearer, how, now := a.where()
			if bearer != want || how != "esp-in-udp" || now != spis || !a.exchange() {
				t.Errorf("%s: on %v, want %v, in %s, SPIs %s, before %s; drops %v", what, bearer, want, how, now, spis, a.drops.Snapshot())
			}
		}

		library := a.library()
		a.plug(a.lab.Wlan0, library)
		eth0, wlan0 := a.bearer(a.lab.Eth0), a.bearer(a.lab.Wlan0)
		lost := library.Intercept(func(simnet.Frame) []simnet.Relay { return nil })
		a.stand(wlan0, eth0)
		time.Sleep(20 * time.Second)
		check("the preferred one is silent", cafe)
		lost()
		a.stand(wlan0, eth0)
		time.Sleep(time.Minute)
		check("the preferred one answers", libraryInside.Addr())

		a.stand(wlan0)
		a.lab.Unplug(a.lab.Eth0)
		time.Sleep(10 * time.Second)
		check("the other one is gone", libraryInside.Addr())

		a.plug(a.lab.Eth0, a.twin())
		twin := a.bearer(a.lab.Eth0)
		a.lab.Unplug(a.lab.Wlan0)
		a.stand(twin)
		time.Sleep(time.Second)
		check("the one in use is gone", twinInside.Addr())

		a.plug(a.lab.Eth0, a.lab.Cafe)
		if a.lab.Eth0.Address().Addr() != twinInside.Addr() {
			t.Fatalf("the address in the café is %v, want %v", a.lab.Eth0.Address(), twinInside)
		}
		a.stand(a.bearer(a.lab.Eth0))
		time.Sleep(time.Second)
		check("the same address elsewhere", cafe)
		if ups, moves, closed := a.count(); ups != 1 || moves < 2 || len(closed) != 0 || a.dials() != 0 {
			t.Errorf("up %d times, moved %d times, closed %v, %d TCP connections", ups, moves, closed, a.dials())
		}
	})
}

// Shows: IKE-7, MOD-park. A parked tunnel says nothing where it has come to; when it is used again it is there.
func TestParkedTunnelMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := world(t, nil)
		a.dial()
		time.Sleep(time.Second)
		a.do(func(link.Instant) { a.tunnel.Park() })
		a.stand() // no bearer changes nothing
		library := a.library()
		a.lab.Unplug(a.lab.Eth0)
		a.plug(a.lab.Wlan0, library)
		var said atomic.Int64
		watched := library.Intercept(func(f simnet.Frame) []simnet.Relay { said.Add(1); return []simnet.Relay{f.Relay()} })
		a.stand(a.bearer(a.lab.Wlan0))
		time.Sleep(time.Minute)
		watched()
		if n := said.Load(); n != 0 {
			t.Errorf("%d packets while parked", n)
		}
		a.do(func(now link.Instant) { a.tunnel.Unpark(now) })
		time.Sleep(time.Second)
		if bearer, how, _ := a.where(); bearer != libraryInside.Addr() || how != "esp-in-udp" || !a.exchange() {
			t.Errorf("on %v in %s", bearer, how)
		}
	})
}

// Shows: MEC-C. A gateway that does not follow: the tunnel stays with its bearer while that is there, and ends when it is gone. So
// does one that is still being set up.
func TestTunnelEndsWithItsBearer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := worldOf(t, func(c *config.Config) { c.Mechanisms.EndpointUpdate = config.MechanismMOBIKE }, func(g *agent.GatewayConfig) { g.IKE.MOBIKE = nil })
		a.dial()
		time.Sleep(time.Second)
		cafe, _, _ := a.where()
		follows := vpn.FollowingUnknown
		a.do(func(link.Instant) { follows = a.tunnel.Follows() })
		if follows != vpn.FollowsNot {
			t.Errorf("a gateway without MOBIKE follows as %d", follows)
		}
		a.plug(a.lab.Wlan0, a.library())
		eth0, wlan0 := a.bearer(a.lab.Eth0), a.bearer(a.lab.Wlan0)
		a.stand(wlan0, eth0)
		time.Sleep(10 * time.Second)
		if bearer, _, _ := a.where(); bearer != cafe || !a.exchange() {
			t.Errorf("on %v, want %v", bearer, cafe)
		}
		if _, _, closed := a.count(); len(closed) != 0 {
			t.Errorf("closed: %v", closed)
		}
		a.stand(wlan0)
		if _, _, closed := a.count(); len(closed) != 1 || !errors.Is(closed[0], vpn.ErrBearerGone) {
			t.Errorf("closed: %v, want %v", closed, vpn.ErrBearerGone)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		a := world(t, nil)
		lost := a.lab.Cafe.Intercept(func(simnet.Frame) []simnet.Relay { return nil })
		defer lost()
		a.plug(a.lab.Wlan0, a.library())
		a.dial()
		time.Sleep(time.Second)
		a.stand(a.bearer(a.lab.Wlan0))
		if _, _, closed := a.count(); len(closed) != 1 || !errors.Is(closed[0], vpn.ErrBearerGone) {
			t.Errorf("closed: %v, want %v", closed, vpn.ErrBearerGone)
		}
		a.do(func(now link.Instant) { a.tunnel.Close(now, false) })
		a.dial()
		time.Sleep(time.Second)
		if bearer, how, _ := a.where(); bearer != libraryInside.Addr() || how != "esp-in-udp" || !a.exchange() {
			t.Errorf("anew on %v in %q", bearer, how)
		}
	})
}

// Shows: IKE-6, IKE-7, MOD-keep. Roams between networks where UDP passes and where TCP alone does, in all four ways, also with the
// same address in either: the transport is chosen anew in each, and the security associations stay.
func TestTransportOfEachBearer(t *testing.T) {
	for _, second := range []netip.Prefix{libraryInside, twinInside} {
		for _, blocked := range [][2]bool{{true, true}, {true, false}, {false, true}} {
			synctest.Test(t, func(t *testing.T) {
				a := world(t, nil)
				other, _ := a.lab.AddCafe("other", netip.MustParseAddr("192.0.2.50"), second, simnet.NATConfig{})
				want := [2]string{"esp-in-udp", "esp-in-udp"}
				for i, w := range []*simnet.Wire{a.lab.Cafe, other} {
					if blocked[i] {
						defer onlyTCP(w)()
						want[i] = "esp-in-tcp"
					}
				}
				a.dial()
				time.Sleep(5 * time.Second)
				_, how, spis := a.where()
				if how != want[0] || !a.exchange() {
					t.Fatalf("in the first: %s, want %s", how, want[0])
				}
				a.plug(a.lab.Eth0, other)
				if a.lab.Eth0.Address() != second {
					t.Fatalf("in the second the address is %v", a.lab.Eth0.Address())
				}
				a.stand(a.bearer(a.lab.Eth0))
				time.Sleep(5 * time.Second)
				bearer, how, now := a.where()
				if bearer != second.Addr() || how != want[1] || now != spis || !a.exchange() {
					t.Errorf("%v in the second: on %v %s, want %s; SPIs %s, before %s; drops %v", blocked, bearer, how, want[1], now, spis, a.drops.Snapshot())
				}
				if ups, _, closed := a.count(); ups != 1 || len(closed) != 0 {
					t.Errorf("%v: up %d times, closed %v", blocked, ups, closed)
				}
				connections := 0
				for _, b := range blocked {
					if b {
						connections++
					}
				}
				if a.dials() != connections {
					t.Errorf("%v: %d TCP connections, want %d", blocked, a.dials(), connections)
				}
			})
		}
	}
}

// Shows: IKE-6. With TCP alone by configuration a roam makes another connection, and nothing is sent in UDP.
func TestOnlyTCPRoams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := world(t, func(g *config.Gateway) { g.TCP = config.TCPOnly })
		a.dial()
		time.Sleep(time.Second)
		library := a.library()
		var inUDP atomic.Int64
		defer library.Intercept(func(f simnet.Frame) []simnet.Relay {
			if ip := packet.IPv4(f.Packet); ip.Valid() && ip.Protocol() == packet.ProtocolUDP {
				inUDP.Add(1)
			}
			return []simnet.Relay{f.Relay()}
		})()
		a.plug(a.lab.Eth0, library)
		a.stand(a.bearer(a.lab.Eth0))
		time.Sleep(time.Second)
		if bearer, how, _ := a.where(); bearer != libraryInside.Addr() || how != "esp-in-tcp" || !a.exchange() || a.dials() != 2 {
			t.Errorf("on %v in %s, %d connections", bearer, how, a.dials())
		}
		if n := inUDP.Load(); n != 0 {
			t.Errorf("%d datagrams", n)
		}
	})
}
