package packet

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// Checksum returns the Internet checksum (RFC 1071) of p, in host order, with the partial sum initial added: the ones'
// complement of the ones' complement sum. Over data that holds its own right checksum it is 0.
func Checksum(p []byte, initial uint32) uint16 { return ^fold(sum(p, uint64(initial))) }

// PartialSum returns the ones' complement sum of p, not complemented, with initial added, for use as initial again. All
// runs but the last must be of even length.
func PartialSum(p []byte, initial uint32) uint32 { return uint32(fold(sum(p, uint64(initial)))) }

// ChecksumUpdate returns the checksum that follows from changing one 16-bit word from before to after in data whose
// checksum was old (RFC 1624, equation 3). All values in host order.
func ChecksumUpdate(old, before, after uint16) uint16 {
	return ^fold(uint64(^old) + uint64(^before) + uint64(after))
}

// sum adds the 16-bit words of p to acc. The bulk is added 64 bits at a time in the other byte order, in which the ones'
// complement sum is the same but for the order of its own octets (RFC 1071 §2 B), in two chains that the processor runs side by
// side. A chain's last carry finds room: after an addition that carries, its sum is not all ones.
func sum(p []byte, acc uint64) uint64 {
	acc = acc>>32 + acc&0xffffffff // so that the additions below cannot overflow
	if len(p) >= 32 {
		var a, b, carry uint64
		for len(p) >= 64 {
			a, carry = bits.Add64(a, binary.LittleEndian.Uint64(p), 0)
			a, carry = bits.Add64(a, binary.LittleEndian.Uint64(p[8:]), carry)
			a, carry = bits.Add64(a, binary.LittleEndian.Uint64(p[16:]), carry)
			a, carry = bits.Add64(a, binary.LittleEndian.Uint64(p[24:]), carry)
			a += carry
			b, carry = bits.Add64(b, binary.LittleEndian.Uint64(p[32:]), 0)
			b, carry = bits.Add64(b, binary.LittleEndian.Uint64(p[40:]), carry)
			b, carry = bits.Add64(b, binary.LittleEndian.Uint64(p[48:]), carry)
			b, carry = bits.Add64(b, binary.LittleEndian.Uint64(p[56:]), carry)
			b += carry
			p = p[64:]
		}
		if len(p) >= 32 {
			a, carry = bits.Add64(a, binary.LittleEndian.Uint64(p), 0)
			a, carry = bits.Add64(a, binary.LittleEndian.Uint64(p[8:]), carry)
			a, carry = bits.Add64(a, binary.LittleEndian.Uint64(p[16:]), carry)
			a, carry = bits.Add64(a, binary.LittleEndian.Uint64(p[24:]), carry)
			a += carry
			p = p[32:]
		}
		acc += uint64(bits.ReverseBytes16(fold(a>>32 + a&0xffffffff + b>>32 + b&0xffffffff)))
	}
	for len(p) >= 4 {
		acc += uint64(binary.BigEndian.Uint32(p))
		p = p[4:]
	}
	if len(p) >= 2 {
		acc += uint64(binary.BigEndian.Uint16(p))
		p = p[2:]
	}
	if len(p) == 1 {
		acc += uint64(p[0]) << 8
	}
	return acc
}

func fold(s uint64) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// pseudoHeader returns the partial sum of the IPv4 pseudo header (RFC 768, RFC 9293 §3.1).
func pseudoHeader(src, dst netip.Addr, protocol uint8, length int) uint32 {
	s, d := src.As4(), dst.As4()
	return uint32(binary.BigEndian.Uint16(s[0:])) + uint32(binary.BigEndian.Uint16(s[2:])) +
		uint32(binary.BigEndian.Uint16(d[0:])) + uint32(binary.BigEndian.Uint16(d[2:])) +
		uint32(protocol) + uint32(length)
}

// TransportChecksum returns the checksum of the TCP or UDP segment p between src and dst, in host order, as it is to be
// written when its checksum field is zero; over a segment that holds its right checksum it is 0.
func TransportChecksum(p []byte, src, dst netip.Addr, protocol uint8) uint16 {
	return Checksum(p, pseudoHeader(src, dst, protocol, len(p)))
}
