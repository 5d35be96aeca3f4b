package message

import (
	"encoding/binary"
	"net/netip"
)

// TSType is a traffic selector type (RFC 7296 §3.13.1).
type TSType uint8

// The traffic selector types of RFC 7296 §3.13.1.
const (
	TSIPv4AddrRange TSType = 7
	TSIPv6AddrRange TSType = 8
)

// TrafficSelector is one traffic selector (RFC 7296 §3.13.1, Figure 20).
type TrafficSelector struct {
	Type TSType
	// Protocol is the IP protocol, 0 for any.
	Protocol uint8
	// StartPort and EndPort are inclusive: 0 and 65535 for any, 65535 and 0 for OPAQUE. For ICMP they hold type and code.
	StartPort, EndPort uint16
	// Start and End are the first and last address.
	Start, End netip.Addr
	// Unknown holds what follows the length of a selector of an unknown type, which a responder ignores (RFC 7296 §2.9).
	// Protocol's octet is not part of it.
	Unknown []byte
}

// Selectors is the list of a traffic selector payload.
type Selectors []TrafficSelector

// TSi is the traffic selector payload for the exchange initiator's side (RFC 7296 §3.13).
type TSi struct{ Selectors }

// TSr is the traffic selector payload for the exchange responder's side (RFC 7296 §3.13).
type TSr struct{ Selectors }

// Type returns TypeTSi.
func (TSi) Type() PayloadType            { return TypeTSi }
func (p TSi) appendBody(b []byte) []byte { return p.append(b) }

// Type returns TypeTSr.
func (TSr) Type() PayloadType            { return TypeTSr }
func (p TSr) appendBody(b []byte) []byte { return p.append(b) }

func (s Selectors) append(b []byte) []byte {
	b = append(b, byte(len(s)), 0, 0, 0)
	for _, t := range s {
		start := len(b)
		b = append(b, byte(t.Type), t.Protocol, 0, 0)
		if t.Type == TSIPv4AddrRange || t.Type == TSIPv6AddrRange {
			b = binary.BigEndian.AppendUint16(b, t.StartPort)
			b = binary.BigEndian.AppendUint16(b, t.EndPort)
			b = append(append(b, t.Start.AsSlice()...), t.End.AsSlice()...)
		} else {
			b = append(b, t.Unknown...)
		}
		putLength(b, start)
	}
	return b
}

func parseSelectors(pt PayloadType, b []byte) (Selectors, error) {
	if len(b) < 4 {
		return nil, malformed(pt, "Number of TSs", "want at least 4 octets, found %d", len(b))
	}
	num := int(b[0])
	b = b[4:]
	if num == 0 {
		return nil, malformed(pt, "Number of TSs", "want at least 1, found 0")
	}
	s := make(Selectors, 0, min(num, len(b)/4))
	for len(b) > 0 {
		if len(b) < 4 {
			return nil, malformed(pt, "Selector Length", "want at least 4 octets, found %d", len(b))
		}
		t := TrafficSelector{Type: TSType(b[0]), Protocol: b[1]}
		n := int(binary.BigEndian.Uint16(b[2:]))
		if n < 4 || n > len(b) {
			return nil, malformed(pt, "Selector Length", "want 4 to %d, found %d", len(b), n)
		}
		body := b[4:n]
		size := 0
		switch t.Type {
		case TSIPv4AddrRange:
			size = 4
		case TSIPv6AddrRange:
			size = 16
		default:
			t.Unknown = clone(body)
		}
		if size != 0 {
			if len(body) != 4+2*size {
				return nil, malformed(pt, "Selector Length", "want %d for TS type %d, found %d", 8+2*size, t.Type, n)
			}
			t.StartPort, t.EndPort = binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:])
			t.Start, _ = netip.AddrFromSlice(body[4 : 4+size])
			t.End, _ = netip.AddrFromSlice(body[4+size:])
			if t.End.Less(t.Start) {
				return nil, malformed(pt, "Ending Address", "want %s or more, found %s", t.Start, t.End)
			}
		}
		s = append(s, t)
		b = b[n:]
	}
	if len(s) != num {
		return nil, malformed(pt, "Number of TSs", "want %d (those present), found %d", len(s), num)
	}
	return s, nil
}
