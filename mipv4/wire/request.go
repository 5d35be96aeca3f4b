package wire

import (
	"encoding/binary"
	"net/netip"
)

const (
	// RequestLen is the length in octets of a Registration Request's fixed part.
	RequestLen = 24
	// LifetimeInfinite in a Lifetime field means that the registration never expires (RFC 5944 §3.3).
	LifetimeInfinite = 0xffff
)

// RegistrationRequest is a Registration Request (RFC 5944 §3.3), all numbers big-endian on the wire:
//
//	 0: type 1        1: flags       2: lifetime (seconds)
//	 4: home address
//	 8: home agent
//	12: care-of address
//	16: identification (8 octets)
//	24: extensions
type RegistrationRequest struct {
	// Flags is the second octet, reserved bits included.
	Flags Flags
	// Lifetime is asked for in seconds: 0 deregisters, LifetimeInfinite never expires.
	Lifetime uint16
	// HomeAddress of the mobile node, 0.0.0.0 to be given one.
	HomeAddress netip.Addr
	// HomeAgent is the home agent's address.
	HomeAgent netip.Addr
	// CareOfAddress is the end of the tunnel; the home address in a request that deregisters every binding.
	CareOfAddress netip.Addr
	// Identification matches the reply and protects from replay (RFC 5944 §5.7).
	Identification Identification
	// Extensions in their order on the wire.
	Extensions Extensions
}

// ParseRegistrationRequest decodes p, the whole payload of a UDP datagram. Errors are *ParseError and wrap ErrTruncated,
// ErrMessageType, ErrUnknownExtension or ErrExtension. The result owns its octets.
func ParseRegistrationRequest(p []byte) (*RegistrationRequest, error) {
	if err := checkType(p, TypeRegistrationRequest, RequestLen); err != nil {
		return nil, err
	}
	x, err := parseExtensions(TypeRegistrationRequest, p, RequestLen)
	if err != nil {
		return nil, err
	}
	return &RegistrationRequest{
		Flags:          Flags(p[1]),
		Lifetime:       binary.BigEndian.Uint16(p[2:]),
		HomeAddress:    addrAt(p[4:]),
		HomeAgent:      addrAt(p[8:]),
		CareOfAddress:  addrAt(p[12:]),
		Identification: Identification(binary.BigEndian.Uint64(p[16:])),
		Extensions:     x,
	}, nil
}

// Append writes the message behind b. Errors: an address is IPv6 (ErrNotIPv4), an extension is too long (ErrExtension);
// b is returned unchanged then.
func (m *RegistrationRequest) Append(b []byte) ([]byte, error) {
	start := b
	b = append(b, uint8(TypeRegistrationRequest), uint8(m.Flags))
	b = appendUint16(b, m.Lifetime)
	var err error
	for _, f := range []struct {
		name string
		addr netip.Addr
	}{{"home address", m.HomeAddress}, {"home agent", m.HomeAgent}, {"care-of address", m.CareOfAddress}} {
		if b, err = appendAddr(b, f.name, f.addr); err != nil {
			return start, err
		}
	}
	b = binary.BigEndian.AppendUint64(b, uint64(m.Identification))
	if b, err = m.Extensions.append(b); err != nil {
		return start, err
	}
	return b, nil
}

// Len returns the length of the encoded message in octets.
func (m *RegistrationRequest) Len() int { return RequestLen + m.Extensions.Len() }

// Offset returns where extension i begins, in octets from the start of the message. It is what an authentication
// extension covers besides its own type, length and SPI (RFC 5944 §3.5.1).
func (m *RegistrationRequest) Offset(i int) int { return RequestLen + m.Extensions.offset(i) }

// CoLocated reports the D bit: the care-of address is the mobile node's own.
func (m *RegistrationRequest) CoLocated() bool { return m.Flags.Has(FlagDecapsulation) }

// Deregistration reports whether the request takes a binding back (lifetime zero).
func (m *RegistrationRequest) Deregistration() bool { return m.Lifetime == 0 }

// DeregistersAll reports whether the request takes back every binding of its home address (RFC 5944 §3.6.1.2).
func (m *RegistrationRequest) DeregistersAll() bool {
	return m.Lifetime == 0 && m.CareOfAddress == m.HomeAddress
}

// Reply returns a reply to the request with the given code and lifetime, the home address, home agent and Identification
// copied (RFC 5944 §3.7.2.3, §3.8.3.2), without extensions.
func (m *RegistrationRequest) Reply(code Code, lifetime uint16) *RegistrationReply {
	return &RegistrationReply{
		Code: code, Lifetime: lifetime,
		HomeAddress: m.HomeAddress, HomeAgent: m.HomeAgent,
		Identification: m.Identification,
	}
}
