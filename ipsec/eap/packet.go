package eap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
)

// Code is the code of an EAP packet (RFC 3748 §4).
type Code uint8

// The codes of RFC 3748 §4.
const (
	Request  Code = 1
	Response Code = 2
	Success  Code = 3
	Failure  Code = 4
)

// String returns the standard's name, or "code N".
func (c Code) String() string {
	switch c {
	case Request:
		return "Request"
	case Response:
		return "Response"
	case Success:
		return "Success"
	case Failure:
		return "Failure"
	default:
		return "code " + strconv.Itoa(int(c))
	}
}

// Type is the type of a Request or Response (RFC 3748 §5): a method, or one of the special types.
type Type uint8

// The types that this package knows.
const (
	TypeIdentity     Type = 1
	TypeNotification Type = 2
	TypeNak          Type = 3
	TypeTLS          Type = 13
	TypeTTLS         Type = 21
	TypeMSCHAPv2     Type = 26
	TypeExpanded     Type = 254
)

// String returns the method's usual name, or "EAP type N".
func (t Type) String() string {
	switch t {
	case TypeIdentity:
		return "EAP-Identity"
	case TypeNotification:
		return "EAP-Notification"
	case TypeNak:
		return "EAP-Nak"
	case TypeTLS:
		return "EAP-TLS"
	case TypeTTLS:
		return "EAP-TTLS"
	case TypeMSCHAPv2:
		return "EAP-MSCHAPv2"
	case TypeExpanded:
		return "EAP-Expanded"
	default:
		return "EAP type " + strconv.Itoa(int(t))
	}
}

// ErrMalformed tells that an EAP message, or what a method carries in it, is not formed as its specification says.
var ErrMalformed = errors.New("eap: malformed message")

const (
	headerSize   = 4     // code, identifier, length
	expandedSize = 8     // type 254, vendor in three octets, vendor's type in four (RFC 3748 §5.7)
	maxMessage   = 65535 // by the length field
)

// Packet is an EAP packet (RFC 3748 §4): a code in one octet, an identifier in one, the length of all in two with the most
// significant first; for requests and responses a type in one octet and its data.
type Packet struct {
	Code       Code
	Identifier uint8
	// Type is the type of a Request or Response. An expanded type of vendor 0 (RFC 3748 §5.7) counts as the type it stands
	// for, with Expanded set; those of other vendors are TypeExpanded.
	Type Type
	// Expanded is set when the type was written in the expanded form.
	Expanded bool
	// Data is the type's data; for TypeExpanded with the vendor and the vendor's type in front.
	Data []byte
}

// Parse reads a packet. Its Data shares the memory of b. What follows the packet's length is padding of the link layer, which
// IKE does not have: it is refused (RFC 3748 §4.1 would ignore it). Errors: ErrMalformed.
func Parse(b []byte) (Packet, error) {
	if len(b) < headerSize {
		return Packet{}, fmt.Errorf("%w: want a header of %d octets, found %d", ErrMalformed, headerSize, len(b))
	}
	p := Packet{Code: Code(b[0]), Identifier: b[1]}
	if n := int(binary.BigEndian.Uint16(b[2:])); n != len(b) {
		return Packet{}, fmt.Errorf("%w: the length says %d octets, found %d", ErrMalformed, n, len(b))
	}
	switch p.Code {
	case Success, Failure:
		if len(b) != headerSize {
			return Packet{}, fmt.Errorf("%w: %v: want %d octets, found %d", ErrMalformed, p.Code, headerSize, len(b))
		}
		return p, nil
	case Request, Response:
	default:
		return Packet{}, fmt.Errorf("%w: want codes 1 to 4, found %d", ErrMalformed, b[0])
	}
	if len(b) == headerSize {
		return Packet{}, fmt.Errorf("%w: %v without a type", ErrMalformed, p.Code)
	}
	p.Type, p.Data = Type(b[4]), b[5:]
	if p.Type != TypeExpanded {
		return p, nil
	}
	if len(b) < headerSize+expandedSize {
		return Packet{}, fmt.Errorf("%w: expanded type: want %d octets, found %d", ErrMalformed, headerSize+expandedSize, len(b))
	}
	p.Expanded = true
	if t := binary.BigEndian.Uint32(b[8:]); b[5]|b[6]|b[7] == 0 && t < uint32(TypeExpanded) {
		p.Type, p.Data = Type(t), b[headerSize+expandedSize:]
	}
	return p, nil
}

// Marshal returns the packet's octets. Errors: ErrMalformed when it is longer than the length field can say.
func (p Packet) Marshal() ([]byte, error) {
	b := make([]byte, headerSize, headerSize+expandedSize+len(p.Data))
	b[0], b[1] = byte(p.Code), p.Identifier
	if p.Code == Request || p.Code == Response {
		switch {
		case p.Expanded && p.Type != TypeExpanded:
			b = append(b, byte(TypeExpanded), 0, 0, 0)
			b = binary.BigEndian.AppendUint32(b, uint32(p.Type))
		default:
			b = append(b, byte(p.Type))
		}
		b = append(b, p.Data...)
	}
	if len(b) > maxMessage {
		return nil, fmt.Errorf("%w: want at most %d octets, found %d", ErrMalformed, maxMessage, len(b))
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return b, nil
}
