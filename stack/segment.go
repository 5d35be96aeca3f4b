package stack

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// allSystems is the group that agent advertisements are sent to (RFC 1256 §5.1), allRouters the one that solicitations
// are sent to.
var (
	allSystems       = netip.AddrFrom4([4]byte{224, 0, 0, 1})
	allRouters       = netip.AddrFrom4([4]byte{224, 0, 0, 2})
	limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
)

// allRoutersHardware is the IEEE 802 group address of allRouters (RFC 1112 §6.4).
var allRoutersHardware = packet.HardwareAddr{0x01, 0x00, 0x5e, 0x00, 0x00, 0x02}

// Advertisement is a router or agent advertisement as it arrived on a Segment.
type Advertisement struct {
	// Source is the packet's IPv4 source, Hardware the frame's.
	Source   netip.Addr
	Hardware packet.HardwareAddr
	// Message is the ICMP message. The receiver owns it.
	Message []byte
}

// Segment is the link layer of one interface as a mobile node uses it that has no address there: frames to and from
// foreign agents. Each home address has a PacketLink on it. An interface with an address can have a Segment beside its
// kernel sockets.
type Segment struct {
	index      int
	frames     link.Frames
	drops      *packet.Drops
	advertised func(Advertisement)
	visits     atomic.Pointer[map[netip.Addr]visit] // by home address; replaced whole under mu
	mu         sync.Mutex
	ports      atomic.Uint32 // how many were given
	meter      *Meter        // of the links, nil for none
}

// firstEphemeral is the first of the ports that nobody has registered (RFC 6335 §6).
const firstEphemeral = 49152

// nextPort returns a source port for registrations: another one each time, since an agent may keep several registrations of
// one link-layer address apart by nothing else (draft §4.4).
func (s *Segment) nextPort() uint16 {
	return uint16(firstEphemeral + (s.ports.Add(1)-1)%(1<<16-firstEphemeral))
}

// visit is one home address on the segment and the agent that serves it.
type visit struct {
	link  *PacketLink
	agent packet.HardwareAddr
	open  bool // others than the agent may send to the home address
	// group, where it is set, is called with each packet for a group, and must not block or keep it.
	group func(packet.IPv4)
}

// OpenSegment opens the link layer of the interface. advertised is called, and must not block, for each ICMP router
// advertisement.
func OpenSegment(host link.Host, index int, drops *packet.Drops, advertised func(Advertisement)) (*Segment, error) {
	s := &Segment{index: index, drops: drops, advertised: advertised}
	s.visits.Store(&map[netip.Addr]visit{})
	frames, err := host.OpenFrames(index, s.receive)
	if err != nil {
		return nil, fmt.Errorf("stack: open the link layer of interface %d: %w", index, err)
	}
	s.frames = frames
	return s, nil
}

// ErrNoEars means that a host gives no access to the advertisements on an interface alone.
var ErrNoEars = errors.New("stack: this host cannot listen for agent advertisements beside an address of its own")

// ListenSegment opens the link layer of an interface that has an address of its own, for advertisements to arrive and nothing else:
// nobody can visit it (Visit), what is sent leaves as from any Segment. Errors wrap ErrNoEars where the host cannot do that.
func ListenSegment(host link.Host, index int, drops *packet.Drops, advertised func(Advertisement)) (*Segment, error) {
	able, ok := host.(link.AdvertisementHost)
	if !ok {
		return nil, ErrNoEars
	}
	s := &Segment{index: index, drops: drops, advertised: advertised}
	s.visits.Store(&map[netip.Addr]visit{})
	frames, err := able.OpenAdvertisements(index, s.receive)
	if err != nil {
		return nil, fmt.Errorf("stack: listen on the link layer of interface %d: %w", index, err)
	}
	s.frames = frames
	return s, nil
}

// Hardware returns the interface's link-layer address.
func (s *Segment) Hardware() packet.HardwareAddr { return s.frames.Hardware() }

// Meter has m count the packets of the links that Visit returns from now on. It must not be called beside Visit.
func (s *Segment) Meter(m *Meter) { s.meter = m }

// Visit returns a link with the address home whose packets go to the foreign agent with the link-layer address agent
// and are accepted from that alone. mtu is the interface's. Packets that belong to none of its flows go to rest.
func (s *Segment) Visit(home netip.Addr, agent packet.HardwareAddr, mtu int, rest link.Receiver) *PacketLink {
	return s.visit(home, visit{agent: agent}, mtu, rest)
}

// visit does what Visit does, as v says.
func (s *Segment) visit(home netip.Addr, v visit, mtu int, rest link.Receiver) *PacketLink {
	l := NewPacketLink(home, s.drops, rest)
	l.SetCarrier(s.carrier(v.agent, mtu))
	l.Meter(s.meter)
	v.link = l
	s.mu.Lock()
	defer s.mu.Unlock()
	visits := maps.Clone(*s.visits.Load())
	visits[home] = v
	s.visits.Store(&visits)
	return l
}

// carrier carries whole packets to the station with the link-layer address agent.
func (s *Segment) carrier(agent packet.HardwareAddr, mtu int) Carrier {
	return func(c link.Class) link.Path {
		return link.Path{Steps: []link.Step{address{agent}}, Out: s.frames.Out(c), MTU: mtu}
	}
}

// Leave takes the link back that Visit returned.
func (s *Segment) Leave(l *PacketLink) {
	l.SetCarrier(nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	visits := maps.Clone(*s.visits.Load())
	if visits[l.Addr()].link == l {
		delete(visits, l.Addr())
		s.visits.Store(&visits)
	}
}

// Solicit sends an agent solicitation: the ICMP message given, with a time to live of 1 (RFC 5944 §2.2), from the
// source address (a home address, or the zero Addr for 0.0.0.0).
func (s *Segment) Solicit(source netip.Addr, message []byte) error {
	if !source.IsValid() {
		source = netip.IPv4Unspecified()
	}
	p := packet.From(message)
	packet.PushIPv4(p, packet.IPv4Fields{TTL: 1, Protocol: packet.ProtocolICMP, Src: source, Dst: allRouters})
	p.Hardware = allRoutersHardware
	return s.frames.Out(link.Protected).Send(packet.One(p))
}

// Close gives the link layer back; the links of Visit are down afterwards.
func (s *Segment) Close() error {
	for _, v := range *s.visits.Load() {
		s.Leave(v.link)
	}
	return s.frames.Close()
}

// receive sorts arriving packets by home address. A batch that is all for one is handed on as it is.
func (s *Segment) receive(b *packet.Batch) {
	visits := *s.visits.Load()
	var to visit // of the packet before
	run := b.Bufs[:0]
	for _, p := range b.Bufs {
		v, reason := s.classify(visits, to, p)
		if v.link == nil {
			s.drops.Count(reason, 1)
			p.Release()
			continue
		}
		if v.link != to.link && len(run) > 0 {
			out := packet.GetBatch()
			out.Bufs = append(out.Bufs, run...)
			run = run[:0]
			to.link.Deliver(out)
		}
		to, run = v, append(run, p)
	}
	clear(b.Bufs[len(run):])
	b.Bufs = run
	if len(run) == 0 {
		b.Forget()
		return
	}
	to.link.Deliver(b)
}

// classify returns the visit that p is for, or one without a link and why p goes no further (NotDropped: it was an
// advertisement, or not ours to judge). before is the visit of the packet before. The link looks at the header checksum.
func (s *Segment) classify(visits map[netip.Addr]visit, before visit, p *packet.Buf) (visit, packet.DropReason) {
	ip := packet.IPv4(p.Bytes())
	if !ip.Valid() {
		return visit{}, packet.DropMalformed
	}
	dst := ip.Dst()
	v, ok := before, before.link != nil && before.link.Addr() == dst
	if !ok {
		v, ok = visits[dst]
	}
	if ok {
		if p.Hardware != v.agent && !v.open {
			return visit{}, packet.DropWrongTunnelPeer
		}
		p.Trim(ip.TotalLen())
		return v, packet.NotDropped
	}
	if !ip.ChecksumOK() {
		return visit{}, packet.DropMalformed
	}
	// ICMP type 9: router advertisement, to all systems, to everybody, or to a home address (RFC 1256 §5).
	if m := ip.Payload(); ip.Protocol() == packet.ProtocolICMP && len(m) > 0 && m[0] == 9 &&
		ip.FragmentOffset() == 0 && !ip.MoreFragments() && (dst == allSystems || dst == limitedBroadcast) {
		s.advertised(Advertisement{Source: ip.Src(), Hardware: p.Hardware, Message: append([]byte(nil), m...)})
		return visit{}, packet.NotDropped
	}
	if dst.IsMulticast() {
		for _, v := range visits {
			if v.group != nil {
				v.group(ip)
			}
		}
	}
	return visit{}, packet.NotDropped
}

// address is the step that names the link-layer destination.
type address struct{ hardware packet.HardwareAddr }

// Apply implements link.Step.
func (a address) Apply(b *packet.Batch) {
	for _, p := range b.Bufs {
		p.Hardware = a.hardware
	}
}
