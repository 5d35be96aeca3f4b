package tunnel

import (
	"encoding/binary"
	"net/netip"

	"mipvpn/tun/packet"
)

// Ports of IKE at the default destination of zero-overhead tunnelling (RFC 7296 §2, RFC 3948 §2).
const (
	portIKE  = 500
	portNATT = 4500
)

// Switched says as what a packet travels that has its addresses switched instead of being encapsulated (draft appendix D,
// docs/zero-overhead.md). Packets of each kind are payloads of a flow of their own between care-of address and home agent.
type Switched uint8

const (
	// NotSwitched travels in the tunnel: the escape.
	NotSwitched Switched = iota
	// SwitchedESP is ESP, protocol 50.
	SwitchedESP
	// SwitchedIKE is UDP with port 500 at the default destination.
	SwitchedIKE
	// SwitchedNATT is UDP with port 4500 at the default destination: IKE and ESP in UDP.
	SwitchedNATT
)

// Port returns the UDP port at the default destination, 0 for ESP.
func (s Switched) Port() uint16 {
	switch s {
	case SwitchedIKE:
		return portIKE
	case SwitchedNATT:
		return portNATT
	}
	return 0
}

// SwitchedBy returns as what UDP with that port at the default destination travels.
func SwitchedBy(port uint16) Switched {
	switch port {
	case portIKE:
		return SwitchedIKE
	case portNATT:
		return SwitchedNATT
	}
	return NotSwitched
}

// SwitchedFrom returns as what a whole IPv4 packet from the default destination travels to the mobile node: ESP, or UDP from one
// of the ports of IKE, in no fragment and without IPv4 options. Everything else escapes into the tunnel, where what it says of
// itself is kept. The packet must be Valid.
func SwitchedFrom(ip packet.IPv4) Switched {
	if binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 || ip.HeaderLen() != packet.IPv4Len {
		return NotSwitched
	}
	switch ip.Protocol() {
	case packet.ProtocolESP:
		return SwitchedESP
	case packet.ProtocolUDP:
		u := packet.UDP(ip.Payload())
		if u.Valid() && u.Length() == len(u) {
			return SwitchedBy(u.SrcPort())
		}
	}
	return NotSwitched
}

// SwitchOut takes the headers off a whole packet from the default destination that travels as s to the care-of address, and
// notes what the new ones are to say: Peer, TOS and DontFragment. The flow's checksum will be another, so the one that the
// packet has is verified here, but for ESP in UDP, whose ICV says more and for the same octets: damage must not be signed
// over. It returns why the packet must be dropped; it is the caller's then.
func SwitchOut(p *packet.Buf, s Switched, careOf netip.Addr) packet.DropReason {
	ip := packet.IPv4(p.Bytes())
	tos, whole, port := ip.TOS(), ip.DontFragment(), uint16(0)
	p.Trim(ip.TotalLen())
	p.Pull(packet.IPv4Len)
	if s != SwitchedESP {
		u := packet.UDP(p.Bytes())
		if !unsummed(s, u[packet.UDPLen:]) && !u.ChecksumOK(ip.Src(), ip.Dst()) {
			return packet.DropMalformed
		}
		port = u.DstPort()
		p.Pull(packet.UDPLen)
	}
	p.Peer, p.TOS, p.DontFragment = netip.AddrPortFrom(careOf, port), tos, whole
	return packet.NotDropped
}

// SwitchIn puts in front of a payload that came as s, from Buf.Peer, the headers that it has between the mobile node's home
// address and the default destination. ESP in UDP gets no checksum (RFC 3948 §2.1); IKE gets one, the flow having verified
// its own. id is the identification of the header.
func SwitchIn(p *packet.Buf, s Switched, home, destination netip.Addr, id uint16) {
	protocol := uint8(packet.ProtocolESP)
	if s != SwitchedESP {
		protocol = packet.ProtocolUDP
		src, dst := netip.AddrPortFrom(home, p.Peer.Port()), netip.AddrPortFrom(destination, s.Port())
		if unsummed(s, p.Bytes()) {
			packet.PushUDPUnsummed(p, src, dst)
		} else {
			packet.PushUDP(p, src, dst)
		}
	}
	packet.PushIPv4(p, packet.IPv4Fields{TOS: p.TOS, ID: id, TTL: switchedTTL, Protocol: protocol, Src: home, Dst: destination})
}

// switchedTTL is the time to live of restored headers.
const switchedTTL = 64

// unsummed reports whether a UDP payload that travels as s is ESP: no non-ESP marker of four zero octets in front, and more
// than a NAT keepalive (RFC 3948 §2.2, §2.3).
func unsummed(s Switched, payload []byte) bool {
	return s == SwitchedNATT && len(payload) > 4 && binary.BigEndian.Uint32(payload) != 0
}

// SwitchAddresses writes other addresses into the header of an IPv4 packet and corrects the checksums incrementally (RFC 1624):
// the header's, and UDP's where it is there and not zero (RFC 768: none was computed; RFC 3948 §2.1 has ESP leave it so). The
// packet may be cut off behind its header, as ICMP quotes it. It needs a whole header; both addresses are IPv4.
func SwitchAddresses(ip packet.IPv4, src, dst netip.Addr) {
	var addresses [8]byte
	s, d := src.As4(), dst.As4()
	copy(addresses[:], s[:])
	copy(addresses[4:], d[:])
	header := ip.Checksum()
	var udp []byte
	if h := ip.HeaderLen(); ip.Protocol() == packet.ProtocolUDP && ip.FragmentOffset() == 0 && len(ip) >= h+packet.UDPLen {
		udp = ip[h : h+packet.UDPLen]
	}
	sum := uint16(0)
	if udp != nil {
		sum = binary.BigEndian.Uint16(udp[6:])
	}
	kept := sum == 0
	for i := 0; i < len(addresses); i += 2 {
		before, after := binary.BigEndian.Uint16(ip[12+i:]), binary.BigEndian.Uint16(addresses[i:])
		header = packet.ChecksumUpdate(header, before, after)
		sum = packet.ChecksumUpdate(sum, before, after)
	}
	copy(ip[12:], addresses[:])
	binary.BigEndian.PutUint16(ip[10:], header)
	if udp != nil && !kept {
		if sum == 0 {
			sum = 0xffff // RFC 768: an all-zero checksum is sent as all ones
		}
		binary.BigEndian.PutUint16(udp[6:], sum)
	}
}

// SwitchedError is what an ICMP error about a packet with switched addresses says, read by ParseSwitchedError.
type SwitchedError struct {
	// CareOf is where the packet was sent to.
	CareOf netip.Addr
	// MTU is the next hop's for CodeFragmentNeeded, in octets: 0 for another error, or where the router did not say.
	MTU int
	// TooBig is set for CodeFragmentNeeded.
	TooBig bool
	// message is the whole error.
	message []byte
}

// ParseSwitchedError reads an ICMP message, checksum included, that arrived at local, and returns what it says about a packet
// that the home agent of that address has sent with switched addresses: destination unreachable, or time exceeded on the way. It
// returns false for any other message. The error keeps the message. The message is not authenticated.
func ParseSwitchedError(message []byte, local netip.Addr) (SwitchedError, bool) {
	if len(message) < icmpHeaderLen+packet.IPv4Len+8 || packet.Checksum(message, 0) != 0 ||
		message[0] != ICMPUnreachable && (message[0] != ICMPTimeExceeded || message[1] != CodeTTL) {
		return SwitchedError{}, false
	}
	ip, quoted, ok := quotedHeader(message[icmpHeaderLen:])
	if !ok || len(quoted) < 8 || ip.Src() != local || ip.FragmentOffset() != 0 || !IsUnicast(ip.Dst()) {
		return SwitchedError{}, false
	}
	switch ip.Protocol() {
	case packet.ProtocolESP:
	case packet.ProtocolUDP:
		if SwitchedBy(binary.BigEndian.Uint16(quoted)) == NotSwitched {
			return SwitchedError{}, false
		}
	default:
		return SwitchedError{}, false
	}
	e := SwitchedError{CareOf: ip.Dst(), message: message}
	if e.TooBig = message[0] == ICMPUnreachable && message[1] == CodeFragmentNeeded; e.TooBig {
		e.MTU = int(binary.BigEndian.Uint16(message[6:]))
	}
	return e, true
}

// Own gives the error a copy of its message.
func (e *SwitchedError) Own() { e.message = append([]byte(nil), e.message...) }

// Translate returns an IPv4 packet from the address from to the default destination with the error about the packet as it was
// sent to the home address: the quotation has its addresses switched back. mtu is the next-hop MTU to tell, in octets, where the
// error is of that kind: switching changes no lengths. The caller owns the packet.
func (e SwitchedError) Translate(from, home, destination netip.Addr, mtu int) *packet.Buf {
	quote := e.message[icmpHeaderLen:]
	quote = quote[:min(len(quote), maxICMPError-packet.IPv4Len-icmpHeaderLen)]
	p := packet.GetSmall()
	m := append(p.Free()[:0], e.message[0], e.message[1], 0, 0, 0, 0, 0, 0)
	if e.TooBig {
		binary.BigEndian.PutUint16(m[6:], uint16(min(mtu, 0xffff)))
	}
	m = append(m, quote...)
	SwitchAddresses(packet.IPv4(m[icmpHeaderLen:]), destination, home)
	binary.BigEndian.PutUint16(m[2:], packet.Checksum(m, 0))
	p.Extend(len(m))
	packet.PushIPv4(p, packet.IPv4Fields{TTL: icmpErrorTTL, Protocol: packet.ProtocolICMP, Src: from, Dst: destination})
	return p
}
