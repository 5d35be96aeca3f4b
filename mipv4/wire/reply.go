package wire

import (
	"encoding/binary"
	"net/netip"
)

// ReplyLen is the length in octets of a Registration Reply's fixed part.
const ReplyLen = 20

// RegistrationReply is a Registration Reply (RFC 5944 §3.4), all numbers big-endian on the wire:
//
//	 0: type 3        1: code        2: lifetime (seconds)
//	 4: home address
//	 8: home agent
//	12: identification (8 octets)
//	20: extensions
type RegistrationReply struct {
	// Code is the outcome.
	Code Code
	// Lifetime granted in seconds when Code.Accepted; with CodeRequestedLifetimeTooLong the most that the foreign agent
	// grants; without meaning for other codes.
	Lifetime uint16
	// HomeAddress of the mobile node.
	HomeAddress netip.Addr
	// HomeAgent is the home agent's address.
	HomeAgent netip.Addr
	// Identification: the low half is the request's; the whole is, when timestamps are used and code is not
	// CodeIdentificationMismatch.
	Identification Identification
	// Extensions in their order on the wire.
	Extensions Extensions
}

// ParseRegistrationReply decodes p, the whole payload of a UDP datagram. Errors are *ParseError and wrap ErrTruncated,
// ErrMessageType, ErrUnknownExtension or ErrExtension. The result owns its octets.
func ParseRegistrationReply(p []byte) (*RegistrationReply, error) {
	if err := checkType(p, TypeRegistrationReply, ReplyLen); err != nil {
		return nil, err
	}
	x, err := parseExtensions(TypeRegistrationReply, p, ReplyLen)
	if err != nil {
		return nil, err
	}
	return &RegistrationReply{
		Code:           Code(p[1]),
		Lifetime:       binary.BigEndian.Uint16(p[2:]),
		HomeAddress:    addrAt(p[4:]),
		HomeAgent:      addrAt(p[8:]),
		Identification: Identification(binary.BigEndian.Uint64(p[12:])),
		Extensions:     x,
	}, nil
}

// Append writes the message behind b. Errors: an address is IPv6 (ErrNotIPv4), an extension is too long (ErrExtension);
// b is returned unchanged then.
func (m *RegistrationReply) Append(b []byte) ([]byte, error) {
	start := b
	b = append(b, uint8(TypeRegistrationReply), uint8(m.Code))
	b = appendUint16(b, m.Lifetime)
	var err error
	if b, err = appendAddr(b, "home address", m.HomeAddress); err != nil {
		return start, err
	}
	if b, err = appendAddr(b, "home agent", m.HomeAgent); err != nil {
		return start, err
	}
	b = binary.BigEndian.AppendUint64(b, uint64(m.Identification))
	if b, err = m.Extensions.append(b); err != nil {
		return start, err
	}
	return b, nil
}

// Len returns the length of the encoded message in octets.
func (m *RegistrationReply) Len() int { return ReplyLen + m.Extensions.Len() }

// Offset returns where extension i begins, in octets from the start of the message.
func (m *RegistrationReply) Offset(i int) int { return ReplyLen + m.Extensions.offset(i) }
