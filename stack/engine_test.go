package stack

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

var home = netip.MustParseAddr("10.0.8.100")

// device is a TUN device: what the test puts into in comes out of Read.
type device struct {
	in      chan []byte
	written [][]byte
}

func (d *device) Name() string { return "test0" }

func (d *device) Read(b *packet.Batch) error {
	p, ok := <-d.in
	if !ok {
		return net.ErrClosed
	}
	b.Append(packet.From(p))
	return nil
}

func (d *device) Write(b *packet.Batch) error {
	for _, p := range b.Bufs {
		d.written = append(d.written, append([]byte(nil), p.Bytes()...))
	}
	b.Release()
	return nil
}

func (d *device) Close() error {
	close(d.in)
	return nil
}

// clock is a clock that the test sets.
type clock struct{ boot time.Duration }

func (c *clock) Now() link.Instant     { return link.Instant{Boot: c.boot} }
func (c *clock) NewTimer() link.Timer  { panic("the engine needs no timer") }
func from(src string, n int) []byte    { return ip(src, "10.0.1.20", n) }
func toHome(dst string, n int) []byte  { return ip("10.0.1.20", dst, n) }
func one(p []byte) *packet.Batch       { return packet.One(packet.From(p)) }
func authentic(p []byte) *packet.Batch { b := one(p); b.Bufs[0].SA = 4711; return b }
func pipeline(s link.Sender) *Pipeline {
	return &Pipeline{mode: ModeCVC, path: link.Path{Out: s, MTU: 1400, Encrypted: true}}
}
func newEngine(d *device, c *clock, drops *packet.Drops) *Engine { return NewEngine(d, c, home, drops) }

func ip(src, dst string, n int) []byte {
	p := packet.From(make([]byte, n-packet.IPv4Len))
	defer p.Release()
	packet.PushIPv4(p, packet.IPv4Fields{TTL: 64, DontFragment: true, Protocol: packet.ProtocolTCP,
		Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst)})
	return append([]byte(nil), p.Bytes()...)
}

func TestEngineSendsOnlyTheHomeAddress(t *testing.T) {
	var drops packet.Drops
	var s sink
	d := &device{in: make(chan []byte)}
	e := newEngine(d, &clock{}, &drops)
	e.Swap(pipeline(&s))
	ran := make(chan error)
	go func() { ran <- e.Run() }()
	d.in <- from("10.0.8.100", 100)
	d.in <- from("10.0.8.101", 100)
	d.in <- []byte{0x60, 0, 0, 0}
	_ = d.Close()
	if err := <-ran; err != nil {
		t.Errorf("Run returned %v after Close", err)
	}
	if len(s.sent) != 1 || drops.Of(packet.DropNotHomeAddress) != 1 || drops.Of(packet.DropUnsupported) != 1 {
		t.Errorf("%d sent, drops %v", len(s.sent), drops.Snapshot())
	}
	if traffic := e.Traffic(); traffic.TxPackets != 1 || traffic.TxBytes != 100 {
		t.Errorf("traffic %+v", traffic)
	}
}

func TestEngineHoldsALittleAndNotForLong(t *testing.T) {
	var drops packet.Drops
	var s sink
	c := &clock{}
	e := newEngine(&device{}, c, &drops)
	e.send(one(from("10.0.8.100", 60))) // no pipeline, not holding
	if drops.Of(packet.DropNoPath) != 1 {
		t.Fatal("a packet without a pipeline is not dropped")
	}
	e.Hold()
	for range holdPackets + 10 {
		e.send(one(from("10.0.8.100", 60)))
	}
	if n := drops.Of(packet.DropNoPath); n != 11 {
		t.Errorf("%d dropped, want the oldest 10 and one", n)
	}
	c.boot = holdTime
	e.Swap(pipeline(&s))
	if len(s.sent) != holdPackets {
		t.Errorf("%d sent, want %d", len(s.sent), holdPackets)
	}
	e.Hold()
	e.send(one(from("10.0.8.100", 60)))
	c.boot += holdTime + 1
	e.Swap(pipeline(&s))
	if len(s.sent) != holdPackets {
		t.Error("a stale packet was sent")
	}
	e.Hold()
	e.send(one(from("10.0.8.100", 60)))
	e.Swap(nil)
	if len(s.sent) != holdPackets || drops.Of(packet.DropNoPath) != 13 {
		t.Error("what waited went through no pipeline")
	}
}

// Shows: HST-4
func TestTooBigIsAnsweredByICMP(t *testing.T) {
	var drops packet.Drops
	var s sink
	d := &device{}
	e := newEngine(d, &clock{}, &drops)
	e.Swap(pipeline(&s))
	e.send(one(from("10.0.8.100", 1401)))
	if len(s.sent) != 0 || len(d.written) != 1 || drops.Of(packet.DropTooBig) != 1 {
		t.Fatalf("%d sent, %d written", len(s.sent), len(d.written))
	}
	reply := packet.IPv4(d.written[0])
	m := reply.Payload()
	if !reply.Valid() || !reply.ChecksumOK() || reply.Dst() != home || m[0] != 3 || m[1] != 4 || packet.Checksum(m, 0) != 0 {
		t.Fatalf("reply %x", []byte(reply))
	}
	if mtu := binary.BigEndian.Uint16(m[6:]); mtu != 1400 {
		t.Errorf("next-hop MTU %d", mtu)
	}
	if quoted := packet.IPv4(m[8:]); quoted.Src() != home || quoted.TotalLen() != 1401 {
		t.Errorf("quoted %x", m[8:])
	}
	e.send(one(from("10.0.8.100", 1400)))
	if len(s.sent) != 1 {
		t.Error("a packet of the MTU was not sent")
	}
}

func TestInboundNeedsASecurityAssociation(t *testing.T) {
	var drops packet.Drops
	d := &device{}
	e := newEngine(d, &clock{}, &drops)
	in := e.Inbound()
	in(one(toHome("10.0.8.100", 60)))
	if len(d.written) != 0 || drops.Of(packet.DropPolicy) != 1 {
		t.Error("a packet without a security association came in")
	}
	in(authentic(toHome("10.0.8.100", 60)))
	in(authentic(toHome("10.0.8.101", 60)))
	if len(d.written) != 1 || drops.Of(packet.DropNotHomeAddress) != 1 {
		t.Errorf("%d written, drops %v", len(d.written), drops.Snapshot())
	}
}

// Shows: DET-3 (the composition of a mode with a VPN takes ESP, that of one without takes a proof)
func TestCompileRefusesTheWrongComposition(t *testing.T) {
	if _, err := CompileProtected(ModeCVC, link.Path{}); !errors.Is(err, ErrNotEncrypted) {
		t.Errorf("a path without ESP: %v", err)
	}
	for _, m := range []Mode{ModeC, ModeF, ModeNone, Mode("xyz")} {
		if _, err := CompileProtected(m, link.Path{Encrypted: true}); !errors.Is(err, ErrPlaintextMode) {
			t.Errorf("mode %q as protected: %v", m, err)
		}
	}
}

func TestModes(t *testing.T) {
	for _, m := range Modes() {
		got, err := ParseMode(string(m))
		if err != nil || got != m {
			t.Errorf("ParseMode(%q) = %q, %v", m, got, err)
		}
		c, _ := m.Composition()
		if c.VPN == m.Plaintext() {
			t.Errorf("mode %q: VPN %v, plaintext %v", m, c.VPN, m.Plaintext())
		}
	}
	for _, s := range []string{"", "C", "v", "cvcc", "auto"} {
		if _, err := ParseMode(s); err == nil {
			t.Errorf("%q is taken for a mode", s)
		}
	}
	if Direct(true) != ModeF || Direct(false) != ModeC || Outside(true) != ModeFVC || Outside(false) != ModeCVC {
		t.Error("attachments and modes do not fit")
	}
}
