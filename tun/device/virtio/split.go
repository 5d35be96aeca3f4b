package virtio

import (
	"encoding/binary"
	"fmt"

	"mipvpn/tun/packet"
)

// maxNesting is the number of IPv4 headers, one in another, that Split looks through.
const maxNesting = 4

// TCP flags (RFC 9293 §3.1, RFC 3168 §6.1).
const (
	tcpFIN = 0x01
	tcpPSH = 0x08
	tcpCWR = 0x80
)

// superpacket is what Split has found out about a packet.
type superpacket struct {
	ip        [maxNesting]int // offsets of the IPv4 headers, outermost first
	depth     int
	transport int // offset of the TCP or UDP header
	payload   int // offset of the payload
	udp       bool
}

// Split cuts the packet p, which begins with an IPv4 header, as the header says, completes all checksums and appends the
// segments to out. Without segmentation offload it appends a copy of p with its checksum completed. It fails without
// appending anything when the header does not fit the packet.
func (h Header) Split(p []byte, out *packet.Batch) error {
	if h.GSOType == GSONone {
		if len(p) > packet.LargeSize {
			return fmt.Errorf("%w: %d octets", ErrMalformed, len(p))
		}
		b := packet.From(p)
		if err := h.Complete(b.Bytes()); err != nil {
			b.Release()
			return err
		}
		out.Append(b)
		return nil
	}
	s, err := h.find(p)
	if err != nil {
		return err
	}
	size := int(h.GSOSize)
	if size == 0 || s.payload+size > packet.LargeSize {
		return fmt.Errorf("%w: segments of %d octets", ErrMalformed, size)
	}
	data := p[s.payload:]
	for i, off := 0, 0; off < len(data) || i == 0; i, off = i+1, off+size {
		n := min(size, len(data)-off)
		b := packet.Get(s.payload + n)
		q := b.Extend(s.payload + n)
		copy(q, p[:s.payload])
		copy(q[s.payload:], data[off:off+n])
		s.finish(q, i, off, off+n == len(data))
		out.Append(b)
	}
	return nil
}

// find checks the headers of p. Segmentation comes for a transport header at CsumStart under IPv4 headers only.
func (h Header) find(p []byte) (s superpacket, err error) {
	want := uint8(packet.ProtocolTCP)
	switch h.GSOType &^ GSOECN {
	case GSOTCPv4:
	case GSOUDPv4:
		want, s.udp = packet.ProtocolUDP, true
	default:
		return s, fmt.Errorf("%w: segmentation type %d", ErrMalformed, h.GSOType)
	}
	for at := 0; ; {
		if s.depth == maxNesting {
			return s, fmt.Errorf("%w: more than %d IPv4 headers", ErrMalformed, maxNesting)
		}
		ip := packet.IPv4(p[at:])
		if len(ip) < packet.IPv4Len || ip[0]>>4 != 4 || ip.HeaderLen() < packet.IPv4Len || ip.HeaderLen() > len(ip) {
			return s, fmt.Errorf("%w: no IPv4 header at octet %d of %d", ErrMalformed, at, len(p))
		}
		s.ip[s.depth] = at
		s.depth++
		at += ip.HeaderLen()
		if ip.Protocol() == want {
			s.transport = at
			break
		}
		if ip.Protocol() != packet.ProtocolIPIP {
			return s, fmt.Errorf("%w: protocol %d in a packet for segmentation, expected %d", ErrMalformed, ip.Protocol(), want)
		}
	}
	if h.Flags&FlagNeedsChecksum != 0 && int(h.CsumStart) != s.transport {
		return s, fmt.Errorf("%w: transport header at octet %d, expected it at %d", ErrMalformed, s.transport, h.CsumStart)
	}
	n := packet.UDPLen
	if !s.udp {
		n = 20
		if s.transport+n <= len(p) {
			n = int(p[s.transport+12]>>4) * 4
		}
		if n < 20 {
			return s, fmt.Errorf("%w: TCP header of %d octets", ErrMalformed, n)
		}
	}
	s.payload = s.transport + n
	if s.payload > len(p) {
		return s, fmt.Errorf("%w: headers of %d octets in %d", ErrMalformed, s.payload, len(p))
	}
	return s, nil
}

// finish makes q, which holds the superpacket's headers and the payload from offset off on, segment number i.
func (s *superpacket) finish(q []byte, i, off int, last bool) {
	t := q[s.transport:]
	if s.udp {
		binary.BigEndian.PutUint16(t[4:], uint16(len(t)))
	} else {
		binary.BigEndian.PutUint32(t[4:], binary.BigEndian.Uint32(t[4:])+uint32(off))
		if !last {
			t[13] &^= tcpFIN | tcpPSH
		}
		if i > 0 {
			t[13] &^= tcpCWR // RFC 3168 §6.1.2: in the first packet after a reduction only
		}
	}
	for _, at := range s.ip[:s.depth] {
		ip := packet.IPv4(q[at:])
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
		binary.BigEndian.PutUint16(ip[4:], ip.ID()+uint16(i))
		binary.BigEndian.PutUint16(ip[10:], 0)
		binary.BigEndian.PutUint16(ip[10:], packet.Checksum(ip[:ip.HeaderLen()], 0))
	}
	at := tcpChecksum
	if s.udp {
		at = udpChecksum
	}
	field := t[at : at+2]
	clear(field)
	sum := packet.Checksum(t, pseudoHeader(packet.IPv4(q[s.ip[s.depth-1]:]), len(t)))
	if s.udp && sum == 0 {
		sum = 0xffff // RFC 768
	}
	binary.BigEndian.PutUint16(field, sum)
}
