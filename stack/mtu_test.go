package stack

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"mipvpn/ipsec/suite"
	"mipvpn/mipv4/tunnel"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// patterned returns a UDP packet of n octets from the home address, its payload a pattern, with or without DF.
func patterned(n int, whole bool) packet.IPv4 {
	b := packet.GetSmall()
	defer b.Release()
	for i := range b.Extend(n - packet.IPv4Len) {
		b.Bytes()[i] = byte(i * 7)
	}
	packet.PushIPv4(b, packet.IPv4Fields{TOS: 0x28, ID: 77, TTL: 64, DontFragment: whole, Protocol: packet.ProtocolUDP, Src: home, Dst: correspondent})
	return bytes.Clone(b.Bytes())
}

// Shows: HST-4 (the error quotes as much as RFC 1812 §4.3.2.3 wants and names the limit in force; there are not more than a
// few; none about an ICMP error)
func TestTooBigFollowsTheLimit(t *testing.T) {
	var drops packet.Drops
	var s sink
	d, c := &device{}, &clock{boot: time.Hour}
	e := newEngine(d, c, &drops)
	p := pipeline(&s)
	e.Swap(p)
	p.Limit(1300)
	if p.MTU() != 1300 || p.LinkMTU() != 1400 {
		t.Fatalf("MTU %d, of the link %d", p.MTU(), p.LinkMTU())
	}
	long := patterned(1301, true)
	e.send(one(long))
	if len(s.sent) != 0 || len(d.written) != 1 {
		t.Fatalf("%d sent, %d errors", len(s.sent), len(d.written))
	}
	reply := packet.IPv4(d.written[0])
	m := reply.Payload()
	if binary.BigEndian.Uint16(m[6:]) != 1300 || len(reply) != 576 || reply.Src() != correspondent || reply.TTL() != 64 {
		t.Errorf("next-hop MTU %d, %d octets, from %v", binary.BigEndian.Uint16(m[6:]), len(reply), reply.Src())
	}
	if !bytes.Equal(m[8:], long[:len(m)-8]) {
		t.Error("the quotation is not the packet's beginning")
	}
	if reply.TOS() != 0xc8 {
		t.Errorf("TOS %#02x, want precedence 6 and the packet's type of service (RFC 1812 §4.3.2.5)", reply.TOS())
	}
	p.Limit(0)
	e.send(one(long))
	if len(s.sent) != 1 {
		t.Error("a limit that was taken back still holds")
	}
	p.Limit(2000)
	if p.MTU() != 1400 {
		t.Errorf("a limit over the interface's gives an MTU of %d", p.MTU())
	}

	p.Limit(1300)
	d.written = nil
	for range 3 * tooBigBurst {
		e.send(one(long))
	}
	if n := len(d.written); n != tooBigBurst-1 {
		t.Errorf("%d errors at once, want %d", n, tooBigBurst-1)
	}
	c.boot += time.Second / tooBigPerSecond
	d.written = nil
	e.send(one(long))
	e.send(one(long))
	if n := len(d.written); n != 1 {
		t.Errorf("%d errors after a while, want 1", n)
	}

	c.boot += time.Second
	d.written = nil
	about := tunnel.AppendICMPError(nil, tunnel.ICMPUnreachable, tunnel.CodePort, 0, long)
	icmp := packet.From(append(about, make([]byte, 1400-packet.IPv4Len-len(about))...))
	packet.PushIPv4(icmp, packet.IPv4Fields{TTL: 64, DontFragment: true, Protocol: packet.ProtocolICMP, Src: home, Dst: correspondent})
	e.send(packet.One(icmp))
	if len(d.written) != 0 {
		t.Error("an ICMP error was answered with one")
	}
}

// Shows: HST-4 (what may be fragmented is fragmented to the limit in force, in its place among the others, and loses nothing)
func TestPacketsWithoutDFAreFragmented(t *testing.T) {
	var drops packet.Drops
	var s sink
	d := &device{}
	e := newEngine(d, &clock{}, &drops)
	p := pipeline(&s)
	e.Swap(p)
	p.Limit(700)
	whole := patterned(1380, false)
	b := packet.GetBatch()
	for _, q := range []packet.IPv4{patterned(100, true), whole, patterned(200, true), patterned(1380, true)} {
		b.Append(packet.From(q))
	}
	e.send(b)
	if len(s.sent) != 4 || len(d.written) != 1 {
		t.Fatalf("%d packets sent and %d errors, want 4 and 1", len(s.sent), len(d.written))
	}
	var payload []byte
	for i, raw := range s.sent[1:3] {
		f := packet.IPv4(raw)
		if !f.Valid() || !f.ChecksumOK() || len(f) > 700 || f.ID() != 77 || f.DontFragment() || f.FragmentOffset() != len(payload) || f.MoreFragments() != (i == 0) {
			t.Errorf("fragment %d: %x", i, raw[:packet.IPv4Len])
		}
		payload = append(payload, f.Payload()...)
	}
	if !bytes.Equal(payload, whole.Payload()) {
		t.Error("the fragments do not make the packet")
	}
	if len(s.sent[0]) != 100 || len(s.sent[3]) != 200 {
		t.Error("the order has changed")
	}
	if traffic := e.Traffic(); traffic.TxPackets != 4 || traffic.TxLong != 1 {
		t.Errorf("traffic %+v", traffic)
	}
}

// wholes keeps, of each packet, whether its outermost header is to bear DF.
type wholes struct{ all []bool }

func (w *wholes) Send(b *packet.Batch) error {
	for _, p := range b.Bufs {
		w.all = append(w.all, p.Whole())
	}
	b.Release()
	return nil
}

// Shows: MIP-12 (DF), HST-4 (a tunnel copies DF, ESP clears it, a probe bears it in every header)
func TestDontFragmentInEveryComposition(t *testing.T) {
	for _, c := range everyComposition() {
		l := compose(t, c, suite.AESGCM128)
		out := &wholes{}
		l.pipeline.path.Out = out
		l.engine.send(one(patterned(1000, true)))
		l.engine.send(one(patterned(1000, false)))
		if err := l.engine.Probe(l.pipeline, patterned(1000, true)); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprint([]bool{!c.layers().VPN, false, true})
		if got := fmt.Sprint(out.all); got != want {
			t.Errorf("%v: DF of a packet with it, one without, and a probe: %s, want %s", c, got, want)
		}
	}
}

// Shows: HST-4 (both directions of a connection are clamped in every mode)
func TestMSSIsClampedBothWays(t *testing.T) {
	for _, c := range everyComposition() {
		l := compose(t, c, suite.AESGCM128)
		l.pipeline.Limit(1234)
		syn := tcp(2, nil, []byte{2, 4, 0x05, 0xb4}, nil)
		clamped := 0
		l.pipeline.path.Steps = append([]link.Step{observer(func(p *packet.Buf) {
			if ip := packet.IPv4(p.Bytes()); binary.BigEndian.Uint16(ip[42:]) == 1194 && intact(ip) {
				clamped++
			}
		})}, l.pipeline.path.Steps...)
		l.send(t, syn, 1)
		back := bytes.Clone(syn)
		copy(back[12:], correspondent.AsSlice())
		copy(back[16:], home.AsSlice()) // the sum stays
		arrived := 0
		l.device.each = func(p []byte) {
			if ip := packet.IPv4(p); binary.BigEndian.Uint16(ip[42:]) == 1194 && intact(ip) {
				arrived++
			}
		}
		l.arrive(l.sealed(back, batchOf))
		if clamped != batchOf || arrived != batchOf {
			t.Errorf("%v: %d of %d clamped on leaving, %d on arriving", c, clamped, batchOf, arrived)
		}
	}
}

type observer func(*packet.Buf)

func (o observer) Apply(b *packet.Batch) {
	for _, p := range b.Bufs {
		o(p)
	}
}

// Shows: HST-4 (nested user IPsec: ESP, AH, IKE and ESP in UDP of the user's own pass in every mode, both ways, unchanged)
func TestUserIPsecPasses(t *testing.T) {
	const ah = 51
	udp := func(port uint16, payload string) packet.IPv4 {
		b := packet.From([]byte(payload))
		defer b.Release()
		packet.PushUDP(b, netip.AddrPortFrom(home, port), netip.AddrPortFrom(correspondent, port))
		packet.PushIPv4(b, packet.IPv4Fields{TTL: 64, DontFragment: true, Protocol: packet.ProtocolUDP, Src: home, Dst: correspondent})
		return bytes.Clone(b.Bytes())
	}
	raw := func(protocol uint8) packet.IPv4 {
		p := patterned(1200, true)
		p[9] = protocol
		binary.BigEndian.PutUint16(p[10:], 0)
		binary.BigEndian.PutUint16(p[10:], packet.Checksum(p[:packet.IPv4Len], 0))
		return p
	}
	for name, out := range map[string]packet.IPv4{
		"ESP": raw(packet.ProtocolESP), "AH": raw(ah), "IP in IP": raw(packet.ProtocolIPIP),
		"IKE": udp(500, "an IKE message"), "IKE in UDP 4500": udp(4500, "\x00\x00\x00\x00an IKE message"),
		"ESP in UDP": udp(4500, "\x00\x00\x10\x01and so on"), "NAT keepalive": udp(4500, "\xff"),
	} {
		in := bytes.Clone(out)
		copy(in[12:], correspondent.AsSlice())
		copy(in[16:], home.AsSlice())
		for _, c := range everyComposition() {
			l := compose(t, c, suite.AESGCM128)
			left, arrived := 0, 0
			l.pipeline.path.Steps = append([]link.Step{observer(func(p *packet.Buf) {
				if bytes.Equal(p.Bytes(), out) {
					left++
				}
			})}, l.pipeline.path.Steps...)
			l.device.each = func(p []byte) {
				if bytes.Equal(p, in) {
					arrived++
				}
			}
			l.send(t, out, 1)
			l.arrive(l.sealed(in, batchOf))
			if left != batchOf || l.wire.packets != batchOf || arrived != batchOf {
				t.Errorf("%s in %v: %d left, %d arrived, drops %v", name, c, left, arrived, l.drops.Snapshot())
			}
		}
	}
}

// The answers to probes go to the measurement alone, and nothing else does.
func TestMeasurementGetsItsAnswers(t *testing.T) {
	var drops packet.Drops
	d := &device{}
	e := newEngine(d, &clock{}, &drops)
	in := e.Inbound()
	answer := func(id uint16) []byte {
		b := packet.GetSmall()
		b.Extend(len(tunnel.AppendEchoRequest(b.Free()[:0], home, internalAgent, id, 9)))
		b.Pull(tunnel.DataHeaderLen)
		if !tunnel.AnswerEcho(b, internalAgent) {
			t.Fatal("no answer")
		}
		defer b.Release()
		return bytes.Clone(b.Bytes())
	}
	var got []packet.IPv4
	e.Measure(&Measurement{Agent: internalAgent, ID: 5, Answer: func(p packet.IPv4) { got = append(got, p) }})
	in(authentic(answer(5)))
	in(authentic(answer(6))) // a person's own ping
	if len(got) != 1 || len(d.written) != 1 || e.Traffic().RxPackets != 1 {
		t.Errorf("%d given to the measurement, %d to the host", len(got), len(d.written))
	}
	e.Measure(nil)
	in(authentic(answer(5)))
	if len(got) != 1 || len(d.written) != 2 {
		t.Error("an answer nobody waits for is lost")
	}
}

// refuser is an underlay whose interface takes no packet at all.
type refuser struct{}

func (refuser) Send(b *packet.Batch) error {
	b.Release()
	return fmt.Errorf("test: %w", link.ErrTooBig)
}

// Shows: HST-4 (EMSGSIZE of the underlay is told, once a second)
func TestRefusalIsTold(t *testing.T) {
	var drops packet.Drops
	c := &clock{boot: time.Minute}
	e := newEngine(&device{}, c, &drops)
	told := 0
	e.Measure(&Measurement{Refused: func() { told++ }})
	e.Swap(pipeline(refuser{}))
	e.send(one(from("10.0.8.100", 1300)))
	e.send(one(from("10.0.8.100", 1300)))
	if told != 1 {
		t.Errorf("told %d times", told)
	}
	c.boot += refusalInterval
	e.send(one(from("10.0.8.100", 1300)))
	if told != 2 || e.Traffic().TxPackets != 0 {
		t.Errorf("told %d times, traffic %+v", told, e.Traffic())
	}
}
