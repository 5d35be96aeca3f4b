package tunnel

import (
	"encoding/binary"
	"net/netip"

	"mipvpn/tun/packet"
)

// TunnelError is what an ICMP error from within a tunnel says (RFC 2003 §4), read by ParseICMPError.
type TunnelError struct {
	// Remote is the far end of the tunnel that the packet in error was sent into: the quoted outer destination. The port
	// is 0 but for UDP.
	Remote netip.AddrPort
	// Encapsulation is the tunnel's form.
	Encapsulation Encapsulation
	// Type and Code are those of the error to be relayed to the original sender. Relay is false when the RFC forbids or
	// does not ask for that.
	Type, Code uint8
	Relay      bool
	// Cause is what the error says of the tunnel.
	Cause Cause
	// MTU is the largest inner packet in octets that the tunnel carries, for CodeFragmentNeeded; 0 when the router did not
	// say (RFC 1191 §4).
	MTU int
	// Inner is what the error quotes of the inner packet, at least its header and 8 octets, or nil when it quotes less
	// (RFC 2003 §5). It is a part of the message given, or, of minimal encapsulation, made from it.
	Inner packet.IPv4
}

// Cause is what an ICMP error from within a tunnel says of the tunnel itself, for its soft state.
type Cause uint8

// What errors say of a tunnel.
const (
	// CauseOther: nothing, or what TunnelError.MTU has.
	CauseOther Cause = iota
	// CauseTTL: the time to live of an outer header has run out in it.
	CauseTTL
	// CauseUnreachable: its other end is not reached, by the network, the host, or there is nobody there who takes its packets.
	CauseUnreachable
)

// ParseICMPError reads an ICMP message, checksum included, that arrived at local, and returns what it says about a tunnel
// that begins at local, with port as the UDP port of 3519 tunnels. It returns false for any other message. The message
// is not authenticated: the caller compares Remote with its tunnels and bounds MTU.
func ParseICMPError(message []byte, local netip.Addr, port uint16) (TunnelError, bool) {
	if len(message) < icmpHeaderLen+packet.IPv4Len+8 || packet.Checksum(message, 0) != 0 {
		return TunnelError{}, false
	}
	var e TunnelError
	switch message[0] {
	case ICMPUnreachable:
		e.Type = ICMPUnreachable
		switch message[1] {
		case CodeFragmentNeeded:
			e.Code, e.Relay = message[1], true
		case CodeNetUnreachable, CodeHostUnreachable:
			e.Code, e.Relay, e.Cause = message[1], true, CauseUnreachable
		case CodeProtocol: // the original sender did not use protocol 4 (RFC 2003 §4.1)
			e.Code, e.Relay, e.Cause = CodeHostUnreachable, true, CauseUnreachable
		default:
			e.Code = message[1]
		}
	case ICMPTimeExceeded: // RFC 2003 §4.4
		e.Type, e.Code, e.Relay = ICMPUnreachable, CodeHostUnreachable, true
		if message[1] == CodeTTL {
			e.Cause = CauseTTL
		}
	default:
		return TunnelError{}, false
	}
	outer, quoted, ok := quotedHeader(message[icmpHeaderLen:])
	if !ok || outer.Src() != local || outer.FragmentOffset() != 0 {
		return TunnelError{}, false
	}
	remote, overhead := uint16(0), packet.IPv4Len
	switch outer.Protocol() {
	case packet.ProtocolIPIP:
	case packet.ProtocolMinimal:
		e.Encapsulation = Minimal
		quoted = quotedMinimal(outer, quoted)
	case packet.ProtocolGRE:
		n, ok := greHeaderLen(binary.BigEndian.Uint16(quoted))
		if !ok || binary.BigEndian.Uint16(quoted[2:]) != greIPv4 {
			return TunnelError{}, false
		}
		e.Encapsulation, overhead = GRE, packet.IPv4Len+n
		quoted = quoted[min(n, len(quoted)):]
	case packet.ProtocolUDP:
		if len(quoted) < packet.UDPLen || binary.BigEndian.Uint16(quoted) != port {
			return TunnelError{}, false
		}
		e.Encapsulation, remote = UDP, binary.BigEndian.Uint16(quoted[2:])
		overhead = UDP.TotalOverhead()
		quoted = quoted[packet.UDPLen:]
		if len(quoted) >= DataHeaderLen {
			if quoted[0] != TypeData {
				return TunnelError{}, false // signalling
			}
			quoted = quoted[DataHeaderLen:]
		} else {
			quoted = nil
		}
	default:
		return TunnelError{}, false
	}
	e.Remote = netip.AddrPortFrom(outer.Dst(), remote)
	if message[0] == ICMPUnreachable && message[1] == CodeFragmentNeeded {
		if next := int(binary.BigEndian.Uint16(message[6:])); next > overhead {
			e.MTU = next - overhead
		}
	}
	if inner, rest, ok := quotedHeader(quoted); ok && len(rest) >= 8 {
		e.Inner = inner[:inner.HeaderLen()+len(rest)]
	}
	return e, true
}

// quotedMinimal returns the original packet, as far as it is quoted, of which an error quotes the outer header and what stands
// behind that; nil when that is too little or not well formed.
func quotedMinimal(outer packet.IPv4, quoted []byte) packet.IPv4 {
	n, f, ok := forwarding(quoted, outer.Src())
	length := outer.TotalLen() - outer.HeaderLen() - n + packet.IPv4Len
	if !ok || length < packet.IPv4Len {
		return nil
	}
	f.TOS, f.TTL, f.ID, f.DontFragment = outer.TOS(), outer.TTL(), outer.ID(), outer.DontFragment()
	ip := make(packet.IPv4, packet.IPv4Len, packet.IPv4Len+len(quoted)-n)
	ip.Encode(f, length)
	return append(ip, quoted[n:]...)
}

// quotedHeader returns the IPv4 header that p begins with, and what p has behind it, which may be less than the total
// length says.
func quotedHeader(p []byte) (packet.IPv4, []byte, bool) {
	if len(p) < packet.IPv4Len || p[0]>>4 != 4 {
		return nil, nil, false
	}
	ip := packet.IPv4(p)
	h := ip.HeaderLen()
	if h < packet.IPv4Len || h > len(p) || ip.TotalLen() < h {
		return nil, nil, false
	}
	return ip, p[h:min(len(p), ip.TotalLen())], true
}

// Answer returns an IPv4 packet from the address from to the original sender that relays the error (RFC 2003 §4), or nil
// when that cannot or may not be done. mtu is the next-hop MTU to tell for CodeFragmentNeeded. The caller owns the packet.
func (e TunnelError) Answer(from netip.Addr, mtu int) *packet.Buf {
	if !e.Relay || e.Inner == nil {
		return nil
	}
	if e.Type != ICMPUnreachable || e.Code != CodeFragmentNeeded {
		mtu = 0
	}
	inner := e.Inner
	if inner.FragmentOffset() != 0 || !IsUnicast(inner.Src()) || inner.Src().IsLoopback() || !IsUnicast(inner.Dst()) {
		return nil
	}
	h := inner.HeaderLen()
	if inner.Protocol() == packet.ProtocolICMP && isICMPError(inner[h]) {
		return nil
	}
	p := packet.GetSmall()
	quote := inner[:min(len(inner), maxICMPError-packet.IPv4Len-icmpHeaderLen)]
	m := append(p.Free()[:0], e.Type, e.Code, 0, 0, 0, 0, uint8(mtu>>8), uint8(mtu))
	m = append(m, quote...)
	binary.BigEndian.PutUint16(m[2:], packet.Checksum(m, 0))
	p.Extend(len(m))
	packet.PushIPv4(p, packet.IPv4Fields{
		TTL: icmpErrorTTL, Protocol: packet.ProtocolICMP, Src: from, Dst: inner.Src(),
	})
	return p
}

// ParseUnreachable reads an ICMP destination unreachable, checksum included, about a UDP datagram from local and port:
// signalling that did not arrive (RFC 5944 §3.7.3). It returns where that was sent to and the ICMP code, and false for any
// other message. The message is not authenticated.
func ParseUnreachable(message []byte, local netip.Addr, port uint16) (remote netip.AddrPort, code uint8, ok bool) {
	if len(message) < icmpHeaderLen+packet.IPv4Len+packet.UDPLen || message[0] != ICMPUnreachable || packet.Checksum(message, 0) != 0 {
		return netip.AddrPort{}, 0, false
	}
	ip, quoted, ok := quotedHeader(message[icmpHeaderLen:])
	if !ok || ip.Src() != local || ip.Protocol() != packet.ProtocolUDP || ip.FragmentOffset() != 0 ||
		len(quoted) < packet.UDPLen || binary.BigEndian.Uint16(quoted) != port {
		return netip.AddrPort{}, 0, false
	}
	return netip.AddrPortFrom(ip.Dst(), binary.BigEndian.Uint16(quoted[2:])), message[1], true
}
