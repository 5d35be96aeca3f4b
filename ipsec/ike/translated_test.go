package ike

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// A network with IPv6 alone whose NAT64 lets the client reach the gateway's IPv4 address (RFC 6052, RFC 6146).
var (
	alone6     = netip.MustParseAddr("2001:db8:64::7")
	nat64      = netip.MustParseAddr("203.0.113.64")
	translated = netip.MustParseAddr("64:ff9b::c000:20a") // gatewayAddr behind the well-known prefix
)

// seenThere is what each local address knows the gateway by.
func seenThere(local netip.Addr) []netip.Addr {
	if local == alone6 {
		return []netip.Addr{translated}
	}
	return []netip.Addr{gatewayAddr}
}

// behindNAT64 puts the NAT64 in front of the network.
func behindNAT64(r *roaming) {
	const port = 31064
	r.pair.route = func(f flight, d Datagram) (Datagram, bool) {
		switch {
		case f.from == r.a && d.Remote.Addr() == alone6: // to B: Remote is where it comes from
			if d.Local.Addr() != translated {
				return d, false
			}
			d.Remote, d.Local = netip.AddrPortFrom(nat64, port), netip.AddrPortFrom(gatewayAddr, d.Local.Port())
			return d, true
		case f.from != r.a && d.Local == netip.AddrPortFrom(nat64, port):
			d.Local, d.Remote = netip.AddrPortFrom(alone6, portNATT), netip.AddrPortFrom(translated, d.Remote.Port())
			return d, true
		case f.from == r.a && d.Local.Addr() == translated:
			return d, false
		}
		return r.carry(f, d)
	}
}

// Shows: IKE-6, IKE-7, DET-18 (IPv6 only). The client moves from IPv4 to a network with IPv6 alone and a NAT64 and back: there the
// gateway has another address, which it does not know of itself; it is behind a NAT there, so that ESP goes in UDP. One update a
// move.
func TestMOBIKEThroughNAT64(t *testing.T) {
	for _, gateway := range [][]netip.Addr{{gatewayAddr}, {gatewayAddr, gateway2, gateway6}} {
		r := connected(t, 7, []netip.Addr{wired}, gateway, func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) {
			i.MOBIKE.Peers = seenThere
		})
		behindNAT64(r)
		for range 2 {
			r.log, r.seen = nil, nil
			r.move(alone6)
			r.driveFor(20 * time.Second)
			r.agree(1)
			want := path{local: netip.AddrPortFrom(alone6, portNATT), remote: netip.AddrPortFrom(translated, portNATT)}
			if got := r.a.m.path(); got != want {
				t.Fatalf("A uses %s, want %s\n%s", endpoints(got), endpoints(want), r.trace())
			}
			for id, c := range r.a.children {
				if c.Local != want.local || c.Remote != want.remote || !c.UDPEncapsulation {
					t.Fatalf("child SA %d from %v to %v, UDP %t", id, c.Local, c.Remote, c.UDPEncapsulation)
				}
			}
			if got := r.b.m.remote.Addr(); got != nat64 || r.b.m.local.Addr() != gatewayAddr {
				t.Errorf("B sees %v at %v", got, r.b.m.local)
			}
			if n := len(r.requests(r.a, "N(UPDATE_SA_ADDRESSES)")); n != 1 {
				t.Fatalf("%d updates\n%s", n, r.trace())
			}
			// A list of the gateway's addresses, which does not have this one, moves nothing.
			if err := r.b.m.SetAddresses(r.now, append(slices.Clone(gateway), netip.MustParseAddr("192.0.2.99"))); err != nil {
				t.Fatal(err)
			}
			r.drain()
			r.driveFor(20 * time.Second)
			if !slices.Contains(r.a.m.mobike.peers, netip.MustParseAddr("192.0.2.99")) {
				t.Fatal("the list has not come")
			}
			if got := r.a.m.path(); got != want {
				t.Fatalf("after a list A uses %s, want %s", endpoints(got), endpoints(want))
			}
			r.log, r.seen = nil, nil
			r.move(wired)
			r.driveFor(20 * time.Second)
			r.meet(1, wired, gatewayAddr)
		}
	}
}

// Shows: IKE-6. An IKE SA that is set up through a NAT64 is one like behind any NAT.
func TestThroughNAT64(t *testing.T) {
	r := newRoaming(t, 8, []netip.Addr{alone6}, []netip.Addr{gatewayAddr}, func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) {
		i.Remote = netip.AddrPortFrom(translated, portIKE)
		i.MOBIKE.Peers = seenThere
	})
	behindNAT64(r)
	inner := r.pair.route
	r.pair.route = func(f flight, d Datagram) (Datagram, bool) { // IKE_SA_INIT is on port 500
		if f.from == r.a && d.Remote.Port() == portIKE {
			d.Remote, d.Local = netip.AddrPortFrom(nat64, portIKE), netip.AddrPortFrom(gatewayAddr, portIKE)
			return d, true
		}
		if f.from != r.a && d.Local == netip.AddrPortFrom(nat64, portIKE) {
			d.Local, d.Remote = netip.AddrPortFrom(alone6, portIKE), netip.AddrPortFrom(translated, portIKE)
			return d, true
		}
		return inner(f, d)
	}
	r.start()
	r.driveFor(20 * time.Second)
	r.agree(1)
	if up, ok := find[Established](r.a.events); !ok || !up.UDPEncapsulation || up.Remote != netip.AddrPortFrom(translated, portNATT) {
		t.Errorf("%+v\n%s", up, r.trace())
	}
}
