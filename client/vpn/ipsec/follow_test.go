package ipsec

import (
	"net/netip"
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

func withoutMOBIKE(g *agent.GatewayConfig) { g.IKE.MOBIKE = nil }

// follows returns whether and how the gateway follows.
func (a *actor) follows() (f vpn.Following) {
	a.do(func(link.Instant) { f = a.tunnel.Follows() })
	return f
}

// use sends through the tunnel for a while, once every 200 ms, and returns how often an echo has come.
func (a *actor) use(times int) (echoes int) {
	for range times {
		if a.exchange() {
			echoes++
		}
		time.Sleep(200 * time.Millisecond)
	}
	return echoes
}

// ports returns the ports of the laptop that ESP in UDP has left from on a wire, by the function that it returns.
func ports(w *simnet.Wire) func() []uint16 {
	var seen []uint16
	w.Intercept(func(f simnet.Frame) []simnet.Relay {
		if ip := packet.IPv4(f.Packet); ip.Valid() && ip.Protocol() == packet.ProtocolUDP && ip.Dst() == simnet.LabGateway {
			if u := packet.UDP(ip.Payload()); u.Valid() && u.DstPort() == 4500 && len(u.Payload()) > 4 && (len(seen) == 0 || seen[len(seen)-1] != u.SrcPort()) {
				seen = append(seen, u.SrcPort())
			}
		}
		return []simnet.Relay{f.Relay()}
	})
	return func() []uint16 { return seen }
}

// Shows: MEC-C, MOD-keep. A gateway without MOBIKE that follows packets: the tunnel finds it out by one change of its port, while everything goes
// on, and moves between networks from then on as with MOBIKE, under the same security associations.
func TestTunnelFollowedByPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := worldOf(t, func(*config.Config) {}, withoutMOBIKE)
		used := ports(a.lab.Cafe)
		a.dial()
		time.Sleep(time.Second)
		cafe, _, spis := a.where()
		if n := a.use(20); n != 20 {
			t.Errorf("%d of 20 echoes while it is found out", n)
		}
		if f := a.follows(); f != vpn.FollowsPackets {
			t.Fatalf("follows: %d", f)
		}
		if got := used(); len(got) != 2 || got[0] != 4500 {
			t.Errorf("ports %v: want 4500 and one other", got)
		}
		check := func(what string, want netip.Addr) {
			t.Helper()
			bearer, how, now := a.where()
			if bearer != want || how != "esp-in-udp" || now != spis || a.use(5) != 5 {
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
		time.Sleep(2 * time.Minute)
		check("the preferred one answers", libraryInside.Addr())
		a.stand(wlan0)
		a.lab.Unplug(a.lab.Eth0)
		time.Sleep(10 * time.Second)
		check("the other one is gone", libraryInside.Addr())
		twin := a.twin()
		a.plug(a.lab.Eth0, twin)
		a.stand(a.bearer(a.lab.Eth0))
		a.lab.Unplug(a.lab.Wlan0)
		time.Sleep(3 * time.Second)
		check("another network at once", twinInside.Addr())
		a.plug(a.lab.Eth0, a.lab.Cafe) // with the same address
		a.stand(a.bearer(a.lab.Eth0))
		time.Sleep(3 * time.Second)
		check("the same address in another network", cafe)
		if ups, _, closed := a.count(); ups != 1 || len(closed) != 0 {
			t.Errorf("up %d times, closed %v", ups, closed)
		}
	})
}

// Shows: MEC-C. A gateway that does not follow is found out by its packets, which go on arriving at the port before; so is one that demands MOBIKE, and
// by configuration nothing is tried.
func TestTunnelNotFollowed(t *testing.T) {
	for _, c := range []struct {
		update config.Mechanism
		ports  int
	}{{config.MechanismAuto, 3}, {config.MechanismAlways, 3}, {config.MechanismMOBIKE, 1}, {config.MechanismOff, 1}} {
		synctest.Test(t, func(t *testing.T) {
			a := worldOf(t, func(own *config.Config) { own.Mechanisms.EndpointUpdate = c.update }, func(g *agent.GatewayConfig) {
				g.IKE.MOBIKE, g.IKE.NoFollowing = nil, true
			})
			used := ports(a.lab.Cafe)
			a.dial()
			time.Sleep(time.Second)
			if n := a.use(30); n != 30 {
				t.Errorf("%d of 30 echoes while it is found out", n)
			}
			if f := a.follows(); f != vpn.FollowsNot {
				t.Errorf("%s: follows: %d", c.update, f)
			}
			if got := used(); len(got) != c.ports || got[len(got)-1] != 4500 {
				t.Errorf("%s: ports %v: want %d, the last one 4500", c.update, got, c.ports)
			}
			// The next tunnel knows it.
			a.do(func(now link.Instant) { a.tunnel.Close(now, true) })
			a.dial()
			time.Sleep(time.Second)
			if f := a.follows(); f != vpn.FollowsNot {
				t.Errorf("%s: the next tunnel: follows: %d", c.update, f)
			}
		})
	}
}

// Shows: MEC-C (the client forces UDP encapsulation). Without a NAT the first tunnel finds out that the gateway has no MOBIKE, and asks for another one,
// which pretends a NAT and is followed. Where the gateway has MOBIKE nothing is pretended, nor where the mechanism is off.
func TestTunnelPretendsNAT(t *testing.T) {
	for _, c := range []struct {
		update config.Mechanism
		mobike bool
		renews bool
	}{{config.MechanismAuto, false, true}, {config.MechanismAuto, true, false}, {config.MechanismMOBIKE, false, false}} {
		synctest.Test(t, func(t *testing.T) {
			a := worldOf(t, func(own *config.Config) { own.Mechanisms.EndpointUpdate = c.update }, func(g *agent.GatewayConfig) {
				if !c.mobike {
					withoutMOBIKE(g)
				}
			})
			a.lab.Eth0.SetAddress(netip.MustParsePrefix("192.0.2.77/24"), netip.MustParseAddr("192.0.2.1"))
			a.plug(a.lab.Eth0, a.lab.Internet)
			a.stand(a.bearer(a.lab.Eth0))
			a.dial()
			time.Sleep(time.Second)
			if _, how, _ := a.where(); how != "esp" {
				t.Fatalf("in %s", how)
			}
			a.use(20)
			renewals := 0
			a.do(func(link.Instant) {
				for _, e := range a.events {
					if e, ok := e.(vpn.Renew); ok && e.Why != "" {
						renewals++
					}
				}
			})
			if (renewals == 1) != c.renews || renewals > 1 {
				t.Fatalf("%+v: %d new tunnels asked for", c, renewals)
			}
			if !c.renews {
				want := vpn.FollowsNot
				if c.mobike {
					want = vpn.FollowsUpdates
				}
				if f := a.follows(); f != want {
					t.Errorf("%+v: follows: %d", c, f)
				}
				return
			}
			if f := a.follows(); f != vpn.FollowingUnknown {
				t.Errorf("before the new tunnel: follows: %d", f)
			}
			old := a.tunnel
			a.dial()
			time.Sleep(time.Second)
			a.do(func(now link.Instant) { old.Close(now, true) })
			a.use(20)
			if _, how, _ := a.where(); how != "esp-in-udp" || a.follows() != vpn.FollowsPackets {
				t.Errorf("the new tunnel: in %s, follows: %d", how, a.follows())
			}
		})
	}
}
