package query

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// headerLen is the length of a DNS message's header (RFC 1035 §4.1.1).
const headerLen = 12

// MaxMessage is the greatest length of a DNS message in octets, that which the length field over TCP can say (RFC 1035
// §4.2.2).
const MaxMessage = 65535

// Errors of messages.
var (
	// ErrMalformed is wrapped by the error for what is no DNS message with one question.
	ErrMalformed = errors.New("query: malformed message")
	// ErrName is wrapped by the error for a text that is no domain name.
	ErrName = errors.New("query: not a domain name")
)

// Types and codes that drivers name (RFC 1035 §3.2.2 and §4.1.1).
const (
	TypeA      = dns.TypeA
	TypeNS     = dns.TypeNS
	TypeSOA    = dns.TypeSOA
	TypeDS     = dns.TypeDS
	TypeDNSKEY = dns.TypeDNSKEY

	RcodeSuccess        = dns.RcodeSuccess
	RcodeFormatError    = dns.RcodeFormatError
	RcodeServerFailure  = dns.RcodeServerFailure
	RcodeNameError      = dns.RcodeNameError
	RcodeNotImplemented = dns.RcodeNotImplemented
	RcodeRefused        = dns.RcodeRefused
)

// Question is what a query asks.
type Question struct {
	// ID is the message's identifier.
	ID uint16
	// Name is the name asked for, in lower case and with the last dot, octets beyond letters, digits and '-' escaped as in a
	// zone file (RFC 1035 §5.1).
	Name string
	// Type and Class are numbers of RFC 1035 §3.2.
	Type, Class uint16
	// length is that of the question section in octets.
	length int
}

// ParseQuestion reads the question of a query: a message with the QR bit clear, the operation QUERY, and one question.
// What follows the question is not looked at. Errors wrap ErrMalformed.
func ParseQuestion(message []byte) (Question, error) {
	if len(message) < headerLen || len(message) > MaxMessage {
		return Question{}, fmt.Errorf("%w: %d octets, expected %d to %d", ErrMalformed, len(message), headerLen, MaxMessage)
	}
	flags := binary.BigEndian.Uint16(message[2:])
	if flags&0x8000 != 0 || flags>>11&0xf != dns.OpcodeQuery {
		return Question{}, fmt.Errorf("%w: flags 0x%04x are not those of a query", ErrMalformed, flags)
	}
	if n := binary.BigEndian.Uint16(message[4:]); n != 1 {
		return Question{}, fmt.Errorf("%w: %d questions, expected one", ErrMalformed, n)
	}
	end, err := nameEnd(message, headerLen)
	if err != nil {
		return Question{}, err
	}
	if len(message) < end+4 {
		return Question{}, fmt.Errorf("%w: it ends in the question", ErrMalformed)
	}
	name, _, err := dns.UnpackDomainName(message[:end], headerLen)
	if err != nil {
		return Question{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return Question{
		ID: binary.BigEndian.Uint16(message), Name: lower(name), Type: binary.BigEndian.Uint16(message[end:]),
		Class: binary.BigEndian.Uint16(message[end+2:]), length: end + 4 - headerLen,
	}, nil
}

// nameEnd returns the offset behind the uncompressed name at offset (RFC 1035 §3.1): in a question there is nothing before
// it that a pointer could name.
func nameEnd(message []byte, offset int) (int, error) {
	for at := offset; at < len(message); {
		n := int(message[at])
		switch {
		case n == 0 && at+1-offset <= 255:
			return at + 1, nil
		case n > 63 || at+1-offset > 255:
			return 0, fmt.Errorf("%w: the question's name is compressed or over 255 octets", ErrMalformed)
		}
		at += 1 + n
	}
	return 0, fmt.Errorf("%w: it ends in the question's name", ErrMalformed)
}

// lower puts ASCII letters into lower case; other octets stay.
func lower(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, name)
}

// Canonical returns a domain name in lower case and with the last dot. Errors wrap ErrName: an empty name, a label over 63
// octets or empty, over 255 octets in all, or characters other than letters, digits, '-' and '_'.
func Canonical(name string) (string, error) {
	name = lower(name)
	bare := strings.TrimSuffix(name, ".")
	if bare == "" || len(bare) > 253 {
		return "", fmt.Errorf("%w: %d characters, expected 1 to 253", ErrName, len(bare))
	}
	for label := range strings.SplitSeq(bare, ".") {
		if label == "" || len(label) > 63 {
			return "", fmt.Errorf("%w: %q has a label of %d characters, expected 1 to 63", ErrName, bare, len(label))
		}
		for _, r := range label {
			if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' {
				return "", fmt.Errorf("%w: %q has a character other than letters, digits, '-' and '_'", ErrName, bare)
			}
		}
	}
	return bare + ".", nil
}

// Failure returns the answer to a query that has no records and says code, with recursion available. Errors wrap
// ErrMalformed.
func Failure(message []byte, code int) ([]byte, error) {
	q, err := ParseQuestion(message)
	if err != nil {
		return nil, err
	}
	out := make([]byte, headerLen, headerLen+q.length)
	copy(out, message[:headerLen])
	flags := binary.BigEndian.Uint16(message[2:])
	binary.BigEndian.PutUint16(out[2:], 0x8080|flags&0x0100|uint16(code&0xf)) // QR, RA, RD as asked
	copy(out[4:], []byte{0, 1, 0, 0, 0, 0, 0, 0})
	return append(out, message[headerLen:headerLen+q.length]...), nil
}

// Fit returns the answer as it may go over UDP to who sent the query: whole, or, when it is longer than the query allows (512
// octets, or what its OPT record says: RFC 6891 §6.2.5), cut to its question with the TC bit set. answer must be one that
// Exchange gave, or Failure.
func Fit(message, answer []byte) []byte {
	limit := dns.MinMsgSize
	var m dns.Msg
	if m.Unpack(message) == nil {
		if opt := m.IsEdns0(); opt != nil {
			limit = max(limit, int(opt.UDPSize()))
		}
	}
	if len(answer) <= limit {
		return answer
	}
	q, err := ParseQuestion(message)
	if err != nil || len(answer) < headerLen+q.length {
		return nil
	}
	cut := append([]byte(nil), answer[:headerLen+q.length]...)
	cut[2] |= 0x02 // TC
	copy(cut[6:], []byte{0, 0, 0, 0, 0, 0})
	return cut
}

// NewQuery returns a query for the name, which is of the form that Canonical gives, and the type, with recursion desired.
// Its ID is 0: Exchange draws one for each transmission.
func NewQuery(name string, kind uint16) ([]byte, error) {
	m := dns.Msg{MsgHdr: dns.MsgHdr{RecursionDesired: true}, Question: []dns.Question{{Name: name, Qtype: kind, Qclass: dns.ClassINET}}}
	out, err := m.Pack()
	if err != nil {
		return nil, fmt.Errorf("%w: %q: %w", ErrName, name, err)
	}
	return out, nil
}
