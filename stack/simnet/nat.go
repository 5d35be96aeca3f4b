package simnet

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"mipvpn/tun/packet"
)

// Dependence says on what of the remote endpoint a NAT's mapping or filtering depends (RFC 4787 §4.1 and §5).
type Dependence uint8

// The three behaviours of RFC 4787.
const (
	// EndpointIndependent: on nothing.
	EndpointIndependent Dependence = iota
	// AddressDependent: on the remote address.
	AddressDependent
	// AddressAndPortDependent: on the remote address and port.
	AddressAndPortDependent
)

// String returns the behaviour as RFC 4787 abbreviates it.
func (d Dependence) String() string {
	return [...]string{"endpoint-independent", "address-dependent", "address-and-port-dependent"}[d%3]
}

// NATConfig describes a network address and port translator. There is no hairpinning (RFC 4787 §6).
type NATConfig struct {
	// Outside is the interface whose address stands for all hosts inside.
	Outside *NIC
	// Mapping says when an inside endpoint gets another outside port, Filtering whose packets come in through it.
	Mapping, Filtering Dependence
	// Timeout of a UDP or ICMP mapping after the last outbound packet, 0 for 120 s (RFC 4787 REQ-5).
	Timeout time.Duration
	// InboundRefresh lets inbound packets keep a mapping alive, too (RFC 4787 REQ-6).
	InboundRefresh bool
	// PreservePorts keeps the source port where it is free (RFC 4787 §4.2.1).
	PreservePorts bool
	// Protocols are IP protocols without ports that are translated by address alone, so that one inside host at a time
	// can use each towards a remote host (VPN pass-through). Others than these, UDP, TCP and ICMP are dropped.
	Protocols []uint8
}

// tcpMappingTimeout is how long a TCP mapping lives (RFC 5382 REQ-5: two hours and four minutes).
const tcpMappingTimeout = 2*time.Hour + 4*time.Minute

// mapping is an entry of a NAT.
type mapping struct {
	inside  flowEnd
	remote  netip.AddrPort // as far as the mapping depends on it
	outside uint16         // port or identifier
	peers   map[netip.AddrPort]bool
	last    time.Duration
}

// flowEnd is an inside endpoint.
type flowEnd struct {
	protocol uint8
	addr     netip.AddrPort
}

// mapKey is what an outbound packet is looked up by.
type mapKey struct {
	inside flowEnd
	remote netip.AddrPort
}

// portKey is what an inbound packet is looked up by. A protocol without ports has the remote address instead.
type portKey struct {
	protocol uint8
	port     uint16
	remote   netip.Addr
}

type nat struct {
	host *Host
	cfg  NATConfig
	out  map[mapKey]*mapping
	in   map[portKey]*mapping
}

type natVerdict uint8

const (
	natPass       natVerdict = iota // not for anybody inside
	natTranslated                   // now for a host inside
	natDrop
)

// SetNAT makes the host, which must also be a router, a NAT. Setting it again forgets all mappings, as a reboot does.
func (h *Host) SetNAT(cfg NATConfig) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if cfg.Timeout == 0 {
		cfg.Timeout = 120 * time.Second
	}
	cfg.Protocols = slices.Clone(cfg.Protocols)
	h.nat = &nat{host: h, cfg: cfg, out: make(map[mapKey]*mapping), in: make(map[portKey]*mapping)}
}

// remoteOf returns the remote endpoint without the identifier that flowOf gives ICMP queries as both ports.
func remoteOf(id flowID, e netip.AddrPort) netip.AddrPort {
	if id.protocol == packet.ProtocolICMP {
		return netip.AddrPortFrom(e.Addr(), 0)
	}
	return e
}

// depends cuts a remote endpoint to what the behaviour depends on.
func (d Dependence) depends(remote netip.AddrPort) netip.AddrPort {
	switch d {
	case EndpointIndependent:
		return netip.AddrPort{}
	case AddressDependent:
		return netip.AddrPortFrom(remote.Addr(), 0)
	}
	return remote
}

// ported reports whether the protocol is translated with a port (or the identifier of an ICMP query).
func ported(protocol uint8) bool {
	return protocol == packet.ProtocolUDP || protocol == packet.ProtocolTCP || protocol == packet.ProtocolICMP
}

func (t *nat) alive(m *mapping) bool {
	limit := t.cfg.Timeout
	if m.inside.protocol == packet.ProtocolTCP {
		limit = tcpMappingTimeout
	}
	return t.host.net.now()-m.last <= limit
}

func (t *nat) portKeyOf(m *mapping) portKey {
	k := portKey{protocol: m.inside.protocol, port: m.outside}
	if !ported(m.inside.protocol) {
		k.remote = m.remote.Addr()
	}
	return k
}

func (t *nat) remove(k mapKey, m *mapping) {
	delete(t.out, k)
	delete(t.in, t.portKeyOf(m))
}

// mapOut returns the mapping for an outbound packet of inside to remote, made where there is none; nil when there is no
// port left or the protocol cannot be shared.
func (t *nat) mapOut(inside flowEnd, remote netip.AddrPort) *mapping {
	k := mapKey{inside, t.cfg.Mapping.depends(remote)}
	if !ported(inside.protocol) {
		k.remote = netip.AddrPortFrom(remote.Addr(), 0)
	}
	if m := t.out[k]; m != nil {
		if t.alive(m) {
			return m
		}
		t.remove(k, m)
	}
	m := &mapping{inside: inside, remote: k.remote, peers: make(map[netip.AddrPort]bool)}
	if !t.place(m) {
		return nil
	}
	t.out[k] = m
	t.in[t.portKeyOf(m)] = m
	return m
}

// place finds a free outside port for m.
func (t *nat) place(m *mapping) bool {
	free := func() bool {
		o := t.in[t.portKeyOf(m)]
		if o == nil {
			return true
		}
		if t.alive(o) {
			return false
		}
		t.remove(mapKey{o.inside, o.remote}, o)
		return true
	}
	if !ported(m.inside.protocol) {
		return free()
	}
	if m.outside = m.inside.addr.Port(); t.cfg.PreservePorts && free() {
		return true
	}
	for range 1 << 12 {
		m.outside = uint16(1024 + t.host.rng.IntN(65536-1024))
		// Unlike with preservation, a port that happens to be the same is not taken, so that a test sees the difference.
		if m.outside != m.inside.addr.Port() && free() {
			return true
		}
	}
	return false
}

// outbound translates a packet that leaves by the outside interface. It reports false when it must be dropped.
func (t *nat) outbound(ip packet.IPv4) bool {
	if !t.cfg.Outside.addr.IsValid() {
		return false
	}
	external := t.cfg.Outside.addr.Addr()
	if q, transport, ok := quoted(ip); ok {
		// An error about a packet that came in: it quotes the inside endpoint as its destination.
		id := flowIn(q.Protocol(), q.Src(), q.Dst(), transport)
		m := t.find(flowEnd{id.protocol, id.dst}, remoteOf(id, id.src))
		if m == nil {
			return false
		}
		rewriteQuote(ip, false, external, m.outside)
		rewriteAddr(ip, true, external)
		return true
	}
	id := flowOf(ip)
	if !t.translates(ip) {
		return false
	}
	remote := remoteOf(id, id.dst)
	m := t.mapOut(flowEnd{id.protocol, id.src}, remote)
	if m == nil {
		return false
	}
	m.last = t.host.net.now()
	m.peers[remote] = true
	rewriteEnd(ip, true, external, m.outside)
	return true
}

// translates reports whether packets like ip are translated at all.
func (t *nat) translates(ip packet.IPv4) bool {
	switch p := ip.Protocol(); p {
	case packet.ProtocolUDP:
		return len(ip.Payload()) >= packet.UDPLen
	case packet.ProtocolTCP:
		return len(ip.Payload()) >= tcpLen
	case packet.ProtocolICMP:
		m := ip.Payload()
		return len(m) >= icmpLen && (m[0] == icmpEcho || m[0] == icmpEchoReply)
	default:
		return slices.Contains(t.cfg.Protocols, p)
	}
}

// find returns the live mapping of an inside endpoint towards a remote one, nil when there is none.
func (t *nat) find(inside flowEnd, remote netip.AddrPort) *mapping {
	k := mapKey{inside, t.cfg.Mapping.depends(remote)}
	if !ported(inside.protocol) {
		k.remote = netip.AddrPortFrom(remote.Addr(), 0)
	}
	if m := t.out[k]; m != nil && t.alive(m) {
		return m
	}
	return nil
}

// inbound translates a packet that came in on the outside interface for the outside address.
func (t *nat) inbound(ip packet.IPv4) natVerdict {
	if !t.cfg.Outside.addr.IsValid() || ip.Dst() != t.cfg.Outside.addr.Addr() {
		return natPass
	}
	if q, transport, ok := quoted(ip); ok {
		// An error about a packet that went out: it quotes the outside endpoint as its source.
		id := flowIn(q.Protocol(), q.Src(), q.Dst(), transport)
		m := t.lookup(id.protocol, id.src.Port(), id.dst.Addr())
		if m == nil || q.Src() != ip.Dst() {
			return natPass
		}
		rewriteQuote(ip, true, m.inside.addr.Addr(), m.inside.addr.Port())
		rewriteAddr(ip, false, m.inside.addr.Addr())
		return natTranslated
	}
	id := flowOf(ip)
	m := t.lookup(id.protocol, id.dst.Port(), id.src.Addr())
	if m == nil {
		if t.host.listens(ip) {
			return natPass
		}
		return natDrop
	}
	if !t.admits(m, remoteOf(id, id.src)) {
		return natDrop
	}
	if t.cfg.InboundRefresh {
		m.last = t.host.net.now()
	}
	rewriteEnd(ip, false, m.inside.addr.Addr(), m.inside.addr.Port())
	return natTranslated
}

func (t *nat) lookup(protocol uint8, port uint16, remote netip.Addr) *mapping {
	k := portKey{protocol: protocol, port: port}
	if !ported(protocol) {
		k = portKey{protocol: protocol, remote: remote}
	}
	if m := t.in[k]; m != nil && t.alive(m) {
		return m
	}
	return nil
}

// admits says whether the filter lets a packet from remote in through m.
func (t *nat) admits(m *mapping, remote netip.AddrPort) bool {
	for p := range m.peers {
		if t.cfg.Filtering.depends(p) == t.cfg.Filtering.depends(remote) {
			return true
		}
	}
	return false
}

// listens reports whether the NAT itself would take the packet: one of its sockets, or an answer to its ping.
func (h *Host) listens(ip packet.IPv4) bool {
	id := flowOf(ip)
	if ip.Protocol() == packet.ProtocolICMP {
		return true
	}
	return slices.ContainsFunc(h.endpoints, func(e *endpoint) bool {
		return e.match(ip.Protocol(), h.nat.cfg.Outside, id.src, id.dst) > 0
	})
}

// rewriteAddr changes the source or destination address of the header and mends its checksum.
func rewriteAddr(ip packet.IPv4, source bool, addr netip.Addr) {
	off := 16
	if source {
		off = 12
	}
	a := addr.As4()
	copy(ip[off:], a[:])
	rewriteChecksum(ip)
}

// headerOf is how many octets the headers have that hold what rewriteEnd writes.
var headerOf = map[uint8]int{packet.ProtocolUDP: packet.UDPLen, packet.ProtocolTCP: 20, packet.ProtocolICMP: icmpLen}

// rewriteEnd changes the source or destination address and port (ICMP: the identifier) and mends all checksums.
func rewriteEnd(ip packet.IPv4, source bool, addr netip.Addr, port uint16) {
	rewriteAddr(ip, source, addr)
	p := ip.Payload()
	if len(p) < headerOf[ip.Protocol()] {
		return // cut short: there is no checksum to mend, and nobody will take it
	}
	at := 2
	if source {
		at = 0
	}
	switch ip.Protocol() {
	case packet.ProtocolUDP:
		binary.BigEndian.PutUint16(p[at:], port)
		if binary.BigEndian.Uint16(p[6:]) != 0 {
			p[6], p[7] = 0, 0
			sum := packet.TransportChecksum(p, ip.Src(), ip.Dst(), packet.ProtocolUDP)
			if sum == 0 {
				sum = 0xffff
			}
			binary.BigEndian.PutUint16(p[6:], sum)
		}
	case packet.ProtocolTCP:
		binary.BigEndian.PutUint16(p[at:], port)
		p[16], p[17] = 0, 0
		binary.BigEndian.PutUint16(p[16:], packet.TransportChecksum(p, ip.Src(), ip.Dst(), packet.ProtocolTCP))
	case packet.ProtocolICMP:
		binary.BigEndian.PutUint16(p[4:], port)
		p[2], p[3] = 0, 0
		binary.BigEndian.PutUint16(p[2:], packet.Checksum(p, 0))
	}
}

// rewriteQuote changes the source or destination in the packet that an ICMP error quotes (RFC 5508 §4.2) and mends the
// ICMP checksum and the quoted header's.
func rewriteQuote(ip packet.IPv4, source bool, addr netip.Addr, port uint16) {
	m := ip.Payload()
	q := packet.IPv4(m[icmpLen:])
	rewriteAddr(q, source, addr)
	transport := q[q.HeaderLen():]
	if len(transport) < 8 { // what an ICMP error quotes at least (RFC 792)
		transport = nil
	}
	at := 2
	if source {
		at = 0
	}
	switch protocol := q.Protocol(); {
	case transport == nil:
	case protocol == packet.ProtocolUDP || protocol == packet.ProtocolTCP:
		binary.BigEndian.PutUint16(transport[at:], port)
	case protocol == packet.ProtocolICMP:
		binary.BigEndian.PutUint16(transport[4:], port)
	}
	m[2], m[3] = 0, 0
	binary.BigEndian.PutUint16(m[2:], packet.Checksum(m, 0))
}
