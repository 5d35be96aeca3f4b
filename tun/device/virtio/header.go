package virtio

import (
	"encoding/binary"
	"errors"
	"fmt"

	"mipvpn/tun/packet"
)

// HeaderLen is the length in octets of the header.
const HeaderLen = 10

// ErrMalformed is wrapped by the refusal of a header that does not fit its packet.
var ErrMalformed = errors.New("virtio: header does not fit the packet")

// The flags and types of VIRTIO 1.2 §5.1.6 that are used here.
const (
	FlagNeedsChecksum = 1 // the checksum at CsumStart+CsumOffset is to be completed

	GSONone  = 0
	GSOTCPv4 = 1
	GSOUDPv4 = 5    // VIRTIO_NET_HDR_GSO_UDP_L4: datagrams of GSOSize, also over IPv6
	GSOECN   = 0x80 // added to GSOTCPv4 when the segments have CWR set (RFC 3168)
)

// Offsets of the checksum field from the start of the transport header.
const (
	tcpChecksum = 16
	udpChecksum = 6
)

// Header is the header's fields. Offsets count from the start of the packet behind it.
//
//	0: Flags      1: GSOType    2: HdrLen      4: GSOSize     6: CsumStart   8: CsumOffset
type Header struct {
	Flags      uint8
	GSOType    uint8
	HdrLen     uint16 // octets of all headers; a hint that is not relied on
	GSOSize    uint16 // octets of payload of each segment
	CsumStart  uint16 // where the checksum begins to count
	CsumOffset uint16 // where it stands, counted from CsumStart
}

// Parse reads the header in front of p, or returns false when p is too short.
func Parse(p []byte) (Header, bool) {
	if len(p) < HeaderLen {
		return Header{}, false
	}
	return Header{
		Flags: p[0], GSOType: p[1],
		HdrLen:     binary.NativeEndian.Uint16(p[2:]),
		GSOSize:    binary.NativeEndian.Uint16(p[4:]),
		CsumStart:  binary.NativeEndian.Uint16(p[6:]),
		CsumOffset: binary.NativeEndian.Uint16(p[8:]),
	}, true
}

// Put writes the header into the first HeaderLen octets of p.
func (h Header) Put(p []byte) {
	_ = p[:HeaderLen]
	p[0], p[1] = h.Flags, h.GSOType
	binary.NativeEndian.PutUint16(p[2:], h.HdrLen)
	binary.NativeEndian.PutUint16(p[4:], h.GSOSize)
	binary.NativeEndian.PutUint16(p[6:], h.CsumStart)
	binary.NativeEndian.PutUint16(p[8:], h.CsumOffset)
}

// Complete computes the checksum of p when the header asks for it. The field holds the sum of the pseudo header already.
// It fails, leaving p as it was, when the field lies outside p.
func (h Header) Complete(p []byte) error {
	if h.Flags&FlagNeedsChecksum == 0 {
		return nil
	}
	start, at := int(h.CsumStart), int(h.CsumStart)+int(h.CsumOffset)
	if at+2 > len(p) {
		return fmt.Errorf("%w: checksum at octet %d of %d", ErrMalformed, at, len(p))
	}
	sum := packet.Checksum(p[start:], 0)
	if sum == 0 && h.CsumOffset == udpChecksum {
		sum = 0xffff // RFC 768: zero would say that there is none; to TCP's 0 this rule does not apply
	}
	binary.BigEndian.PutUint16(p[at:], sum)
	return nil
}

// Partial recognises an IPv4 packet whose TCP or UDP checksum covers the pseudo header only, and returns the header that
// Complete needs. A packet whose right checksum happens to have this value is recognised too; completing it gives the
// same value again.
func Partial(p []byte) (Header, bool) {
	ip := packet.IPv4(p)
	if !ip.Valid() || ip.TotalLen() != len(p) || ip.MoreFragments() || ip.FragmentOffset() != 0 {
		return Header{}, false
	}
	h := Header{Flags: FlagNeedsChecksum, CsumStart: uint16(ip.HeaderLen())}
	switch ip.Protocol() {
	case packet.ProtocolTCP:
		h.CsumOffset = tcpChecksum
	case packet.ProtocolUDP:
		h.CsumOffset = udpChecksum
	default:
		return Header{}, false
	}
	at := ip.HeaderLen() + int(h.CsumOffset)
	if at+2 > len(p) {
		return Header{}, false
	}
	return h, uint32(binary.BigEndian.Uint16(p[at:])) == pseudoHeader(ip, len(p)-ip.HeaderLen())
}

// SegmentTCP returns h with what makes Split cut the TCP packet p into packets of at most limit octets, or h itself when
// p is not TCP or limit leaves no room for payload.
func (h Header) SegmentTCP(p []byte, limit int) Header {
	tcp := int(h.CsumStart)
	if h.CsumOffset != tcpChecksum || tcp+13 > len(p) {
		return h
	}
	room := limit - tcp - int(p[tcp+12]>>4)*4
	if room <= 0 || room > 0xffff {
		return h
	}
	h.GSOType, h.GSOSize = GSOTCPv4, uint16(room)
	return h
}

// MakeSuper makes the packet in b a superpacket as the header has it. It fails, leaving it as it was, when the header does not
// fit the packet, or is for what packet.Buf.MakeSuper does not know: Split may.
func (h Header) MakeSuper(b *packet.Buf) error {
	want := uint8(packet.ProtocolTCP)
	switch h.GSOType &^ GSOECN {
	case GSOTCPv4:
	case GSOUDPv4:
		want = packet.ProtocolUDP
	default:
		return fmt.Errorf("%w: segmentation type %d", ErrMalformed, h.GSOType)
	}
	ip := packet.IPv4(b.Bytes())
	if !ip.Valid() || ip.Protocol() != want || h.Flags&FlagNeedsChecksum != 0 && int(h.CsumStart) != ip.HeaderLen() {
		return fmt.Errorf("%w: segmentation type %d", ErrMalformed, h.GSOType)
	}
	if err := b.MakeSuper(int(h.GSOSize)); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

// Super returns the header of the superpacket in b, which has nothing pushed in front of it.
func Super(b *packet.Buf) Header {
	ip := packet.IPv4(b.Bytes())
	n := ip.HeaderLen()
	h := Header{
		Flags: FlagNeedsChecksum, GSOType: GSOUDPv4, HdrLen: uint16(b.SegmentHeaderLen()), GSOSize: uint16(b.SegmentSize()),
		CsumStart: uint16(n), CsumOffset: udpChecksum,
	}
	if ip.Protocol() == packet.ProtocolTCP {
		h.GSOType, h.CsumOffset = GSOTCPv4, tcpChecksum
		if ip[n+13]&tcpCWR != 0 {
			h.GSOType |= GSOECN
		}
	}
	return h
}

// pseudoHeader returns the folded sum of the pseudo header for n octets of transport header and payload.
func pseudoHeader(ip packet.IPv4, n int) uint32 {
	return packet.PartialSum(ip[12:20], uint32(ip.Protocol())+uint32(n))
}
