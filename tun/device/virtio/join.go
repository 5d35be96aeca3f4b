package virtio

import (
	"bytes"
	"encoding/binary"

	"mipvpn/tun/packet"
)

// The most packets that Join makes into one: maxDatagrams of UDP is what every kernel with UDP segmentation offload takes.
const (
	maxTrain     = packet.BatchSize
	maxDatagrams = 64
)

// tcpACK is the one flag, besides PSH on the last, that segments of a train have.
const tcpACK = 0x10

// segment is a TCP segment or a UDP datagram that may be part of a train.
type segment struct {
	headers int // octets of IPv4 and transport header
	payload int // octets after them
	seq     uint32
	psh     bool
	udp     bool
}

// parseSegment reads b, or returns false when it may not be part of a train: IPv4 without options or fragmentation, TCP
// with ACK alone and payload or UDP with payload and checksum, and both checksums right, since what is made of it tells the
// kernel that they are.
func parseSegment(b *packet.Buf) (s segment, ok bool) {
	p := b.Bytes()
	ip := packet.IPv4(p)
	if !ip.Valid() || ip.HeaderLen() != packet.IPv4Len || ip.TotalLen() != len(p) || ip.MoreFragments() || ip.FragmentOffset() != 0 {
		return s, false
	}
	t := p[packet.IPv4Len:]
	switch ip.Protocol() {
	case packet.ProtocolTCP:
		if len(t) < 20 {
			return s, false
		}
		n := int(t[12]>>4) * 4
		if n < 20 || n >= len(t) || t[13]&^tcpPSH != tcpACK || t[12]&0x0f != 0 {
			return s, false
		}
		s = segment{headers: packet.IPv4Len + n, payload: len(t) - n, seq: binary.BigEndian.Uint32(t[4:]), psh: t[13]&tcpPSH != 0}
	case packet.ProtocolUDP:
		u := packet.UDP(t)
		if len(t) <= packet.UDPLen || u.Length() != len(t) || u.Checksum() == 0 {
			return s, false
		}
		s = segment{headers: packet.IPv4Len + packet.UDPLen, payload: len(t) - packet.UDPLen, udp: true}
	default:
		return s, false
	}
	initial := pseudoHeader(ip, len(t))
	if sum, known := b.Sum(); known { // that of the header, whose checksum is right, adds nothing
		t, initial = nil, initial+uint32(sum)
	}
	if !ip.ChecksumOK() || packet.Checksum(t, initial) != 0 {
		return segment{}, false
	}
	return s, true
}

// Join returns how many of the packets, from the first on, make one superpacket: segments of one TCP connection that follow
// each other, or with udp datagrams of one UDP flow, alike in all headers, of equal length but for the last. With n of 2 or
// more it has changed the first packet's headers to those of the superpacket, whose payload is that of all n one after the
// other; h is its header, with HdrLen the exact length of the first packet's headers. With n of 1 nothing has changed and h is
// zero.
func Join(bufs []*packet.Buf, udp bool) (n int, h Header) {
	if len(bufs) < 2 || bufs[0].Super() {
		return 1, Header{}
	}
	first := bufs[0].Bytes()
	if !candidate(first, bufs[1].Bytes()) {
		return 1, Header{} // seen without summing anything
	}
	s, ok := parseSegment(bufs[0])
	if !ok || s.psh || s.udp && !udp {
		return 1, Header{}
	}
	most := maxTrain
	if s.udp {
		most = maxDatagrams
	}
	total, seq, psh := s.payload, s.seq+uint32(s.payload), false
	n = 1
	for _, b := range bufs[1:min(len(bufs), most)] {
		next := b.Bytes()
		if b.Super() || !candidate(first, next) {
			break
		}
		t, ok := parseSegment(b)
		if !ok || t.headers != s.headers || t.payload > s.payload || s.headers+total+t.payload > packet.LargeSize {
			break
		}
		if s.udp {
			if !alikeUDP(first, next) {
				break
			}
		} else if t.seq != seq || !alike(first, next, s.headers) {
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
	h = Header{
		Flags: FlagNeedsChecksum, GSOType: GSOTCPv4, HdrLen: uint16(s.headers), GSOSize: uint16(s.payload),
		CsumStart: packet.IPv4Len, CsumOffset: tcpChecksum,
	}
	t := first[packet.IPv4Len:]
	if s.udp {
		h.GSOType, h.CsumOffset = GSOUDPv4, udpChecksum
		binary.BigEndian.PutUint16(t[4:], uint16(packet.UDPLen+total))
	} else if psh {
		t[13] |= tcpPSH
	}
	binary.BigEndian.PutUint16(t[h.CsumOffset:], uint16(pseudoHeader(ip, s.headers-packet.IPv4Len+total)))
	return n, h
}

// candidate reports whether next may follow first in a train as far as protocol, addresses and ports tell.
func candidate(first, next []byte) bool {
	return len(first) >= 28 && len(next) >= 28 && first[0] == next[0] && first[9] == next[9] && bytes.Equal(first[12:24], next[12:24])
}

// alikeUDP reports whether two datagrams' headers agree in all that those of one superpacket share: TOS, DF and TTL; candidate
// has seen to the rest.
func alikeUDP(a, b []byte) bool { return a[1] == b[1] && a[6] == b[6] && a[8] == b[8] }

// alike reports whether two packets' headers agree in all that the segments of one superpacket share: TOS, DF, TTL,
// addresses, ports, acknowledgement number, window and TCP options. What may differ is length, identification, checksums,
// sequence number and PSH.
func alike(a, b []byte, headers int) bool {
	return a[1] == b[1] && a[6] == b[6] && a[8] == b[8] && bytes.Equal(a[12:24], b[12:24]) &&
		bytes.Equal(a[28:33], b[28:33]) && bytes.Equal(a[34:36], b[34:36]) && bytes.Equal(a[38:headers], b[38:headers])
}
