package agent

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// kernelBetween is a link.Host that keeps what is left to the kernel.
type kernelBetween struct {
	link.Host
	mu      sync.Mutex
	written [][]byte // into devices
	sent    [][]byte // on flows
}

func (k *kernelBetween) Underlay(int, netip.Addr) (link.Link, error) { panic("by address only") }

func (k *kernelBetween) OpenDevice(name string, _ int) (link.Device, error) {
	return &keptDevice{k: k, name: name}, nil
}

func (k *kernelBetween) Apply(link.Settings) error { return nil }

func (k *kernelBetween) keep(list *[][]byte, b *packet.Batch) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range b.Bufs {
		*list = append(*list, bytes.Clone(p.Bytes()))
	}
	b.Release()
	return nil
}

// left returns how many packets were left to the kernel.
func (k *kernelBetween) left() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.written) + len(k.sent)
}

type keptDevice struct {
	link.Device
	k    *kernelBetween
	name string
}

func (d *keptDevice) Name() string                { return d.name }
func (d *keptDevice) Write(b *packet.Batch) error { return d.k.keep(&d.k.written, b) }
func (d *keptDevice) Close() error                { return nil }

type keptLink struct {
	link.Link
	k    *kernelBetween
	addr netip.Addr
}

func (l keptLink) Open(spec link.FlowSpec, _ link.Receiver) (link.Flow, error) {
	return keptFlow{k: l.k, local: netip.AddrPortFrom(l.addr, spec.Port)}, nil
}

type keptFlow struct {
	link.Flow
	k     *kernelBetween
	local netip.AddrPort
}

func (f keptFlow) Local() netip.AddrPort     { return f.local }
func (f keptFlow) Path(link.Class) link.Path { return link.Path{Out: keptSender{f.k}} }
func (f keptFlow) Close() error              { return nil }

type keptSender struct{ k *kernelBetween }

func (s keptSender) Send(b *packet.Batch) error { return s.k.keep(&s.k.sent, b) }

func (k *kernelBetween) link(addr netip.Addr) link.Link { return keptLink{k: k, addr: addr} }

// exchanged is one role of the tests below: a device with routes and flows.
type exchanged struct {
	t      testing.TB
	k      *kernelBetween
	host   *exchangeHost
	device link.Device
	got    []*packet.Buf // handed over, in order
}

func newExchanged(t testing.TB, x *Exchange, device string, mtu int, routes ...string) *exchanged {
	t.Helper()
	e := &exchanged{t: t, k: new(kernelBetween)}
	e.host = x.Host(e.k).(*exchangeHost)
	var err error
	if e.device, err = e.host.OpenDevice(device, mtu); err != nil {
		t.Fatal(err)
	}
	s := link.Settings{Device: device, MTU: mtu}
	for _, r := range routes {
		s.Routes = append(s.Routes, netip.MustParsePrefix(r))
	}
	if err := e.host.Apply(s); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, p := range e.got {
			p.Release()
		}
	})
	return e
}

// takes has the role take what is handed over to its device.
func (e *exchanged) takes(super bool) {
	takeFrom(e.device, taker{forward: e.receive, head: 16, tail: packet.Tailroom, super: super})
}

func (e *exchanged) receive(b *packet.Batch) {
	e.got = append(e.got, b.Bufs...)
	b.Forget()
}

// open opens an unconnected flow of the address.
func (e *exchanged) open(addr netip.Addr, spec link.FlowSpec, recv link.Receiver) link.Flow {
	e.t.Helper()
	f, err := (&exchangeLink{e.k.link(addr), e.host}).Open(spec, recv)
	if err != nil {
		e.t.Fatal(err)
	}
	return f
}

// one returns the only packet that was handed over since the last call.
func (e *exchanged) one() *packet.Buf {
	e.t.Helper()
	if len(e.got) != 1 {
		e.t.Fatalf("%d packets were handed over, want 1; %d left to the kernel", len(e.got), e.k.left())
	}
	p := e.got[0]
	e.got = nil
	e.t.Cleanup(p.Release)
	return p
}

var (
	roam    = netip.MustParseAddr("198.51.100.100") // a home address of the x-HA
	client1 = netip.MustParseAddr("10.0.9.1")       // an inner address of the gateway
	esp50   = link.FlowSpec{Protocol: packet.ProtocolESP}
	natt    = link.FlowSpec{Protocol: packet.ProtocolUDP, Port: portNATT}
	ipip    = link.FlowSpec{Protocol: packet.ProtocolIPIP}
)

// datagram returns an IPv4 packet of the protocol with a payload; for UDP from port 4500 to 4500.
func datagram(protocol uint8, src, dst netip.Addr, payload string) *packet.Buf {
	p := packet.From([]byte(payload))
	if protocol == packet.ProtocolUDP {
		packet.PushUDP(p, netip.AddrPortFrom(src, portNATT), netip.AddrPortFrom(dst, portNATT))
	}
	packet.PushIPv4(p, packet.IPv4Fields{TOS: 0x2a, ID: 7, TTL: 60, Protocol: protocol, Src: src, Dst: dst})
	p.SA, p.Interface, p.DontFragment = 99, 3, true // what the role before knew
	return p
}

// rewrite changes the packet's IPv4 header and mends its checksum.
func rewrite(p *packet.Buf, f func(ip packet.IPv4)) *packet.Buf {
	ip := packet.IPv4(p.Bytes())
	f(ip)
	ip[10], ip[11] = 0, 0
	binary.BigEndian.PutUint16(ip[10:], packet.Checksum(ip[:ip.HeaderLen()], 0))
	return p
}

// Shows: DESIGN §4 (what a role gives to the host goes to another role's flow as a socket would receive it; everything out of
// the ordinary is the kernel's).
func TestExchangeToFlow(t *testing.T) {
	x := NewExchange()
	xha := newExchanged(t, x, "mipxha0", 1500, "198.51.100.0/24")
	gw := newExchanged(t, x, "mipgw0", 1435, "10.0.9.0/24")
	for _, spec := range []link.FlowSpec{esp50, natt, {Protocol: packet.ProtocolICMP}} {
		gw.open(simnet.LabGateway, spec, gw.receive)
	}
	xha.open(simnet.LabExternalHA, ipip, xha.receive)
	zero := func(p *packet.Buf) *packet.Buf {
		copy(p.Bytes()[26:28], []byte{0, 0})
		return p
	}
	known := func(p *packet.Buf, wrong uint16) *packet.Buf {
		p.SetSum(uint16(packet.PartialSum(p.Bytes(), 0)) + wrong)
		return p
	}
	for _, c := range []struct {
		name  string
		p     *packet.Buf
		taken bool
	}{
		{"ESP", datagram(packet.ProtocolESP, roam, simnet.LabGateway, "sealed"), true},
		{"UDP", datagram(packet.ProtocolUDP, roam, simnet.LabGateway, "sealed"), true},
		{"UDP without checksum", zero(datagram(packet.ProtocolUDP, roam, simnet.LabGateway, "sealed")), true},
		{"UDP whose sum is known", known(datagram(packet.ProtocolUDP, roam, simnet.LabGateway, "sealed"), 0), true},
		{"UDP whose sum is known and not right", known(datagram(packet.ProtocolUDP, roam, simnet.LabGateway, "sealed"), 1), false},
		{"UDP with a wrong checksum", func() *packet.Buf {
			p := datagram(packet.ProtocolUDP, roam, simnet.LabGateway, "sealed")
			p.Bytes()[30]++
			return p
		}(), false},
		{"UDP with a wrong length", func() *packet.Buf {
			p := zero(datagram(packet.ProtocolUDP, roam, simnet.LabGateway, "sealed"))
			p.Bytes()[25]--
			return p
		}(), false},
		{"UDP to another port", rewrite(zero(datagram(packet.ProtocolUDP, roam, simnet.LabGateway, "sealed")), func(ip packet.IPv4) { ip[23]++ }), false},
		{"another address", datagram(packet.ProtocolESP, roam, simnet.LabExternalFA, "sealed"), false},
		{"a protocol that nobody has opened", datagram(packet.ProtocolIPIP, roam, simnet.LabGateway, "packet"), false},
		{"the role's own flow", datagram(packet.ProtocolIPIP, roam, simnet.LabExternalHA, "packet"), false},
		{"ICMP", datagram(packet.ProtocolICMP, roam, simnet.LabGateway, "\x08\x00\xf7\xff"), false},
		{"a first fragment", rewrite(datagram(packet.ProtocolESP, roam, simnet.LabGateway, "sealed!!"), func(ip packet.IPv4) { ip[6] = 0x20 }), false},
		{"a later fragment", rewrite(datagram(packet.ProtocolESP, roam, simnet.LabGateway, "sealed"), func(ip packet.IPv4) { ip[7] = 1 }), false},
		{"a wrong IPv4 checksum", func() *packet.Buf {
			p := datagram(packet.ProtocolESP, roam, simnet.LabGateway, "sealed")
			p.Bytes()[8]++
			return p
		}(), false},
		{"octets behind the packet", rewrite(datagram(packet.ProtocolESP, roam, simnet.LabGateway, "sealed"), func(ip packet.IPv4) { ip[3]-- }), false},
		{"IPv4 options", rewrite(datagram(packet.ProtocolESP, roam, simnet.LabGateway, "\x01\x01\x01\x01"), func(ip packet.IPv4) { ip[0] = 0x46 }), false},
		{"a source that is not routed into the device", datagram(packet.ProtocolESP, simnet.LabGateway, simnet.LabGateway, "sealed"), false},
		{"no packet", packet.From([]byte("nothing")), false},
	} {
		before := xha.k.left()
		if err := xha.device.Write(packet.One(c.p)); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if !c.taken {
			if len(gw.got)+len(xha.got) != 0 || xha.k.left() != before+1 {
				t.Errorf("%s: %d packets were handed over, want it left to the kernel", c.name, len(gw.got)+len(xha.got))
			}
			continue
		}
		p := gw.one()
		want := netip.AddrPortFrom(roam, 0)
		if c.name != "ESP" {
			want = netip.AddrPortFrom(roam, portNATT)
		}
		if string(p.Bytes()) != "sealed" || p.Peer != want || p.TOS != 0x2a || p.SA != 0 || p.Interface != 0 || p.Whole() {
			t.Errorf("%s: %q from %v, TOS %#x, SA %d, interface %d, DF %t", c.name, p.Bytes(), p.Peer, p.TOS, p.SA, p.Interface, p.Whole())
		}
	}
}

// Shows: DESIGN §4, MIP-12 (what a role sends goes to another role's device with the kernel's headers, in fragments where the
// device's MTU wants it, or with an ICMP message to the sender where it must stay whole).
func TestExchangeToDevice(t *testing.T) {
	x := NewExchange()
	iha := newExchanged(t, x, "mipha0", 1500, "10.0.8.0/24")
	gw := newExchanged(t, x, "mipgw0", 1435, "10.0.9.0/24", "192.0.2.20/32")
	newExchanged(t, x, "miplate0", 1500, "10.0.0.0/8").takes(true) // whose rules are asked later
	gw.open(simnet.LabExternalHA, natt, (*packet.Batch).Release)
	summed := iha.open(simnet.LabInternalHA, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: wire.Port}, iha.receive)
	unsummed := iha.open(simnet.LabInternalHA, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 4500, Unsummed: true}, iha.receive)
	raw := iha.open(simnet.LabInternalHA, link.FlowSpec{Protocol: packet.ProtocolIPIP, TTL: 255}, iha.receive)
	var told []*packet.Buf
	iha.open(simnet.LabInternalHA, link.FlowSpec{Protocol: packet.ProtocolICMP}, func(b *packet.Batch) {
		told = append(told, b.Bufs...)
		b.Forget()
	})
	to := netip.AddrPortFrom(client1, 434)
	payload := func(n int, whole bool) *packet.Buf {
		p := packet.From(bytes.Repeat([]byte("payload!"), n/8))
		p.Peer, p.TOS, p.DontFragment, p.SA, p.Interface = to, 0x2b, whole, 99, 3
		return p
	}
	send := func(f link.Flow, p *packet.Buf) error { return f.Path(link.Protected).Send(packet.One(p)) }

	if err := send(raw, payload(80, false)); err != nil || iha.k.left() != 1 {
		t.Fatalf("before the other role is ready: %v, %d left to the kernel", err, iha.k.left())
	}
	gw.takes(true)
	ids := make(map[uint16]bool)
	for _, c := range []struct {
		name string
		flow link.Flow
		head int
		ttl  uint8
	}{{"summed", summed, 28, 64}, {"unsummed", unsummed, 28, 64}, {"raw", raw, 20, 255}} {
		for _, whole := range []bool{false, true} {
			if err := send(c.flow, payload(800, whole)); err != nil {
				t.Fatal(err)
			}
			p := gw.one()
			ip := packet.IPv4(p.Bytes())
			if !ip.Valid() || !ip.ChecksumOK() || ip.TotalLen() != p.Len() || p.Len() != c.head+800 || ip.TOS() != 0x2b || ip.TTL() != c.ttl ||
				ip.DontFragment() != whole || ip.Src() != simnet.LabInternalHA || ip.Dst() != client1 {
				t.Errorf("%s: header %x", c.name, ip[:20])
			}
			if p.Peer.IsValid() || p.TOS != 0 || p.SA != 0 || p.Interface != 0 || p.Whole() {
				t.Errorf("%s: the packet knows what one from the device does not: %+v", c.name, p.Peer)
			}
			if c.flow != raw {
				u := packet.UDP(ip.Payload())
				if !u.ChecksumOK(ip.Src(), ip.Dst()) || (u.Checksum() == 0) != (c.flow == unsummed) || u.DstPort() != 434 || u.SrcPort() != c.flow.Local().Port() {
					t.Errorf("%s: UDP header %x", c.name, u[:8])
				}
				if ids[ip.ID()] && c.flow == summed {
					t.Errorf("%s: identification %d twice", c.name, ip.ID())
				}
				ids[ip.ID()] = true
			}
		}
	}
	// Too long for the device of 1435 octets.
	if err := send(raw, payload(1480, false)); err != nil {
		t.Fatal(err)
	}
	if len(gw.got) != 2 || gw.got[0].Len() > 1435 || !packet.IPv4(gw.got[0].Bytes()).MoreFragments() || gw.got[0].Len()+gw.got[1].Len() != 1480+2*20 {
		t.Errorf("%d fragments", len(gw.got))
	}
	for _, p := range gw.got {
		p.Release()
	}
	gw.got = nil
	if err := send(raw, payload(1480, true)); err == nil || errors.Is(err, link.ErrTooBig) || len(gw.got) != 0 || len(told) != 1 {
		t.Fatalf("a packet that must stay whole: %v, %d packets, %d ICMP messages", err, len(gw.got), len(told))
	}
	if m := told[0].Bytes(); m[0] != tunnel.ICMPUnreachable || m[1] != tunnel.CodeFragmentNeeded || binary.BigEndian.Uint16(m[6:]) != 1435 ||
		packet.IPv4(m[8:]).Dst() != client1 {
		t.Errorf("ICMP message %x", m)
	}
	told[0].Release()
	// What goes elsewhere, to the host itself or into the role's own device, is the kernel's.
	for _, addr := range []string{"203.0.113.1", "10.0.8.100", "192.0.2.20"} {
		before := iha.k.left()
		p := payload(80, false)
		p.Peer = netip.MustParseAddrPort(addr + ":5000")
		if addr == "10.0.8.100" {
			p.Peer = netip.AddrPortFrom(simnet.LabInternalHA, 5000)
		}
		if err := send(summed, p); err != nil || iha.k.left() != before+1 {
			t.Errorf("to %s: %v, %d left to the kernel, want %d", addr, err, iha.k.left(), before+1)
		}
	}
	// Packets without room for another header are the kernel's as well.
	before := iha.k.left()
	p := payload(80, false)
	p.Push(p.Room() - 20)
	if err := send(raw, p); err != nil || iha.k.left() != before+1 {
		t.Errorf("a packet without room: %v", err)
	}
}

// A superpacket goes whole to a role that takes them, and in segments to one that does not or whose device is too small.
//
// Shows: DESIGN §2.3.
func TestExchangeSuperpackets(t *testing.T) {
	for _, c := range []struct {
		super  bool
		mtu    int
		pieces int
	}{{true, 1500, 1}, {false, 1500, 4}, {true, 1000, 7}} {
		x := NewExchange()
		iha := newExchanged(t, x, "mipha0", 1500, "10.0.8.0/24")
		gw := newExchanged(t, x, "mipgw0", c.mtu, "10.0.9.0/24")
		gw.takes(c.super)
		raw := iha.open(simnet.LabInternalHA, ipip, iha.receive)
		p := superpacket(t, 3*1300+700, 1300, simnet.LabCorrespondent, simnet.LabHomeAddress)
		segments := cut(p)
		p.Peer = netip.AddrPortFrom(client1, 0)
		if err := raw.Path(link.Protected).Send(packet.One(p)); err != nil {
			t.Fatal(err)
		}
		if len(gw.got) != c.pieces || gw.got[0].Super() != (c.super && c.pieces == 1) {
			t.Fatalf("%+v: %d packets", c, len(gw.got))
		}
		b := packet.GetBatch()
		b.Bufs = append(b.Bufs, gw.got...)
		gw.got = nil
		b.Cut()
		var payloads [][]byte
		for i, p := range b.Bufs {
			ip := packet.IPv4(p.Bytes())
			if !ip.Valid() || !ip.ChecksumOK() || ip.TotalLen() != p.Len() || p.Len() > c.mtu || ip.Protocol() != packet.ProtocolIPIP {
				t.Fatalf("%+v: packet %d has the header %x", c, i, ip[:20])
			}
			if ip.FragmentOffset() == 0 {
				payloads = append(payloads, bytes.Clone(ip.Payload()))
			} else {
				payloads[len(payloads)-1] = append(payloads[len(payloads)-1], ip.Payload()...)
			}
		}
		b.Release()
		if !slices.EqualFunc(payloads, segments, bytes.Equal) {
			t.Errorf("%+v: the segments are others", c)
		}
	}
}

// superpacket returns a TCP superpacket with so many octets of payload in segments of size.
func superpacket(t testing.TB, octets, size int, src, dst netip.Addr) *packet.Buf {
	t.Helper()
	p := packet.GetLarge()
	for i := range p.Extend(octets) {
		p.Bytes()[i] = byte(i * 7)
	}
	h := p.Push(20)
	clear(h)
	binary.BigEndian.PutUint16(h, 5001)
	binary.BigEndian.PutUint16(h[2:], 80)
	h[12], h[13] = 0x50, 0x18
	packet.PushIPv4(p, packet.IPv4Fields{ID: 100, TTL: 63, Protocol: packet.ProtocolTCP, Src: src, Dst: dst})
	if err := p.MakeSuper(size); err != nil {
		t.Fatal(err)
	}
	return p
}

// cut returns the octets of a superpacket's segments.
func cut(p *packet.Buf) (segments [][]byte) {
	b := packet.GetBatch()
	p.CutTo(b)
	for _, s := range b.Bufs {
		segments = append(segments, bytes.Clone(s.Bytes()))
	}
	b.Release()
	return segments
}

// The order of what one role gives to another stays, whatever of it the kernel gets in between.
func TestExchangeKeepsOrder(t *testing.T) {
	x := NewExchange()
	xha := newExchanged(t, x, "mipxha0", 1500, "198.51.100.0/24")
	gw := newExchanged(t, x, "mipgw0", 1435, "10.0.9.0/24")
	gw.open(simnet.LabGateway, esp50, gw.receive)
	gw.open(simnet.LabGateway, natt, gw.receive)
	b := packet.GetBatch()
	var want []string
	for i := range 100 {
		text := fmt.Sprintf("packet %03d", i)
		switch i % 5 {
		case 0:
			b.Append(datagram(packet.ProtocolESP, roam, simnet.LabExternalFA, text)) // for the kernel
			continue
		case 1, 2:
			b.Append(datagram(packet.ProtocolUDP, roam, simnet.LabGateway, text))
		default:
			b.Append(datagram(packet.ProtocolESP, roam, simnet.LabGateway, text))
		}
		want = append(want, text)
	}
	if err := xha.device.Write(b); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range gw.got {
		got = append(got, string(p.Bytes()))
	}
	if !slices.Equal(got, want) || xha.k.left() != 20 {
		t.Errorf("%q, %d left to the kernel", got, xha.k.left())
	}
}

// Shows: AGT-7 (a role ends while another one sends to it: nothing reaches it any more, and the rest is the kernel's).
func TestExchangeClose(t *testing.T) {
	x := NewExchange()
	xha := newExchanged(t, x, "mipxha0", 1500, "198.51.100.0/24")
	gw := newExchanged(t, x, "mipgw0", 1435, "10.0.9.0/24")
	var closed sync.WaitGroup // done when the flow and the device are closed
	inside := make(chan struct{}, 1)
	gone := false
	taken := func(b *packet.Batch) {
		if gone {
			t.Error("a packet was handed over after Close")
		}
		select {
		case inside <- struct{}{}:
		default:
		}
		b.Release()
	}
	in := gw.open(simnet.LabGateway, esp50, taken)
	takeFrom(gw.device, taker{forward: taken})
	out := xha.open(simnet.LabExternalHA, natt, taken).Path(link.Protected)
	stop := make(chan struct{})
	for range 2 {
		closed.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				_ = xha.device.Write(packet.One(datagram(packet.ProtocolESP, roam, simnet.LabGateway, "x")))
				p := packet.From([]byte("y"))
				p.Peer = netip.AddrPortFrom(client1, 4500)
				_ = out.Send(packet.One(p))
			}
		})
	}
	for range 10 {
		<-inside
	}
	if err := errors.Join(in.Close(), gw.device.Close()); err != nil {
		t.Fatal(err)
	}
	gone = true
	before := xha.k.left()
	for xha.k.left() < before+100 { // the others go on, by the kernel
		_ = xha.device.Write(packet.One(datagram(packet.ProtocolESP, roam, simnet.LabGateway, "z")))
	}
	close(stop)
	closed.Wait()
}

// Two roles that lead into each other without end do not take the process down: the kernel gets what nests too deep.
func TestExchangeLoop(t *testing.T) {
	x := NewExchange()
	a := newExchanged(t, x, "mipa0", 1500, "10.0.1.0/24")
	b := newExchanged(t, x, "mipb0", 1500, "10.0.2.0/24")
	depth, deepest := 0, 0
	connect := func(from, to *exchanged, addr, next string) {
		path := from.open(netip.MustParseAddr(addr), ipip, (*packet.Batch).Release).Path(link.Protected)
		takeFrom(from.device, taker{forward: func(batch *packet.Batch) {
			depth++
			deepest = max(deepest, depth)
			out := packet.GetBatch() // a role that copies: headroom does not end it
			for _, p := range batch.Bufs {
				q := packet.From(packet.IPv4(p.Bytes()).Payload())
				q.Peer = netip.AddrPortFrom(netip.MustParseAddr(next), 0)
				out.Append(q)
			}
			batch.Release()
			_ = path.Send(out)
			depth--
		}})
	}
	connect(a, b, "192.0.2.1", "10.0.2.1")
	connect(b, a, "192.0.2.2", "10.0.1.1")
	start := newExchanged(t, x, "mipc0", 1500)
	p := packet.From([]byte("round and round"))
	p.Peer = netip.MustParseAddrPort("10.0.1.1:0")
	if err := start.open(netip.MustParseAddr("192.0.2.3"), ipip, (*packet.Batch).Release).Path(link.Protected).Send(packet.One(p)); err != nil {
		t.Fatal(err)
	}
	if deepest != 2*doorLimit || a.k.left()+b.k.left() != 1 {
		t.Errorf("%d calls deep, %d packets left to the kernel; want %d and 1", deepest, a.k.left()+b.k.left(), 2*doorLimit)
	}
}

// Shows: DESIGN §2.3 (no allocation a packet) for what is handed over, both ways.
func TestExchangeDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("allocations cannot be counted under the race detector")
	}
	x := NewExchange()
	xha := newExchanged(t, x, "mipxha0", 1500, "198.51.100.0/24")
	gw := newExchanged(t, x, "mipgw0", 1435, "10.0.9.0/24")
	n := 0
	count := func(b *packet.Batch) {
		n += b.Len()
		b.Release()
	}
	gw.open(simnet.LabGateway, natt, count)
	takeFrom(xha.device, taker{forward: count, head: 4})
	path := gw.open(simnet.LabGateway, esp50, count).Path(link.Protected)
	const size = 64
	written := datagram(packet.ProtocolUDP, roam, simnet.LabGateway, "0123456789012345678901234567890123456789")
	defer written.Release()
	up := testing.AllocsPerRun(20, func() {
		b := packet.GetBatch()
		for range size {
			b.Append(packet.From(written.Bytes()))
		}
		_ = xha.device.Write(b)
	})
	down := testing.AllocsPerRun(20, func() {
		b := packet.GetBatch()
		for range size {
			p := packet.GetSmall()
			clear(p.Extend(1400))
			p.Peer = netip.AddrPortFrom(roam, 0)
			b.Append(p)
		}
		_ = path.Send(b)
	})
	if n != 2*21*size {
		t.Errorf("%d packets were handed over, want %d", n, 2*21*size)
	}
	// One or two a batch may be a pool's; one a packet would be 64.
	t.Logf("allocations a batch of %d: %v from a device, %v from a flow", size, up, down)
	if down > 4 || up > 4 {
		t.Errorf("allocations a batch of %d: %v from a device, %v from a flow", size, up, down)
	}
}
