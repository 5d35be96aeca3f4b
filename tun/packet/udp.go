package packet

import (
	"encoding/binary"
	"net/netip"
)

// UDPLen is the length in octets of a UDP header.
const UDPLen = 8

// UDP is a UDP header (RFC 768) and what follows it: source port, destination port, length, checksum, two octets each.
// Getters require that Valid returned true.
type UDP []byte

// Valid reports whether p begins with a UDP header whose length field is that of p or less.
func (p UDP) Valid() bool {
	if len(p) < UDPLen {
		return false
	}
	n := p.Length()
	return n >= UDPLen && n <= len(p)
}

// SrcPort returns the source port in host order.
func (p UDP) SrcPort() uint16 { return binary.BigEndian.Uint16(p[0:]) }

// DstPort returns the destination port in host order.
func (p UDP) DstPort() uint16 { return binary.BigEndian.Uint16(p[2:]) }

// Length returns the length field in octets, header included.
func (p UDP) Length() int { return int(binary.BigEndian.Uint16(p[4:])) }

// Checksum returns the checksum field in host order; 0 means that none was computed.
func (p UDP) Checksum() uint16 { return binary.BigEndian.Uint16(p[6:]) }

// Payload returns the octets after the header, up to the length field.
func (p UDP) Payload() []byte {
	n := p.Length()
	return p[UDPLen:n:n]
}

// ChecksumOK reports whether the checksum over the pseudo header of src and dst is right, or absent (zero).
func (p UDP) ChecksumOK(src, dst netip.Addr) bool {
	if p.Checksum() == 0 {
		return true
	}
	n := p.Length()
	return Checksum(p[:n], pseudoHeader(src, dst, ProtocolUDP, n)) == 0
}

// PushUDP puts a UDP header in front of b, with a checksum over the pseudo header of src and dst. In front of a superpacket
// the checksum is left to its Cutter, and PushIPv4 must follow.
func PushUDP(b *Buf, src, dst netip.AddrPort) {
	PushUDPUnsummed(b, src, dst)
	if b.Super() {
		b.super.summed = true
		return
	}
	p := b.Bytes()
	sum := Checksum(p, pseudoHeader(src.Addr(), dst.Addr(), ProtocolUDP, len(p)))
	if sum == 0 {
		sum = 0xffff // RFC 768: an all-zero checksum is sent as all ones
	}
	binary.BigEndian.PutUint16(p[6:], sum)
}

// PushUDPUnsummed puts a UDP header in front of b whose checksum is zero, which means that none was computed (RFC 768).
func PushUDPUnsummed(b *Buf, src, dst netip.AddrPort) {
	n := b.SegmentLen() + UDPLen
	b.Push(UDPLen)
	if b.Super() {
		b.super.udp = b.off
	}
	p := b.Bytes()
	binary.BigEndian.PutUint16(p[0:], src.Port())
	binary.BigEndian.PutUint16(p[2:], dst.Port())
	binary.BigEndian.PutUint16(p[4:], uint16(n))
	p[6], p[7] = 0, 0
}
