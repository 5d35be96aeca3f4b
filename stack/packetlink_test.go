package stack

import (
	"errors"
	"net/netip"
	"testing"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

var (
	near = netip.MustParseAddr("198.51.100.100")
	far  = netip.MustParseAddr("192.0.2.10")
)

// sink collects what a path sends.
type sink struct{ sent [][]byte }

func (s *sink) Send(b *packet.Batch) error {
	for _, p := range b.Bufs {
		s.sent = append(s.sent, append([]byte(nil), p.Bytes()...))
	}
	b.Release()
	return nil
}

func carriedBy(s link.Sender) Carrier {
	return func(link.Class) link.Path { return link.Path{Out: s, MTU: 1500} }
}

// got collects the payloads a receiver was given.
func got(into *[]string) link.Receiver {
	return func(b *packet.Batch) {
		for _, p := range b.Bufs {
			*into = append(*into, string(p.Bytes()))
		}
		b.Release()
	}
}

func udp(src, dst string, payload string) *packet.Buf {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	p := packet.From([]byte(payload))
	packet.PushUDP(p, s, d)
	packet.PushIPv4(p, packet.IPv4Fields{TTL: 9, TOS: 0xb8, Protocol: packet.ProtocolUDP, Src: s.Addr(), Dst: d.Addr()})
	return p
}

func deliver(l *PacketLink, bufs ...*packet.Buf) {
	b := packet.GetBatch()
	for _, p := range bufs {
		b.Append(p)
	}
	l.Deliver(b)
}

func TestFlowWritesHeadersThatTheOtherEndReads(t *testing.T) {
	var drops packet.Drops
	var s sink
	a := NewPacketLink(near, &drops, nil)
	a.SetCarrier(carriedBy(&s))
	flow, err := a.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 500, Remote: netip.AddrPortFrom(far, 500)}, func(*packet.Batch) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := flow.Send(netip.AddrPort{}, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if len(s.sent) != 1 {
		t.Fatalf("%d packets sent", len(s.sent))
	}
	var received []string
	b := NewPacketLink(far, &drops, nil)
	if _, err := b.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 500, Remote: netip.AddrPortFrom(near, 500)}, got(&received)); err != nil {
		t.Fatal(err)
	}
	deliver(b, packet.From(s.sent[0]))
	if len(received) != 1 || received[0] != "hello" {
		t.Errorf("received %q", received)
	}
	if path := flow.Path(link.Protected); path.Overhead != 28 || path.MTU != 1472 {
		t.Errorf("overhead %d, MTU %d", path.Overhead, path.MTU)
	}
}

func TestDeliverSortsByFlow(t *testing.T) {
	var drops packet.Drops
	var ike, raw, rest []string
	l := NewPacketLink(near, &drops, func(b *packet.Batch) {
		for _, p := range b.Bufs {
			rest = append(rest, packet.IPv4(p.Bytes()).Src().String())
		}
		b.Release()
	})
	open := func(spec link.FlowSpec, into *[]string) link.Flow {
		t.Helper()
		f, err := l.Open(spec, got(into))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	open(link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 500, Remote: netip.AddrPortFrom(far, 500)}, &ike)
	esp := open(link.FlowSpec{Protocol: packet.ProtocolESP, Remote: netip.AddrPortFrom(far, 0)}, &raw)

	protocol50 := packet.From([]byte("sealed"))
	packet.PushIPv4(protocol50, packet.IPv4Fields{TTL: 9, Protocol: packet.ProtocolESP, Src: far, Dst: near})
	again := packet.From(protocol50.Bytes())
	broken := udp("192.0.2.10:500", "198.51.100.100:500", "broken")
	broken.Bytes()[10] ^= 0xff // header checksum
	garbled := udp("192.0.2.10:500", "198.51.100.100:500", "garbled")
	garbled.Bytes()[30] ^= 0xff // payload: the UDP checksum is wrong
	deliver(l,
		udp("192.0.2.10:500", "198.51.100.100:500", "one"),
		udp("192.0.2.99:500", "198.51.100.100:500", "stranger"),
		protocol50, broken, garbled,
		udp("192.0.2.10:500", "198.51.100.100:500", "two"),
		udp("192.0.2.10:500", "198.51.100.101:500", "not for us"),
	)
	if len(ike) != 2 || ike[0] != "one" || ike[1] != "two" {
		t.Errorf("IKE flow got %q", ike)
	}
	if len(raw) != 1 || raw[0] != "sealed" {
		t.Errorf("ESP flow got %q", raw)
	}
	if len(rest) != 1 || rest[0] != "192.0.2.99" {
		t.Errorf("rest got %q", rest)
	}
	if n := drops.Of(packet.DropMalformed); n != 2 {
		t.Errorf("%d malformed packets counted, want 2", n)
	}
	if n := drops.Of(packet.DropNotHomeAddress); n != 1 {
		t.Errorf("%d packets for another address counted, want 1", n)
	}
	if err := esp.Close(); err != nil {
		t.Fatal(err)
	}
	deliver(l, again)
	if len(raw) != 1 || len(rest) != 2 {
		t.Error("a closed flow still receives")
	}
}

// Shows: GDL-5 (a move exchanges the carrier below; flows and their ports stay)
func TestCarrierMovesUnderOpenFlows(t *testing.T) {
	var drops packet.Drops
	var cafe, hotspot sink
	l := NewPacketLink(near, &drops, nil)
	flow, err := l.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: netip.AddrPortFrom(far, 4500)}, func(*packet.Batch) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := flow.Send(netip.AddrPort{}, []byte("x")); !errors.Is(err, ErrLinkDown) {
		t.Errorf("sending on a link that is down: %v", err)
	}
	before := flow.Local()
	l.SetCarrier(carriedBy(&cafe))
	_ = flow.Send(netip.AddrPort{}, []byte("x"))
	l.SetCarrier(carriedBy(&hotspot))
	_ = flow.Send(netip.AddrPort{}, []byte("x"))
	if len(cafe.sent) != 1 || len(hotspot.sent) != 1 || flow.Local() != before {
		t.Errorf("café %d, hotspot %d, local %v then %v", len(cafe.sent), len(hotspot.sent), before, flow.Local())
	}
	l.SetCarrier(nil)
	_ = flow.Path(link.Protected).Send(packet.One(packet.From([]byte("x"))))
	if drops.Of(packet.DropNoPath) != 1 {
		t.Error("data on a link that is down is not counted as no_path")
	}
}

func TestOpenRefusesWhatCannotWork(t *testing.T) {
	l := NewPacketLink(near, nil, nil)
	spec := link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 500, Remote: netip.AddrPortFrom(far, 500)}
	f, err := l.Open(spec, func(*packet.Batch) {})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Open(spec, func(*packet.Batch) {}); err == nil {
		t.Error("a flow was opened twice")
	}
	if err := f.Send(netip.AddrPortFrom(far, 501), nil); err == nil {
		t.Error("a connected flow sends elsewhere")
	}
	_ = f.Close()
	if _, err := l.Open(spec, func(*packet.Batch) {}); err != nil {
		t.Errorf("a closed flow's port is not free: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := l.Open(spec, func(*packet.Batch) {}); err == nil {
		t.Error("closing twice closed another's flow")
	}
	if _, err := l.Open(link.FlowSpec{Protocol: packet.ProtocolUDP}, func(*packet.Batch) {}); err == nil {
		t.Error("an unconnected flow was opened")
	}
}

func FuzzDeliver(f *testing.F) {
	whole := udp("192.0.2.10:500", "198.51.100.100:500", "one")
	f.Add(append([]byte(nil), whole.Bytes()...))
	f.Add([]byte{0x45})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > packet.LargeSize {
			return
		}
		var drops packet.Drops
		var flow, rest []string
		l := NewPacketLink(near, &drops, got(&rest))
		if _, err := l.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 500, Remote: netip.AddrPortFrom(far, 500)}, got(&flow)); err != nil {
			t.Fatal(err)
		}
		deliver(l, packet.From(data))
		dropped := 0
		for _, n := range drops.Snapshot() {
			dropped += int(n)
		}
		if waiting := len(l.pieces.open); len(flow)+len(rest)+dropped+waiting != 1 {
			t.Fatalf("flow %d, rest %d, dropped %d, waiting for other fragments %d of one packet", len(flow), len(rest), dropped, waiting)
		}
		for len(l.pieces.open) > 0 {
			l.pieces.forget(0)
		}
	})
}
