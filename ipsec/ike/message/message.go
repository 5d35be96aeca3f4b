package message

import (
	"encoding/binary"
	"fmt"
	"math"
)

// genericLen is the length of the generic payload header (RFC 7296 §3.2).
const genericLen = 4

// maxPayloads bounds the payloads of one message. No standard exchange comes near it; it bounds the memory and the work
// that a stranger's datagram can cause.
const maxPayloads = 128

// Payload is one payload of a message: SA, KE, IDi, IDr, Cert, CertReq, Auth, Nonce, Notify, Delete, VendorID, TSi, TSr,
// Encrypted, EncryptedFragment, Configuration, EAP or Unknown.
type Payload interface {
	// Type returns the payload type.
	Type() PayloadType
	// appendBody appends what follows the generic payload header.
	appendBody(b []byte) []byte
}

// Unknown is a payload of a type that this package does not know. RFC 7296 §2.5: it is skipped, unless Critical is set
// in a request, which is then rejected with UNSUPPORTED_CRITICAL_PAYLOAD.
type Unknown struct {
	PayloadType PayloadType
	Critical    bool
	Body        []byte
}

// Type returns the payload's type.
func (p Unknown) Type() PayloadType          { return p.PayloadType }
func (p Unknown) appendBody(b []byte) []byte { return append(b, p.Body...) }

// Message is an IKE message: the header and its payloads in the order of the wire. In a protected message the last
// payload is an Encrypted one, usually the only one.
type Message struct {
	Header   Header
	Payloads []Payload
	// Intermediate is set by Open and Join for an IKE_INTERMEDIATE message: what IntermediateOctets returns to its sender.
	Intermediate []byte
}

// Parse reads a whole message. The payloads inside of an Encrypted payload are not touched. Errors: *ParseError, or one
// that wraps ErrVersion.
func Parse(b []byte) (*Message, error) {
	h, err := ParseHeader(b)
	if err != nil {
		return nil, err
	}
	if int64(h.Length) != int64(len(b)) {
		return nil, malformed(NoNextPayload, "Length", "want %d (the datagram's length), found %d", len(b), h.Length)
	}
	ps, err := ParsePayloads(h.NextPayload, b[HeaderLen:])
	if err != nil {
		return nil, err
	}
	return &Message{Header: h, Payloads: ps}, nil
}

// Append appends the encoded message, setting NextPayload and Length. Errors: ErrTooLong.
func (m *Message) Append(b []byte) ([]byte, error) {
	start := len(b)
	h := m.Header
	h.NextPayload = firstType(m.Payloads)
	b = h.append(b)
	b, err := AppendPayloads(b, m.Payloads)
	if err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint32(b[start+24:], uint32(len(b)-start)) //nolint:gosec // at most maxPayloads times 64 KiB
	return b, nil
}

// ParsePayloads reads a chain of payloads that fills b, the first of type first. It is for the contents of an Encrypted
// payload. An Encrypted or Encrypted Fragment payload ends the chain: its next payload field names its own first content
// (RFC 7296 §3.14, RFC 7383 §2.5).
// A second payload of a type that may occur only once is an error.
func ParsePayloads(first PayloadType, b []byte) ([]Payload, error) {
	var ps []Payload
	var seen [256]bool
	for t := first; t != NoNextPayload; {
		if len(ps) == maxPayloads {
			return nil, malformed(t, "Next Payload", "more than %d payloads", maxPayloads)
		}
		if len(b) < genericLen {
			return nil, malformed(t, "Payload Length", "want at least %d octets, found %d", genericLen, len(b))
		}
		next, critical := PayloadType(b[0]), b[1]&0x80 != 0
		n := int(binary.BigEndian.Uint16(b[2:]))
		if n < genericLen || n > len(b) {
			return nil, malformed(t, "Payload Length", "want %d to %d, found %d", genericLen, len(b), n)
		}
		if seen[t] && once(t) {
			return nil, malformed(t, "Next Payload", "second payload of a type that occurs once")
		}
		seen[t] = true
		p, err := parsePayload(t, next, critical, b[genericLen:n])
		if err != nil {
			return nil, err
		}
		ps = append(ps, p)
		b = b[n:]
		if t == TypeEncrypted || t == TypeEncryptedFragment {
			break
		}
		t = next
	}
	if len(b) != 0 {
		return nil, malformed(NoNextPayload, "Next Payload", "%d octets behind the last payload", len(b))
	}
	return ps, nil
}

// once tells which payloads occur at most once in a message, in all exchanges of RFC 7296 §1.
func once(t PayloadType) bool {
	switch t {
	case TypeSA, TypeKE, TypeIDi, TypeIDr, TypeAuth, TypeNonce, TypeTSi, TypeTSr, TypeEAP:
		return true
	default:
		return false
	}
}

func parsePayload(t, next PayloadType, critical bool, b []byte) (Payload, error) {
	switch t {
	case TypeSA:
		return parseSA(b)
	case TypeKE:
		return parseKE(b)
	case TypeIDi:
		id, err := parseIdentity(t, b)
		return IDi{id}, err
	case TypeIDr:
		id, err := parseIdentity(t, b)
		return IDr{id}, err
	case TypeCert:
		return parseCert(b)
	case TypeCertReq:
		return parseCertReq(b)
	case TypeAuth:
		return parseAuth(b)
	case TypePuzzleSolution:
		return parsePuzzleSolution(b)
	case TypeNonce:
		return parseNonce(b)
	case TypeNotify:
		return parseNotify(b)
	case TypeDelete:
		return parseDelete(b)
	case TypeVendorID:
		return VendorID{Data: clone(b)}, nil
	case TypeTSi:
		ts, err := parseSelectors(t, b)
		return TSi{ts}, err
	case TypeTSr:
		ts, err := parseSelectors(t, b)
		return TSr{ts}, err
	case TypeEncrypted:
		return Encrypted{First: next, Body: clone(b)}, nil
	case TypeEncryptedFragment:
		return parseFragment(next, b)
	case TypeConfiguration:
		return parseConfiguration(b)
	case TypeEAP:
		return EAP{Message: clone(b)}, nil
	default:
		return Unknown{PayloadType: t, Critical: critical, Body: clone(b)}, nil
	}
}

// AppendPayloads appends a chain of payloads. Errors: ErrTooLong.
func AppendPayloads(b []byte, ps []Payload) ([]byte, error) {
	for i, p := range ps {
		next := firstType(ps[i+1:])
		switch e := p.(type) {
		case Encrypted:
			next = e.First
		case EncryptedFragment:
			next = e.First
		}
		var flags byte
		if u, ok := p.(Unknown); ok && u.Critical {
			flags = 0x80
		}
		start := len(b)
		b = append(b, byte(next), flags, 0, 0)
		b = p.appendBody(b)
		n := len(b) - start
		if n > math.MaxUint16 {
			return nil, fmt.Errorf("%w: %s payload of %d octets", ErrTooLong, p.Type(), n)
		}
		binary.BigEndian.PutUint16(b[start+2:], uint16(n)) //nolint:gosec // checked above
	}
	return b, nil
}

func firstType(ps []Payload) PayloadType {
	if len(ps) == 0 {
		return NoNextPayload
	}
	return ps[0].Type()
}

// Find returns the first payload of type T.
func Find[T Payload](ps []Payload) (T, bool) {
	for _, p := range ps {
		if t, ok := p.(T); ok {
			return t, true
		}
	}
	var zero T
	return zero, false
}

// FindNotify returns the first Notify payload of type t.
func FindNotify(ps []Payload, t NotifyType) (Notify, bool) {
	for _, p := range ps {
		if n, ok := p.(Notify); ok && n.Message == t {
			return n, true
		}
	}
	return Notify{}, false
}

// ErrorNotify returns the first Notify payload of an error type (RFC 7296 §3.10.1).
func ErrorNotify(ps []Payload) (Notify, bool) {
	for _, p := range ps {
		if n, ok := p.(Notify); ok && n.Message.Error() {
			return n, true
		}
	}
	return Notify{}, false
}

// UnsupportedCritical returns the type of the first unknown payload with the critical flag (RFC 7296 §2.5).
func UnsupportedCritical(ps []Payload) (PayloadType, bool) {
	for _, p := range ps {
		if u, ok := p.(Unknown); ok && u.Critical {
			return u.PayloadType, true
		}
	}
	return 0, false
}

func clone(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return append([]byte(nil), b...)
}
