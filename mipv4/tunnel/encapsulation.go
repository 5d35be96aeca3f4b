package tunnel

import (
	"fmt"

	"mipvpn/tun/packet"
)

// Encapsulation is a form of tunnel between a care-of address and a home agent.
type Encapsulation uint8

const (
	// IPIP is IP-in-IP (RFC 2003): protocol 4 with the inner packet as its payload.
	IPIP Encapsulation = iota
	// UDP is MIP UDP tunnelling of IP packets (RFC 3519 §4.2): a UDP payload of the data header and the inner packet.
	UDP
)

const (
	// TypeData is the Mobile IP message type of tunnelled data (RFC 3519 §3.3).
	TypeData = 4
	// DataHeaderLen is the length in octets of the MIP tunnel data header: type, next header, two reserved octets.
	DataHeaderLen = 4
)

// String returns "ipip" or "udp".
func (e Encapsulation) String() string {
	switch e {
	case IPIP:
		return "ipip"
	case UDP:
		return "udp"
	}
	return fmt.Sprintf("encapsulation %d", uint8(e))
}

// Overhead returns the octets that the encapsulation adds in the payload of its flow: none or the data header. The
// flow's own headers come on top.
func (e Encapsulation) Overhead() int {
	if e == UDP {
		return DataHeaderLen
	}
	return 0
}

// TotalOverhead returns the octets that the encapsulation adds to a packet, the outer headers included: 20 or 32.
func (e Encapsulation) TotalOverhead() int {
	if e == UDP {
		return packet.IPv4Len + packet.UDPLen + DataHeaderLen
	}
	return packet.IPv4Len
}

// Encapsulator is the step that puts IPv4 packets into a tunnel whose flow stands below it.
type Encapsulator struct {
	// Encapsulation is the tunnel's form.
	Encapsulation Encapsulation
	// Forwarding says that the packets are being forwarded by this step and that nobody has taken one off their time to
	// live yet (RFC 2003 §3.1). It is not set where the host's own IP layer forwarded them into a TUN device.
	Forwarding bool
	// Drops counts what is dropped.
	Drops *packet.Drops
}

// Apply encapsulates each packet. What is not an IPv4 packet, or has no time to live left, is dropped.
func (e Encapsulator) Apply(b *packet.Batch) { b.Keep(e.Drops, e.Encapsulate) }

// Encapsulate puts one packet into the tunnel, or returns why it must be dropped, leaving it to the caller. Buf.TOS
// becomes the outer type of service: DSCP and ECN of the inner header (RFC 2003 §3.1, RFC 6040 §4.1 normal mode). A
// superpacket stays whole: each of its segments will have the same data header.
func (e Encapsulator) Encapsulate(p *packet.Buf) packet.DropReason {
	ip := packet.IPv4(p.Bytes())
	if !ip.Valid() {
		return packet.DropMalformed
	}
	if e.Forwarding && !ip.DecrementTTL() || ip.TTL() == 0 {
		return packet.DropTTL
	}
	p.TOS = ip.TOS()
	if e.Encapsulation == UDP {
		h := p.Push(DataHeaderLen)
		h[0], h[1], h[2], h[3] = TypeData, packet.ProtocolIPIP, 0, 0
	}
	return packet.NotDropped
}
