package ike

import (
	"net/netip"
	"testing"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/tun/packet"
)

// sources makes esp.Source values: packets of A's child SA that come to B from anywhere.
type sources struct {
	t   *testing.T
	out *esp.Outbound
	in  *esp.Inbound
}

func newSources(r *roaming) *sources {
	r.t.Helper()
	s := &sources{t: r.t}
	var err error
	if s.out, err = esp.NewOutbound(r.a.sending().Outbound, nil); err != nil {
		r.t.Fatal(err)
	}
	if s.in, err = esp.NewInbound(r.b.sending().Inbound); err != nil {
		r.t.Fatal(err)
	}
	return s
}

// from returns the source of the next packet, which comes from there.
func (s *sources) from(at netip.AddrPort) esp.Source {
	s.t.Helper()
	p := packet.GetSmall()
	clear(p.Extend(20))
	packet.PushIPv4(p, packet.IPv4Fields{TTL: 64, Protocol: 254, Src: assigned, Dst: inside.Addr().Next()})
	b := packet.One(p)
	s.out.Apply(b)
	b.Bufs[0].Peer = at
	if r := s.in.Open(b.Bufs[0]); r != packet.NotDropped {
		s.t.Fatal(r)
	}
	b.Release()
	return s.in.Source()
}

// Shows: MEC-C, IKE-6, IKE-8. A gateway follows a client behind a NAT by its newest ESP packets, with MOBIKE and without: the
// endpoint is proven when the client has answered from there. An older packet, an SA that is not in UDP, a client without a NAT
// and, with MOBIKE, an endpoint that the client has left move nothing.
func TestSourceMovesTheEndpoint(t *testing.T) {
	for _, off := range []bool{false, true} {
		r := connected(t, 80, []netip.Addr{wireless}, []netip.Addr{gatewayAddr}, func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) {
			if off {
				i.MOBIKE = nil
			}
		})
		s := newSources(r)
		before := r.b.m.remote
		old := s.from(before)
		r.ports[homeNAT] = 40000
		there := netip.AddrPortFrom(homeNAT, 40000)
		newest := s.from(there)
		r.b.m.HandleSource(r.now, r.b.m.local, newest)
		r.drain()
		if u := last[EndpointChanged](r.b.events).Update; u.Remote() != there || u.Proven() || !u.Concerns(1) {
			t.Fatalf("MOBIKE off %t: %+v", off, u)
		}
		r.driveFor(5 * time.Second)
		if u := last[EndpointChanged](r.b.events).Update; u.Remote() != there || !u.Proven() {
			t.Errorf("MOBIKE off %t: not proven: %+v", off, u)
		}
		r.b.events = nil
		for _, again := range []esp.Source{old, newest, {}} {
			r.b.m.HandleSource(r.now, r.b.m.local, again)
		}
		r.drain()
		if ev, ok := find[EndpointChanged](r.b.events); ok {
			t.Errorf("MOBIKE off %t: moved to %v", off, ev.Update.Remote())
		}
		if !off {
			if err := r.a.m.CheckLiveness(r.now); err != nil { // an update follows: what is seen of the NAT is not what it was
				t.Fatal(err)
			}
			r.drain()
			r.driveFor(5 * time.Second)
			r.meet(1, wireless, gatewayAddr)
			r.b.m.HandleSource(r.now, r.b.m.local, s.from(before)) // late from where it was
			r.drain()
			r.meet(1, wireless, gatewayAddr)
		}
		// The client is behind the NAT: it does not follow the gateway's packets.
		r.a.events = nil
		r.a.m.HandleSource(r.now, r.a.m.local, s.from(there))
		r.drain()
		if ev, ok := find[EndpointChanged](r.a.events); ok {
			t.Errorf("MOBIKE off %t: the client moved to %v", off, ev.Update.Remote())
		}
	}

	r := connected(t, 81, []netip.Addr{wired}, []netip.Addr{gatewayAddr})
	s := newSources(r)
	r.b.m.HandleSource(r.now, r.b.m.local, s.from(netip.MustParseAddrPort("203.0.113.66:4500")))
	r.drain()
	if ev, ok := find[EndpointChanged](r.b.events); ok {
		t.Errorf("without a NAT: moved to %v", ev.Update.Remote())
	}
}

// Shows: MEC-C. Somebody sends a copy of a fresh packet from elsewhere, before the gateway has it. He gets no proof, since he cannot
// answer: the client's next packet brings the endpoint back, and without one the gateway goes back by itself.
func TestSourceOfAStranger(t *testing.T) {
	for _, silent := range []bool{false, true} {
		for _, off := range []bool{false, true} {
			r := connected(t, 82, []netip.Addr{wireless}, []netip.Addr{gatewayAddr}, func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) {
				if off {
					i.MOBIKE = nil
				}
			})
			s := newSources(r)
			home, stranger := r.b.m.remote, netip.MustParseAddrPort("203.0.113.66:4500")
			r.b.m.HandleSource(r.now, r.b.m.local, s.from(stranger))
			r.drain()
			if r.b.m.remote != stranger {
				t.Fatalf("at %v", r.b.m.remote)
			}
			r.driveFor(time.Second)
			if !silent {
				r.b.m.HandleSource(r.now, r.b.m.local, s.from(home))
				r.drain()
				if u := last[EndpointChanged](r.b.events).Update; u.Remote() != home || !u.Proven() {
					t.Errorf("the client's next packet: %+v", u)
				}
			}
			r.driveFor(time.Minute)
			for _, e := range r.b.events {
				if u, ok := e.(EndpointChanged); ok && u.Update.Proven() && u.Update.Remote() == stranger {
					t.Fatal("the stranger is proven")
				}
			}
			if u := last[EndpointChanged](r.b.events).Update; u.Remote() != home || !u.Proven() {
				t.Errorf("silent %t, MOBIKE off %t: %+v", silent, off, u)
			}
			r.agree(1)
		}
	}
}

// Shows: MEC-C. All child SAs of the peer move together, by a packet in whichever; where the configuration demands MOBIKE none moves.
func TestSourceMovesAllChildren(t *testing.T) {
	for _, demanded := range []bool{false, true} {
		r := connected(t, 83, []netip.Addr{wireless}, []netip.Addr{gatewayAddr}, func(i *InitiatorConfig, g *ResponderConfig, _ *testPolicy) {
			i.MOBIKE, g.NoFollowing = nil, demanded
		})
		s := newSources(r)
		if err := r.a.m.CreateChild(r.now, []esp.Selector{esp.AddrSelector(assigned)}, []esp.Selector{esp.PrefixSelector(inside)}); err != nil {
			t.Fatal(err)
		}
		r.drain()
		r.drive()
		r.agree(2)
		r.b.events = nil
		before, there := r.b.m.remote, netip.AddrPortFrom(homeNAT, 40000)
		r.b.m.HandleSource(r.now, r.b.m.local, s.from(there))
		r.drain()
		want := there
		if demanded {
			want = before
		}
		for id, c := range r.b.children {
			if c.Remote != want {
				t.Errorf("MOBIKE demanded %t: child SA %d is at %v, want %v", demanded, id, c.Remote, want)
			}
		}
	}
}

// Shows: MEC-C (never from IKE packets under MOBIKE, RFC 4555 §3.8). A fresh message from elsewhere moves nothing under MOBIKE, and does without it unless
// that is demanded; the answer goes back where the message came from in any case.
func TestMessagesFromElsewhere(t *testing.T) {
	for _, c := range []struct{ mobike, demanded, follows bool }{{true, false, false}, {false, false, true}, {false, true, false}} {
		r := connected(t, 84, []netip.Addr{wireless}, []netip.Addr{gatewayAddr}, func(i *InitiatorConfig, g *ResponderConfig, _ *testPolicy) {
			if !c.mobike {
				i.MOBIKE = nil
			}
			g.NoFollowing = c.demanded
		})
		before := r.b.m.remote
		if err := r.a.m.CheckLiveness(r.now); err != nil {
			t.Fatal(err)
		}
		r.drain()
		r.ports[homeNAT] = 40000
		r.next()
		there := netip.AddrPortFrom(homeNAT, 40000)
		if answer := r.queue[0]; answer.from != r.b || answer.Remote != there {
			t.Errorf("%+v: %s to %v", c, answer.text, answer.Remote)
		}
		if got := r.b.m.remote; (got == there) != c.follows || !c.follows && got != before {
			t.Errorf("%+v: the gateway's messages go to %v", c, got)
		}
	}
}
