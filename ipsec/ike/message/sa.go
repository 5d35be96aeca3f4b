package message

import (
	"encoding/binary"
	"math"
	"strconv"
)

// TransformType is a transform type number (RFC 7296 §3.3.2).
type TransformType uint8

// The transform types of RFC 7296 §3.3.2, and of RFC 9370 §2.2.1.
const (
	TransformEncryption TransformType = 1 // ENCR
	TransformPRF        TransformType = 2 // PRF
	TransformIntegrity  TransformType = 3 // INTEG
	TransformGroup      TransformType = 4 // D-H
	TransformESN        TransformType = 5 // ESN
	// TransformAdditional1 to TransformAdditional7 are Additional Key Exchange 1 to 7 (RFC 9370 §2.2.1).
	TransformAdditional1 TransformType = 6
	TransformAdditional7 TransformType = 12
)

// String returns the abbreviation of RFC 7296 §3.3.2, ADDKE1 to ADDKE7, or "transform type N".
func (t TransformType) String() string {
	switch t {
	case TransformEncryption:
		return "ENCR"
	case TransformPRF:
		return "PRF"
	case TransformIntegrity:
		return "INTEG"
	case TransformGroup:
		return "D-H"
	case TransformESN:
		return "ESN"
	}
	if t >= TransformAdditional1 && t <= TransformAdditional7 {
		return "ADDKE" + strconv.Itoa(int(t-TransformAdditional1)+1)
	}
	return "transform type " + strconv.Itoa(int(t))
}

// AttributeKeyLength is the type of the Key Length attribute (RFC 7296 §3.3.5).
const AttributeKeyLength uint16 = 14

// Attribute is a transform attribute (RFC 7296 §3.3.5, Figure 9).
type Attribute struct {
	// Type is the attribute type without the format bit.
	Type uint16
	// Short means the type/value format (AF=1) with Value in its place, otherwise Data holds the variable-length value.
	Short bool
	Value uint16
	Data  []byte
}

// Transform is one algorithm of a proposal (RFC 7296 §3.3.2, Figure 8).
type Transform struct {
	Type       TransformType
	ID         uint16
	Attributes []Attribute
}

// KeyLength returns the Key Length attribute in bits, 0 without one. ok is false when the transform has any attribute
// that is not one Key Length in the type/value format, for then it is not understood (RFC 7296 §3.3.6).
func (t Transform) KeyLength() (bits uint16, ok bool) {
	switch {
	case len(t.Attributes) == 0:
		return 0, true
	case len(t.Attributes) == 1 && t.Attributes[0].Type == AttributeKeyLength && t.Attributes[0].Short:
		return t.Attributes[0].Value, true
	default:
		return 0, false
	}
}

// NewTransform returns a transform; keyBits of 0 means that it has no Key Length attribute.
func NewTransform(t TransformType, id, keyBits uint16) Transform {
	tr := Transform{Type: t, ID: id}
	if keyBits != 0 {
		tr.Attributes = []Attribute{{Type: AttributeKeyLength, Short: true, Value: keyBits}}
	}
	return tr
}

// Proposal is one proposal of an SA payload (RFC 7296 §3.3.1, Figure 7).
type Proposal struct {
	// Number counts from 1 in an offer; an answer repeats the number of the proposal that it accepts.
	Number   uint8
	Protocol Protocol
	// SPI is the sender's: empty in IKE_SA_INIT, 8 octets for IKE later, 4 for ESP and AH.
	SPI []byte
	// Transforms keeps the order of the wire: of one type, the preferred one stands first.
	Transforms []Transform
}

// SA is the Security Association payload (RFC 7296 §3.3, Figure 6).
type SA struct{ Proposals []Proposal }

// Type returns TypeSA.
func (SA) Type() PayloadType { return TypeSA }

// The Last Substruc values of RFC 7296 §3.3.1 and §3.3.2.
const (
	lastSubstruc   = 0
	moreProposals  = 2
	moreTransforms = 3
)

func parseSA(b []byte) (Payload, error) {
	var sa SA
	if len(b) == 0 {
		return nil, malformed(TypeSA, "Proposals", "want at least one, found none")
	}
	for len(b) > 0 {
		if len(b) < 8 {
			return nil, malformed(TypeSA, "Proposal Length", "want at least 8 octets, found %d", len(b))
		}
		last, n := b[0], int(binary.BigEndian.Uint16(b[2:]))
		if n < 8 || n > len(b) {
			return nil, malformed(TypeSA, "Proposal Length", "want 8 to %d, found %d", len(b), n)
		}
		if want := substruc(n < len(b), moreProposals); last != want {
			return nil, malformed(TypeSA, "Last Substruc", "want %d, found %d", want, last)
		}
		p, err := parseProposal(b[:n])
		if err != nil {
			return nil, err
		}
		sa.Proposals = append(sa.Proposals, p)
		b = b[n:]
	}
	return sa, nil
}

func substruc(more bool, value byte) byte {
	if more {
		return value
	}
	return lastSubstruc
}

func parseProposal(b []byte) (Proposal, error) {
	p := Proposal{Number: b[4], Protocol: Protocol(b[5])}
	size, num := int(b[6]), int(b[7])
	b = b[8:]
	if size > len(b) {
		return p, malformed(TypeSA, "SPI Size", "want at most %d, found %d", len(b), size)
	}
	p.SPI = clone(b[:size])
	b = b[size:]
	for len(b) > 0 {
		if len(b) < 8 {
			return p, malformed(TypeSA, "Transform Length", "want at least 8 octets, found %d", len(b))
		}
		last, n := b[0], int(binary.BigEndian.Uint16(b[2:]))
		if n < 8 || n > len(b) {
			return p, malformed(TypeSA, "Transform Length", "want 8 to %d, found %d", len(b), n)
		}
		if want := substruc(n < len(b), moreTransforms); last != want {
			return p, malformed(TypeSA, "Last Substruc", "want %d, found %d", want, last)
		}
		t := Transform{Type: TransformType(b[4]), ID: binary.BigEndian.Uint16(b[6:])}
		var err error
		if t.Attributes, err = parseAttributes(b[8:n]); err != nil {
			return p, err
		}
		p.Transforms = append(p.Transforms, t)
		b = b[n:]
	}
	if len(p.Transforms) != num {
		return p, malformed(TypeSA, "Num Transforms", "want %d (those present), found %d", len(p.Transforms), num)
	}
	return p, nil
}

func parseAttributes(b []byte) ([]Attribute, error) {
	var as []Attribute
	for len(b) > 0 {
		if len(b) < 4 {
			return nil, malformed(TypeSA, "Transform Attributes", "want at least 4 octets, found %d", len(b))
		}
		t, v := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		b = b[4:]
		if t&0x8000 != 0 {
			as = append(as, Attribute{Type: t & 0x7fff, Short: true, Value: v})
			continue
		}
		if int(v) > len(b) {
			return nil, malformed(TypeSA, "Attribute Length", "want at most %d, found %d", len(b), v)
		}
		as = append(as, Attribute{Type: t, Data: clone(b[:v])})
		b = b[v:]
	}
	return as, nil
}

func (p SA) appendBody(b []byte) []byte {
	for i, pr := range p.Proposals {
		start := len(b)
		b = append(b, substruc(i+1 < len(p.Proposals), moreProposals), 0, 0, 0,
			pr.Number, byte(pr.Protocol), byte(len(pr.SPI)), byte(len(pr.Transforms)))
		b = append(b, pr.SPI...)
		for j, t := range pr.Transforms {
			b = t.append(b, j+1 < len(pr.Transforms))
		}
		putLength(b, start)
	}
	return b
}

func (t Transform) append(b []byte, more bool) []byte {
	start := len(b)
	b = append(b, substruc(more, moreTransforms), 0, 0, 0, byte(t.Type), 0)
	b = binary.BigEndian.AppendUint16(b, t.ID)
	for _, a := range t.Attributes {
		if a.Short {
			b = binary.BigEndian.AppendUint16(b, a.Type|0x8000)
			b = binary.BigEndian.AppendUint16(b, a.Value)
			continue
		}
		b = binary.BigEndian.AppendUint16(b, a.Type&0x7fff)
		b = binary.BigEndian.AppendUint16(b, uint16(len(a.Data))) //nolint:gosec // a longer value fails as ErrTooLong
		b = append(b, a.Data...)
	}
	putLength(b, start)
	return b
}

// putLength sets the length field in the third and fourth octet of the substructure that starts at start. A length that
// does not fit makes the payload too long too, which AppendPayloads reports.
func putLength(b []byte, start int) {
	if n := len(b) - start; n <= math.MaxUint16 {
		binary.BigEndian.PutUint16(b[start+2:], uint16(n)) //nolint:gosec // checked
	}
}
