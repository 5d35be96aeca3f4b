package stack

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// ErrLinkDown is returned for what is sent on a link that has nothing below it to carry packets.
var ErrLinkDown = errors.New("stack: link has no carrier")

// DefaultTTL is the time to live of the IPv4 headers that layers write.
const DefaultTTL = 64

// Carrier returns the path that whole IPv4 packets of a link take, for packets of class c.
type Carrier func(c link.Class) link.Path

// PacketLink is the link that a layer gives to what stands above it: an address, and flows whose IPv4 and UDP headers are
// written and read here. Below it is a Carrier, which may be exchanged while flows stay open: a move.
type PacketLink struct {
	addr    netip.Addr
	drops   *packet.Drops
	carrier atomic.Pointer[Carrier]
	flows   atomic.Pointer[map[flowKey]*packetFlow] // replaced whole under mu
	rest    link.Receiver
	ipID    atomic.Uint32
	pieces  reassembler

	mu       sync.Mutex
	nextPort uint16
}

// flowKey is what an arriving packet is looked up by. Flows of PacketLinks are connected, so the remote is part of it.
type flowKey struct {
	protocol uint8
	port     uint16 // local UDP port
	remote   netip.AddrPort
}

// NewPacketLink returns a link with the address addr and nothing below it yet. Packets that belong to no flow go to rest;
// with a nil rest they are dropped as no_flow.
func NewPacketLink(addr netip.Addr, drops *packet.Drops, rest link.Receiver) *PacketLink {
	l := &PacketLink{addr: addr, drops: drops, rest: rest, nextPort: 49152}
	l.flows.Store(&map[flowKey]*packetFlow{})
	return l
}

// SetCarrier exchanges what is below the link. A nil carrier takes the link down.
func (l *PacketLink) SetCarrier(c Carrier) {
	if c == nil {
		l.carrier.Store(nil)
		return
	}
	l.carrier.Store(&c)
}

// Path returns the path for whole IPv4 packets from the link's address, and false while the link is down.
func (l *PacketLink) Path(c link.Class) (link.Path, bool) {
	carrier := l.carrier.Load()
	if carrier == nil {
		return link.Path{}, false
	}
	return (*carrier)(c), true
}

// Addr implements link.Link.
func (l *PacketLink) Addr() netip.Addr { return l.addr }

// MTU implements link.Link; it is 0 while the link is down.
func (l *PacketLink) MTU() int {
	p, ok := l.Path(link.Protected)
	if !ok {
		return 0
	}
	return p.MTU
}

// Open implements link.Link. Only connected flows can be opened; a UDP port that another flow to the same remote uses is
// refused.
func (l *PacketLink) Open(spec link.FlowSpec, recv link.Receiver) (link.Flow, error) {
	if !spec.Remote.Addr().Is4() {
		return nil, fmt.Errorf("stack: flow of protocol %d to %v: an IPv4 remote endpoint is needed", spec.Protocol, spec.Remote)
	}
	udp := spec.Protocol == packet.ProtocolUDP
	if !udp {
		spec.Port, spec.Remote = 0, netip.AddrPortFrom(spec.Remote.Addr(), 0)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	flows := maps.Clone(*l.flows.Load())
	key := flowKey{spec.Protocol, spec.Port, spec.Remote}
	if udp && spec.Port == 0 {
		key.port = l.freePort(flows, spec.Remote)
	}
	if _, taken := flows[key]; taken {
		return nil, fmt.Errorf("stack: flow of protocol %d, port %d to %v is open already", key.protocol, key.port, key.remote)
	}
	f := &packetFlow{link: l, key: key, ttl: spec.TTL, unsummed: udp && spec.Unsummed, recv: recv}
	if f.ttl == 0 {
		f.ttl = DefaultTTL
	}
	flows[key] = f
	l.flows.Store(&flows)
	return f, nil
}

// freePort returns an unused port of the dynamic range (RFC 6335 §6); l.mu is held.
func (l *PacketLink) freePort(flows map[flowKey]*packetFlow, remote netip.AddrPort) uint16 {
	for {
		port := l.nextPort
		if l.nextPort++; l.nextPort < 49152 {
			l.nextPort = 49152
		}
		if _, taken := flows[flowKey{packet.ProtocolUDP, port, remote}]; !taken {
			return port
		}
	}
}

// Deliver hands a batch of whole IPv4 packets, as the layer below received them, to the flows they belong to. It takes
// ownership of the batch.
func (l *PacketLink) Deliver(b *packet.Batch) {
	flows := *l.flows.Load()
	var out *packet.Batch
	var to *packetFlow
	flush := func() {
		if out != nil && out.Len() > 0 {
			if to != nil {
				to.deliver(out)
			} else {
				l.rest(out)
			}
			out = nil
		}
	}
	for _, p := range b.Bufs {
		if l.mine(flows, p) {
			whole, reason := l.pieces.add(p)
			if whole == nil {
				l.drops.Count(reason, 1)
				continue
			}
			p = whole
		}
		f, reason := l.classify(flows, p)
		if reason != packet.NotDropped {
			l.drops.Count(reason, 1)
			p.Release()
			continue
		}
		if out == nil || f != to {
			flush()
			out, to = packet.GetBatch(), f
		}
		out.Append(p)
	}
	b.Forget()
	flush()
}

// mine reports whether p is a fragment of a packet that may belong to a flow. Others go to rest as they are.
func (l *PacketLink) mine(flows map[flowKey]*packetFlow, p *packet.Buf) bool {
	ip := packet.IPv4(p.Bytes())
	if !ip.Valid() || !ip.MoreFragments() && ip.FragmentOffset() == 0 || !ip.ChecksumOK() || ip.Dst() != l.addr {
		return false
	}
	src, protocol := ip.Src(), ip.Protocol()
	for key := range flows {
		if key.protocol == protocol && key.remote.Addr() == src {
			return true
		}
	}
	return false
}

// classify finds the flow of p and strips the flow's headers. A packet for rest is left whole.
func (l *PacketLink) classify(flows map[flowKey]*packetFlow, p *packet.Buf) (*packetFlow, packet.DropReason) {
	ip := packet.IPv4(p.Bytes())
	if !ip.Valid() || !ip.ChecksumOK() {
		return nil, packet.DropMalformed
	}
	if ip.Dst() != l.addr {
		return nil, packet.DropNotHomeAddress
	}
	headers, n := ip.HeaderLen(), ip.TotalLen()
	key := flowKey{protocol: ip.Protocol(), remote: netip.AddrPortFrom(ip.Src(), 0)}
	first := ip.FragmentOffset() == 0 && !ip.MoreFragments()
	if key.protocol == packet.ProtocolUDP && first {
		udp := packet.UDP(ip.Payload())
		if !udp.Valid() {
			return nil, packet.DropMalformed
		}
		key.port, key.remote = udp.DstPort(), netip.AddrPortFrom(ip.Src(), udp.SrcPort())
		if _, ok := flows[key]; ok {
			if !udp.ChecksumOK(ip.Src(), ip.Dst()) {
				return nil, packet.DropMalformed
			}
			headers += packet.UDPLen
			n = ip.HeaderLen() + udp.Length()
		}
	}
	f, ok := flows[key]
	if !ok || !first {
		if l.rest == nil {
			return nil, packet.DropNoFlow
		}
		p.Trim(n)
		return nil, packet.NotDropped
	}
	p.Trim(n)
	p.TOS, p.Peer = ip.TOS(), key.remote
	p.Pull(headers)
	return f, packet.NotDropped
}

// packetFlow is a flow of a PacketLink. It is a link.Step too: the one that writes the flow's headers.
type packetFlow struct {
	link     *PacketLink
	key      flowKey
	ttl      uint8
	unsummed bool // of data: link.FlowSpec
	recv     link.Receiver
	closed   atomic.Bool
}

// Local implements link.Flow.
func (f *packetFlow) Local() netip.AddrPort { return netip.AddrPortFrom(f.link.addr, f.key.port) }

// Remote implements link.Flow.
func (f *packetFlow) Remote() netip.AddrPort { return f.key.remote }

// Send implements link.Flow.
func (f *packetFlow) Send(to netip.AddrPort, payload []byte) error {
	if to.IsValid() && to != f.key.remote {
		return fmt.Errorf("stack: flow to %v cannot send to %v", f.key.remote, to)
	}
	if f.closed.Load() {
		return fmt.Errorf("stack: flow to %v: %w", f.key.remote, net.ErrClosed)
	}
	if len(payload) > packet.SmallSize {
		return fmt.Errorf("stack: flow to %v: a payload of %d octets is over %d", f.key.remote, len(payload), packet.SmallSize)
	}
	if _, up := f.link.Path(link.Protected); !up {
		return ErrLinkDown
	}
	return f.path(link.Protected, f).Send(packet.One(packet.From(payload)))
}

// Path implements link.Flow. On a link that is down the path drops everything.
func (f *packetFlow) Path(c link.Class) link.Path {
	if f.unsummed {
		return f.path(c, unsummed{f})
	}
	return f.path(c, f)
}

// path returns the path that begins with headers, the step that writes the flow's.
func (f *packetFlow) path(c link.Class, headers link.Step) link.Path {
	below, up := f.link.Path(c)
	if !up {
		below = link.Path{Out: discard{f.link.drops}}
	}
	overhead := packet.IPv4Len
	if f.key.protocol == packet.ProtocolUDP {
		overhead += packet.UDPLen
	}
	return below.Over(headers, overhead, false)
}

// Close implements link.Flow.
func (f *packetFlow) Close() error {
	f.closed.Store(true)
	f.link.mu.Lock()
	defer f.link.mu.Unlock()
	flows := maps.Clone(*f.link.flows.Load())
	if flows[f.key] == f {
		delete(flows, f.key)
		f.link.flows.Store(&flows)
	}
	return nil
}

func (f *packetFlow) deliver(b *packet.Batch) {
	if f.closed.Load() {
		b.Drop(f.link.drops, packet.DropNoFlow)
		return
	}
	f.recv(b)
}

// Apply implements link.Step: it writes the flow's UDP header, if it has one, and IPv4 header.
func (f *packetFlow) Apply(b *packet.Batch) { f.headers(b, packet.PushUDP) }

// unsummed is the step that writes a flow's headers without a UDP checksum.
type unsummed struct{ flow *packetFlow }

// Apply implements link.Step.
func (u unsummed) Apply(b *packet.Batch) { u.flow.headers(b, packet.PushUDPUnsummed) }

// headers writes the flow's headers, that of UDP by push.
func (f *packetFlow) headers(b *packet.Batch, push func(b *packet.Buf, src, dst netip.AddrPort)) {
	local := f.Local()
	for _, p := range b.Bufs {
		if f.key.protocol == packet.ProtocolUDP {
			push(p, local, f.key.remote)
		}
		packet.PushIPv4(p, packet.IPv4Fields{
			TOS: p.TOS, ID: uint16(f.link.ipID.Add(1)), DontFragment: p.Whole(), TTL: f.ttl,
			Protocol: f.key.protocol, Src: f.link.addr, Dst: f.key.remote.Addr(),
		})
	}
}

// discard is the sender of a link that is down.
type discard struct{ drops *packet.Drops }

// Send implements link.Sender.
func (d discard) Send(b *packet.Batch) error {
	b.Drop(d.drops, packet.DropNoPath)
	return nil
}
