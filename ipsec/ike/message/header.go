package message

import (
	"encoding/binary"
	"fmt"
)

// HeaderLen is the length of the IKE header in octets (RFC 7296 §3.1).
const HeaderLen = 28

// Flags are the flag bits of the IKE header (RFC 7296 §3.1).
type Flags uint8

// The flags of RFC 7296 §3.1.
const (
	// FlagInitiator is set in messages sent by the original initiator of the IKE SA.
	FlagInitiator Flags = 0x08
	// FlagVersion says that the sender can speak a higher major version.
	FlagVersion Flags = 0x10
	// FlagResponse is set in responses.
	FlagResponse Flags = 0x20
)

// Header is the IKE header (RFC 7296 §3.1, Figure 4). Numbers are in network byte order on the wire.
type Header struct {
	// InitiatorSPI and ResponderSPI identify the IKE SA. ResponderSPI is zero in the first message.
	InitiatorSPI, ResponderSPI uint64
	// NextPayload is the type of the first payload. Message.Append and AppendProtected set it.
	NextPayload PayloadType
	// Minor is the sender's minor version; the major version is always 2.
	Minor    uint8
	Exchange ExchangeType
	Flags    Flags
	// MessageID pairs requests and responses (RFC 7296 §2.2).
	MessageID uint32
	// Length is the length of the whole message in octets. Message.Append and AppendProtected set it.
	Length uint32
}

// Response tells whether the message is a response.
func (h Header) Response() bool { return h.Flags&FlagResponse != 0 }

// FromInitiator tells whether the sender is the original initiator of the IKE SA.
func (h Header) FromInitiator() bool { return h.Flags&FlagInitiator != 0 }

// ParseHeader reads the IKE header in front of b. It does not look at what follows, nor compare Length with len(b).
// A major version other than 2 gives the header and an error that wraps ErrVersion, so that the caller can answer with
// INVALID_MAJOR_VERSION (RFC 7296 §2.5).
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderLen {
		return Header{}, malformed(NoNextPayload, "Length", "want at least %d octets, found %d", HeaderLen, len(b))
	}
	h := Header{
		InitiatorSPI: binary.BigEndian.Uint64(b),
		ResponderSPI: binary.BigEndian.Uint64(b[8:]),
		NextPayload:  PayloadType(b[16]),
		Minor:        b[17] & 0x0f,
		Exchange:     ExchangeType(b[18]),
		Flags:        Flags(b[19]),
		MessageID:    binary.BigEndian.Uint32(b[20:]),
		Length:       binary.BigEndian.Uint32(b[24:]),
	}
	if major := b[17] >> 4; major != 2 {
		return h, fmt.Errorf("%w: want 2, found %d", ErrVersion, major)
	}
	return h, nil
}

// append writes the header with the length and next payload it has.
func (h Header) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, h.InitiatorSPI)
	b = binary.BigEndian.AppendUint64(b, h.ResponderSPI)
	b = append(b, byte(h.NextPayload), 2<<4|h.Minor&0x0f, byte(h.Exchange), byte(h.Flags))
	b = binary.BigEndian.AppendUint32(b, h.MessageID)
	return binary.BigEndian.AppendUint32(b, h.Length)
}
