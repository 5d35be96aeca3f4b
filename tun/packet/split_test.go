package packet_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"mipvpn/tun/device/virtio"
	"mipvpn/tun/packet"
)

// differ says where two packets differ, "" when they do not.
func differ(t *testing.T, what string, i int, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	t.Fatalf("%s: segment %d has %d octets, want %d; they differ from octet %d on\n% x\n% x", what, i, len(got), len(want), at,
		got[:min(len(got), at+40)], want[:min(len(want), at+40)])
}

// makeBuf returns the superpacket as a Buf with the template in front, and something to know it by beside its octets.
func (s *superpacket) makeBuf(t *testing.T) *packet.Buf {
	t.Helper()
	b := packet.From(s.bytes())
	if err := b.MakeSuper(s.size); err != nil {
		t.Fatalf("%v: %v", s, err)
	}
	s.push(b)
	b.Peer, b.TOS, b.SA, b.DontFragment = netip.AddrPortFrom(outerDst.Addr(), 9), 0x2e, 77, true
	return b
}

// judge cuts the superpacket in every way there is and holds the outcome against the plain splitter.
func (s *superpacket) judge(t *testing.T) {
	t.Helper()
	want := s.segments()
	s.judgeCut(t, want)
	s.judgeCutter(t, want)
	s.judgeInPlace(t, want)
	if s.template == bare {
		s.judgeVirtio(t, want)
	}
}

// judgeCut: Batch.Cut between two ordinary packets.
func (s *superpacket) judgeCut(t *testing.T, want [][]byte) {
	t.Helper()
	b := s.makeBuf(t)
	longest := 0
	for _, p := range want {
		longest = max(longest, len(p))
	}
	if !b.Super() || b.Segments() != len(want) || b.SegmentLen() != longest {
		t.Fatalf("%v: superpacket %t, %d segments of at most %d octets, want %d of %d", s, b.Super(), b.Segments(), b.SegmentLen(), len(want), longest)
	}
	before, after := packet.From([]byte("before")), packet.From([]byte("after"))
	batch := packet.GetBatch()
	for _, p := range []*packet.Buf{before, b, after} {
		batch.Append(p)
	}
	if n := batch.Segments(); n != len(want)+2 {
		t.Fatalf("%v: the batch stands for %d packets, want %d", s, n, len(want)+2)
	}
	batch.Cut()
	if batch.Len() != len(want)+2 || batch.Bufs[0] != before || batch.Bufs[batch.Len()-1] != after {
		t.Fatalf("%v: a batch of %d packets, want %d segments between two ordinary packets", s, batch.Len(), len(want))
	}
	for i, p := range batch.Bufs[1 : batch.Len()-1] {
		differ(t, "Cut: "+s.String(), i, p.Bytes(), want[i])
		if p.Super() || p.Peer != netip.AddrPortFrom(outerDst.Addr(), 9) || p.TOS != 0x2e || p.SA != 77 || !p.DontFragment {
			t.Fatalf("%v: segment %d is a superpacket (%t) or has lost what belongs to it", s, i, p.Super())
		}
	}
	batch.Release()
}

// judgeCutter: heads into memory of the caller, payloads where they lie.
func (s *superpacket) judgeCutter(t *testing.T, want [][]byte) {
	t.Helper()
	b := s.makeBuf(t)
	pristine := bytes.Clone(b.Bytes())
	all := b.Bytes()
	tail := all[len(all)-len(s.payload):]
	c := b.Cutter()
	off := 0
	for i := range want {
		payload, ok := c.Next()
		if !ok {
			t.Fatalf("%v: the cutter ended after %d segments of %d", s, i, len(want))
		}
		if &payload[0] != &tail[off] {
			t.Fatalf("%v: the payload of segment %d is a copy, or from another place", s, i)
		}
		off += len(payload)
		head := bytes.Repeat([]byte{0xaa}, c.HeadLen()+1)
		c.PutHead(head[:c.HeadLen()])
		if head[c.HeadLen()] != 0xaa {
			t.Fatalf("%v: the head of segment %d runs over its %d octets", s, i, c.HeadLen())
		}
		differ(t, "Cutter: "+s.String(), i, append(head[:c.HeadLen()], payload...), want[i])
	}
	if payload, ok := c.Next(); ok {
		t.Fatalf("%v: %d octets after the last segment", s, len(payload))
	}
	if !bytes.Equal(pristine, b.Bytes()) {
		t.Fatalf("%v: the cutter has changed the superpacket", s)
	}
	b.Release()
}

// judgeInPlace cuts while all that has been dealt with is overwritten, as ESP does: the head and the payloads before.
func (s *superpacket) judgeInPlace(t *testing.T, want [][]byte) {
	t.Helper()
	b := s.makeBuf(t)
	c := b.Cutter()
	done := b.Bytes()[:b.Len()-len(s.payload)]
	for i := range want {
		payload, ok := c.Next()
		if !ok {
			t.Fatalf("%v: the cutter ended after %d segments of %d", s, i, len(want))
		}
		for k := range done {
			done[k] = 0xaa
		}
		head := make([]byte, c.HeadLen())
		c.PutHead(head)
		differ(t, "in place: "+s.String(), i, append(head, payload...), want[i])
		done = payload
	}
	b.Release()
}

// judgeVirtio: the other splitter, and joining what has been cut.
func (s *superpacket) judgeVirtio(t *testing.T, want [][]byte) {
	t.Helper()
	h := virtio.Header{
		Flags: virtio.FlagNeedsChecksum, GSOType: virtio.GSOTCPv4, HdrLen: uint16(s.headers()), GSOSize: uint16(s.size),
		CsumStart: uint16(20 + len(s.ip.options)), CsumOffset: 16,
	}
	if !s.tcp {
		h.GSOType, h.CsumOffset = virtio.GSOUDPv4, 6
	}
	// A segment that is longer than an IPv4 packet would be is refused there.
	if s.headers()+s.size <= packet.LargeSize {
		out := packet.GetBatch()
		if err := h.Split(s.bytes(), out); err != nil {
			t.Fatalf("%v: %v", s, err)
		}
		if out.Len() != len(want) {
			t.Fatalf("%v: virtio made %d segments, want %d", s, out.Len(), len(want))
		}
		for i, p := range out.Bufs {
			differ(t, "virtio: "+s.String(), i, p.Bytes(), want[i])
		}
		out.Release()
	}
	s.judgeJoin(t, want)
}

// judgeJoin joins the segments from the first on and cuts by the plain splitter what the header then says: these must be
// the segments again. Segments as a bulk transfer has them come together as the superpacket that they were.
func (s *superpacket) judgeJoin(t *testing.T, want [][]byte) {
	t.Helper()
	bufs := make([]*packet.Buf, len(want))
	for i, p := range want {
		bufs[i] = packet.From(p)
	}
	most := 0
	for at := 0; at < len(bufs); {
		n, h := virtio.Join(bufs[at:], true)
		if n < 1 || at+n > len(bufs) {
			t.Fatalf("%v: %d packets of %d joined", s, n, len(bufs)-at)
		}
		most = max(most, n)
		if n == 1 {
			differ(t, "left alone: "+s.String(), at, bufs[at].Bytes(), want[at])
			at++
			continue
		}
		joined := bytes.Clone(bufs[at].Bytes())
		for _, b := range bufs[at+1 : at+n] {
			joined = append(joined, b.Bytes()[h.HdrLen:]...)
		}
		for i, p := range plainSplit(t, h, joined) {
			differ(t, "joined and cut: "+s.String(), at+i, p, withID(want[at+i], binary.BigEndian.Uint16(want[at][4:])+uint16(i)))
		}
		if at == 0 && n == len(want) {
			differ(t, "joined: "+s.String(), 0, joined, s.bytes())
		}
		at += n
	}
	// 64 is what joins at most anywhere; a bulk transfer's segments bear ACK, and PSH on the last.
	bulk := len(s.ip.options) == 0 && (!s.tcp || s.tcpHead.flags&^0x08 == 0x10)
	if bulk && len(want) > 1 && most < min(len(want), 64) {
		t.Fatalf("%v: of %d segments of a transfer at most %d were joined", s, len(want), most)
	}
	for _, b := range bufs {
		b.Release()
	}
}

// withID returns a copy of an IPv4 packet with another identification.
func withID(p []byte, id uint16) []byte {
	p = bytes.Clone(p)
	n := int(p[0]&0x0f) * 4
	binary.BigEndian.PutUint16(p[4:], id)
	p[10], p[11] = 0, 0
	binary.BigEndian.PutUint16(p[10:], plainSum(p[:n]))
	return p
}

// plainSplit reads a superpacket that a header belongs to and cuts it by the plain splitter. What the header says and what
// the packet is must agree.
func plainSplit(t *testing.T, h virtio.Header, p []byte) [][]byte {
	t.Helper()
	s, ok := readSuperpacket(h, p)
	if !ok {
		t.Fatalf("header %+v over % x: no superpacket", h, p[:min(len(p), 60)])
	}
	return s.segments()
}

// readSuperpacket takes a superpacket apart, and returns false unless header and packet are what a kernel gives: IPv4, not a
// fragment, whole, with TCP or UDP as the header says and its checksum to be completed where it stands.
func readSuperpacket(h virtio.Header, p []byte) (*superpacket, bool) {
	if len(p) < 20 || p[0]>>4 != 4 {
		return nil, false
	}
	n := int(p[0]&0x0f) * 4
	if n < 20 || len(p) < n || int(binary.BigEndian.Uint16(p[2:])) != len(p) || p[6]&0xbf != 0 || p[7] != 0 {
		return nil, false
	}
	s := &superpacket{size: int(h.GSOSize)}
	s.ip = plainIPv4{tos: p[1], id: binary.BigEndian.Uint16(p[4:]), df: p[6]&0x40 != 0, ttl: p[8], protocol: p[9],
		src: [4]byte(p[12:16]), dst: [4]byte(p[16:20]), options: bytes.Clone(p[20:n])}
	t := p[n:]
	if h.Flags&virtio.FlagNeedsChecksum == 0 || int(h.CsumStart) != n || s.size == 0 {
		return nil, false
	}
	switch h.GSOType &^ virtio.GSOECN {
	case virtio.GSOTCPv4:
		if p[9] != 6 || h.CsumOffset != 16 || len(t) < 20 {
			return nil, false
		}
		m := int(t[12]>>4) * 4
		if m < 20 || m >= len(t) {
			return nil, false
		}
		s.tcp = true
		s.tcpHead = plainTCP{src: binary.BigEndian.Uint16(t[0:]), dst: binary.BigEndian.Uint16(t[2:]), seq: binary.BigEndian.Uint32(t[4:]),
			ack: binary.BigEndian.Uint32(t[8:]), reserved: t[12] & 0x0f, flags: t[13], window: binary.BigEndian.Uint16(t[14:]),
			urgent: binary.BigEndian.Uint16(t[18:]), options: bytes.Clone(t[20:m])}
		s.payload = bytes.Clone(t[m:])
	case virtio.GSOUDPv4:
		if p[9] != 17 || h.CsumOffset != 6 || len(t) <= 8 || h.GSOType != virtio.GSOUDPv4 {
			return nil, false
		}
		s.udpHead = plainUDP{src: binary.BigEndian.Uint16(t[0:]), dst: binary.BigEndian.Uint16(t[2:])}
		s.payload = bytes.Clone(t[8:])
	default:
		return nil, false
	}
	return s, true
}

// TestSplit holds the ways to cut against the plain splitter for the cases that matter, one by one.
func TestSplit(t *testing.T) {
	const fin, syn, psh, ack, ece, cwr = 0x01, 0x02, 0x08, 0x10, 0x40, 0x80
	for i, c := range []struct {
		size, length uint16
		flags        uint8
	}{
		{1448, 64240, ack}, {1448, 64240, ack | psh}, {1448, 65535, ack | fin | psh}, {1448, 1448, ack | cwr}, {1448, 1449, ack | ece | cwr},
		{1448, 1, ack | cwr | ece | psh | fin}, {1, 100, ack}, {1, 1, syn}, {3, 1000, ack | psh}, {65535, 65535, ack}, {65535, 1, 0},
		{999, 2998, ack | cwr}, {1000, 999, 0xff}, {1200, 60001, ack}, {536, 53600, ack | ece},
	} {
		for _, tcp := range []bool{true, false} {
			for tmpl := range templates {
				for _, df := range []bool{true, false} {
					options := uint8(i) % 11
					newSuperpacket(tcp, c.size, c.length, c.flags, options, 0, 0xfff0, df, uint8(tmpl), uint64(i)).judge(t)
					newSuperpacket(tcp, c.size, c.length, c.flags, 3, options, uint16(i), df, uint8(tmpl), uint64(i)+100).judge(t)
				}
			}
		}
	}
}

// Sums that come out as zero: TCP writes zero, UDP all ones, inside and outside.
func TestSplitZeroSums(t *testing.T) {
	for _, tcp := range []bool{true, false} {
		for tmpl := range templates {
			for _, size := range []uint16{2, 4, 1000} {
				s := newSuperpacket(tcp, size, 4*size, 0x10, 0, 0, 1, true, uint8(tmpl), 9)
				clear(s.payload)
				probe := *s
				probe.template = bare
				at := 20 + 16
				if !tcp {
					at = 20 + 6
				}
				// The second segment's sum becomes zero by its first word being what the sum is without it.
				sum := binary.BigEndian.Uint16(probe.segments()[1][at:])
				binary.BigEndian.PutUint16(s.payload[size:], sum)
				probe.payload = s.payload
				want := uint16(0)
				if !tcp {
					want = 0xffff
				}
				if got := binary.BigEndian.Uint16(probe.segments()[1][at:]); got != want {
					t.Fatalf("the plain splitter's sum is %#x, want %#x", got, want)
				}
				s.judge(t)
				if s.template != whole {
					continue
				}
				// The same for the checksum of the pushed header, by its source port.
				at = 20 + 6
				port := uint32(s.port) + uint32(binary.BigEndian.Uint16(s.segments()[1][at:]))
				s.port = uint16(port + port>>16)
				if got := binary.BigEndian.Uint16(s.segments()[1][at:]); got != 0xffff {
					t.Fatalf("the plain splitter's sum of the pushed header is %#x, want 0xffff", got)
				}
				s.judge(t)
			}
		}
	}
}

// FuzzSplit cuts superpackets of all kinds in all ways and holds them against the plain splitter.
func FuzzSplit(f *testing.F) {
	f.Add(true, uint16(1448), uint16(64240), uint8(0x18), uint8(3), uint8(0), uint16(7), true, uint8(whole), uint64(1))
	f.Add(true, uint16(1), uint16(3000), uint8(0xff), uint8(10), uint8(10), uint16(0xffff), false, uint8(wholeUnsummed), uint64(2))
	f.Add(false, uint16(1200), uint16(60001), uint8(0), uint8(0), uint8(0), uint16(0), true, uint8(outerIPv4), uint64(3))
	f.Add(false, uint16(65535), uint16(65535), uint8(0), uint8(0), uint8(1), uint16(0), true, uint8(mipHeader), uint64(4))
	f.Add(true, uint16(999), uint16(2998), uint8(0xd0), uint8(0), uint8(0), uint16(0xfffe), true, uint8(bare), uint64(5))
	f.Fuzz(func(t *testing.T, tcp bool, size, length uint16, flags, options, ipOptions uint8, id uint16, df bool, tmpl uint8, seed uint64) {
		newSuperpacket(tcp, size, length, flags, options, ipOptions, id, df, tmpl, seed).judge(t)
	})
}
