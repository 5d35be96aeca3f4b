package tunnel

import (
	"encoding/binary"
	"net/netip"

	"mipvpn/tun/packet"
)

const (
	echoTTL = 64
	// echoLen is the length in octets of a keepalive's inner packet: IPv4 header and ICMP echo header without data.
	echoLen = packet.IPv4Len + icmpHeaderLen
)

// AppendEchoRequest appends the payload of a 3519 keepalive (RFC 3519 §4.9): the data header and an ICMP echo request
// from the home address to the home agent.
func AppendEchoRequest(b []byte, home, homeAgent netip.Addr, id, seq uint16) []byte {
	b = append(b, TypeData, packet.ProtocolIPIP, 0, 0)
	start := len(b)
	b = append(b, make([]byte, packet.IPv4Len)...)
	b = append(b, ICMPEchoRequest, 0, 0, 0, uint8(id>>8), uint8(id), uint8(seq>>8), uint8(seq))
	inner := b[start:]
	binary.BigEndian.PutUint16(inner[packet.IPv4Len+2:], packet.Checksum(inner[packet.IPv4Len:], 0))
	packet.IPv4(inner).Encode(packet.IPv4Fields{TTL: echoTTL, Protocol: packet.ProtocolICMP, Src: home, Dst: homeAgent}, echoLen)
	return b
}

// ParseEcho reads an unfragmented ICMP echo request or reply with a right checksum out of an IPv4 packet.
func ParseEcho(ip packet.IPv4) (typ uint8, id, seq uint16, ok bool) {
	if !ip.Valid() || ip.Protocol() != packet.ProtocolICMP || ip.MoreFragments() || ip.FragmentOffset() != 0 {
		return 0, 0, 0, false
	}
	return ParseEchoMessage(ip.Payload())
}

// ParseEchoMessage reads an ICMP echo request or reply with a right checksum (RFC 792).
func ParseEchoMessage(m []byte) (typ uint8, id, seq uint16, ok bool) {
	if len(m) < icmpHeaderLen || m[1] != 0 || m[0] != ICMPEchoRequest && m[0] != ICMPEchoReply {
		return 0, 0, 0, false
	}
	if packet.Checksum(m, 0) != 0 {
		return 0, 0, 0, false
	}
	return m[0], binary.BigEndian.Uint16(m[4:]), binary.BigEndian.Uint16(m[6:]), true
}

// AnswerEcho turns the ICMP echo request in p that is for local into the reply to it, in place (RFC 792), and reports
// whether it was one. The home agent answers keepalives so, into the tunnel they came from (RFC 3519 §4.9).
func AnswerEcho(p *packet.Buf, local netip.Addr) bool {
	ip := packet.IPv4(p.Bytes())
	typ, _, _, ok := ParseEcho(ip)
	if !ok || typ != ICMPEchoRequest || ip.Dst() != local || ip.HeaderLen() != packet.IPv4Len {
		return false
	}
	m := ip.Payload()
	before := binary.BigEndian.Uint16(m)
	m[0] = ICMPEchoReply
	binary.BigEndian.PutUint16(m[2:], packet.ChecksumUpdate(binary.BigEndian.Uint16(m[2:]), before, binary.BigEndian.Uint16(m)))
	ip.Encode(packet.IPv4Fields{
		TOS: ip.TOS(), ID: ip.ID(), TTL: echoTTL, Protocol: packet.ProtocolICMP, Src: local, Dst: ip.Src(),
	}, ip.TotalLen())
	return true
}
