package pathmtu

import (
	"encoding/binary"
	"net/netip"

	"mipvpn/tun/packet"
)

const (
	// minIPv4MTU is the smallest MTU that an IPv4 link may have (RFC 791 §3.2).
	minIPv4MTU = 68

	icmpHeaderLen   = 8
	icmpEchoReply   = 0
	icmpUnreachable = 3
	icmpEchoRequest = 8
	// codeFragmentNeeded is the code of icmpUnreachable for a packet with DF that is too large (RFC 1191 §4).
	codeFragmentNeeded = 4

	probeTTL = 64
)

// Token tells the answers to one path's probes from what somebody makes up who has not seen them.
type Token [8]byte

// minProbe is the length in octets of the shortest probe: both headers and the token.
const minProbe = packet.IPv4Len + icmpHeaderLen + len(Token{})

// AppendProbe appends an IPv4 packet of size octets, with DF: an ICMP echo request (RFC 792) from home to agent whose data
// are the token and zeros. A size that is too small for that is taken as minProbe.
func AppendProbe(b []byte, home, agent netip.Addr, id, seq uint16, token Token, size int) []byte {
	size = max(size, minProbe)
	start := len(b)
	b = append(b, make([]byte, size)...)
	ip := packet.IPv4(b[start:])
	m := ip[packet.IPv4Len:]
	m[0] = icmpEchoRequest
	binary.BigEndian.PutUint16(m[4:], id)
	binary.BigEndian.PutUint16(m[6:], seq)
	copy(m[icmpHeaderLen:], token[:])
	binary.BigEndian.PutUint16(m[2:], packet.Checksum(m, 0))
	ip.Encode(packet.IPv4Fields{ID: seq, DontFragment: true, TTL: probeTTL, Protocol: packet.ProtocolICMP, Src: home, Dst: agent}, size)
	return b
}

// parseAnswer returns the sequence number of an echo reply from agent to home with the identifier and token, and false for
// anything else. Its length does not matter: that the request arrived is what counts.
func parseAnswer(ip packet.IPv4, home, agent netip.Addr, id uint16, token Token) (seq uint16, ok bool) {
	if !ip.Valid() || ip.Protocol() != packet.ProtocolICMP || ip.MoreFragments() || ip.FragmentOffset() != 0 || ip.Src() != agent || ip.Dst() != home {
		return 0, false
	}
	m := ip.Payload()
	if len(m) < icmpHeaderLen+len(token) || m[0] != icmpEchoReply || m[1] != 0 || packet.Checksum(m, 0) != 0 {
		return 0, false
	}
	if binary.BigEndian.Uint16(m[4:]) != id || Token(m[icmpHeaderLen:icmpHeaderLen+len(token)]) != token {
		return 0, false
	}
	return binary.BigEndian.Uint16(m[6:]), true
}

// Hint is what an ICMP "fragmentation needed" says. It is not authenticated.
type Hint struct {
	// Remote is where the packet in error was sent to, Protocol its protocol number, and Length its total length in octets.
	Remote   netip.Addr
	Protocol uint8
	Length   int
	// MTU is the next hop's in octets, 0 where the router did not say (before RFC 1191).
	MTU int
}

// ParseHint reads an ICMP message, checksum included, that arrived at local. It returns false for anything but a
// "fragmentation needed" that can be an answer to a probe: about a packet from local that bore DF and was longer than the
// MTU named (RFC 8899 §4.6.1). That it was sent to a peer in use is for the caller to check.
func ParseHint(message []byte, local netip.Addr) (Hint, bool) {
	if len(message) < icmpHeaderLen+packet.IPv4Len+8 || message[0] != icmpUnreachable || message[1] != codeFragmentNeeded ||
		packet.Checksum(message, 0) != 0 {
		return Hint{}, false
	}
	ip := packet.IPv4(message[icmpHeaderLen:]) // cut off: its total length is more than is there
	if ip[0]>>4 != 4 || ip.HeaderLen() < packet.IPv4Len || ip.HeaderLen()+8 > len(ip) {
		return Hint{}, false
	}
	h := Hint{Remote: ip.Dst(), Protocol: ip.Protocol(), Length: ip.TotalLen(), MTU: int(binary.BigEndian.Uint16(message[6:]))}
	if ip.Src() != local || !ip.DontFragment() || ip.FragmentOffset() != 0 || h.MTU != 0 && h.MTU < minIPv4MTU || h.MTU >= h.Length {
		return Hint{}, false
	}
	return h, true
}
