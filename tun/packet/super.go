package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrNotSuper is wrapped by the refusal of MakeSuper.
var ErrNotSuper = errors.New("packet: no superpacket")

// Offsets of the checksum field in the transport headers, and of TCP's flags (RFC 9293 §3.1, RFC 768).
const (
	tcpHeaderLen      = 20
	tcpSequence       = 4
	tcpOffsetAndFlags = 12
	tcpChecksum       = 16
	udpLength         = 4
	udpChecksum       = 6
)

// TCP flags that only some segments of a superpacket bear: FIN and PSH the last, CWR the first (RFC 3168 §6.1.2).
const (
	tcpFIN = 0x01
	tcpPSH = 0x08
	tcpCWR = 0x80
)

// super is what makes a Buf a superpacket. All positions are those in the slot.
type super struct {
	size    int // octets of payload in each segment but the last; 0: an ordinary packet
	ip      int // the IPv4 header
	segment int // the TCP or UDP header
	payload int
	outer   int  // a pushed IPv4 header, 0 for none
	udp     int  // a pushed UDP header, 0 for none
	summed  bool // which has a checksum
}

// Super reports whether the packet stands for several: one IPv4 packet of TCP or UDP with the payload of many segments, as
// segmentation offload has it. Headers that are pushed in front of it are a template for all of them. Its transport checksum
// covers the pseudo header only.
func (b *Buf) Super() bool { return b.super.size != 0 }

// MakeSuper makes the packet a superpacket whose segments have size octets of payload, the last one what is left. It must be
// a whole IPv4 packet of TCP or UDP, not a fragment, with payload, and nothing more. It writes the sum of the pseudo header
// into the transport checksum. The error wraps ErrNotSuper; the packet is as before then.
func (b *Buf) MakeSuper(size int) error {
	ip := IPv4(b.Bytes())
	if !ip.Valid() || ip.TotalLen() != len(ip) {
		return fmt.Errorf("%w: %d octets that are no whole IPv4 packet", ErrNotSuper, len(ip))
	}
	if ip.MoreFragments() || ip.FragmentOffset() != 0 {
		return fmt.Errorf("%w: a fragment", ErrNotSuper)
	}
	t := ip.Payload()
	n, sum := UDPLen, udpChecksum
	switch ip.Protocol() {
	case ProtocolUDP:
	case ProtocolTCP:
		if len(t) < tcpHeaderLen {
			return fmt.Errorf("%w: a TCP header of %d octets", ErrNotSuper, len(t))
		}
		n, sum = int(t[tcpOffsetAndFlags]>>4)*4, tcpChecksum
		if n < tcpHeaderLen {
			return fmt.Errorf("%w: a TCP header of %d octets", ErrNotSuper, n)
		}
	default:
		return fmt.Errorf("%w: protocol %d, expected TCP or UDP", ErrNotSuper, ip.Protocol())
	}
	if n >= len(t) {
		return fmt.Errorf("%w: %d octets behind the IPv4 header, expected payload after %d", ErrNotSuper, len(t), n)
	}
	if size <= 0 || size > LargeSize {
		return fmt.Errorf("%w: segments of %d octets", ErrNotSuper, size)
	}
	binary.BigEndian.PutUint16(t[sum:], fold(uint64(innerPseudo(ip, len(t)))))
	b.super = super{size: size, ip: b.off, segment: b.off + ip.HeaderLen(), payload: b.off + ip.HeaderLen() + n}
	return nil
}

// innerPseudo returns the partial sum of ip's pseudo header for n octets of transport header and payload.
func innerPseudo(ip IPv4, n int) uint32 {
	return PartialSum(ip[12:20], uint32(ip.Protocol())+uint32(n))
}

// Segments returns the number of packets on the wire that the Buf stands for: 1 for an ordinary one.
func (b *Buf) Segments() int {
	if b.super.size == 0 {
		return 1
	}
	return (b.end - b.super.payload + b.super.size - 1) / b.super.size
}

// SegmentLen returns the octets of the longest segment as it stands, pushed headers included: Len for an ordinary packet.
func (b *Buf) SegmentLen() int {
	if b.super.size == 0 {
		return b.Len()
	}
	return b.super.payload - b.off + min(b.super.size, b.end-b.super.payload)
}

// SegmentHeaderLen returns the octets of all headers of a segment as it stands, pushed ones included, 0 for an ordinary packet.
func (b *Buf) SegmentHeaderLen() int {
	if b.super.size == 0 {
		return 0
	}
	return b.super.payload - b.off
}

// SegmentSize returns the octets of payload of each segment but the last, 0 for an ordinary packet.
func (b *Buf) SegmentSize() int { return b.super.size }

// pushed notes that an IPv4 header has been pushed. It panics when there is one already, which is an error of the program.
func (s *super) pushed(at int) {
	if s.outer != 0 {
		panic("packet: a second IPv4 header was pushed on a superpacket")
	}
	s.outer = at
}

// Segments returns the number of packets on the wire that the batch stands for.
func (b *Batch) Segments() int {
	n := 0
	for _, p := range b.Bufs {
		n += p.Segments()
	}
	return n
}

// Cut replaces each superpacket by its segments, as copies in Bufs of their own.
func (b *Batch) Cut() {
	whole := 0
	for whole < len(b.Bufs) && !b.Bufs[whole].Super() {
		whole++
	}
	if whole == len(b.Bufs) {
		return
	}
	old := GetBatch()
	old.Bufs, b.Bufs = b.Bufs, old.Bufs
	b.Bufs = append(b.Bufs, old.Bufs[:whole]...)
	for _, p := range old.Bufs[whole:] {
		if p.Super() {
			p.CutTo(b)
			p.Release()
		} else {
			b.Append(p)
		}
	}
	old.Forget()
}

// CutTo appends copies of the superpacket's segments to out, in Bufs of their own. The superpacket stays the caller's.
func (b *Buf) CutTo(out *Batch) {
	c := b.Cutter()
	for payload, ok := c.Next(); ok; payload, ok = c.Next() {
		p := Get(c.headLen + len(payload))
		c.PutHead(p.Extend(c.headLen))
		copy(p.Extend(len(payload)), payload)
		p.CopyMeta(b)
		out.Append(p)
	}
}

// CopyMeta gives b what from knows beside its octets: Peer, Hardware, Interface, TOS, SA, DontFragment and Probe.
func (b *Buf) CopyMeta(from *Buf) {
	b.Peer, b.Hardware, b.Interface, b.TOS, b.SA = from.Peer, from.Hardware, from.Interface, from.TOS, from.SA
	b.DontFragment, b.Probe = from.DontFragment, from.Probe
}

// maxHead is the most octets of a segment's head: what may be pushed, and IPv4 and TCP headers with all options.
const maxHead = Headroom + 60 + 60

// Cutter yields the segments of a superpacket one after the other: for each, Next its payload, where it lies, and PutHead
// what belongs in front of it. The superpacket may be overwritten meanwhile where its segments have been dealt with. The zero
// value has none.
type Cutter struct {
	slot      []byte
	pos, end  int // of the payload that is left
	size      int
	index     int // of the present segment
	at, n     int // the present segment's payload in the slot
	headLen   int
	ip        int // positions in the head
	transport int
	outer     int // -1 for none
	udp       int // -1 for none
	isUDP     bool
	summed    bool
	first     int // the first segment's payload in the slot

	// Sums of what is the same in all segments, without the fields that PutHead writes.
	ipSum, transportSum, outerSum, udpSum, pseudo uint64
	ipID, outerID                                 uint16
	sequence                                      uint32
	flags                                         uint16

	head [maxHead]byte // with zeros in those fields
}

// Cutter returns the cutter of a superpacket as it stands. It keeps a copy of the head. An ordinary packet has no segments.
func (b *Buf) Cutter() Cutter {
	var c Cutter
	c.Reset(b)
	return c
}

// Reset makes c the cutter of b, without moving it.
func (c *Cutter) Reset(b *Buf) {
	s := &b.super
	c.slot, c.pos, c.end, c.size, c.index, c.n = b.slot, s.payload, b.end, s.size, -1, 0
	if s.size == 0 {
		c.pos, c.end = 0, 0
		return
	}
	c.first = s.payload
	c.headLen = copy(c.head[:], b.slot[b.off:s.payload])
	c.ip, c.transport, c.outer, c.udp = s.ip-b.off, s.segment-b.off, -1, -1

	ip := IPv4(c.head[c.ip:c.transport])
	c.ipID = ip.ID()
	clear(ip[2:6])
	clear(ip[10:12])
	c.ipSum = sum(ip, 0)
	addresses := sum(ip[12:20], uint64(ip.Protocol()))
	t := c.head[c.transport:c.headLen]
	c.isUDP = ip.Protocol() == ProtocolUDP
	if c.isUDP {
		clear(t[udpLength:UDPLen])
	} else {
		c.sequence = binary.BigEndian.Uint32(t[tcpSequence:])
		c.flags = binary.BigEndian.Uint16(t[tcpOffsetAndFlags:])
		clear(t[tcpSequence : tcpSequence+4])
		clear(t[tcpOffsetAndFlags : tcpOffsetAndFlags+2])
		clear(t[tcpChecksum : tcpChecksum+2])
	}
	c.pseudo = addresses
	c.transportSum = sum(t, addresses)
	if s.outer == 0 {
		return
	}
	c.outer = s.outer - b.off
	outer := IPv4(c.head[c.outer : c.outer+IPv4Len])
	c.outerID = outer.ID()
	clear(outer[2:6])
	clear(outer[10:12])
	c.outerSum = sum(outer, 0)
	if s.udp == 0 {
		return
	}
	c.udp, c.summed = s.udp-b.off, s.summed
	clear(c.head[c.udp+udpLength : c.udp+UDPLen])
	c.udpSum = sum(c.head[c.udp:c.ip], sum(outer[12:20], ProtocolUDP))
}

// HeadLen returns the octets of the head of each segment: what has been pushed, IPv4 header, transport header.
func (c *Cutter) HeadLen() int { return c.headLen }

// Left returns the number of segments that Next has not given yet.
func (c *Cutter) Left() int {
	if c.pos >= c.end {
		return 0
	}
	return (c.end - c.pos + c.size - 1) / c.size
}

// Next goes on to the next segment and returns its payload, a part of the superpacket, and false after the last.
func (c *Cutter) Next() (payload []byte, ok bool) {
	if c.pos >= c.end {
		return nil, false
	}
	c.index++
	c.at, c.n = c.pos, min(c.size, c.end-c.pos)
	c.pos += c.n
	return c.slot[c.at : c.at+c.n : c.at+c.n], true
}

// PayloadAt returns where the present segment's payload begins in the superpacket's memory, Memory.
func (c *Cutter) PayloadAt() int { return c.at }

// Memory returns the memory that the superpacket lies in, its rooms included.
func (c *Cutter) Memory() []byte { return c.slot }

// PutHead writes the head of the present segment into the first HeadLen octets of head, with all lengths, identifications
// and checksums. It reads the payload.
func (c *Cutter) PutHead(head []byte) {
	head = head[:c.headLen]
	copy(head, c.head[:c.headLen])
	i := uint16(c.index)
	segment := c.headLen - c.transport + c.n // transport header and payload
	t := head[c.transport:]
	acc := c.transportSum + uint64(segment)
	field := tcpChecksum
	if c.isUDP {
		binary.BigEndian.PutUint16(t[udpLength:], uint16(segment))
		acc += uint64(segment)
		field = udpChecksum
	} else {
		seq, flags := c.sequence+uint32(c.at-c.first), c.flags
		if c.pos < c.end {
			flags &^= tcpFIN | tcpPSH
		}
		if c.index > 0 {
			flags &^= tcpCWR
		}
		binary.BigEndian.PutUint32(t[tcpSequence:], seq)
		binary.BigEndian.PutUint16(t[tcpOffsetAndFlags:], flags)
		acc += uint64(seq>>16) + uint64(seq&0xffff) + uint64(flags)
	}
	checksum := ^fold(sum(c.slot[c.at:c.at+c.n], acc))
	if checksum == 0 && c.isUDP {
		checksum = 0xffff // RFC 768
	}
	binary.BigEndian.PutUint16(t[field:], checksum)
	putIPv4(head[c.ip:], c.headLen-c.ip+c.n, c.ipID+i, c.ipSum)
	if c.outer < 0 {
		return
	}
	putIPv4(head[c.outer:], c.headLen-c.outer+c.n, c.outerID+i, c.outerSum)
	if c.udp < 0 {
		return
	}
	n := uint16(c.headLen - c.udp + c.n)
	binary.BigEndian.PutUint16(head[c.udp+udpLength:], n)
	if !c.summed {
		return
	}
	// What is carried sums to nothing but its own pseudo header's complement: an IPv4 header with its checksum to all ones, a
	// segment with its checksum and pseudo header to all ones as well (RFC 1071 §1).
	carried := ^fold(c.pseudo + uint64(segment))
	checksum = ^fold(c.udpSum + 2*uint64(n) + uint64(carried))
	if checksum == 0 {
		checksum = 0xffff
	}
	binary.BigEndian.PutUint16(head[c.udp+udpChecksum:], checksum)
}

// putIPv4 writes total length, identification and checksum into a header whose other fields sum to base.
func putIPv4(h []byte, totalLen int, id uint16, base uint64) {
	binary.BigEndian.PutUint16(h[2:], uint16(totalLen))
	binary.BigEndian.PutUint16(h[4:], id)
	binary.BigEndian.PutUint16(h[10:], ^fold(base+uint64(uint16(totalLen))+uint64(id)))
}
