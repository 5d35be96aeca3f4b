package stack

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/suite"
	"mipvpn/mipv4/tunnel"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

const (
	// superSegments of superPayload octets, 1370 with their headers, are what a TUN device gives of one TCP connection at a
	// time: less than 64 KiB, and each fits the deepest mode.
	superSegments = 45
	superPayload  = 1318
)

// timestamps are TCP options as they are on every segment of a connection.
var timestamps = []byte{1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8}

// stream returns n octets of data that differ everywhere, as they stand in a stream from `at` on.
func stream(at uint32, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		k := at + uint32(i)
		p[i] = byte(k) ^ byte(k>>8)*31 ^ byte(k>>16)*7
	}
	return p
}

// superTCP returns a TCP packet of the home address with so much payload, DF or not, to be made a superpacket.
func superTCP(payload int, whole bool) packet.IPv4 {
	p := tcp(0x18, nil, timestamps, stream(0, payload))
	if !whole {
		p[6] = 0
	}
	mendHeader(p)
	return p
}

// superUDP is the same of UDP.
func superUDP(payload int) packet.IPv4 {
	b := packet.From(stream(7, payload))
	defer b.Release()
	packet.PushUDP(b, netip.AddrPortFrom(home, 40000), netip.AddrPortFrom(correspondent, 443))
	packet.PushIPv4(b, packet.IPv4Fields{TOS: 0x28, ID: 9, TTL: 64, DontFragment: true, Protocol: packet.ProtocolUDP, Src: home, Dst: correspondent})
	return bytes.Clone(b.Bytes())
}

// mendHeader computes the header checksum.
func mendHeader(p packet.IPv4) {
	binary.BigEndian.PutUint16(p[10:], 0)
	binary.BigEndian.PutUint16(p[10:], packet.Checksum(p[:p.HeaderLen()], 0))
}

// super returns p as a superpacket.
func super(tb testing.TB, p packet.IPv4, size int) *packet.Buf {
	tb.Helper()
	b := packet.From(p)
	check(tb, b.MakeSuper(size))
	return b
}

// cutAlone returns what a batch of one packet is cut to.
func cutAlone(p *packet.Buf) [][]byte {
	b := packet.One(p)
	defer b.Release()
	b.Cut()
	var all [][]byte
	for _, q := range b.Bufs {
		all = append(all, bytes.Clone(q.Bytes()))
	}
	return all
}

// Superpackets among ordinary packets leave every mode as their segments, each as if the host had sent it alone, in order,
// and are counted so.
func TestSuperpacketsLeaveAsTheirSegments(t *testing.T) {
	for _, c := range everyComposition() {
		l := compose(t, c, suite.AESGCM128)
		b := packet.GetBatch()
		for _, p := range []*packet.Buf{
			packet.From(patterned(900, true)),
			super(t, superTCP(superSegments*superPayload, true), superPayload),
			packet.From(patterned(60, false)),
			super(t, superUDP(5*700+1), 700),
			super(t, superTCP(3*1000-1, false), 1000),
			super(t, superTCP(800, true), 1000), // a superpacket of one
			packet.From(patterned(1371, true)),
		} {
			b.Append(p)
		}
		var want, left [][]byte
		octets, longer := 0, 0
		for _, p := range b.Bufs {
			q := packet.From(p.Bytes())
			if p.Super() {
				check(t, q.MakeSuper(p.SegmentSize()))
			}
			for _, s := range cutAlone(q) {
				want = append(want, s)
				octets += len(s)
				if len(s) > LongPacket {
					longer++
				}
			}
		}
		l.wire.each = func(s []byte) {
			p, err := l.opened(s)
			if err != nil {
				t.Errorf("%v: %v", c, err)
			}
			left = append(left, p)
		}
		l.engine.send(b)
		if !slices.EqualFunc(left, want, bytes.Equal) {
			t.Errorf("%v: %d packets left that are not the %d segments in their order; drops %v", c, len(left), len(want), l.drops.Snapshot())
		}
		whole := 0 // ESP cuts
		if !c.layers().VPN {
			whole = 4
		}
		if l.wire.supers != whole {
			t.Errorf("%v: %d superpackets got to the underlay whole, want %d", c, l.wire.supers, whole)
		}
		sent := Traffic{TxPackets: uint64(len(want)), TxBytes: uint64(octets), TxLong: uint64(longer)}
		if got := l.engine.Traffic(); got != sent {
			t.Errorf("%v: traffic %+v, want %+v", c, got, sent)
		}
	}
}

// What is counted of a superpacket is what would be counted of its segments.
func TestTallyOfSegments(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 4))
	for range 150 {
		p := super(t, superTCP(1+rng.IntN(9000), true), 1+rng.IntN(2*LongPacket))
		var whole, cut tally
		whole.add(p)
		b := packet.One(p)
		b.Cut()
		for _, q := range b.Bufs {
			cut.add(q)
		}
		b.Release()
		if whole != cut {
			t.Fatalf("counted %+v, its segments %+v", whole, cut)
		}
	}
}

// Shows: HST-4 (a superpacket whose segments are too long is treated as these are, packet by packet)
func TestSuperpacketOverTheMTU(t *testing.T) {
	var drops packet.Drops
	var s sink
	d := &device{}
	e := newEngine(d, &clock{}, &drops)
	p := pipeline(&s)
	e.Swap(p)
	p.Limit(1300)
	whole := superTCP(3*superPayload+100, true)
	e.send(packet.One(super(t, whole, superPayload)))
	if len(s.sent) != 1 || len(s.sent[0]) != 152 || drops.Of(packet.DropTooBig) != 3 || len(d.written) != 3 {
		t.Fatalf("%d sent, %d errors, drops %v: want the last segment sent and three errors", len(s.sent), len(d.written), drops.Snapshot())
	}
	m := packet.IPv4(d.written[1]).Payload()
	quoted := packet.IPv4(m[8:])
	if binary.BigEndian.Uint16(m[6:]) != 1300 || quoted.TotalLen() != superPayload+52 || binary.BigEndian.Uint32(quoted[24:]) != superPayload {
		t.Errorf("next-hop MTU %d, about %x: want the second segment", binary.BigEndian.Uint16(m[6:]), []byte(quoted[:40]))
	}

	s.sent = nil
	fragile := superTCP(2*superPayload, false)
	segments := cutAlone(super(t, fragile, superPayload))
	e.send(packet.One(super(t, fragile, superPayload)))
	var want [][]byte
	for _, q := range segments {
		want = append(want, fragments(t, q, 1300)...)
	}
	if len(want) != 4 || !slices.EqualFunc(s.sent, want, bytes.Equal) {
		t.Errorf("%d packets left, want two segments in two fragments each", len(s.sent))
	}
	if got := e.Traffic(); got.TxPackets != 5 || got.TxLong != 2 {
		t.Errorf("traffic %+v", got)
	}
	p.Limit(60) // nothing can be cut to it
	e.send(packet.One(super(t, fragile, superPayload)))
	if n := drops.Of(packet.DropTooBig); n != 5 {
		t.Errorf("%d dropped as too big, want 5", n)
	}
}

// Shows: HST-4 (a superpacket that opens a connection, which no host sends, has its MSS lowered like any other)
func TestSuperpacketWithSYNIsClamped(t *testing.T) {
	var s sink
	e := newEngine(&device{}, &clock{}, nil)
	e.Swap(pipeline(&s))
	e.send(packet.One(super(t, tcp(2, nil, []byte{2, 4, 0x23, 0x28}, stream(0, 300)), 100)))
	if len(s.sent) != 3 {
		t.Fatalf("%d packets left", len(s.sent))
	}
	for _, p := range s.sent {
		if ip := packet.IPv4(p); binary.BigEndian.Uint16(ip[42:]) != 1360 || !intact(ip) {
			t.Errorf("left as %x", p[:44])
		}
	}
}

// What is held is bounded by the memory that it takes as well, and what goes is counted as it would have been sent.
func TestHeldSuperpacketsAreBounded(t *testing.T) {
	var drops packet.Drops
	var s sink
	e := newEngine(&device{}, &clock{}, &drops)
	e.Hold()
	const n = 40
	for i := range n {
		p := superTCP(superSegments*superPayload, true)
		p[5] = byte(i)
		mendHeader(p)
		e.send(packet.One(super(t, p, superPayload)))
	}
	e.mu.Lock()
	held, octets := len(e.held), e.heldOctets
	e.mu.Unlock()
	if held < 8 || held >= n || octets > holdOctets || octets < holdOctets/2 {
		t.Errorf("%d held in %d octets", held, octets)
	}
	if got := int(drops.Of(packet.DropNoPath)); got != (n-held)*superSegments {
		t.Errorf("%d packets dropped, want %d", got, (n-held)*superSegments)
	}
	e.Swap(pipeline(cutting{&s}))
	if len(s.sent) != held*superSegments || s.sent[0][5] != byte(n-held) {
		t.Errorf("%d packets sent, the first of superpacket %d: want the last %d superpackets", len(s.sent), s.sent[0][5], held)
	}
	e.Hold()
	for range holdPackets + 3 {
		e.send(one(from(home.String(), 60)))
	}
	if got := int(drops.Of(packet.DropNoPath)); got != (n-held)*superSegments+3 {
		t.Errorf("%d packets dropped: what has gone from the hold still counts", got)
	}
}

// cutting is a sender for segments.
type cutting struct{ to link.Sender }

// Send implements link.Sender.
func (c cutting) Send(b *packet.Batch) error {
	b.Cut()
	return c.to.Send(b)
}

// Each packet that a link sends has an identification of its own, whether it left as a part of a superpacket or alone.
func TestIdentificationsOfALink(t *testing.T) {
	var s sink
	l := NewPacketLink(home, nil, nil)
	l.SetCarrier(carriedBy(cutting{&s}))
	f, err := l.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: netip.AddrPortFrom(far, 434)}, (*packet.Batch).Release)
	check(t, err)
	for range 3 {
		b := packet.GetBatch()
		b.Append(packet.From(patterned(100, true)))
		b.Append(super(t, superTCP(3*500+1, true), 500))
		b.Append(packet.From(patterned(200, true)))
		b.Append(super(t, superUDP(2*500), 500))
		check(t, f.Path(link.Protected).Send(b))
	}
	if len(s.sent) != 3*8 {
		t.Fatalf("%d packets left", len(s.sent))
	}
	for i, p := range s.sent {
		ip := packet.IPv4(p)
		if !ip.ChecksumOK() || ip.TotalLen() != len(ip) || !packet.UDP(ip.Payload()).ChecksumOK(home, far) {
			t.Errorf("packet %d left as %x", i, p[:40])
		}
		if i > 0 && ip.ID() != packet.IPv4(s.sent[i-1]).ID()+1 {
			t.Errorf("packet %d has the identification %d, the one before %d", i, ip.ID(), packet.IPv4(s.sent[i-1]).ID())
		}
	}
}

// A superpacket can have one tunnel in front of it; before the second it is cut.
func TestTunnelInTunnelIsCut(t *testing.T) {
	for _, form := range []tunnel.Encapsulation{tunnel.IPIP, tunnel.UDP} {
		var s sink
		var drops packet.Drops
		spec := link.FlowSpec{Protocol: packet.ProtocolIPIP, Remote: netip.AddrPortFrom(far, 0)}
		if form == tunnel.UDP {
			spec = link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 434, Remote: netip.AddrPortFrom(far, 434)}
		}
		outer, middle := NewPacketLink(near, &drops, nil), NewPacketLink(inner, &drops, nil)
		outer.SetCarrier(carriedBy(cutting{&s}))
		over := func(l *PacketLink) link.Path {
			f, err := l.Open(spec, (*packet.Batch).Release)
			check(t, err)
			return f.Path(link.Protected).Over(tunnel.Encapsulator{Encapsulation: form, Drops: &drops}, form.Overhead(), false)
		}
		path := over(outer)
		middle.SetCarrier(func(link.Class) link.Path { return path })
		b := packet.GetBatch()
		b.Append(super(t, superTCP(3*500, true), 500))
		b.Append(packet.From(patterned(100, true)))
		check(t, over(middle).Send(b))
		want := append(cutAlone(super(t, superTCP(3*500, true), 500)), patterned(100, true))
		if len(s.sent) != len(want) {
			t.Fatalf("%v: %d packets left; drops %v", form, len(s.sent), drops.Snapshot())
		}
		for i, p := range s.sent {
			q := packet.From(p)
			for _, src := range []netip.Addr{near, inner} {
				if err := strip(q, src, far, packet.ProtocolIPIP, form == tunnel.UDP, 434); err != nil {
					t.Fatalf("%v: packet %d: %v", form, i, err)
				}
				if r := tunnel.Open(q, form); r != packet.NotDropped {
					t.Fatalf("%v: packet %d: %v", form, i, r)
				}
			}
			if !bytes.Equal(q.Bytes(), want[i]) {
				t.Errorf("%v: packet %d was changed", form, i)
			}
			q.Release()
		}
	}
}

// Superpackets that are dropped on the way are counted as their segments, whatever drops them.
func TestDroppedSuperpacketsAreCounted(t *testing.T) {
	for name, c := range map[string]struct {
		reason packet.DropReason
		path   link.Path
		packet func(packet.IPv4)
	}{
		"another source":      {packet.DropNotHomeAddress, link.Path{}, func(p packet.IPv4) { p[15]++ }},
		"no time to live":     {packet.DropTTL, link.Path{Steps: []link.Step{tunnel.Encapsulator{}}}, func(p packet.IPv4) { p[8] = 0 }},
		"a link that is down": {packet.DropNoPath, link.Path{}, func(packet.IPv4) {}},
		"no SA":               {packet.DropNoPath, link.Path{Steps: []link.Step{sealer{&VPN{}}}}, func(packet.IPv4) {}},
	} {
		var drops packet.Drops
		c.path.MTU, c.path.Out = 1500, discard{&drops}
		for i, step := range c.path.Steps {
			switch s := step.(type) {
			case tunnel.Encapsulator:
				s.Drops = &drops
				c.path.Steps[i] = s
			case sealer:
				s.vpn.drops = &drops
			}
		}
		e := newEngine(&device{}, &clock{}, &drops)
		e.Swap(&Pipeline{mode: ModeCVC, path: c.path})
		p := superTCP(4*1000, true)
		c.packet(p)
		mendHeader(p)
		e.send(packet.One(super(t, p, 1000)))
		if n := drops.Of(c.reason); n != 4 {
			t.Errorf("%s: drops %v, want 4 for %v", name, drops.Snapshot(), c.reason)
		}
	}
}

// Shows: IKE-6 (RFC 3948 §2.1: a checksum of ESP in UDP is not looked at, whatever it is; that of IKE is, and that of
// everything that the ICV does not protect all the way)
func TestWhichDatagramsAreSummed(t *testing.T) {
	garbled := func(port uint16, payload string) *packet.Buf {
		p := udp(fmt.Sprintf("192.0.2.10:%d", port), fmt.Sprintf("198.51.100.100:%d", port), payload)
		p.Bytes()[packet.IPv4Len+6] ^= 0x55
		return p
	}
	const sealed = "\x00\x00\x10\x01and so on"
	for name, c := range map[string]struct {
		port     uint16
		unsummed bool
		payload  string
		arrives  bool
	}{
		"ESP":                  {esp.PortNATT, true, sealed, true},
		"IKE":                  {esp.PortNATT, true, "\x00\x00\x00\x00an IKE message", false},
		"a keepalive":          {esp.PortNATT, true, "\xff", false},
		"too short for either": {esp.PortNATT, true, "\x01\x02", false},
		"another flow":         {RegistrationPort, false, sealed, false},
	} {
		var received []string
		var drops packet.Drops
		l := NewPacketLink(near, &drops, nil)
		_, err := l.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Port: c.port, Remote: netip.AddrPortFrom(far, c.port), Unsummed: c.unsummed}, got(&received))
		check(t, err)
		deliver(l, garbled(c.port, c.payload))
		if arrived := len(received) == 1; arrived != c.arrives || !arrived && drops.Of(packet.DropMalformed) != 1 {
			t.Errorf("%s: received %q, drops %v", name, received, drops.Snapshot())
		}
	}

	// The i-MIP tunnel within ESP.
	for _, m := range []Mode{ModeVC, ModeCVC, ModeFVC} {
		l := compose(t, composition{m, true}, suite.AESGCM128)
		p := packet.From(toHome(home.String(), 300))
		l.encapsulate(p, internalAgent, inner, l.internal.udp.Local().Port())
		p.Bytes()[200] ^= 1
		b := packet.One(p)
		b.Bufs[0].SA = l.inbound.SPI
		l.vpn.link.Load().Deliver(b)
		if l.device.written != 0 || l.drops.Of(packet.DropMalformed) != 1 {
			t.Errorf("%s: a damaged packet of the i-HA arrived; drops %v", m, l.drops.Snapshot())
		}
	}
}

// FuzzSuperpacket compares what an engine makes of a superpacket with what it makes of its segments, for any packet, MTU and
// segment size: the same leaves, is answered, counted and dropped.
func FuzzSuperpacket(f *testing.F) {
	f.Add([]byte(superTCP(3000, true)), uint16(1000), uint16(1300))
	f.Add([]byte(superTCP(3000, false)), uint16(1000), uint16(600))
	f.Add([]byte(superUDP(2500)), uint16(700), uint16(60))
	f.Add([]byte(tcp(2, []byte{0x94, 4, 0, 0}, []byte{2, 4, 0x23, 0x28}, stream(0, 300))), uint16(100), uint16(1400))
	f.Fuzz(func(t *testing.T, data []byte, size, mtu uint16) {
		p := packet.IPv4(bytes.Clone(data))
		if len(p) > packet.LargeSize || !p.Valid() || size < 8 {
			return
		}
		copy(p[12:], home.AsSlice())
		mendHeader(p)
		type result struct {
			sent, written [][]byte
			traffic       Traffic
			drops         string
		}
		run := func(cut bool) (r result, ok bool) {
			var drops packet.Drops
			var s sink
			b := packet.One(packet.From(p))
			if b.Bufs[0].MakeSuper(int(size)) != nil {
				b.Release()
				return r, false
			}
			if cut {
				b.Cut()
			}
			d := &device{}
			e := newEngine(d, &clock{}, &drops)
			e.Swap(&Pipeline{mode: ModeCVC, path: link.Path{Out: cutting{&s}, MTU: int(mtu)}})
			e.send(b)
			return result{s.sent, d.written, e.Traffic(), fmt.Sprint(drops.Snapshot())}, true
		}
		whole, ok := run(false)
		if !ok {
			return
		}
		cut, _ := run(true)
		if !slices.EqualFunc(whole.sent, cut.sent, bytes.Equal) || !slices.EqualFunc(whole.written, cut.written, bytes.Equal) ||
			whole.traffic != cut.traffic || whole.drops != cut.drops {
			t.Fatalf("whole: %d sent, %d answers, %+v, drops %s; as segments: %d, %d, %+v, %s", len(whole.sent), len(whole.written),
				whole.traffic, whole.drops, len(cut.sent), len(cut.written), cut.traffic, cut.drops)
		}
	})
}
