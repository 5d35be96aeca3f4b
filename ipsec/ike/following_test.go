package ike

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/tun/packet"
)

// freshPort is what the client goes over to.
const freshPort = 50123

// kind is how a gateway follows.
type kind struct {
	// ike has IKE follow, esp has ESP follow packets of ESP; machine has ESP follow what the IKE machine says.
	ike, machine, esp bool
	// any has ESP follow old packets too.
	any bool
	// stuck has answers go where IKE was before.
	stuck bool
}

// commuting is a roaming client whose gateway has no MOBIKE, with ESP in both directions.
type commuting struct {
	*roaming
	kind
	ends    map[*end]*espEnd
	sent    int
	loseESP func(from *end, n int) bool
	// late, when set, holds the client's ESP packets back.
	late     bool
	held     []espFlight
	strays   int
	silent   bool // the gateway sends no ESP
	attacker netip.AddrPort
}

// espEnd is the ESP of one end.
type espEnd struct {
	in  map[uint32]*esp.Inbound
	out map[uint32]*esp.Outbound // by inbound SPI
	at  map[uint32]path
}

type espFlight struct {
	wire []byte
	path path
}

func commute(t *testing.T, seed uint64, k kind, client []netip.Addr, opts ...option) *commuting {
	t.Helper()
	c := &commuting{kind: k, ends: map[*end]*espEnd{}}
	opts = append(opts, func(i *InitiatorConfig, g *ResponderConfig, _ *testPolicy) {
		i.ForceUDPEncapsulation = true
		g.MOBIKE, g.NoFollowing = nil, !k.ike
	})
	c.roaming = newRoaming(t, seed, client, []netip.Addr{gatewayAddr}, opts...)
	for _, e := range []*end{c.a, c.b} {
		c.ends[e] = &espEnd{in: map[uint32]*esp.Inbound{}, out: map[uint32]*esp.Outbound{}, at: map[uint32]path{}}
	}
	c.answer = c.install
	c.start()
	c.drive()
	c.agree(1)
	if up, _ := find[Established](c.a.events); up.MOBIKE || !up.UDPEncapsulation {
		t.Fatalf("%+v", up)
	}
	c.log, c.a.events, c.b.events, c.seen = nil, nil, nil, nil
	network := c.route
	c.route = func(f flight, d Datagram) (Datagram, bool) {
		d, ok := network(f, d)
		if c.stuck && f.from == c.b && d.Local.Port() == freshPort {
			d.Local = netip.AddrPortFrom(d.Local.Addr(), portNATT)
		}
		return d, ok
	}
	return c
}

// install is what a driver does about ESP.
func (c *commuting) install(e *end, ev Event) {
	x := c.ends[e]
	switch ev := ev.(type) {
	case ChildInstalled:
		in, err := esp.NewInbound(ev.Inbound)
		if err != nil {
			c.t.Fatal(err)
		}
		out, err := esp.NewOutbound(ev.Outbound, nil)
		if err != nil {
			c.t.Fatal(err)
		}
		x.in[in.SPI()], x.out[in.SPI()], x.at[in.SPI()] = in, out, path{local: ev.Local, remote: ev.Remote}
	case ChildRemoved:
		delete(x.in, ev.Inbound)
		delete(x.out, ev.Inbound)
		delete(x.at, ev.Inbound)
	case EndpointChanged:
		for _, i := range e.children {
			if ev.Update.Concerns(i.ID) && (e == c.a || c.machine) {
				x.at[i.Inbound.SPI] = path{local: ev.Update.Local(), remote: ev.Update.Remote()}
			}
		}
	case ESPWanted:
		if e == c.a {
			c.sendESP(e, true)
		}
	}
}

// sendESP sends a packet on the child SA in use.
func (c *commuting) sendESP(e *end, dummy bool) {
	s := e.sending()
	if s == nil {
		return
	}
	x := c.ends[e]
	out, at := x.out[s.Inbound.SPI], x.at[s.Inbound.SPI]
	p := out.Dummy(100)
	if !dummy {
		p = packet.GetSmall()
		clear(p.Extend(20))
		f := packet.IPv4Fields{TTL: 64, Protocol: 254, Src: assigned, Dst: inside.Addr().Next()}
		if e == c.b {
			f.Src, f.Dst = f.Dst, f.Src
		}
		packet.PushIPv4(p, f)
		b := packet.One(p)
		out.Apply(b)
		p = b.Bufs[0]
	}
	wire := slices.Clone(p.Bytes())
	c.sent++
	switch {
	case c.loseESP != nil && c.loseESP(e, c.sent):
	case e == c.a && c.late:
		c.held = append(c.held, espFlight{wire, at})
	default:
		if e == c.a && c.attacker.IsValid() {
			c.takeESP(c.b, espFlight{wire, path{local: at.local, remote: at.remote}}, c.attacker)
		}
		c.carryESP(e, espFlight{wire, at})
	}
}

// carryESP lets a packet arrive, if there is a way.
func (c *commuting) carryESP(from *end, f espFlight) {
	d, ok := c.route(flight{Transmit: Transmit{Local: f.path.local, Remote: f.path.remote}, from: from}, Datagram{Local: f.path.remote, Remote: f.path.local})
	if ok {
		c.takeESP(c.other(from), espFlight{f.wire, path{local: d.Local}}, d.Remote)
	}
}

// takeESP is a driver that receives a packet from a source.
func (c *commuting) takeESP(e *end, f espFlight, from netip.AddrPort) {
	x := c.ends[e]
	for spi, in := range x.in {
		p := packet.From(f.wire)
		p.Peer = from
		before := in.Usage().Packets
		in.Open(p)
		if in.Usage().Packets == before {
			continue
		}
		s := in.Source()
		if e == c.a {
			if f.path.local != x.at[spi].local {
				c.strays++
			}
			e.m.HandleSource(c.now, f.path.local, s)
		} else {
			if c.esp && (c.any || s.From() == from) {
				for i := range x.at {
					x.at[i] = path{local: x.at[i].local, remote: from}
				}
			}
			if c.ike && s.From() != e.m.remote {
				e.m.HandleSource(c.now, e.m.local, s)
			}
		}
	}
}

// commuteFor lets time pass, with a packet in each direction every 100 ms.
func (c *commuting) commuteFor(d time.Duration) {
	c.t.Helper()
	for end := c.now.Boot + d; c.now.Boot < end; {
		if !c.silent {
			c.sendESP(c.b, false)
			c.sendESP(c.a, false)
			c.drain()
		}
		c.driveFor(100 * time.Millisecond)
	}
}

// prove begins the proof.
func (c *commuting) prove() {
	c.t.Helper()
	if err := c.a.m.ProveFollowing(c.now, freshPort); err != nil {
		c.t.Fatal(err)
	}
	c.drain()
}

// result returns what was found out, "" when nothing is yet.
func (c *commuting) result() string {
	out := ""
	for _, e := range c.a.events {
		if e, ok := e.(Following); ok {
			out = fmt.Sprintf("%t %t %t", e.Follows, e.IKE, e.ESP)
		}
	}
	return out
}

// settled asserts that the client is at that address and port, that the gateway's ESP goes there, and that both ends agree.
func (c *commuting) settled(client netip.Addr, port uint16) {
	c.t.Helper()
	c.agree(len(c.a.children))
	if got, want := c.a.m.path(), (path{local: netip.AddrPortFrom(client, port), remote: netip.AddrPortFrom(gatewayAddr, portNATT)}); got != want {
		c.t.Fatalf("A is at %s, want %s\n%s", endpoints(got), endpoints(want), c.trace())
	}
	for spi, at := range c.ends[c.a].at {
		if at != c.a.m.path() {
			c.t.Fatalf("child SA %08x of A leaves from %s", spi, endpoints(at))
		}
	}
	before := c.ends[c.a].in[c.a.sending().Inbound.SPI].Usage().Packets
	strays := c.strays
	c.sendESP(c.a, false)
	c.sendESP(c.b, false)
	c.drain()
	c.driveFor(time.Second)
	if n := c.ends[c.a].in[c.a.sending().Inbound.SPI].Usage().Packets; n != before+1 || c.strays != strays {
		c.t.Fatalf("the gateway's packet has not come to %v:%d: %d of 1, %d elsewhere\n%s", client, port, n-before, c.strays-strays, c.trace())
	}
}

var (
	follower  = kind{ike: true, machine: true}
	unmoved   = kind{}
	ikeAlone  = kind{ike: true}
	espAlone  = kind{esp: true}
	followAny = kind{ike: true, esp: true, any: true}
	answersIn = kind{ike: true, machine: true, stuck: true}
)

// Shows: MEC-C (the client proves the feature before it relies on it). The client changes its port once. It relies on a gateway whose answers and ESP packets
// follow, and on no other: one whose ESP stays where it was, whatever IKE does, and one whose answers go back to the old port, is
// met where it was before. Where no ESP is to be seen the answer alone decides. With a NAT between them and without.
func TestProveFollowing(t *testing.T) {
	for i, c := range []struct {
		kind   kind
		silent bool
		want   string
		port   uint16
	}{
		{kind: follower, want: "true true true", port: freshPort},
		{kind: follower, silent: true, want: "true true false", port: freshPort},
		{kind: unmoved, want: "false true false", port: portNATT},
		{kind: ikeAlone, want: "false true false", port: portNATT},
		{kind: espAlone, want: "true true true", port: freshPort},
		{kind: followAny, want: "true true true", port: freshPort},
		{kind: answersIn, want: "false false false", port: portNATT},
		{kind: answersIn, silent: true, want: "false false false", port: portNATT},
	} {
		for _, from := range []netip.Addr{wired, wireless} {
			r := commute(t, uint64(200+i), c.kind, []netip.Addr{from})
			r.silent = c.silent
			r.prove()
			r.commuteFor(20 * time.Second)
			if got := r.result(); got != c.want {
				t.Errorf("%+v from %v: %q, want %q\n%s", c.kind, from, got, c.want, r.trace())
				continue
			}
			if n := count[Following](r.a.events); n != 1 {
				t.Errorf("%+v: told %d times", c.kind, n)
			}
			r.settled(from, c.port)
			err := r.a.m.SetAddresses(r.now, []netip.Addr{from})
			if follows := c.port == freshPort; follows != (err == nil) || !follows && !errors.Is(err, ErrNoMOBIKE) {
				t.Errorf("%+v: SetAddresses: %v", c.kind, err)
			}
			if err := r.a.m.ProveFollowing(r.now, freshPort+1); !errors.Is(err, ErrUnexpected) {
				t.Errorf("%+v: a second proof: %v", c.kind, err)
			}
		}
	}
}

// Nothing is proved with MOBIKE, in the open, by a gateway, twice at once, from the port in use, or after the end.
func TestProveFollowingRefuses(t *testing.T) {
	r := connected(t, 1, []netip.Addr{wireless}, []netip.Addr{gatewayAddr})
	if err := r.a.m.ProveFollowing(r.now, freshPort); !errors.Is(err, ErrUnexpected) {
		t.Errorf("with MOBIKE: %v", err)
	}
	r = connected(t, 1, []netip.Addr{wired}, []netip.Addr{gatewayAddr}, func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) { i.MOBIKE = nil })
	if err := r.a.m.ProveFollowing(r.now, freshPort); !errors.Is(err, ErrUnexpected) {
		t.Errorf("outside of UDP: %v", err)
	}
	c := commute(t, 2, follower, []netip.Addr{wired})
	if err := c.b.m.ProveFollowing(c.now, freshPort); !errors.Is(err, ErrUnexpected) {
		t.Errorf("gateway: %v", err)
	}
	for _, port := range []uint16{0, portNATT} {
		if err := c.a.m.ProveFollowing(c.now, port); !errors.Is(err, ErrUnexpected) {
			t.Errorf("port %d: %v", port, err)
		}
	}
	c.prove()
	if err := c.a.m.ProveFollowing(c.now, freshPort); !errors.Is(err, ErrUnexpected) {
		t.Errorf("twice: %v", err)
	}
	c.a.m.Delete(c.now)
	c.drain()
	c.drive()
	if err := c.a.m.ProveFollowing(c.now, freshPort); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

// Shows: MEC-C (losses). Whichever datagrams of the proof are lost, one or two of IKE and any one of ESP, the result is the same.
func TestProveFollowingWithLosses(t *testing.T) {
	for k, want := range map[kind]string{follower: "true true true", unmoved: "false true false"} {
		for first := range 5 {
			for second := first; second < 6; second++ {
				r := commute(t, uint64(first*10+second), k, []netip.Addr{wireless})
				begin := r.pair.sent
				r.lose = func(f flight) bool { return f.index == begin+first || f.index == begin+second }
				espBegin := r.sent
				r.loseESP = func(_ *end, n int) bool { return n == espBegin+1+first || n == espBegin+1+second }
				r.prove()
				r.commuteFor(20 * time.Second)
				if got := r.result(); got != want {
					t.Fatalf("%+v, %d and %d lost: %q\n%s", k, first, second, got, r.trace())
				}
				port := uint16(portNATT)
				if k.ike {
					port = freshPort
				}
				r.settled(wireless, port)
			}
		}
	}
}

// Nothing comes through from the new port: the client goes back to the old one, on which the SAs live on.
func TestProveFollowingBlocked(t *testing.T) {
	r := commute(t, 5, follower, []netip.Addr{wired})
	network := r.route
	r.route = func(f flight, d Datagram) (Datagram, bool) {
		if f.from == r.a && f.Local.Port() == freshPort {
			return d, false
		}
		return network(f, d)
	}
	r.prove()
	r.commuteFor(30 * time.Second)
	if got := r.result(); got != "false false false" {
		t.Fatalf("%q\n%s", got, r.trace())
	}
	r.settled(wired, portNATT)
}

// Shows: MEC-C (reorderings, stale packets). ESP packets of the client from the port before come late: a gateway with a replay window does not go back,
// and one that follows any packet comes again with the client's next one. The client relies on either.
func TestProveFollowingLatePackets(t *testing.T) {
	for _, k := range []kind{follower, followAny} {
		r := commute(t, 6, k, []netip.Addr{wireless})
		r.late = true
		for range 5 {
			r.sendESP(r.a, false)
		}
		r.late = false
		r.prove()
		r.commuteFor(300 * time.Millisecond)
		for _, f := range r.held {
			r.carryESP(r.a, f)
			r.drain()
			r.commuteFor(time.Second)
		}
		r.commuteFor(10 * time.Second)
		if got := r.result(); got != "true true true" {
			t.Errorf("%+v: %q\n%s", k, got, r.trace())
		}
		r.settled(wireless, freshPort)
	}
}

// Shows: MEC-C. Rekeyings of the IKE SA and of the child SA, by either end and begun at any step of the proof, disturb neither it nor them.
func TestProveFollowingDuringRekeying(t *testing.T) {
	for _, k := range []kind{follower, unmoved} {
		for step := range 5 {
			for which := range 4 {
				r := commute(t, uint64(step), k, []netip.Addr{wireless})
				r.prove()
				for range step {
					if len(r.queue) > 0 {
						r.next()
					}
				}
				m := []*Machine{r.a.m, r.b.m}[which%2]
				var err error
				if which < 2 {
					err = m.RekeyIKE(r.now)
				} else {
					err = m.RekeyChild(r.now, 1)
				}
				if err != nil {
					t.Fatal(err)
				}
				r.drain()
				r.commuteFor(30 * time.Second)
				want, port := "true true true", uint16(freshPort)
				if !k.ike {
					want, port = "false true false", portNATT
				}
				if got := r.result(); got != want {
					t.Fatalf("%+v, step %d, rekeying %d: %q\n%s", k, step, which, got, r.trace())
				}
				r.settled(wireless, port)
			}
		}
	}
}

// Shows: MEC-C (draft C.4). Somebody on the way sends copies of the client's ESP packets from elsewhere, before the gateway has those: packets go astray
// while he does, he is never proven, and the client's first packet after that brings them back.
func TestProveFollowingUnderAttack(t *testing.T) {
	r := commute(t, 7, follower, []netip.Addr{wireless})
	r.attacker = netip.MustParseAddrPort("203.0.113.66:4500")
	r.prove()
	r.commuteFor(5 * time.Second)
	r.attacker = netip.AddrPort{}
	r.commuteFor(20 * time.Second)
	for _, e := range r.b.events {
		if u, ok := e.(EndpointChanged); ok && u.Update.Proven() && u.Update.Remote().Addr() == netip.MustParseAddr("203.0.113.66") {
			t.Fatal("the attacker is proven")
		}
	}
	if got := r.result(); got != "true true true" && got != "true true false" {
		t.Errorf("%q", got)
	}
	r.settled(wireless, freshPort)
}

// Shows: MEC-C. A NAT forgets its mapping during the proof and after it: the gateway follows by the client's next packet.
func TestProveFollowingThroughNATRebinding(t *testing.T) {
	for _, when := range []time.Duration{0, 100 * time.Millisecond, time.Second, 10 * time.Second} {
		r := commute(t, 8, follower, []netip.Addr{wireless})
		network, port := r.route, uint16(40001)
		moved := r.now.Boot + when
		r.route = func(f flight, d Datagram) (Datagram, bool) {
			after := r.now.Boot >= moved
			if f.from == r.b && d.Local.Addr() == homeNAT && after {
				if d.Local.Port() != port {
					return d, false
				}
				d.Local = netip.AddrPortFrom(homeNAT, freshPort)
			}
			d, ok := network(f, d)
			if f.from == r.a && after && d.Remote.Port() == freshPort {
				d.Remote = netip.AddrPortFrom(homeNAT, port)
			}
			return d, ok
		}
		r.prove()
		r.commuteFor(30 * time.Second)
		if got := r.result(); got != "true true true" {
			t.Errorf("%v: %q", when, got)
		}
		r.settled(wireless, freshPort)
	}
}
