package wire

import "strings"

// Flags is the second octet of a Registration Request (RFC 5944 §3.3): S B D M G r T x, from the most significant bit.
// Parsing and appending keep the reserved bits as they are, because authentication covers them.
type Flags uint8

// The flags of a Registration Request.
const (
	// FlagSimultaneous (S) asks the home agent to keep prior bindings.
	FlagSimultaneous Flags = 0x80
	// FlagBroadcast (B) asks for broadcasts of the home network.
	FlagBroadcast Flags = 0x40
	// FlagDecapsulation (D) says that the mobile node decapsulates itself: its care-of address is co-located.
	FlagDecapsulation Flags = 0x20
	// FlagMinimal (M) asks for minimal encapsulation (RFC 2004).
	FlagMinimal Flags = 0x10
	// FlagGRE (G) asks for GRE encapsulation (RFC 2784).
	FlagGRE Flags = 0x08
	// FlagReservedR (r) was Van Jacobson compression in RFC 2002; it is sent as zero and ignored.
	FlagReservedR Flags = 0x04
	// FlagReverseTunnel (T) asks for a reverse tunnel (RFC 3024 §3.2).
	FlagReverseTunnel Flags = 0x02
	// FlagReservedX (x) is sent as zero and ignored.
	FlagReservedX Flags = 0x01
)

// Has reports whether every bit of f2 is set in f.
func (f Flags) Has(f2 Flags) bool { return f&f2 == f2 }

// String returns the letters of the bits that are set in the order of the figure, "-" for none.
func (f Flags) String() string {
	var b strings.Builder
	for i, c := range "SBDMGrTx" {
		if f&(0x80>>i) != 0 {
			b.WriteRune(c)
		}
	}
	if b.Len() == 0 {
		return "-"
	}
	return b.String()
}
