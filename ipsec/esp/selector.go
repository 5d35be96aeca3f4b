package esp

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"mipvpn/tun/packet"
)

// Selector is one traffic selector (RFC 7296 §3.13.1): a protocol, a range of ports, a range of addresses. It is
// comparable. SAs carry IPv4 packets alone, so that a Selector of IPv6 addresses matches none of them: it is there to be
// negotiated and shown.
type Selector struct {
	// Protocol is the IP protocol number, 0 for any.
	Protocol uint8
	// StartPort and EndPort are the first and last port in host order; 0 and 65535 mean any, also for protocols without
	// ports and for fragments. For ICMP the type is the upper octet and the code the lower.
	StartPort, EndPort uint16
	// Start and End are the first and last address, both IPv4 or both IPv6.
	Start, End netip.Addr
}

// PrefixSelector returns the selector for all traffic of the prefix p. For an invalid one it returns the zero Selector, which
// matches nothing.
func PrefixSelector(p netip.Prefix) Selector {
	if !p.IsValid() || p.Addr().Is4In6() {
		return Selector{}
	}
	start := p.Masked().Addr()
	last := start.AsSlice()
	for i := p.Bits(); i < 8*len(last); i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	end, _ := netip.AddrFromSlice(last)
	return Selector{EndPort: 65535, Start: start, End: end}
}

// AddrSelector returns the selector for all traffic of the address a.
func AddrSelector(a netip.Addr) Selector { return PrefixSelector(netip.PrefixFrom(a, a.BitLen())) }

// AnySelector returns the selector that matches all IPv4 traffic.
func AnySelector() Selector { return PrefixSelector(netip.PrefixFrom(netip.IPv4Unspecified(), 0)) }

// AnySelector6 returns the selector for all IPv6 traffic.
func AnySelector6() Selector { return PrefixSelector(netip.PrefixFrom(netip.IPv6Unspecified(), 0)) }

// family is 4 or 6, 0 for a Selector that has not two addresses of one.
func (s Selector) family() int {
	switch {
	case s.Start.Is4() && s.End.Is4():
		return 4
	case s.Start.Is6() && s.End.Is6():
		return 6
	}
	return 0
}

// Contains reports whether the selector's address range contains a.
func (s Selector) Contains(a netip.Addr) bool {
	return s.family() != 0 && a.Is4() == s.Start.Is4() && s.Start.Compare(a) <= 0 && a.Compare(s.End) <= 0
}

// Intersect returns what both selectors match, and false when that is nothing.
func (s Selector) Intersect(o Selector) (Selector, bool) {
	if s.family() == 0 || s.family() != o.family() {
		return Selector{}, false
	}
	switch {
	case s.Protocol == 0:
		s.Protocol = o.Protocol
	case o.Protocol != 0 && o.Protocol != s.Protocol:
		return Selector{}, false
	}
	s.StartPort, s.EndPort = max(s.StartPort, o.StartPort), min(s.EndPort, o.EndPort)
	if s.Start.Less(o.Start) {
		s.Start = o.Start
	}
	if o.End.Less(s.End) {
		s.End = o.End
	}
	if s.StartPort > s.EndPort || s.End.Less(s.Start) {
		return Selector{}, false
	}
	return s, true
}

// String writes the address range, then the protocol and ports where they are restricted.
func (s Selector) String() string {
	text := fmt.Sprintf("%v-%v", s.Start, s.End)
	if s.Start == s.End {
		text = s.Start.String()
	}
	if s.Protocol != 0 {
		text += fmt.Sprintf(" protocol %d", s.Protocol)
	}
	if !s.anyPort() {
		text += fmt.Sprintf(" ports %d-%d", s.StartPort, s.EndPort)
	}
	return text
}

func (s Selector) anyPort() bool { return s.StartPort == 0 && s.EndPort == 65535 }

// compiled is a Selector as it is compared with packets.
type compiled struct {
	start, end         uint32
	protocol           uint8
	anyPort            bool
	startPort, endPort uint16
}

func compile(list []Selector) []compiled {
	out := make([]compiled, 0, len(list))
	for _, s := range list {
		if !s.Start.Is4() || !s.End.Is4() {
			continue // matches no IPv4 packet
		}
		start, end := s.Start.As4(), s.End.As4()
		out = append(out, compiled{
			start: binary.BigEndian.Uint32(start[:]), end: binary.BigEndian.Uint32(end[:]),
			protocol: s.Protocol, anyPort: s.anyPort(), startPort: s.StartPort, endPort: s.EndPort,
		})
	}
	return out
}

// side is one end of a packet.
type side struct {
	addr     uint32
	protocol uint8
	port     uint16
	hasPort  bool
}

// sides returns the source and the destination of a valid IPv4 packet. Fragments other than the first, and packets cut
// before their ports, have none: they match only selectors for any port (RFC 4301 §7).
func sides(p packet.IPv4) (src, dst side) {
	src = side{addr: binary.BigEndian.Uint32(p[12:]), protocol: p.Protocol()}
	dst = side{addr: binary.BigEndian.Uint32(p[16:]), protocol: p.Protocol()}
	if p.FragmentOffset() != 0 {
		return src, dst
	}
	payload := p.Payload()
	switch p.Protocol() {
	case packet.ProtocolTCP, packet.ProtocolUDP, 33, 132, 136: // DCCP, SCTP, UDP-Lite
		if len(payload) >= 4 {
			src.port, dst.port = binary.BigEndian.Uint16(payload), binary.BigEndian.Uint16(payload[2:])
			src.hasPort, dst.hasPort = true, true
		}
	case packet.ProtocolICMP: // type and code stand for both ports (RFC 7296 §3.13.1)
		if len(payload) >= 2 {
			src.port, dst.port = binary.BigEndian.Uint16(payload), binary.BigEndian.Uint16(payload)
			src.hasPort, dst.hasPort = true, true
		}
	}
	return src, dst
}

func (s side) matches(list []compiled) bool {
	for i := range list {
		c := &list[i]
		if s.addr < c.start || s.addr > c.end || c.protocol != 0 && c.protocol != s.protocol {
			continue
		}
		if c.anyPort || s.hasPort && c.startPort <= s.port && s.port <= c.endPort {
			return true
		}
	}
	return false
}
