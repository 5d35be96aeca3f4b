package tunnel

import (
	"encoding/binary"
	"net/netip"

	"mipvpn/tun/packet"
)

// ICMP message types and codes (RFC 792) that tunnels deal with.
const (
	ICMPEchoReply       = 0
	ICMPUnreachable     = 3
	ICMPEchoRequest     = 8
	ICMPTimeExceeded    = 11
	CodeNetUnreachable  = 0
	CodeHostUnreachable = 1
	CodeProtocol        = 2
	CodePort            = 3
	CodeFragmentNeeded  = 4
	CodeSourceRoute     = 5
	CodeTTL             = 0
)

const (
	icmpHeaderLen = 8
	// maxICMPError is the greatest length in octets of a packet with an ICMP error (RFC 1812 §4.3.2.3).
	maxICMPError = 576
	icmpErrorTTL = 64
)

// MayAnswer reports whether an ICMP error about the packet may be sent to its source (RFC 1122 §3.2.2, RFC 1812
// §4.3.2.7): not about an ICMP error, a later fragment, a broadcast or group destination, or a source that is not one
// host's.
func MayAnswer(ip packet.IPv4) bool {
	if !ip.Valid() || ip.FragmentOffset() != 0 {
		return false
	}
	src, dst := ip.Src(), ip.Dst()
	if !IsUnicast(src) || src.IsLoopback() || !IsUnicast(dst) {
		return false
	}
	if ip.Protocol() != packet.ProtocolICMP {
		return true
	}
	m := ip.Payload()
	return len(m) > 0 && !isICMPError(m[0])
}

// IsUnicast reports whether a is an IPv4 address that one host can have as far as the address alone tells: not
// 0.0.0.0, not of class D or E, and so not the limited broadcast.
func IsUnicast(a netip.Addr) bool {
	if !a.Is4() || a.IsUnspecified() {
		return false
	}
	return a.As4()[0] < 224
}

// isICMPError reports whether t is the type of an error message (RFC 1122 §3.2.2).
func isICMPError(t uint8) bool {
	switch t {
	case ICMPUnreachable, 4, 5, ICMPTimeExceeded, 12: // 4: source quench, 5: redirect, 12: parameter problem
		return true
	}
	return false
}

// AppendICMPError appends the ICMP error message about the packet: header and as much of the packet as fits into 576
// octets with an IPv4 header in front. mtu goes into the next-hop MTU field and is 0 but for CodeFragmentNeeded
// (RFC 1191 §4).
func AppendICMPError(b []byte, typ, code uint8, mtu uint16, about packet.IPv4) []byte {
	start := len(b)
	quote := about[:min(about.TotalLen(), maxICMPError-packet.IPv4Len-icmpHeaderLen)]
	b = append(b, typ, code, 0, 0, 0, 0, uint8(mtu>>8), uint8(mtu))
	b = append(b, quote...)
	binary.BigEndian.PutUint16(b[start+2:], packet.Checksum(b[start:], 0))
	return b
}

// ICMPError returns an IPv4 packet from the address from to the source of the packet about, with the ICMP error about it.
// It returns nil when none may be sent. The caller owns the packet.
func ICMPError(from netip.Addr, typ, code uint8, mtu uint16, about packet.IPv4) *packet.Buf {
	if !MayAnswer(about) {
		return nil
	}
	p := packet.GetSmall()
	m := AppendICMPError(p.Free()[:0], typ, code, mtu, about)
	p.Extend(len(m))
	packet.PushIPv4(p, packet.IPv4Fields{
		TTL: icmpErrorTTL, Protocol: packet.ProtocolICMP, Src: from, Dst: about.Src(),
	})
	return p
}
