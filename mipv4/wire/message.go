package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Port is the UDP port of Mobile IP control messages (RFC 5944 §1.8).
const Port = 434

// MessageType is the first octet of a message on port 434.
type MessageType uint8

// Message types that this package knows.
const (
	TypeRegistrationRequest      MessageType = 1  // RFC 5944 §3.3
	TypeRegistrationReply        MessageType = 3  // RFC 5944 §3.4
	TypeTunnelData               MessageType = 4  // RFC 3519 §3.3
	TypeRevocation               MessageType = 7  // RFC 3543 §3.3
	TypeRevocationAcknowledgment MessageType = 15 // RFC 3543 §3.4
)

// String returns the standard's name of the type, or its number.
func (t MessageType) String() string {
	switch t {
	case TypeRegistrationRequest:
		return "Registration Request"
	case TypeRegistrationReply:
		return "Registration Reply"
	case TypeTunnelData:
		return "MIP Tunnel Data"
	case TypeRevocation:
		return "Registration Revocation"
	case TypeRevocationAcknowledgment:
		return "Registration Revocation Acknowledgment"
	}
	return fmt.Sprintf("message type %d", uint8(t))
}

// TypeOf returns the type of the message p, and false when p is empty. It does not say that p is well formed.
func TypeOf(p []byte) (MessageType, bool) {
	if len(p) == 0 {
		return 0, false
	}
	return MessageType(p[0]), true
}

var (
	// ErrTruncated means that a message ends inside a field or an extension.
	ErrTruncated = errors.New("mipv4/wire: message is truncated")
	// ErrMessageType means that a message is of another type than the caller expects.
	ErrMessageType = errors.New("mipv4/wire: unexpected message type")
	// ErrUnknownExtension means that a message holds an extension numbered 0 to 127 that is not known, so that the whole
	// message is to be discarded silently (RFC 5944 §1.8).
	ErrUnknownExtension = errors.New("mipv4/wire: unknown extension that must not be skipped")
	// ErrExtension means that an extension's content does not have the form that its type asks for.
	ErrExtension = errors.New("mipv4/wire: malformed extension")
	// ErrNotIPv4 means that an address to be encoded is IPv6.
	ErrNotIPv4 = errors.New("mipv4/wire: address is not IPv4")
)

// ParseError tells what was wrong with a message and where. It wraps one of this package's sentinels.
type ParseError struct {
	// Message is the type that was being parsed.
	Message MessageType
	// Field names the field or extension.
	Field string
	// Offset is where it begins, in octets from the start of the message.
	Offset int
	// Err is the sentinel.
	Err error
}

// Error describes the failure in one line.
func (e *ParseError) Error() string {
	return fmt.Sprintf("%v: %v, %s at octet %d", e.Err, e.Message, e.Field, e.Offset)
}

// Unwrap returns the sentinel.
func (e *ParseError) Unwrap() error { return e.Err }

// checkType reports whether p begins with a message of type t and holds its fixed part of n octets.
func checkType(p []byte, t MessageType, n int) error {
	if len(p) == 0 {
		return &ParseError{Message: t, Field: "type", Err: ErrTruncated}
	}
	if got := MessageType(p[0]); got != t {
		return &ParseError{Message: t, Field: fmt.Sprintf("type (expected %d, found %d)", uint8(t), uint8(got)), Err: ErrMessageType}
	}
	if len(p) < n {
		return &ParseError{Message: t, Field: fmt.Sprintf("fixed part (expected %d octets, found %d)", n, len(p)), Offset: len(p), Err: ErrTruncated}
	}
	return nil
}

func addrAt(p []byte) netip.Addr { return netip.AddrFrom4([4]byte(p[:4])) }

// appendAddr appends a in network order; the zero Addr is written as 0.0.0.0.
func appendAddr(b []byte, field string, a netip.Addr) ([]byte, error) {
	if !a.IsValid() {
		return append(b, 0, 0, 0, 0), nil
	}
	if a = a.Unmap(); !a.Is4() {
		return b, fmt.Errorf("%w: %s is %v", ErrNotIPv4, field, a)
	}
	v := a.As4()
	return append(b, v[:]...), nil
}

func appendUint16(b []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(b, v) }
