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
	content, err := AppendPayloads(nil, ps)
	if err != nil {
		return nil, err
	}
	return appendSealed(b, h, envelope{kind: TypeEncrypted, first: firstType(ps)}, content, c, counter)
}

// envelope is what stands in front of the initialization vector of an SK or SKF payload.
type envelope struct {
	kind, first PayloadType
	// fixed is what follows the generic payload header: the numbers of an SKF payload.
	fixed []byte
}

// appendSealed appends the message with header h whose only payload holds content, padded and sealed.
func appendSealed(b []byte, h Header, e envelope, content []byte, c suite.Cipher, counter uint64) ([]byte, error) {
	start := len(b)
	h.NextPayload = e.kind
	b = h.append(b)
	payload := len(b)
	b = append(b, byte(e.first), 0, 0, 0)
	b = append(b, e.fixed...)
	body := len(b)
	b = append(b, make([]byte, c.IVLen())...)
	b = append(b, content...)
	pad := 0
	if r := (len(content) + 1) % c.Align(); r != 0 {
		pad = c.Align() - r
	}
	b = append(b, make([]byte, pad+1+c.ICVLen())...)
	b[len(b)-c.ICVLen()-1] = byte(pad)
	if n := len(b) - payload; n > math.MaxUint16 {
		return nil, fmt.Errorf("%w: %v payload of %d octets", ErrTooLong, e.kind, n)
	}
	putLength(b, payload)
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
	content, verified, err := openSealed(b, TypeEncrypted, e.Body, c)
	if !verified {
		return nil, false, err
	}
	m = &Message{Header: outer.Header, Payloads: outer.Payloads[:last]}
	if err != nil {
		return m, true, err
	}
	if m.Header.Exchange == IKEIntermediate {
		m.Intermediate = intermediateOctets(b[:len(b)-len(e.Body)], content)
	}
	return m, true, m.appendContent(e.First, content)
}

// openSealed verifies and decrypts body, which ends the message b, and takes the padding off.
func openSealed(b []byte, kind PayloadType, body []byte, c suite.Cipher) (content []byte, verified bool, err error) {
	text, err := c.Open(b[:len(b)-len(body)], body)
	if err != nil {
		return nil, false, err
	}
	if len(text) == 0 {
		return nil, true, malformed(kind, "Pad Length", "want 1 octet, found none")
	}
	pad := int(text[len(text)-1])
	if pad+1 > len(text) {
		return nil, true, malformed(kind, "Pad Length", "want at most %d, found %d", len(text)-1, pad)
	}
	return text[:len(text)-1-pad], true, nil
}

// appendContent adds the payloads of an Encrypted payload's content, the first of type first.
func (m *Message) appendContent(first PayloadType, content []byte) error {
	inner, err := ParsePayloads(first, content)
	if err != nil {
		return err
	}
	m.Payloads = append(m.Payloads, inner...)
	return nil
}
