package linkmon

import "encoding/binary"

// attribute is one netlink attribute (struct nlattr): its type without the flag bits, and its value, a part of the
// message.
type attribute struct {
	kind  uint16
	value []byte
}

const (
	attributeHeader = 4      // length, type
	attributeType   = 0x3fff // NLA_TYPE_MASK: without NLA_F_NESTED and NLA_F_NET_BYTEORDER
)

// parseAttributes reads the attributes that p consists of, up to the first that is not whole. The library's own parser
// reads past the end of a last attribute whose padding is missing.
func parseAttributes(p []byte) []attribute {
	var all []attribute
	for len(p) >= attributeHeader {
		n := int(binary.NativeEndian.Uint16(p))
		if n < attributeHeader || n > len(p) {
			break
		}
		all = append(all, attribute{binary.NativeEndian.Uint16(p[2:]) & attributeType, p[attributeHeader:n:n]})
		p = p[min((n+3)&^3, len(p)):]
	}
	return all
}
