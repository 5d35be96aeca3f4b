package message

import (
	"encoding/binary"
	"fmt"
	"math"

	"mipvpn/ipsec/suite"
)

// Encrypted is the Encrypted payload SK (RFC 7296 §3.14, Figure 21; RFC 5282 §3).
type Encrypted struct {
	// First is the type of the first payload inside.
	First PayloadType
	// Body is initialization vector, ciphertext and integrity check value.
	Body []byte
}

// Type returns TypeEncrypted.
func (Encrypted) Type() PayloadType            { return TypeEncrypted }
func (p Encrypted) appendBody(b []byte) []byte { return append(b, p.Body...) }

// AppendProtected appends the message with header h whose only payload is an Encrypted one with the payloads ps inside.
// It sets NextPayload and Length of h, and pads to the least length that c takes. counter makes the initialization
// vector: the caller never passes the same one twice for one key. Errors: ErrTooLong.
func AppendProtected(b []byte, h Header, ps []Payload, c suite.Cipher, counter uint64) ([]byte, error) {
	start := len(b)
	iv, unit, icv := c.IVLen(), c.Align(), c.ICVLen()
	h.NextPayload = TypeEncrypted
	b = h.append(b)
	b = append(b, byte(firstType(ps)), 0, 0, 0)
	body := len(b)
	b = append(b, make([]byte, iv)...)
	b, err := AppendPayloads(b, ps)
	if err != nil {
		return nil, err
	}
	pad := 0
	if r := (len(b) - body - iv + 1) % unit; r != 0 {
		pad = unit - r
	}
	b = append(b, make([]byte, pad+1+icv)...)
	b[len(b)-icv-1] = byte(pad)
	if n := len(b) - body + genericLen; n > math.MaxUint16 {
		return nil, fmt.Errorf("%w: SK payload of %d octets", ErrTooLong, n)
	}
	putLength(b, body-genericLen)
	binary.BigEndian.PutUint32(b[start+24:], uint32(len(b)-start)) //nolint:gosec // bounded by the check above
	c.Seal(b[start:body], b[body:], counter)
	return b, nil
}

// Open parses, verifies and decrypts a protected message. The Message has the payloads in front of the Encrypted one,
// which are not authentic in themselves but covered by the integrity check, then those inside. Errors: *ParseError for
// octets that are no message or, with verified true, for a text that is no chain of payloads; what c.Open
// returns, which wraps suite.ErrAuthentication.
func Open(b []byte, c suite.Cipher) (m *Message, verified bool, err error) {
	outer, err := Parse(b)
	if err != nil {
		return nil, false, err
	}
	last := len(outer.Payloads) - 1
	if last < 0 {
		return nil, false, malformed(TypeEncrypted, "Next Payload", "want an SK payload, found none")
	}
	e, ok := outer.Payloads[last].(Encrypted)
	if !ok {
		return nil, false, malformed(TypeEncrypted, "Next Payload", "want an SK payload last, found %s", outer.Payloads[last].Type())
	}
	text, err := c.Open(b[:len(b)-len(e.Body)], e.Body)
	if err != nil {
		return nil, false, err
	}
	m = &Message{Header: outer.Header, Payloads: outer.Payloads[:last]}
	if len(text) == 0 {
		return m, true, malformed(TypeEncrypted, "Pad Length", "want 1 octet, found none")
	}
	pad := int(text[len(text)-1])
	if pad+1 > len(text) {
		return m, true, malformed(TypeEncrypted, "Pad Length", "want at most %d, found %d", len(text)-1, pad)
	}
	inner, err := ParsePayloads(e.First, text[:len(text)-1-pad])
	if err != nil {
		return m, true, err
	}
	m.Payloads = append(m.Payloads, inner...)
	return m, true, nil
}
