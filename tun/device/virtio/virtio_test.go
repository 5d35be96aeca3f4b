package virtio

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"mipvpn/tun/packet"
)

var (
	src = netip.MustParseAddr("10.0.8.100")
	dst = netip.MustParseAddr("10.0.1.20")
)

// The header as it stands in memory on a little-endian machine.
func TestParse(t *testing.T) {
	raw, err := hex.DecodeString("01" + // flags: needs checksum
		"81" + // type: TCPv4 with ECN
		"2800" + // header length 40
		"a805" + // segment size 1448
		"1400" + // checksum from octet 20
		"1000") // at octet 16 of that
	if err != nil {
		t.Fatal(err)
	}
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		for i := 2; i < len(raw); i += 2 {
			raw[i], raw[i+1] = raw[i+1], raw[i]
		}
	}
	want := Header{Flags: FlagNeedsChecksum, GSOType: GSOTCPv4 | GSOECN, HdrLen: 40, GSOSize: 1448, CsumStart: 20, CsumOffset: 16}
	got, ok := Parse(raw)
	if !ok || got != want {
		t.Errorf("parsed %+v, want %+v", got, want)
	}
	put := make([]byte, HeaderLen)
	got.Put(put)
	if !bytes.Equal(put, raw) {
		t.Errorf("written % x, want % x", put, raw)
	}
	if _, ok := Parse(raw[:9]); ok {
		t.Error("parsed a header of 9 octets")
	}
}

// tcpPacket returns an IPv4 packet of TCP with n octets of payload and only the pseudo header in its checksum.
func tcpPacket(flags byte, n int) []byte {
	b := packet.Get(n + 32)
	payload := b.Extend(n)
	for i := range payload {
		payload[i] = byte(i * 7)
	}
	h := b.Push(32) // 20 and a timestamps option
	clear(h)
	binary.BigEndian.PutUint16(h[0:], 443)
	binary.BigEndian.PutUint16(h[2:], 50000)
	binary.BigEndian.PutUint32(h[4:], 0xfffffc00) // wraps within the packet
	binary.BigEndian.PutUint32(h[8:], 77)
	h[12], h[13] = 8<<4, flags
	copy(h[20:], []byte{1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8})
	return partial(b, packet.ProtocolTCP, tcpChecksum)
}

// partial puts an IPv4 header in front of b and the pseudo header's sum into its transport checksum.
func partial(b *packet.Buf, protocol uint8, at int) []byte {
	n := b.Len()
	packet.PushIPv4(b, packet.IPv4Fields{ID: 0xfffe, TTL: 64, TOS: 2, Protocol: protocol, Src: src, Dst: dst, DontFragment: true})
	p := b.Bytes()
	binary.BigEndian.PutUint16(p[20+at:], uint16(pseudoHeader(packet.IPv4(p), n)))
	return p
}

func udpPacket(n int) []byte {
	b := packet.Get(n + 8)
	payload := b.Extend(n)
	for i := range payload {
		payload[i] = byte(i * 3)
	}
	h := b.Push(8)
	binary.BigEndian.PutUint16(h[0:], 5000)
	binary.BigEndian.PutUint16(h[2:], 6000)
	binary.BigEndian.PutUint16(h[4:], uint16(n+8))
	return partial(b, packet.ProtocolUDP, udpChecksum)
}

// encapsulate puts an outer IPv4 header in front of p.
func encapsulate(p []byte) []byte {
	b := packet.From(p)
	packet.PushIPv4(b, packet.IPv4Fields{ID: 9, TTL: 64, Protocol: packet.ProtocolIPIP, Src: dst, Dst: src})
	return b.Bytes()
}

func split(t *testing.T, h Header, p []byte) []*packet.Buf {
	t.Helper()
	out := packet.GetBatch()
	if err := h.Split(p, out); err != nil {
		t.Fatal(err)
	}
	return out.Bufs
}

// inner strips depth outer headers, each of which must be right.
func inner(t *testing.T, p []byte, depth int) packet.IPv4 {
	t.Helper()
	for range depth + 1 {
		ip := packet.IPv4(p)
		if !ip.Valid() || !ip.ChecksumOK() || ip.TotalLen() != len(p) {
			t.Fatalf("IPv4 header % x of a packet of %d octets", p[:20], len(p))
		}
		if depth == 0 {
			return ip
		}
		depth--
		p = ip.Payload()
	}
	return nil
}

func TestSplitTCP(t *testing.T) {
	const fin, psh, ack, cwr = 1, 8, 16, 128
	for depth := range 3 {
		p := tcpPacket(fin|psh|ack|cwr, 4000)
		whole := p[52:]
		for range depth {
			p = encapsulate(p)
		}
		h := Header{Flags: FlagNeedsChecksum, GSOType: GSOTCPv4 | GSOECN, GSOSize: 1448, CsumStart: uint16(20 + 20*depth), CsumOffset: tcpChecksum}
		segments := split(t, h, p)
		var data []byte
		for i, b := range segments {
			ip := inner(t, b.Bytes(), depth)
			tcp := ip.Payload()
			if packet.TransportChecksum(tcp, src, dst, packet.ProtocolTCP) != 0 {
				t.Errorf("depth %d: checksum of segment %d is wrong", depth, i)
			}
			if want := uint16(0xfffe + i); ip.ID() != want {
				t.Errorf("depth %d: identification of segment %d is %#x, want %#x", depth, i, ip.ID(), want)
			}
			want := uint32(0xfffffc00)
			want += uint32(len(data))
			if got := binary.BigEndian.Uint32(tcp[4:]); got != want {
				t.Errorf("depth %d: sequence number of segment %d is %#x, want %#x", depth, i, got, want)
			}
			if want := []byte{ack | cwr, ack, ack | fin | psh}[i]; tcp[13] != want {
				t.Errorf("depth %d: flags of segment %d are %#x, want %#x", depth, i, tcp[13], want)
			}
			if ip.TOS() != 2 || !ip.DontFragment() || !bytes.Equal(tcp[20:32], p[40+20*depth:52+20*depth]) {
				t.Errorf("depth %d: segment %d has lost TOS, DF or options", depth, i)
			}
			data = append(data, tcp[32:]...)
		}
		if len(segments) != 3 || !bytes.Equal(data, whole) {
			t.Errorf("depth %d: %d segments with %d octets, want 3 that make up the whole", depth, len(segments), len(data))
		}
	}
}

func TestSplitUDP(t *testing.T) {
	p := udpPacket(2500)
	h := Header{Flags: FlagNeedsChecksum, GSOType: GSOUDPv4, GSOSize: 1000, CsumStart: 20, CsumOffset: udpChecksum}
	var data []byte
	segments := split(t, h, p)
	for i, b := range segments {
		udp := packet.UDP(inner(t, b.Bytes(), 0).Payload())
		if !udp.Valid() || udp.Length() != len(udp) || udp.Checksum() == 0 || !udp.ChecksumOK(src, dst) {
			t.Errorf("datagram %d has header % x", i, udp[:8])
		}
		data = append(data, udp.Payload()...)
	}
	if len(segments) != 3 || !bytes.Equal(data, p[28:]) {
		t.Errorf("%d datagrams with %d octets, want 3 that make up the whole", len(segments), len(data))
	}
}

func TestComplete(t *testing.T) {
	for _, n := range []int{0, 1, 1448} {
		p := tcpPacket(16, n)
		h, ok := Partial(p)
		if want := (Header{Flags: FlagNeedsChecksum, CsumStart: 20, CsumOffset: tcpChecksum}); !ok || h != want {
			t.Fatalf("%d octets of payload: recognised %t %+v, want %+v", n, ok, h, want)
		}
		if err := h.Complete(p); err != nil {
			t.Fatal(err)
		}
		if packet.TransportChecksum(p[20:], src, dst, packet.ProtocolTCP) != 0 {
			t.Errorf("checksum with %d octets of payload is wrong", n)
		}
		if _, ok := Partial(p); ok {
			t.Errorf("recognised a whole checksum with %d octets of payload as partial", n)
		}
	}
	// A UDP checksum that comes out as zero is written as all ones (RFC 768).
	p := udpPacket(2)
	p[28], p[29] = 0, 0
	sum := packet.TransportChecksum(append(append([]byte{}, p[20:26]...), 0, 0, 0, 0), src, dst, packet.ProtocolUDP)
	binary.BigEndian.PutUint16(p[28:], sum)
	h, ok := Partial(p)
	if !ok {
		t.Fatal("a UDP packet was not recognised")
	}
	if err := h.Complete(p); err != nil {
		t.Fatal(err)
	}
	if got := packet.UDP(p[20:]).Checksum(); got != 0xffff {
		t.Errorf("checksum %#x, want 0xffff", got)
	}
	if err := (Header{Flags: FlagNeedsChecksum, CsumStart: 20, CsumOffset: uint16(len(p) - 21)}).Complete(p); !errors.Is(err, ErrMalformed) {
		t.Errorf("a checksum field past the end: %v", err)
	}
	if err := (Header{}).Complete(nil); err != nil {
		t.Errorf("nothing to complete: %v", err)
	}
}

// A merged TCP packet whose segments' size is not known is cut to what the link carries.
func TestSegmentTCP(t *testing.T) {
	p := tcpPacket(16, 5000)
	h, ok := Partial(p)
	if !ok {
		t.Fatal("not recognised")
	}
	h = h.SegmentTCP(p, 1480)
	segments := split(t, h, p)
	for i, b := range segments {
		if n := b.Len(); n > 1480 || i < len(segments)-1 && n != 1480 {
			t.Errorf("segment %d has %d octets, want 1480", i, n)
		}
	}
	if len(segments) != 4 {
		t.Errorf("%d segments, want 4", len(segments))
	}
	if got := h.SegmentTCP(p, 52); got != h {
		t.Errorf("a limit that leaves no room for payload made %+v", got)
	}
}

func TestSplitRefuses(t *testing.T) {
	good := Header{Flags: FlagNeedsChecksum, GSOType: GSOTCPv4, GSOSize: 100, CsumStart: 20, CsumOffset: tcpChecksum}
	deep := tcpPacket(16, 300)
	for range maxNesting {
		deep = encapsulate(deep)
	}
	for name, test := range map[string]struct {
		p      []byte
		change func(*Header)
	}{
		"no segment size":         {tcpPacket(16, 300), func(h *Header) { h.GSOSize = 0 }},
		"unknown type":            {tcpPacket(16, 300), func(h *Header) { h.GSOType = 4 }},
		"UDP type for TCP":        {tcpPacket(16, 300), func(h *Header) { h.GSOType = GSOUDPv4 }},
		"transport elsewhere":     {tcpPacket(16, 300), func(h *Header) { h.CsumStart = 40 }},
		"nothing":                 {nil, func(*Header) {}},
		"half an IPv4 header":     {tcpPacket(16, 300)[:15], func(*Header) {}},
		"half a TCP header":       {tcpPacket(16, 300)[:45], func(*Header) {}},
		"more headers than known": {deep, func(h *Header) { h.CsumStart = 100 }},
		"IPv6":                    {append([]byte{0x60}, make([]byte, 60)...), func(*Header) {}},
	} {
		h := good
		test.change(&h)
		out := packet.GetBatch()
		if err := h.Split(test.p, out); !errors.Is(err, ErrMalformed) || out.Len() != 0 {
			t.Errorf("%s: error %v with %d packets, want ErrMalformed and none", name, err, out.Len())
		}
	}
}

// FuzzSplit checks that any header over any packet gives packets whose lengths are right, or an error.
func FuzzSplit(f *testing.F) {
	seed := func(h Header, p []byte) {
		raw := make([]byte, HeaderLen)
		h.Put(raw)
		f.Add(raw, p)
	}
	seed(Header{Flags: 1, GSOType: GSOTCPv4, GSOSize: 1448, CsumStart: 20, CsumOffset: 16}, tcpPacket(24, 3000))
	seed(Header{Flags: 1, GSOType: GSOTCPv4 | GSOECN, GSOSize: 500, CsumStart: 40, CsumOffset: 16}, encapsulate(tcpPacket(0x91, 1200)))
	seed(Header{Flags: 1, GSOType: GSOUDPv4, GSOSize: 100, CsumStart: 20, CsumOffset: 6}, udpPacket(250))
	seed(Header{Flags: 1, CsumStart: 20, CsumOffset: 16}, tcpPacket(16, 10))
	seed(Header{}, []byte(strings.Repeat("x", 70)))
	f.Fuzz(func(t *testing.T, raw, p []byte) {
		h, ok := Parse(raw)
		if !ok || len(p) > packet.LargeSize {
			return
		}
		before := bytes.Clone(p)
		out := packet.GetBatch()
		err := h.Split(p, out)
		if !bytes.Equal(p, before) {
			t.Error("the packet was changed")
		}
		if err != nil && out.Len() != 0 {
			t.Errorf("%d packets with the error %v", out.Len(), err)
		}
		if err == nil && h.GSOType != GSONone {
			for _, b := range out.Bufs {
				if ip := packet.IPv4(b.Bytes()); ip.TotalLen() != b.Len() || !ip.ChecksumOK() {
					t.Fatalf("segment of %d octets has the header % x", b.Len(), b.Bytes()[:20])
				}
			}
		}
		out.Release()
		if h, ok := Partial(p); ok {
			if err := h.SegmentTCP(p, 1480).Complete(p); err != nil {
				t.Errorf("complete: %v", err)
			}
		}
	})
}

func BenchmarkSplitTCP(b *testing.B) {
	p := tcpPacket(16, 64000)
	h := Header{Flags: FlagNeedsChecksum, GSOType: GSOTCPv4, GSOSize: 1328, CsumStart: 20, CsumOffset: tcpChecksum}
	b.SetBytes(64000)
	b.ReportAllocs()
	for b.Loop() {
		out := packet.GetBatch()
		if err := h.Split(p, out); err != nil {
			b.Fatal(err)
		}
		out.Release()
	}
}
