package tunnel

// The ECN field, the two low bits of the type-of-service octet (RFC 3168 §5).
const (
	ecnMask   = 0x03
	ecnNotECT = 0
	ecnECT1   = 1
	ecnECT0   = 2
	ecnCE     = 3
)

// CombineECN returns the ECN field, in the low two bits, that a decapsulated packet goes on with, given the whole
// type-of-service octets of the inner and outer headers, and false when it must be dropped (RFC 6040 §4.2, figure 4).
func CombineECN(inner, outer uint8) (uint8, bool) {
	i, o := inner&ecnMask, outer&ecnMask
	switch {
	case i == ecnNotECT:
		return ecnNotECT, o != ecnCE
	case i == ecnCE || o == ecnCE:
		return ecnCE, true
	case i == ecnECT1 || o == ecnECT1:
		return ecnECT1, true
	}
	return ecnECT0, true
}
