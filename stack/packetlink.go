package stack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
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
	// switching is what qualifying packets travel by in the carrier's place.
	switching atomic.Pointer[Switching]
	switched  []*Switching                            // all that have flows; under mu
	flows     atomic.Pointer[map[flowKey]*packetFlow] // replaced whole under mu
	rest      atomic.Pointer[link.Receiver]
	ipID      atomic.Uint32
	pieces    reassembler
	meter     atomic.Pointer[Meter] // nil: nobody counts

	mu       sync.Mutex
	nextPort uint16
}

// flowKey is what an arriving packet is looked up by, in the words of its headers. Flows of PacketLinks are connected, so the
// remote is part of it. It is small and flat because it is compared, and at times hashed, for each packet.
type flowKey struct {
	remote   uint32 // the remote address
	ports    uint32 // the remote UDP port in the upper half, the local one in the lower; 0 for other protocols
	protocol uint8
}

// keyOf returns the key of what arrives from an IPv4 endpoint.
func keyOf(protocol uint8, port uint16, remote netip.AddrPort) flowKey {
	a := remote.Addr().As4()
	return flowKey{binary.BigEndian.Uint32(a[:]), uint32(remote.Port())<<16 | uint32(port), protocol}
}

// NewPacketLink returns a link with the address addr and nothing below it yet. Packets that belong to no flow go to rest;
// with a nil rest they are dropped as no_flow.
func NewPacketLink(addr netip.Addr, drops *packet.Drops, rest link.Receiver) *PacketLink {
	l := &PacketLink{addr: addr, drops: drops, nextPort: 49152}
	l.flows.Store(&map[flowKey]*packetFlow{})
	l.SetRest(rest)
	return l
}

// SetRest exchanges the receiver of packets that belong to no flow; with a nil one they are dropped as no_flow.
func (l *PacketLink) SetRest(rest link.Receiver) {
	if rest == nil {
		l.rest.Store(nil)
		return
	}
	l.rest.Store(&rest)
}

// SetCarrier exchanges what is below the link. A nil carrier takes the link down. Nothing is switched any more.
func (l *PacketLink) SetCarrier(c Carrier) {
	l.switching.Store(nil)
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
	return l.metered((*carrier)(c)), true
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
	if udp && spec.Port == 0 {
		spec.Port = l.freePort(flows, spec.Remote)
	}
	key := keyOf(spec.Protocol, spec.Port, spec.Remote)
	if _, taken := flows[key]; taken {
		return nil, fmt.Errorf("stack: flow of protocol %d, port %d to %v is open already", spec.Protocol, spec.Port, spec.Remote)
	}
	f := &packetFlow{link: l, key: key, port: spec.Port, remote: spec.Remote, ttl: spec.TTL, unsummed: udp && spec.Unsummed, signalling: spec.Signalling, recv: recv}
	if f.ttl == 0 {
		f.ttl = DefaultTTL
	}
	flows[key] = f
	l.flows.Store(&flows)
	if s := l.switching.Load(); s != nil {
		s.flow(f) // what comes for it may come switched from now on
	}
	return f, nil
}

// freePort returns an unused port of the dynamic range (RFC 6335 §6); l.mu is held.
func (l *PacketLink) freePort(flows map[flowKey]*packetFlow, remote netip.AddrPort) uint16 {
	for {
		port := l.nextPort
		if l.nextPort++; l.nextPort < 49152 {
			l.nextPort = 49152
		}
		if _, taken := flows[keyOf(packet.ProtocolUDP, port, remote)]; !taken {
			return port
		}
	}
}
