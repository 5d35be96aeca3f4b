package packet_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"

	"mipvpn/tun/packet"
)

// What follows is segmentation a second time, from the RFCs alone and as plainly as can be: no helper of package packet, no
// sum that is kept from one segment to the next, one 16-bit word at a time. It is what the fast ways are judged by.

// plainSum is the Internet checksum of RFC 1071 §1: words added one by one, each carry brought round at once, an odd last
// octet padded with zero, and the complement at the end. Over data with its right checksum it is 0.
func plainSum(parts ...[]byte) uint16 {
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	if len(all)%2 != 0 {
		all = append(all, 0)
	}
	sum := uint32(0)
	for i := 0; i < len(all); i += 2 {
		sum += uint32(all[i])<<8 | uint32(all[i+1])
		if sum > 0xffff {
			sum -= 0xffff
		}
	}
	return ^uint16(sum)
}

// plainPseudo is the pseudo header of RFC 768 and RFC 9293 §3.1: source, destination, zero, protocol, length.
func plainPseudo(src, dst [4]byte, protocol byte, length int) []byte {
	p := append(append([]byte{}, src[:]...), dst[:]...)
	return append(p, 0, protocol, byte(length>>8), byte(length))
}

// plainTCP are the fields of a TCP header (RFC 9293 §3.1).
type plainTCP struct {
	src, dst      uint16
	seq, ack      uint32
	reserved      byte // four bits
	flags         byte
	window        uint16
	urgent        uint16
	options       []byte // a multiple of four octets
	withoutChecks bool   // the checksum covers the pseudo header only, not complemented: what offload leaves
}

func (h plainTCP) bytes(ip plainIPv4, payload []byte) []byte {
	p := make([]byte, 20, 20+len(h.options)+len(payload))
	binary.BigEndian.PutUint16(p[0:], h.src)
	binary.BigEndian.PutUint16(p[2:], h.dst)
	binary.BigEndian.PutUint32(p[4:], h.seq)
	binary.BigEndian.PutUint32(p[8:], h.ack)
	p[12] = byte(5+len(h.options)/4)<<4 | h.reserved
	p[13] = h.flags
	binary.BigEndian.PutUint16(p[14:], h.window)
	binary.BigEndian.PutUint16(p[18:], h.urgent)
	p = append(append(p, h.options...), payload...)
	pseudo := plainPseudo(ip.src, ip.dst, 6, len(p))
	if h.withoutChecks {
		binary.BigEndian.PutUint16(p[16:], ^plainSum(pseudo))
	} else {
		binary.BigEndian.PutUint16(p[16:], plainSum(pseudo, p))
	}
	return p
}

// plainUDP are the fields of a UDP header (RFC 768).
type plainUDP struct {
	src, dst      uint16
	unsummed      bool
	withoutChecks bool
}

func (h plainUDP) bytes(ip plainIPv4, payload []byte) []byte {
	p := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(p[0:], h.src)
	binary.BigEndian.PutUint16(p[2:], h.dst)
	binary.BigEndian.PutUint16(p[4:], uint16(8+len(payload)))
	p = append(p, payload...)
	pseudo := plainPseudo(ip.src, ip.dst, 17, len(p))
	switch {
	case h.unsummed:
	case h.withoutChecks:
		binary.BigEndian.PutUint16(p[6:], ^plainSum(pseudo))
	default:
		sum := plainSum(pseudo, p)
		if sum == 0 {
			sum = 0xffff // "If the computed checksum is zero, it is transmitted as all ones"
		}
		binary.BigEndian.PutUint16(p[6:], sum)
	}
	return p
}

// plainIPv4 are the fields of an IPv4 header (RFC 791 §3.1).
type plainIPv4 struct {
	tos      byte
	id       uint16
	df       bool
	ttl      byte
	protocol byte
	src, dst [4]byte
	options  []byte // a multiple of four octets
}

func (h plainIPv4) bytes(payload []byte) []byte {
	p := make([]byte, 20, 20+len(h.options)+len(payload))
	p[0] = 4<<4 | byte(5+len(h.options)/4)
	p[1] = h.tos
	binary.BigEndian.PutUint16(p[2:], uint16(20+len(h.options)+len(payload)))
	binary.BigEndian.PutUint16(p[4:], h.id)
	if h.df {
		p[6] = 0x40
	}
	p[8], p[9] = h.ttl, h.protocol
	copy(p[12:], h.src[:])
	copy(p[16:], h.dst[:])
	p = append(p, h.options...)
	binary.BigEndian.PutUint16(p[10:], plainSum(p))
	return append(p, payload...)
}

// template is what layers push in front of a superpacket.
type template int

const (
	bare          template = iota // nothing: IP in IP over a raw socket
	mipHeader                     // RFC 3519 §3.3: the tunnel data header over a kernel's UDP socket
	whole                         // IPv4, UDP with a checksum, tunnel data header
	wholeUnsummed                 // the same with a checksum of zero
	outerIPv4                     // IPv4 alone: IP in IP (RFC 2003)
	templates
)

func (t template) String() string {
	return [...]string{"bare", "MIP header", "IPv4+UDP+MIP", "IPv4+UDP unsummed+MIP", "IPv4"}[t]
}

// The tunnel data header of RFC 3519 §3.3: type 4, next header 4 (IP in IP), reserved.
var mipData = []byte{4, 4, 0, 0}

// Of the headers that templates push.
var (
	outerSrc = netip.MustParseAddr("192.0.2.77")
	outerDst = netip.MustParseAddrPort("198.51.100.20:434")
)

// superpacket is one superpacket to be cut, in numbers.
type superpacket struct {
	tcp      bool
	ip       plainIPv4
	tcpHead  plainTCP
	udpHead  plainUDP
	payload  []byte
	size     int // octets of payload of a segment
	template template
	outerID  uint16
	outerTOS byte
	outerDF  bool
	port     uint16 // source port of the template's UDP header
}

// headers returns the octets of the IPv4 and transport header.
func (s *superpacket) headers() int {
	if s.tcp {
		return 20 + len(s.ip.options) + 20 + len(s.tcpHead.options)
	}
	return 20 + len(s.ip.options) + 8
}

// bytes returns the superpacket as the kernel hands it over: one long packet, the checksum of the pseudo header alone.
func (s *superpacket) bytes() []byte {
	if s.tcp {
		h := s.tcpHead
		h.withoutChecks = true
		return s.ip.bytes(h.bytes(s.ip, s.payload))
	}
	h := s.udpHead
	h.withoutChecks = true
	return s.ip.bytes(h.bytes(s.ip, s.payload))
}

// segments returns what the superpacket stands for on the wire, with what the template puts in front of each.
func (s *superpacket) segments() [][]byte {
	var all [][]byte
	for off := 0; off < len(s.payload); off += s.size {
		i := off / s.size
		end := min(off+s.size, len(s.payload))
		ip := s.ip
		ip.id += uint16(i) // each packet its own (RFC 791 §3.2), counted up as the kernel does
		var p []byte
		if s.tcp {
			h := s.tcpHead
			h.seq += uint32(off)
			if end < len(s.payload) {
				h.flags &^= 0x01 | 0x08 // FIN and PSH stand behind the last octet (RFC 9293 §3.1)
			}
			if i > 0 {
				h.flags &^= 0x80 // CWR in the first packet only (RFC 3168 §6.1.2)
			}
			p = ip.bytes(h.bytes(ip, s.payload[off:end]))
		} else {
			p = ip.bytes(s.udpHead.bytes(ip, s.payload[off:end]))
		}
		all = append(all, s.wrap(p, i))
	}
	return all
}

// wrap puts the template's headers in front of segment i.
func (s *superpacket) wrap(p []byte, i int) []byte {
	outer := plainIPv4{
		tos: s.outerTOS, id: s.outerID + uint16(i), df: s.outerDF, ttl: 64, protocol: 17,
		src: outerSrc.As4(), dst: outerDst.Addr().As4(),
	}
	switch s.template {
	case mipHeader:
		return append(append([]byte{}, mipData...), p...)
	case whole, wholeUnsummed:
		udp := plainUDP{src: s.port, dst: outerDst.Port(), unsummed: s.template == wholeUnsummed}
		return outer.bytes(udp.bytes(outer, append(append([]byte{}, mipData...), p...)))
	case outerIPv4:
		outer.protocol = 4
		return outer.bytes(p)
	}
	return p
}

// push pushes the template's headers in front of b, as the layers do.
func (s *superpacket) push(b *packet.Buf) {
	fields := packet.IPv4Fields{
		TOS: s.outerTOS, ID: s.outerID, DontFragment: s.outerDF, TTL: 64, Protocol: packet.ProtocolUDP,
		Src: outerSrc, Dst: outerDst.Addr(),
	}
	switch s.template {
	case mipHeader:
		copy(b.Push(4), mipData)
	case whole:
		copy(b.Push(4), mipData)
		packet.PushUDP(b, netip.AddrPortFrom(outerSrc, s.port), outerDst)
		packet.PushIPv4(b, fields)
	case wholeUnsummed:
		copy(b.Push(4), mipData)
		packet.PushUDPUnsummed(b, netip.AddrPortFrom(outerSrc, s.port), outerDst)
		packet.PushIPv4(b, fields)
	case outerIPv4:
		fields.Protocol = packet.ProtocolIPIP
		packet.PushIPv4(b, fields)
	}
}

// String says which superpacket it was.
func (s *superpacket) String() string {
	kind := "UDP"
	if s.tcp {
		kind = fmt.Sprintf("TCP flags %#02x, %d octets of options", s.tcpHead.flags, len(s.tcpHead.options))
	}
	return fmt.Sprintf("%s, IPv4 options %d octets, ID %#04x, DF %t, %d octets in segments of %d, template %v", kind, len(s.ip.options),
		s.ip.id, s.ip.df, len(s.payload), s.size, s.template)
}

// newSuperpacket makes one from numbers of any value, brought into what an IPv4 packet can be; all that has no number of
// its own is drawn from the seed.
func newSuperpacket(tcp bool, size, length uint16, flags, options, ipOptions uint8, id uint16, df bool, t uint8, seed uint64) *superpacket {
	rng := rand.New(rand.NewPCG(seed, 4))
	draw := func(n int) []byte {
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		return p
	}
	s := &superpacket{tcp: tcp, template: template(t) % templates, outerID: uint16(rng.Uint32()), outerTOS: byte(rng.Uint32()), outerDF: rng.IntN(2) == 0,
		port: uint16(rng.Uint32())}
	s.ip = plainIPv4{tos: byte(rng.Uint32()), id: id, df: df, ttl: byte(rng.Uint32()), protocol: 17, src: [4]byte(draw(4)), dst: [4]byte(draw(4)),
		options: draw(int(ipOptions%11) * 4)}
	if tcp {
		s.ip.protocol = 6
		s.tcpHead = plainTCP{src: uint16(rng.Uint32()), dst: uint16(rng.Uint32()), seq: rng.Uint32(), ack: rng.Uint32(), flags: flags,
			window: uint16(rng.Uint32()), options: draw(int(options%11) * 4)}
	} else {
		s.udpHead = plainUDP{src: uint16(rng.Uint32()), dst: uint16(rng.Uint32())}
	}
	const pushed = 20 + 8 + 4 // by the longest template: a segment must still fit an IPv4 packet
	room := 65535 - s.headers() - pushed
	s.payload = draw(min(max(int(length), 1), room))
	s.size = max(int(size), 1)
	const most = 3000 // segments, so that a judgment stays short
	s.size = max(s.size, (len(s.payload)+most-1)/most)
	return s
}
