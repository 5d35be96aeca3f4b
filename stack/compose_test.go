package stack

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"net/netip"
	"testing"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/suite"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/tunnel"
	"mipvpn/stack/gate"
	"mipvpn/stack/gate/gatetest"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Here is the data path of every access mode, put together from the layers as the client does it, over an underlay in
// memory. The far ends (correspondent, home agents, gateway) are written out with the codecs of mipv4/tunnel and
// ipsec/esp, not with the layers of this package.

var (
	internalAgent = netip.MustParseAddr("10.0.1.10")
	gatewayAgent  = netip.MustParseAddr("10.0.1.1") // the foreign agent in the VPN gateway
	externalAgent = netip.MustParseAddr("192.0.2.20")
	inner         = netip.MustParseAddr("10.0.9.1") // VPN-TIA; near and far are the x-HoA and the gateway
	agentHardware = packet.HardwareAddr{2, 0, 0, 0, 0, 0x41}
)

const (
	memoryInterface = 2
	memoryEpoch     = 5
	memoryMTU       = 1500
	memoryStart     = 100 * time.Second
	batchOf         = 64 // packets of a batch here
)

// composition is an access mode with one choice of encapsulations.
type composition struct {
	mode Mode
	nat  bool // UDP encapsulation in each layer that has one; else IP-in-IP and ESP over IP
}

// layers returns what the mode is made of.
func (c composition) layers() Composition {
	layers, known := c.mode.Composition()
	if !known {
		panic(fmt.Sprintf("mode %q", c.mode))
	}
	return layers
}

func (c composition) String() string {
	switch {
	case c.mode == ModeF:
		return "f"
	case c.nat:
		return fmt.Sprintf("%s/udp", c.mode)
	}
	return fmt.Sprintf("%s/ip", c.mode)
}

// everyComposition returns each mode, with and without UDP encapsulation; mode f has none.
func everyComposition() []composition {
	var all []composition
	for _, m := range Modes() {
		all = append(all, composition{m, false})
		if m != ModeF {
			all = append(all, composition{m, true})
		}
	}
	return all
}

// wire is the end of every path: it looks at what comes and lets it go.
type wire struct {
	packets, octets int
	supers          int          // superpackets that came whole
	room, free      int          // least room left in front of and behind a packet
	each            func([]byte) // if not nil
	cutter          packet.Cutter
	segment         [packet.SmallSize]byte
}

// Send implements link.Sender. Of superpackets it writes each segment's head, as the kernel's sockets want it.
func (w *wire) Send(b *packet.Batch) error {
	for _, p := range b.Bufs {
		w.room, w.free = min(w.room, p.Room()), min(w.free, len(p.Free()))
		if p.Super() {
			w.cut(p)
			continue
		}
		w.packets++
		w.octets += p.Len()
		if w.each != nil {
			w.each(p.Bytes())
		}
	}
	b.Release()
	return nil
}

func (w *wire) cut(p *packet.Buf) {
	w.supers++
	w.cutter.Reset(p)
	head := w.segment[:w.cutter.HeadLen()]
	for payload, ok := w.cutter.Next(); ok; payload, ok = w.cutter.Next() {
		w.cutter.PutHead(head)
		w.packets++
		w.octets += len(head) + len(payload)
		if w.each != nil {
			w.each(append(head, payload...))
		}
	}
}

// memory is an interface in memory: like the kernel's it writes the outermost headers itself, out of the test's sight.
type memory struct {
	link.Host
	wire   *wire
	flows  map[uint8]*memoryFlow // by protocol
	frames link.Receiver
}

// Addr implements link.Link.
func (m *memory) Addr() netip.Addr { return netip.MustParseAddr("192.168.1.77") }

// MTU implements link.Link.
func (m *memory) MTU() int { return memoryMTU }

// Open implements link.Link.
func (m *memory) Open(spec link.FlowSpec, recv link.Receiver) (link.Flow, error) {
	f := &memoryFlow{memory: m, spec: spec, recv: recv}
	m.flows[spec.Protocol] = f
	return f, nil
}

// OpenFrames implements link.Host.
func (m *memory) OpenFrames(_ int, recv link.Receiver) (link.Frames, error) {
	m.frames = recv
	return memoryFrames{m}, nil
}

// memoryFlow is a flow of memory; what it does not have is not called.
type memoryFlow struct {
	link.Flow
	memory *memory
	spec   link.FlowSpec
	recv   link.Receiver
}

// Local implements link.Flow.
func (f *memoryFlow) Local() netip.AddrPort { return netip.AddrPortFrom(f.memory.Addr(), f.spec.Port) }

// Path implements link.Flow.
func (f *memoryFlow) Path(link.Class) link.Path {
	overhead := packet.IPv4Len
	if f.spec.Protocol == packet.ProtocolUDP {
		overhead += packet.UDPLen
	}
	return link.Path{Out: f.memory.wire, Overhead: overhead, MTU: memoryMTU - overhead}
}

// Close implements link.Flow.
func (f *memoryFlow) Close() error { return nil }

type memoryFrames struct{ memory *memory }

// Out implements link.Frames.
func (f memoryFrames) Out(link.Class) link.Sender { return f.memory.wire }

// Hardware implements link.Frames.
func (f memoryFrames) Hardware() packet.HardwareAddr { return packet.HardwareAddr{2, 0, 0, 0, 0, 1} }

// Close implements link.Frames.
func (f memoryFrames) Close() error { return nil }

// feeder is a TUN device from which the host sends the same batch a number of times. Then it is closed, so that
// Engine.Run returns.
type feeder struct {
	template []byte
	segment  int // payload of the segments if the template is a superpacket, of which a batch has one; 0 if it is none
	batches  int
	written  int               // packets that the host was given
	each     func([]byte)      // if not nil, for each of them
	look     func(*packet.Buf) // likewise
}

// Name implements link.Device.
func (d *feeder) Name() string { return "test0" }

// Read implements link.Device.
func (d *feeder) Read(b *packet.Batch) error {
	if d.batches == 0 {
		return net.ErrClosed
	}
	d.batches--
	if d.segment != 0 {
		p := packet.From(d.template)
		b.Append(p)
		return p.MakeSuper(d.segment)
	}
	for range batchOf {
		p := packet.GetSmall()
		copy(p.Extend(len(d.template)), d.template)
		b.Append(p)
	}
	return nil
}

// Write implements link.Device.
func (d *feeder) Write(b *packet.Batch) error {
	d.written += b.Len()
	for _, p := range b.Bufs {
		if d.each != nil {
			d.each(p.Bytes())
		}
		if d.look != nil {
			d.look(p)
		}
	}
	b.Release()
	return nil
}

// Close implements link.Device.
func (d *feeder) Close() error { return nil }

// laptop is the data path of one composition, both ways, and what its far ends need to know.
type laptop struct {
	composition
	engine   *Engine
	device   *feeder
	memory   *memory
	wire     *wire
	pipeline *Pipeline
	drops    packet.Drops

	vpn      *VPN
	internal *CoLocated // nil where a foreign agent ends i-MIP
	// Set where the mode has x-MIP: its link, and what that is attached by; and what i-MIP is attached by.
	external         *PacketLink
	nearest, through Attachment
	toLaptop         *esp.Outbound
	meters           struct{ underlay, external, vpn Meter }
	atFar            *esp.Inbound
	inbound          esp.Parameters
}

// compose puts the layers of c together.
func compose(tb testing.TB, c composition, e suite.Encryption) *laptop {
	tb.Helper()
	w := &wire{room: packet.Headroom, free: math.MaxInt}
	l := &laptop{composition: c, device: &feeder{}, wire: w, memory: &memory{wire: w, flows: map[uint8]*memoryFlow{}}}
	now := &clock{boot: memoryStart}
	l.engine = NewEngine(l.device, now, home, &l.drops)
	replies := func([]byte) {}
	layers := c.layers()
	// attach is the layer next to the interface, as attempt.attachment makes it.
	attach := func(address, agent netip.Addr, rest link.Receiver) Attachment {
		if !layers.ForeignAgent {
			a, err := AttachCoLocated(l.meters.underlay.Link(l.memory), address, agent, &l.drops, replies, rest)
			check(tb, err)
			return a
		}
		s, err := OpenSegment(l.memory, memoryInterface, &l.drops, func(Advertisement) {})
		check(tb, err)
		s.Meter(&l.meters.underlay)
		a, err := AttachViaForeignAgent(s, address, netip.MustParseAddr("172.16.5.1"), agentHardware, memoryMTU, replies, rest)
		check(tb, err)
		return a
	}
	carrier := func(a Attachment) Carrier {
		form := tunnel.IPIP
		if c.nat {
			form = tunnel.UDP
		}
		granted, err := a.Carrier(mobilenode.Tunnel{Encapsulation: form})
		check(tb, err)
		return granted
	}
	var err error
	if !layers.VPN {
		g := gate.New(now, gatetest.NoKernel{})
		proof := gatetest.Proof(tb, memoryInterface, memoryEpoch, memoryStart)
		check(tb, g.Open(proof))
		direct := attach(home, internalAgent, l.engine.PlaintextInbound(g, memoryInterface, memoryEpoch))
		l.internal, _ = direct.(*CoLocated)
		l.pipeline, err = CompilePlaintext(c.mode, carrier(direct)(link.Plaintext), proof, g, &l.drops)
	} else {
		below := l.meters.underlay.Link(l.memory)
		if layers.ExternalMIP {
			external := NewPacketLink(near, &l.drops, nil)
			external.Meter(&l.meters.external)
			l.nearest = attach(near, externalAgent, external.Deliver)
			external.SetCarrier(carrier(l.nearest))
			below, l.external = external, external
		}
		l.vpn, err = OpenVPN(below, far, &l.drops, func(Message) {})
		check(tb, err)
		sa := l.associate(tb, e)
		l.vpn.Use(sa, esp.Overhead(e), c.nat)
		var through Attachment
		if layers.GatewayAgent {
			l.vpn.Link(home).Meter(&l.meters.vpn)
			through, err = AttachViaGateway(l.vpn.Link(home), gatewayAgent, replies, l.engine.Inbound())
		} else {
			l.vpn.Link(inner).Meter(&l.meters.vpn)
			l.internal, err = AttachCoLocated(l.vpn.Link(inner), home, internalAgent, &l.drops, replies, l.engine.Inbound())
			through = l.internal
		}
		check(tb, err)
		l.through = through
		l.pipeline, err = CompileProtected(c.mode, carrier(through)(link.Protected))
	}
	check(tb, err)
	l.engine.Swap(l.pipeline)
	return l
}

// associate makes the two security associations, with both of their ends, and returns the laptop's sending one.
func (l *laptop) associate(tb testing.TB, e suite.Encryption) *esp.Outbound {
	tb.Helper()
	address := inner
	if l.layers().GatewayAgent {
		address = home
	}
	half := func(spi uint32, fromLaptop bool) esp.Parameters {
		p := esp.Parameters{SPI: spi, Encryption: e, Key: bytes.Repeat([]byte{byte(spi)}, e.KeyLen()),
			Local: []esp.Selector{esp.AnySelector()}, Remote: []esp.Selector{esp.AddrSelector(address)}}
		if fromLaptop {
			p.Local, p.Remote = p.Remote, p.Local
		}
		return p
	}
	sa, err := esp.NewOutbound(half(0x1001, true), &l.drops)
	check(tb, err)
	l.atFar, err = esp.NewInbound(half(0x1001, false))
	check(tb, err)
	l.toLaptop, err = esp.NewOutbound(half(0x2002, false), &l.drops)
	check(tb, err)
	l.inbound = half(0x2002, true)
	l.rekey(tb)
	return sa
}

// rekey gives the laptop's receiving end a new replay window under the same key, so that sealed packets can be sent again.
func (l *laptop) rekey(tb testing.TB) {
	if l.vpn == nil {
		return
	}
	l.vpn.Remove(l.inbound.SPI)
	in, err := esp.NewInbound(l.inbound)
	check(tb, err)
	if !l.vpn.Install(in) {
		tb.Fatal("the SPI is taken")
	}
}

// sealed returns n packets as the underlay receives them when the correspondent sends p.
func (l *laptop) sealed(p []byte, n int) [][]byte {
	all := make([][]byte, 0, n)
	for range n {
		b := one(p)
		q := b.Bufs[0]
		layers := l.layers()
		if layers.VPN && !layers.GatewayAgent {
			l.encapsulate(q, internalAgent, inner, l.internal.udp.Local().Port())
		}
		if layers.VPN {
			l.toLaptop.Apply(b)
		}
		if layers.ExternalMIP {
			protocol := uint8(packet.ProtocolESP)
			if l.nat {
				packet.PushUDP(q, netip.AddrPortFrom(far, esp.PortNATT), netip.AddrPortFrom(near, esp.PortNATT))
				protocol = packet.ProtocolUDP
			}
			packet.PushIPv4(q, packet.IPv4Fields{TTL: 60, Protocol: protocol, Src: far, Dst: near})
		}
		if !layers.ForeignAgent && l.nat && layers.ExternalMIP == layers.VPN {
			putDataHeader(q)
		}
		all = append(all, bytes.Clone(q.Bytes()))
		b.Release()
	}
	return all
}

// encapsulate is a home agent's tunnel with its outer headers.
func (l *laptop) encapsulate(p *packet.Buf, agent, careOf netip.Addr, port uint16) {
	protocol := uint8(packet.ProtocolIPIP)
	if l.nat {
		putDataHeader(p)
		packet.PushUDP(p, netip.AddrPortFrom(agent, RegistrationPort), netip.AddrPortFrom(careOf, port))
		protocol = packet.ProtocolUDP
	}
	packet.PushIPv4(p, packet.IPv4Fields{TTL: 60, Protocol: protocol, Src: agent, Dst: careOf})
}

// putDataHeader pushes the MIP tunnel data header (RFC 3519 §3.3).
func putDataHeader(p *packet.Buf) {
	binary.BigEndian.PutUint32(p.Push(tunnel.DataHeaderLen), tunnel.TypeData<<24|packet.ProtocolIPIP<<16)
}

// arrive hands the laptop a batch of sealed packets as its underlay does.
func (l *laptop) arrive(sealed [][]byte) {
	b := packet.GetBatch()
	for _, s := range sealed {
		p := packet.GetSmall()
		copy(p.Extend(len(s)), s)
		b.Append(p)
	}
	l.receive(b)
}

// arriveTrain hands the laptop a batch of sealed packets as they are received with UDP_GRO: one after the other in a slab.
func (l *laptop) arriveTrain(sealed [][]byte) {
	b, slab, at := packet.GetBatch(), packet.GetSlab(), 0
	for _, s := range sealed {
		n := copy(slab.Bytes()[at:], s)
		b.Append(slab.View(at, at, at+n, at+n))
		at += n
	}
	slab.Release()
	l.receive(b)
}

// receive is what the laptop's underlay received.
func (l *laptop) receive(b *packet.Batch) {
	layers := l.layers()
	for _, p := range b.Bufs {
		p.Interface, p.Hardware = memoryInterface, agentHardware
	}
	if layers.ForeignAgent {
		l.memory.frames(b)
		return
	}
	flow, peer := l.memory.flows[packet.ProtocolIPIP], netip.AddrPortFrom(externalAgent, 0)
	switch {
	case !layers.VPN:
		peer = netip.AddrPortFrom(internalAgent, 0)
	case !layers.ExternalMIP:
		flow, peer = l.memory.flows[packet.ProtocolESP], netip.AddrPortFrom(far, 0)
	}
	if l.nat {
		flow = l.memory.flows[packet.ProtocolUDP]
		peer = netip.AddrPortFrom(peer.Addr(), flow.spec.Remote.Port())
	}
	for _, p := range b.Bufs {
		p.Peer = peer
	}
	flow.recv(b)
}

// send has the host send n batches of the packet p.
func (l *laptop) send(tb testing.TB, p []byte, n int) {
	l.device.template, l.device.batches = p, n
	if err := l.engine.Run(); err != nil {
		tb.Fatal(err)
	}
}

// opened returns the packet of the host that is in s, taken off the wire. It is what x-HA, gateway and i-HA do.
func (l *laptop) opened(s []byte) ([]byte, error) {
	p := packet.From(s)
	defer p.Release()
	layers := l.layers()
	form := tunnel.IPIP
	if l.nat {
		form = tunnel.UDP
	}
	if !layers.ForeignAgent && layers.ExternalMIP == layers.VPN {
		if r := tunnel.Open(p, form); r != packet.NotDropped {
			return nil, fmt.Errorf("outer tunnel: %v", r)
		}
	}
	if !layers.VPN {
		return bytes.Clone(p.Bytes()), nil
	}
	if layers.ExternalMIP {
		if err := strip(p, near, far, packet.ProtocolESP, l.nat, esp.PortNATT); err != nil {
			return nil, fmt.Errorf("from the x-HoA: %w", err)
		}
	}
	if r := l.atFar.Open(p); r != packet.NotDropped {
		return nil, fmt.Errorf("ESP: %v", r)
	}
	if layers.GatewayAgent {
		return bytes.Clone(p.Bytes()), nil
	}
	if err := strip(p, inner, internalAgent, packet.ProtocolIPIP, l.nat, RegistrationPort); err != nil {
		return nil, fmt.Errorf("from the VPN-TIA: %w", err)
	}
	if r := tunnel.Open(p, form); r != packet.NotDropped {
		return nil, fmt.Errorf("inner tunnel: %v", r)
	}
	return bytes.Clone(p.Bytes()), nil
}

// strip takes the IPv4 header off, and the UDP header where nat says so, and checks what is in them.
func strip(p *packet.Buf, src, dst netip.Addr, protocol uint8, nat bool, port uint16) error {
	ip := packet.IPv4(p.Bytes())
	if nat {
		protocol = packet.ProtocolUDP
	}
	if !ip.Valid() || !ip.ChecksumOK() || ip.TotalLen() != len(ip) || ip.Src() != src || ip.Dst() != dst || ip.Protocol() != protocol {
		return fmt.Errorf("IPv4 header %x", []byte(ip[:packet.IPv4Len]))
	}
	p.Pull(packet.IPv4Len)
	if !nat {
		return nil
	}
	udp := packet.UDP(p.Bytes())
	if !udp.Valid() || !udp.ChecksumOK(src, dst) || udp.DstPort() != port || udp.Length() != len(udp) {
		return fmt.Errorf("UDP header %x", []byte(udp[:packet.UDPLen]))
	}
	p.Pull(packet.UDPLen)
	return nil
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// Shows: MOD-c, MOD-f, MOD-vc, MOD-vf, MOD-cvc, MOD-cvf, MOD-fvc, MOD-fvf (the data path: what the host sends arrives at the correspondent as it was, and
// the other way about, with and without UDP encapsulation and for every cipher)
func TestEveryCompositionCarriesPackets(t *testing.T) {
	for _, c := range everyComposition() {
		for _, e := range suite.Encryptions() {
			t.Run(fmt.Sprintf("%v/%v", c, e), func(t *testing.T) {
				l := compose(t, c, e)
				out, in := from(home.String(), 700), toHome(home.String(), 700)
				for i := packet.IPv4Len; i < len(out); i++ {
					out[i], in[i] = byte(i), byte(3*i)
				}
				l.wire.each = func(s []byte) {
					if got, err := l.opened(s); err != nil || !bytes.Equal(got, out) {
						t.Errorf("left as %x, %v", got, err)
					}
				}
				l.device.each = func(got []byte) {
					if !bytes.Equal(got, in) {
						t.Errorf("arrived as %x", got)
					}
				}
				l.send(t, out, 2)
				l.arrive(l.sealed(in, batchOf))
				if l.wire.packets != 2*batchOf || l.device.written != batchOf {
					t.Errorf("%d packets left and %d arrived; drops %v", l.wire.packets, l.device.written, l.drops.Snapshot())
				}
				sent := Traffic{TxPackets: 2 * batchOf, TxBytes: uint64(2 * batchOf * len(out)), RxPackets: batchOf, RxBytes: uint64(batchOf * len(in))}
				if len(out) > LongPacket {
					sent.TxLong = sent.TxPackets
				}
				if got := l.engine.Traffic(); got != sent {
					t.Errorf("traffic %+v, want %+v", got, sent)
				}
			})
			if c.layers().VPN {
				continue
			}
			break // a mode without a VPN has no cipher
		}
	}
}
