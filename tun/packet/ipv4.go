package packet

import (
	"encoding/binary"
	"net/netip"
)

// Protocol numbers of the IPv4 header's protocol field (IANA).
const (
	ProtocolICMP    = 1
	ProtocolIPIP    = 4 // RFC 2003
	ProtocolTCP     = 6
	ProtocolUDP     = 17
	ProtocolGRE     = 47 // RFC 2784
	ProtocolESP     = 50 // RFC 4303
	ProtocolMinimal = 55 // RFC 2004
)

// IPv4Len is the length in octets of an IPv4 header without options.
const IPv4Len = 20

// IPv4 is an IPv4 header (RFC 791 §3.1) and what follows it. Getters require that Valid returned true.
//
//	 0: version, header length   1: type of service   2: total length
//	 4: identification           6: flags, fragment offset
//	 8: time to live             9: protocol         10: header checksum
//	12: source                  16: destination
type IPv4 []byte

// Valid reports whether p begins with a whole IPv4 header whose total length is that of p or less. The checksum is not
// looked at.
func (p IPv4) Valid() bool {
	if len(p) < IPv4Len || p[0]>>4 != 4 {
		return false
	}
	h, n := p.HeaderLen(), p.TotalLen()
	return h >= IPv4Len && h <= n && n <= len(p)
}

// HeaderLen returns the header's length in octets, options included.
func (p IPv4) HeaderLen() int { return int(p[0]&0x0f) * 4 }

// TotalLen returns the total length field in octets.
func (p IPv4) TotalLen() int { return int(binary.BigEndian.Uint16(p[2:])) }

// TOS returns the type-of-service octet: DSCP and ECN.
func (p IPv4) TOS() uint8 { return p[1] }

// ID returns the identification field in host order.
func (p IPv4) ID() uint16 { return binary.BigEndian.Uint16(p[4:]) }

// DontFragment reports the DF flag.
func (p IPv4) DontFragment() bool { return p[6]&0x40 != 0 }

// MoreFragments reports the MF flag.
func (p IPv4) MoreFragments() bool { return p[6]&0x20 != 0 }

// FragmentOffset returns the fragment offset in octets.
func (p IPv4) FragmentOffset() int { return int(binary.BigEndian.Uint16(p[6:])&0x1fff) * 8 }

// TTL returns the time to live.
func (p IPv4) TTL() uint8 { return p[8] }

// Protocol returns the protocol number.
func (p IPv4) Protocol() uint8 { return p[9] }

// Checksum returns the header checksum in host order.
func (p IPv4) Checksum() uint16 { return binary.BigEndian.Uint16(p[10:]) }

// Src returns the source address.
func (p IPv4) Src() netip.Addr { return netip.AddrFrom4([4]byte(p[12:16])) }

// Dst returns the destination address.
func (p IPv4) Dst() netip.Addr { return netip.AddrFrom4([4]byte(p[16:20])) }

// Payload returns what follows the header, up to the total length.
func (p IPv4) Payload() []byte {
	h, n := p.HeaderLen(), p.TotalLen()
	return p[h:n:n]
}

// ChecksumOK reports whether the header checksum is right.
func (p IPv4) ChecksumOK() bool { return Checksum(p[:p.HeaderLen()], 0) == 0 }

// DecrementTTL takes one off the time to live and mends the checksum (RFC 1624). It reports false, leaving the packet
// as it was, when none is left to take.
func (p IPv4) DecrementTTL() bool {
	if p[8] <= 1 {
		return false
	}
	old := binary.BigEndian.Uint16(p[8:])
	p[8]--
	binary.BigEndian.PutUint16(p[10:], ChecksumUpdate(p.Checksum(), old, binary.BigEndian.Uint16(p[8:])))
	return true
}

// SetTOS writes the type-of-service octet and mends the checksum (RFC 1624).
func (p IPv4) SetTOS(tos uint8) {
	old := binary.BigEndian.Uint16(p[0:])
	p[1] = tos
	binary.BigEndian.PutUint16(p[10:], ChecksumUpdate(p.Checksum(), old, binary.BigEndian.Uint16(p[0:])))
}

// IPv4Fields are the values of an IPv4 header without options.
type IPv4Fields struct {
	TOS          uint8
	ID           uint16 // host order
	DontFragment bool
	TTL          uint8
	Protocol     uint8
	Src, Dst     netip.Addr // both IPv4
}

// Encode writes f into the first IPv4Len octets of p with the total length given in octets, and computes the checksum.
func (p IPv4) Encode(f IPv4Fields, totalLen int) {
	_ = p[:IPv4Len]
	src4, dst4 := f.Src.As4(), f.Dst.As4()
	src, dst := binary.BigEndian.Uint32(src4[:]), binary.BigEndian.Uint32(dst4[:])
	versionTOS, ttlProtocol, flags := 0x4500|uint16(f.TOS), uint16(f.TTL)<<8|uint16(f.Protocol), uint16(0)
	if f.DontFragment {
		flags = 0x4000
	}
	sum := uint64(versionTOS) + uint64(uint16(totalLen)) + uint64(f.ID) + uint64(flags) + uint64(ttlProtocol) + uint64(src) + uint64(dst)
	binary.BigEndian.PutUint16(p[0:], versionTOS)
	binary.BigEndian.PutUint16(p[2:], uint16(totalLen))
	binary.BigEndian.PutUint16(p[4:], f.ID)
	binary.BigEndian.PutUint16(p[6:], flags)
	binary.BigEndian.PutUint16(p[8:], ttlProtocol)
	binary.BigEndian.PutUint16(p[10:], ^fold(sum))
	binary.BigEndian.PutUint32(p[12:], src)
	binary.BigEndian.PutUint32(p[16:], dst)
}

// MinimalHeader notes in b what minimal encapsulation restores of the outer header ip (RFC 2004 §3): time to live, identification
// and DF. Flows of that protocol call it on receipt.
func MinimalHeader(b *Buf, ip IPv4) {
	b.TTL, b.ID, b.DontFragment = ip.TTL(), ip.ID(), ip.DontFragment()
}

// PushIPv4 puts an IPv4 header with the fields f in front of b. In front of a superpacket it is the first segment's; those
// after it count the identification up.
func PushIPv4(b *Buf, f IPv4Fields) {
	n := b.SegmentLen() + IPv4Len
	IPv4(b.Push(IPv4Len)).Encode(f, n)
	if b.Super() {
		b.super.pushed(b.off)
	}
}

// Templated reports whether b is a superpacket with an IPv4 header pushed in front of it: a second one cannot be (Batch.Cut
// first).
func (b *Buf) Templated() bool { return b.super.outer != 0 }
