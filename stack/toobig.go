package stack

import (
	"encoding/binary"

	"mipvpn/tun/packet"
)

const (
	icmpUnreachable      = 3 // RFC 792
	icmpFragmentNeeded   = 4 // code of icmpUnreachable
	icmpErrorHeaderLen   = 8
	icmpErrorQuoteOctets = 8 // of the payload behind the quoted header (RFC 792)
)

// tooBig answers a packet from the device that is larger than mtu: with DF by "fragmentation needed" to its sender
// (RFC 1191 §4), so that the sender's path MTU discovery works however deep the mode is. Without DF it is dropped too:
// the device's own MTU is what the host fragments to.
func (e *Engine) tooBig(p *packet.Buf, mtu int) packet.DropReason {
	ip := packet.IPv4(p.Bytes())
	// No error about an ICMP error or a later fragment (RFC 1122 §3.2.2); an echo request may have one.
	if ip.FragmentOffset() != 0 || (ip.Protocol() == packet.ProtocolICMP && !isEcho(ip.Payload())) {
		return packet.DropTooBig
	}
	quote := min(ip.HeaderLen()+icmpErrorQuoteOctets, ip.TotalLen())
	reply := packet.GetSmall()
	m := reply.Extend(icmpErrorHeaderLen + quote)
	clear(m[:icmpErrorHeaderLen])
	m[0], m[1] = icmpUnreachable, icmpFragmentNeeded
	binary.BigEndian.PutUint16(m[6:], uint16(max(mtu, 0))) // next-hop MTU (RFC 1191 §4)
	copy(m[icmpErrorHeaderLen:], ip[:quote])
	binary.BigEndian.PutUint16(m[2:], packet.Checksum(m, 0))
	packet.PushIPv4(reply, packet.IPv4Fields{TTL: DefaultTTL, Protocol: packet.ProtocolICMP, Src: ip.Dst(), Dst: ip.Src()})
	_ = e.dev.Write(packet.One(reply)) // the device counts what it drops
	return packet.DropTooBig
}

func isEcho(m []byte) bool { return len(m) > 0 && (m[0] == 0 || m[0] == 8) }
