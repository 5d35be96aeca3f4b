package tunnel

import (
	"encoding/binary"

	"mipvpn/tun/packet"
)

// The GRE header (RFC 2784 §2.1, RFC 2890 §2), in which the fields from octet 4 on are there as the bits say, in this order:
//
//	0: C, 0, K, S (4 bits), reserved (9 bits), version (3 bits)   2: protocol type
//	   checksum (2 octets), reserved (2 octets)                   with C
//	   key                                                        with K
//	   sequence number                                            with S
const (
	greLen       = 4
	greChecksumC = 0x8000
	greKeyK      = 0x2000
	greSequenceS = 0x1000
	greRefused   = 0x4c00 // bits 1, 4 and 5: routing and source route of RFC 1701, and part of its recursion control
	greVersion   = 0x0007
	greIPv4      = 0x0800
)

// GREOptions are the optional fields of the GRE headers of a tunnel, the same at both ends. The zero value has none.
type GREOptions struct {
	// Keyed has every header carry the key Key (RFC 2890 §2.1); packets with another one, or none, are not of this tunnel. A key
	// is no secret. Without it packets with a key are refused.
	Keyed bool
	Key   uint32
	// Checksum has headers carry the checksum over header and packet. One that arrives is always verified (RFC 2784 §2.2).
	Checksum bool
}

// HeaderLen returns the octets of the GRE headers that are sent: 4 to 12.
func (o GREOptions) HeaderLen() int {
	n := greLen
	if o.Checksum {
		n += 4
	}
	if o.Keyed {
		n += 4
	}
	return n
}

// flags returns the first two octets of the headers that are sent.
func (o GREOptions) flags() uint16 {
	f := uint16(0)
	if o.Checksum {
		f |= greChecksumC
	}
	if o.Keyed {
		f |= greKeyK
	}
	return f
}

// push puts the GRE header in front of an IPv4 packet.
func (o GREOptions) push(p *packet.Buf) packet.DropReason {
	if o.Checksum && p.Super() {
		return packet.DropUnsupported // each segment needs a sum of its own
	}
	h := p.Push(o.HeaderLen())
	at := greLen
	if o.Checksum {
		binary.BigEndian.PutUint32(h[at:], 0)
		at += 4
	}
	if o.Keyed {
		binary.BigEndian.PutUint32(h[at:], o.Key)
	}
	binary.BigEndian.PutUint16(h, o.flags())
	binary.BigEndian.PutUint16(h[2:], greIPv4)
	if o.Checksum {
		binary.BigEndian.PutUint16(h[greLen:], packet.Checksum(p.Bytes(), 0))
	}
	return packet.NotDropped
}

// greHeaderLen returns the length that the first two octets of a GRE header give it, and false for a header that is none of version
// 0 (RFC 2784 §2.3).
func greHeaderLen(flags uint16) (int, bool) {
	if flags&(greRefused|greVersion) != 0 {
		return 0, false
	}
	n := greLen
	for _, bit := range [...]uint16{greChecksumC, greKeyK, greSequenceS} {
		if flags&bit != 0 {
			n += 4
		}
	}
	return n, true
}

// openGRE takes the GRE header off. Sequence numbers, which would have packets wait for others (RFC 2890 §2.2), are refused.
func openGRE(p *packet.Buf, o GREOptions) packet.DropReason {
	b := p.Bytes()
	if len(b) < greLen {
		return packet.DropMalformed
	}
	flags := binary.BigEndian.Uint16(b)
	n, ok := greHeaderLen(flags)
	switch {
	case !ok:
		return packet.DropUnsupported
	case len(b) < n:
		return packet.DropMalformed
	case flags&greChecksumC != 0 && packet.Checksum(b, 0) != 0:
		return packet.DropMalformed
	case flags&greSequenceS != 0 || binary.BigEndian.Uint16(b[2:]) != greIPv4:
		return packet.DropUnsupported
	}
	at := greLen
	if flags&greChecksumC != 0 {
		at += 4
	}
	if keyed := flags&greKeyK != 0; keyed != o.Keyed || keyed && binary.BigEndian.Uint32(b[at:]) != o.Key {
		return packet.DropWrongTunnelPeer
	}
	p.Pull(n)
	return packet.NotDropped
}
