package packet_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"mipvpn/tun/device/virtio"
	"mipvpn/tun/packet"
)

// judgeHeader gives a packet with any header to what makes superpackets, and to the splitter: each refuses, or makes what the
// plain splitter makes of the same octets. around is what stands in the memory about the packet.
func judgeHeader(t *testing.T, h virtio.Header, p []byte, around byte) {
	t.Helper()
	want := [][]byte(nil)
	if s, ok := readSuperpacket(honest(h, p), p); ok {
		want = s.segments()
	}
	b := packet.GetLarge()
	free := b.Free()
	for i := range free {
		free[i] = around
	}
	copy(b.Extend(len(p)), p)
	if err := h.MakeSuper(b); err != nil {
		if b.Super() || !bytes.Equal(b.Bytes(), p) {
			t.Fatalf("header %+v: refused (%v), but the packet was changed", h, err)
		}
	} else {
		if want == nil {
			t.Fatalf("header %+v over % x: taken for a superpacket", h, p[:min(len(p), 60)])
		}
		batch := packet.One(b)
		batch.Cut()
		if batch.Len() != len(want) {
			t.Fatalf("header %+v: %d segments, want %d", h, batch.Len(), len(want))
		}
		for i, q := range batch.Bufs {
			differ(t, "superpacket with any header", i, q.Bytes(), want[i])
		}
		batch.Release()
	}
	// The splitter also knows superpackets inside IP in IP, and packets whose length field does not count; where the plain
	// one makes something of it, it must make the same.
	out := packet.GetBatch()
	if err := h.Split(p, out); err != nil && out.Len() != 0 {
		t.Fatalf("header %+v: %d packets beside the error %v", h, out.Len(), err)
	} else if err == nil && want != nil && h.GSOType != virtio.GSONone {
		if out.Len() != len(want) {
			t.Fatalf("header %+v: virtio made %d segments, want %d", h, out.Len(), len(want))
		}
		for i, q := range out.Bufs {
			differ(t, "virtio with any header", i, q.Bytes(), want[i])
		}
	}
	out.Release()
}

// honest returns the header with what it says of the checksum as the packet has it: that is not relied on.
func honest(h virtio.Header, p []byte) virtio.Header {
	if h.GSOType&^virtio.GSOECN != virtio.GSOTCPv4 && h.GSOType&^virtio.GSOECN != virtio.GSOUDPv4 {
		return h
	}
	h.GSOType &^= virtio.GSOECN
	if h.Flags&virtio.FlagNeedsChecksum == 0 && len(p) > 0 {
		h.CsumStart = uint16(p[0]&0x0f) * 4
	}
	h.Flags, h.CsumOffset = virtio.FlagNeedsChecksum, 16
	if h.GSOType == virtio.GSOUDPv4 {
		h.CsumOffset = 6
	}
	return h
}

// FuzzHeader gives superpackets to lying headers, and headers to packets that lie: lengths, offsets, sizes, protocols.
func FuzzHeader(f *testing.F) {
	for i, tcp := range []bool{true, false} {
		s := newSuperpacket(tcp, 100, 350, 0x98, 3, 0, 7, true, uint8(bare), uint64(i))
		h := virtio.Header{Flags: 1, GSOType: virtio.GSOTCPv4, HdrLen: uint16(s.headers()), GSOSize: 100, CsumStart: 20, CsumOffset: 16}
		if !tcp {
			h.GSOType, h.CsumOffset = virtio.GSOUDPv4, 6
		}
		raw := make([]byte, virtio.HeaderLen)
		h.Put(raw)
		p := s.bytes()
		f.Add(raw, p, byte(0), uint16(0), uint16(0))
		for at := range uint16(46) { // each octet of the headers
			f.Add(raw, p, byte(0), at, uint16(0xff00))
		}
		for _, size := range []uint16{0, 1, 49, 350, 65535} {
			lie := h
			lie.GSOSize = size
			lie.Put(raw)
			f.Add(raw, p, byte(1), uint16(0), uint16(0))
		}
		f.Add(raw, p[:30], byte(2), uint16(0), uint16(0))
		f.Add(raw, p[:len(p)-1], byte(2), uint16(0), uint16(0))
	}
	f.Fuzz(func(t *testing.T, raw, p []byte, around byte, at, change uint16) {
		h, ok := virtio.Parse(raw)
		if !ok || len(p) > packet.LargeSize || h.GSOSize > 0 && len(p)/int(h.GSOSize) > 2000 { // the kernel makes no smaller segments
			return
		}
		p = bytes.Clone(p)
		if int(at)+2 <= len(p) {
			binary.BigEndian.PutUint16(p[at:], binary.BigEndian.Uint16(p[at:])^change)
		}
		if len(p) > 6 {
			p[6] &^= 0x80 // the reserved flag, of which the plain splitter knows nothing
		}
		judgeHeader(t, h, p, around)
	})
}
