package virtio

import (
	"bytes"
	"encoding/binary"

	"mipvpn/tun/packet"
)

// maxTrain is the most packets that Join makes into one.
const maxTrain = 64

// tcpACK is the one flag, besides PSH on the last, that segments of a train have.
const tcpACK = 0x10

// segment is a TCP segment that may be part of a train.
type segment struct {
	headers int // octets of IPv4 and TCP header
	payload int // octets after them
	seq     uint32
	psh     bool
}

// parseSegment reads p, or returns false when it may not be part of a train: IPv4 without options or fragmentation, TCP
// with ACK alone and payload, and both checksums right, since what is made of it tells the kernel that they are.
func parseSegment(p []byte) (s segment, ok bool) {
	ip := packet.IPv4(p)
	if !ip.Valid() || ip.HeaderLen() != packet.IPv4Len || ip.TotalLen() != len(p) || ip.Protocol() != packet.ProtocolTCP ||
		ip.MoreFragments() || ip.FragmentOffset() != 0 || len(p) < 40 {
		return s, false
	}
	tcp := p[packet.IPv4Len:]
	n := int(tcp[12]>>4) * 4
	if n < 20 || n >= len(tcp) || tcp[13]&^tcpPSH != tcpACK || tcp[12]&0x0f != 0 {
		return s, false
	}
	if !ip.ChecksumOK() || packet.Checksum(tcp, pseudoHeader(ip, len(tcp))) != 0 {
		return s, false
	}
	return segment{
		headers: packet.IPv4Len + n, payload: len(tcp) - n,
		seq: binary.BigEndian.Uint32(tcp[4:]), psh: tcp[13]&tcpPSH != 0,
	}, true
}

// Join returns how many of the packets, from the first on, make one TCP superpacket: segments of one connection that
// follow each other, alike in all headers, of equal length but for the last. With n of 2 or more it has changed the first
// packet's headers to those of the superpacket, whose payload is that of all n one after the other; h is its header, with
// HdrLen the exact length of the first packet's headers. With n of 1 nothing has changed and h is zero.
func Join(bufs []*packet.Buf) (n int, h Header) {
	if len(bufs) < 2 {
		return 1, Header{}
	}
	first := bufs[0].Bytes()
	s, ok := parseSegment(first)
	if !ok || s.psh {
		return 1, Header{}
	}
	total, seq, psh := s.payload, s.seq+uint32(s.payload), false
	n = 1
	for _, b := range bufs[1:min(len(bufs), maxTrain)] {
		next := b.Bytes()
		t, ok := parseSegment(next)
		if !ok || t.headers != s.headers || t.payload > s.payload || t.seq != seq ||
			s.headers+total+t.payload > packet.LargeSize || !alike(first, next, s.headers) {
			break
		}
		total += t.payload
		seq += uint32(t.payload)
		n++
		psh = t.psh
		if psh || t.payload < s.payload {
			break
		}
	}
	if n == 1 {
		return 1, Header{}
	}
	ip := packet.IPv4(first)
	binary.BigEndian.PutUint16(first[2:], uint16(s.headers+total))
	binary.BigEndian.PutUint16(first[10:], 0)
	binary.BigEndian.PutUint16(first[10:], packet.Checksum(first[:packet.IPv4Len], 0))
	tcp := first[packet.IPv4Len:]
	if psh {
		tcp[13] |= tcpPSH
	}
	binary.BigEndian.PutUint16(tcp[tcpChecksum:], uint16(pseudoHeader(ip, s.headers-packet.IPv4Len+total)))
	return n, Header{
		Flags: FlagNeedsChecksum, GSOType: GSOTCPv4, HdrLen: uint16(s.headers), GSOSize: uint16(s.payload),
		CsumStart: packet.IPv4Len, CsumOffset: tcpChecksum,
	}
}

// alike reports whether two packets' headers agree in all that the segments of one superpacket share: TOS, DF, TTL,
// addresses, ports, acknowledgement number, window and TCP options. What may differ is length, identification, checksums,
// sequence number and PSH.
func alike(a, b []byte, headers int) bool {
	return a[1] == b[1] && a[6] == b[6] && a[8] == b[8] && bytes.Equal(a[12:24], b[12:24]) &&
		bytes.Equal(a[28:33], b[28:33]) && bytes.Equal(a[34:36], b[34:36]) && bytes.Equal(a[38:headers], b[38:headers])
}
