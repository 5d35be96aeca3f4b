package simnet

import (
	"encoding/binary"
	"net/netip"

	"mipvpn/tun/packet"
)

// tcpLen is the length in octets of a TCP header without options.
const tcpLen = 20

// TCP control bits (RFC 9293 §3.1).
const (
	tcpFIN = 1 << iota
	tcpSYN
	tcpRST
	tcpPSH
	tcpACK
)

// segment is a TCP segment (RFC 9293 §3.1).
//
//	 0: source port   2: destination port    4: sequence number   8: acknowledgment number
//	12: data offset  13: control bits       14: window           16: checksum   18: urgent pointer
type segment struct {
	src, dst netip.AddrPort
	seq, ack uint32
	flags    uint8
	window   uint16
	mss      uint16 // the option, 0 for none
	data     []byte
}

// encode returns the segment with its checksum.
func (s segment) encode() []byte {
	header := tcpLen
	if s.mss != 0 {
		header += 4
	}
	b := make([]byte, header+len(s.data))
	be := binary.BigEndian
	be.PutUint16(b[0:], s.src.Port())
	be.PutUint16(b[2:], s.dst.Port())
	be.PutUint32(b[4:], s.seq)
	be.PutUint32(b[8:], s.ack)
	b[12], b[13] = byte(header/4)<<4, s.flags
	be.PutUint16(b[14:], s.window)
	if s.mss != 0 {
		b[20], b[21] = 2, 4 // RFC 9293 §3.7.1
		be.PutUint16(b[22:], s.mss)
	}
	copy(b[header:], s.data)
	be.PutUint16(b[16:], packet.TransportChecksum(b, s.src.Addr(), s.dst.Addr(), packet.ProtocolTCP))
	return b
}

// decodeSegment reads the TCP segment of an IPv4 packet, false when it is malformed or damaged. data is borrowed.
func decodeSegment(ip packet.IPv4) (segment, bool) {
	b := ip.Payload()
	if len(b) < tcpLen || packet.TransportChecksum(b, ip.Src(), ip.Dst(), packet.ProtocolTCP) != 0 {
		return segment{}, false
	}
	be := binary.BigEndian
	header := int(b[12]>>4) * 4
	if header < tcpLen || header > len(b) {
		return segment{}, false
	}
	s := segment{
		src: netip.AddrPortFrom(ip.Src(), be.Uint16(b[0:])), dst: netip.AddrPortFrom(ip.Dst(), be.Uint16(b[2:])),
		seq: be.Uint32(b[4:]), ack: be.Uint32(b[8:]), flags: b[13], window: be.Uint16(b[14:]), data: b[header:],
	}
	for o := b[tcpLen:header]; len(o) > 0 && o[0] != 0; {
		switch {
		case o[0] == 1:
			o = o[1:]
		case len(o) < 2 || o[1] < 2 || int(o[1]) > len(o):
			return segment{}, false
		default:
			if o[0] == 2 && o[1] == 4 {
				s.mss = be.Uint16(o[2:])
			}
			o = o[o[1]:]
		}
	}
	return s, true
}

// length returns what the segment takes of the sequence space.
func (s segment) length() uint32 {
	n := uint32(len(s.data))
	if s.flags&tcpSYN != 0 {
		n++
	}
	if s.flags&tcpFIN != 0 {
		n++
	}
	return n
}

// before reports a < b in sequence space (RFC 9293 §3.4).
func before(a, b uint32) bool { return int32(a-b) < 0 }
