package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

const (
	// RevocationLen is the length in octets of a Registration Revocation's fixed part.
	RevocationLen = 20
	// RevocationAcknowledgmentLen is that of a Registration Revocation Acknowledgment's.
	RevocationAcknowledgmentLen = 12
	// revocationSupportLen is the least length of a Revocation Support extension; a longer one may hold what is not known yet.
	revocationSupportLen = 6
)

// RevocationSupport is the content of a Revocation Support extension (RFC 3543 §3.2): type 137, length 6, I bit and 15
// reserved bits, timestamp in four octets big-endian.
type RevocationSupport struct {
	// Inform is the I bit: the sender of a reply decides, or the sender of a request lets the home agent decide, whether the
	// mobile node is told of a revocation.
	Inform bool
	// Timestamp is the sender's time in a unit of its own (RevocationTime here). Revocations of the same sender for the
	// registration have later ones.
	Timestamp uint32
}

// Extension makes the extension.
func (s RevocationSupport) Extension() Extension {
	data := make([]byte, 2, revocationSupportLen)
	if s.Inform {
		data[0] = 0x80
	}
	return Extension{Type: ExtRevocationSupport, Data: binary.BigEndian.AppendUint32(data, s.Timestamp)}
}

// ParseRevocationSupport reads a Revocation Support extension; reserved bits, and what a longer one holds beyond the
// timestamp, are ignored. Errors wrap ErrExtension.
func ParseRevocationSupport(e Extension) (RevocationSupport, error) {
	if e.Type != ExtRevocationSupport {
		return RevocationSupport{}, fmt.Errorf("%w: expected %v, found %v", ErrExtension, ExtRevocationSupport, e.Type)
	}
	if len(e.Data) < revocationSupportLen {
		return RevocationSupport{}, fmt.Errorf("%w: %v expects a length of at least %d, found %d", ErrExtension, e.Type, revocationSupportLen, len(e.Data))
	}
	return RevocationSupport{Inform: e.Data[0]&0x80 != 0, Timestamp: binary.BigEndian.Uint32(e.Data[2:])}, nil
}

// RevocationTime returns the timestamp of t as this project's agents write it: the seconds of an NTP timestamp.
func RevocationTime(i Identification) uint32 { return i.High() }

// RevocationAfter reports whether timestamp a is later than b. They wrap, so that b is earlier when it is less than half of
// the numbers behind.
func RevocationAfter(a, b uint32) bool { return int32(a-b) > 0 }

// Revocation is a Registration Revocation (RFC 3543 §3.3), all numbers big-endian on the wire:
//
//	 0: type 7        1: reserved    2: A, I, 14 reserved bits
//	 4: home address
//	 8: home domain address
//	12: foreign domain address
//	16: revocation identifier
//	20: extensions
type Revocation struct {
	// ByHomeAgent is the A bit: the sender serves the binding as its home agent. Otherwise it is the foreign agent.
	ByHomeAgent bool
	// Inform is the I bit: of a home agent, that the mobile node is to be told; of a foreign agent, a question whether to.
	Inform bool
	// HomeAddress is that of the mobile node.
	HomeAddress netip.Addr
	// HomeDomain is the home agent's address.
	HomeDomain netip.Addr
	// ForeignDomain is the care-of address: the foreign agent's, or a co-located one.
	ForeignDomain netip.Addr
	// Identifier is the sender's timestamp, by the clock of its Revocation Support extensions (§3.5).
	Identifier uint32
	// Extensions in their order on the wire.
	Extensions Extensions
}

// ParseRevocation decodes p, the whole payload of a UDP datagram. Reserved bits are ignored. Errors are *ParseError and
// wrap ErrTruncated, ErrMessageType, ErrUnknownExtension or ErrExtension. The result owns its octets.
func ParseRevocation(p []byte) (*Revocation, error) {
	if err := checkType(p, TypeRevocation, RevocationLen); err != nil {
		return nil, err
	}
	x, err := parseExtensions(TypeRevocation, p, RevocationLen)
	if err != nil {
		return nil, err
	}
	return &Revocation{
		ByHomeAgent: p[2]&0x80 != 0, Inform: p[2]&0x40 != 0,
		HomeAddress: addrAt(p[4:]), HomeDomain: addrAt(p[8:]), ForeignDomain: addrAt(p[12:]),
		Identifier: binary.BigEndian.Uint32(p[16:]), Extensions: x,
	}, nil
}

// Append writes the message behind b. Errors: an address is IPv6 (ErrNotIPv4), an extension is too long (ErrExtension);
// b is returned unchanged then.
func (m *Revocation) Append(b []byte) ([]byte, error) {
	start := b
	var bits uint8
	if m.ByHomeAgent {
		bits |= 0x80
	}
	if m.Inform {
		bits |= 0x40
	}
	b = append(b, uint8(TypeRevocation), 0, bits, 0)
	var err error
	for _, f := range []struct {
		name string
		addr netip.Addr
	}{{"home address", m.HomeAddress}, {"home domain address", m.HomeDomain}, {"foreign domain address", m.ForeignDomain}} {
		if b, err = appendAddr(b, f.name, f.addr); err != nil {
			return start, err
		}
	}
	b = binary.BigEndian.AppendUint32(b, m.Identifier)
	if b, err = m.Extensions.append(b); err != nil {
		return start, err
	}
	return b, nil
}

// Offset returns where extension i begins, in octets from the start of the message.
func (m *Revocation) Offset(i int) int { return RevocationLen + m.Extensions.offset(i) }

// RevocationAcknowledgment is a Registration Revocation Acknowledgment (RFC 3543 §3.4), all numbers big-endian on the wire:
//
//	 0: type 15       1: reserved    2: I, 15 reserved bits
//	 4: home address
//	 8: revocation identifier
//	12: extensions
type RevocationAcknowledgment struct {
	// Inform is the I bit: of a home agent, that the mobile node is to be told; of a foreign agent, that it was.
	Inform bool
	// HomeAddress and Identifier are those of the revocation.
	HomeAddress netip.Addr
	Identifier  uint32
	// Extensions in their order on the wire.
	Extensions Extensions
}

// ParseRevocationAcknowledgment decodes p, the whole payload of a UDP datagram. Reserved bits are ignored. Errors are
// *ParseError and wrap ErrTruncated, ErrMessageType, ErrUnknownExtension or ErrExtension. The result owns its octets.
func ParseRevocationAcknowledgment(p []byte) (*RevocationAcknowledgment, error) {
	if err := checkType(p, TypeRevocationAcknowledgment, RevocationAcknowledgmentLen); err != nil {
		return nil, err
	}
	x, err := parseExtensions(TypeRevocationAcknowledgment, p, RevocationAcknowledgmentLen)
	if err != nil {
		return nil, err
	}
	return &RevocationAcknowledgment{
		Inform: p[2]&0x80 != 0, HomeAddress: addrAt(p[4:]), Identifier: binary.BigEndian.Uint32(p[8:]), Extensions: x,
	}, nil
}

// Append writes the message behind b. Errors: the address is IPv6 (ErrNotIPv4), an extension is too long (ErrExtension);
// b is returned unchanged then.
func (m *RevocationAcknowledgment) Append(b []byte) ([]byte, error) {
	start := b
	var bits uint8
	if m.Inform {
		bits = 0x80
	}
	b, err := appendAddr(append(b, uint8(TypeRevocationAcknowledgment), 0, bits, 0), "home address", m.HomeAddress)
	if err != nil {
		return start, err
	}
	b = binary.BigEndian.AppendUint32(b, m.Identifier)
	if b, err = m.Extensions.append(b); err != nil {
		return start, err
	}
	return b, nil
}

// Offset returns where extension i begins, in octets from the start of the message.
func (m *RevocationAcknowledgment) Offset(i int) int {
	return RevocationAcknowledgmentLen + m.Extensions.offset(i)
}
