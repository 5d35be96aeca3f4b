package message

import (
	"encoding/binary"
	"fmt"

	"mipvpn/ipsec/suite"
)

// EncryptedFragment is the Encrypted Fragment payload SKF (RFC 7383 §2.5): a chunk of what would have been the content of an
// Encrypted payload, sealed for itself.
type EncryptedFragment struct {
	// First is the type of the first payload inside the whole content; in fragments other than the
	// first it is sent as NoNextPayload and means nothing.
	First PayloadType
	// Number counts from 1 to Total.
	Number, Total uint16
	// Body is initialization vector, ciphertext and integrity check value.
	Body []byte
}

// fragmentLen is the length of Fragment Number and Total Fragments.
const fragmentLen = 4

// MaxFragments is the greatest number of fragments of one message that is made, and more than any real peer makes: 64 KiB
// in datagrams of 576 octets are 136.
const MaxFragments = 256

// Type returns TypeEncryptedFragment.
func (EncryptedFragment) Type() PayloadType { return TypeEncryptedFragment }

func (p EncryptedFragment) appendBody(b []byte) []byte {
	return append(append(b, p.numbers()...), p.Body...)
}

func (p EncryptedFragment) numbers() []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, p.Number), p.Total)
}

// parseFragment checks the numbers too (RFC 7383 §2.6).
func parseFragment(first PayloadType, b []byte) (Payload, error) {
	if len(b) < fragmentLen {
		return nil, malformed(TypeEncryptedFragment, "Fragment Number", "want at least %d octets, found %d", fragmentLen, len(b))
	}
	p := EncryptedFragment{First: first, Number: binary.BigEndian.Uint16(b), Total: binary.BigEndian.Uint16(b[2:])}
	if p.Number == 0 || p.Number > p.Total {
		return nil, malformed(TypeEncryptedFragment, "Fragment Number", "want 1 to %d (Total Fragments), found %d", p.Total, p.Number)
	}
	p.Body = clone(b[fragmentLen:])
	return p, nil
}

// Fragment is one message of those that a large one was sent as.
type Fragment struct {
	Header Header
	// Payloads stand in front of the SKF payload, in fragment 1 alone (RFC 7383 §2.5.3).
	Payloads []Payload
	EncryptedFragment
	raw []byte
	// front is set by Open for fragment 1 of an IKE_INTERMEDIATE message: its octets before the fragment numbers.
	front []byte
}

// ParseFragment parses a message whose last payload is an Encrypted Fragment one, and decrypts nothing. It returns false
// for every other message, and for octets that are no message. The result refers to b.
func ParseFragment(b []byte) (*Fragment, bool) {
	m, err := Parse(b)
	if err != nil || len(m.Payloads) == 0 {
		return nil, false
	}
	last := len(m.Payloads) - 1
	e, ok := m.Payloads[last].(EncryptedFragment)
	if !ok {
		return nil, false
	}
	return &Fragment{Header: m.Header, Payloads: m.Payloads[:last], EncryptedFragment: e, raw: b}, true
}

// Open verifies and decrypts the fragment and returns its chunk of the content, which the caller owns; it may be empty.
// It is called once: the Body is decrypted in place. Errors: what c.Open returns, which wraps suite.ErrAuthentication;
// a *ParseError for an authentic fragment whose padding cannot be.
func (f *Fragment) Open(c suite.Cipher) ([]byte, error) {
	chunk, _, err := openSealed(f.raw, TypeEncryptedFragment, f.Body, c)
	if err == nil && f.Number == 1 && f.Header.Exchange == IKEIntermediate {
		f.front = clone(f.raw[:len(f.raw)-len(f.Body)-fragmentLen])
	}
	return chunk, err
}

// Join makes the message of its fragments: first is fragment 1, content the chunks of all in their order (RFC 7383 §2.6).
// The message's header is that of fragment 1 with an Encrypted payload as NextPayload where the payload was an SKF one;
// its Length is still that of fragment 1. Errors: *ParseError when content is no chain of payloads; the message
// has the payloads in front of it then.
func Join(first *Fragment, content []byte) (*Message, error) {
	m := &Message{Header: first.Header, Payloads: first.Payloads}
	if m.Header.NextPayload == TypeEncryptedFragment {
		m.Header.NextPayload = TypeEncrypted
	}
	if m.Header.Exchange == IKEIntermediate {
		m.Intermediate = intermediateOctets(unfragmented(first.front), content)
	}
	return m, m.appendContent(first.First, content)
}

// AppendFragments makes the message with header h and the payloads ps inside an Encrypted payload, and splits it so that
// no fragment is longer than size octets from its IKE header on (RFC 7383 §2.5). When the message is no longer
// than that as a whole, it is one with an Encrypted payload. counter is called for each message and never returns
// the same number twice for one key. Errors: ErrTooLong, also for more than MaxFragments or a size that holds nothing.
func AppendFragments(h Header, ps []Payload, c suite.Cipher, counter func() uint64, size int) ([][]byte, error) {
	content, err := AppendPayloads(nil, ps)
	if err != nil {
		return nil, err
	}
	fixed := HeaderLen + genericLen + c.IVLen() + c.ICVLen()
	if fixed+align(len(content)+1, c.Align()) <= size {
		whole, err := appendSealed(nil, h, envelope{kind: TypeEncrypted, first: firstType(ps)}, content, c, counter())
		return [][]byte{whole}, err
	}
	// Each fragment holds a whole number of the cipher's blocks, one octet of which is the pad length.
	chunk := (size-fixed-fragmentLen)/c.Align()*c.Align() - 1
	if chunk < 1 {
		return nil, fmt.Errorf("%w: fragments of at most %d octets hold nothing", ErrTooLong, size)
	}
	total := (len(content) + chunk - 1) / chunk
	if total > MaxFragments {
		return nil, fmt.Errorf("%w: %d octets make %d fragments of at most %d octets, want at most %d", ErrTooLong,
			len(content), total, size, MaxFragments)
	}
	out := make([][]byte, 0, total)
	for i := range total {
		f := EncryptedFragment{Number: uint16(i + 1), Total: uint16(total)} //nolint:gosec // at most MaxFragments
		if i == 0 {
			f.First = firstType(ps)
		}
		part := content[i*chunk : min((i+1)*chunk, len(content))]
		one, err := appendSealed(nil, h, envelope{TypeEncryptedFragment, f.First, f.numbers()}, part, c, counter())
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, nil
}

func align(n, unit int) int { return (n + unit - 1) / unit * unit }
