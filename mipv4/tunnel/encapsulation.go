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
	// Minimal is minimal encapsulation (RFC 2004): protocol 55, an IPv4 header that belongs to the packet itself in part, and the
	// minimal forwarding header. What it has no room for (FitsMinimal) travels IP-in-IP in the same tunnel.
	Minimal
	// GRE is generic routing encapsulation (RFC 2784): protocol 47 with a GRE header in front of the inner packet.
	GRE
	// NumEncapsulations is how many forms there are.
	NumEncapsulations = iota
)

const (
	// TypeData is the Mobile IP message type of tunnelled data (RFC 3519 §3.3).
	TypeData = 4
	// DataHeaderLen is the length in octets of the MIP tunnel data header: type, next header, two reserved octets.
	DataHeaderLen = 4
)

// Offered is which forms of tunnels an agent offers besides IP-in-IP, which every agent must have (RFC 5944 §4.1), and UDP, which
// is offered on terms of its own. The zero value offers neither.
type Offered struct {
	// Minimal and GRE offer these forms.
	Minimal, GRE bool
	// Options are the optional fields of GRE headers.
	Options GREOptions
}

// Has reports whether IP-in-IP, minimal encapsulation or GRE is offered.
func (o Offered) Has(e Encapsulation) bool {
	return e == IPIP || e == Minimal && o.Minimal || e == GRE && o.GRE
}

// String returns "ipip", "udp", "minimal" or "gre".
func (e Encapsulation) String() string {
	switch e {
	case IPIP:
		return "ipip"
	case UDP:
		return "udp"
	case Minimal:
		return "minimal"
	case GRE:
		return "gre"
	}
	return fmt.Sprintf("encapsulation %d", uint8(e))
}

// Protocol returns the IP protocol that carries the encapsulation.
func (e Encapsulation) Protocol() uint8 {
	switch e {
	case UDP:
		return packet.ProtocolUDP
	case Minimal:
		return packet.ProtocolMinimal
	case GRE:
		return packet.ProtocolGRE
	}
	return packet.ProtocolIPIP
}

// IsTunnel reports whether a protocol is that of tunnels between care-of addresses and home agents, UDP apart: what must not be
// found inside another one (RFC 2003 §3.2).
func IsTunnel(protocol uint8) bool {
	return protocol == packet.ProtocolIPIP || protocol == packet.ProtocolMinimal || protocol == packet.ProtocolGRE
}

// Overhead returns the most octets that the encapsulation, GRE without optional fields, adds in the payload of its flow: none, the
// data header or the GRE header. The flow's own headers come on top. Minimal encapsulation takes 8 octets less than IP-in-IP,
// which the MTU of its tunnels does not count on, since some packets travel IP-in-IP in them.
func (e Encapsulation) Overhead() int { return Encapsulator{Encapsulation: e}.Overhead() }

// TotalOverhead returns the most octets that the encapsulation, GRE without optional fields, adds to a packet, the outer headers
// included: 20, 24 for GRE, or 32 for UDP.
func (e Encapsulation) TotalOverhead() int { return Encapsulator{Encapsulation: e}.TotalOverhead() }

// Encapsulator is the step that puts IPv4 packets into a tunnel whose flow stands below it.
type Encapsulator struct {
	// Encapsulation is the tunnel's form.
	Encapsulation Encapsulation
	// GRE are the optional fields of GRE headers.
	GRE GREOptions
	// Forwarding says that the packets are being forwarded by this step and that nobody has taken one off their time to
	// live yet (RFC 2003 §3.1). It is not set where the host's own IP layer forwarded them into a TUN device.
	Forwarding bool
	// Drops counts what is dropped.
	Drops *packet.Drops
}

// Overhead returns what Encapsulation.Overhead does, with the optional fields of GRE.
func (e Encapsulator) Overhead() int {
	switch e.Encapsulation {
	case UDP:
		return DataHeaderLen
	case GRE:
		return e.GRE.HeaderLen()
	}
	return 0
}

// TotalOverhead returns what Encapsulation.TotalOverhead does, with the optional fields of GRE.
func (e Encapsulator) TotalOverhead() int {
	if e.Encapsulation == UDP {
		return packet.IPv4Len + packet.UDPLen + DataHeaderLen
	}
	return packet.IPv4Len + e.Overhead()
}

// Apply encapsulates each packet. What is not an IPv4 packet, or has no time to live left, is dropped.
func (e Encapsulator) Apply(b *packet.Batch) {
	if e.Cuts() {
		b.Cut()
	}
	b.Keep(e.Drops, e.Encapsulate)
}

// Cuts reports whether superpackets must be cut before they enter, because their segments get different headers.
func (e Encapsulator) Cuts() bool {
	return e.Encapsulation == Minimal || e.Encapsulation == GRE && e.GRE.Checksum
}

// Encapsulate puts one packet into the tunnel, or returns why it must be dropped, leaving it to the caller. Buf.TOS
// becomes the outer type of service: DSCP and ECN of the inner header (RFC 2003 §3.1, RFC 6040 §4.1 normal mode). A
// superpacket stays whole: each of its segments will have the same data header; where Cuts says otherwise it is refused. With
// minimal encapsulation Buf.TTL and Buf.DontFragment become those of the inner header, and what it has no room for is refused as
// packet.DropUnsupported: another Encapsulator takes it.
func (e Encapsulator) Encapsulate(p *packet.Buf) packet.DropReason {
	ip := packet.IPv4(p.Bytes())
	if !ip.Valid() {
		return packet.DropMalformed
	}
	if e.Forwarding && !ip.DecrementTTL() || ip.TTL() == 0 {
		return packet.DropTTL
	}
	p.TOS = ip.TOS()
	switch e.Encapsulation {
	case UDP:
		h := p.Push(DataHeaderLen)
		h[0], h[1], h[2], h[3] = TypeData, packet.ProtocolIPIP, 0, 0
	case Minimal:
		return minimal(p)
	case GRE:
		return e.GRE.push(p)
	}
	return packet.NotDropped
}
