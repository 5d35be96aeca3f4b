//go:build linux

package device

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"mipvpn/tun/device/virtio"
	"mipvpn/tun/packet"
)

// What follows counts what a packet costs, without a clock: system calls through the method values that make them, copies by
// where the octets lie that the kernel has filled or is given, allocations.

// within reports whether p lies in memory.
func within(p *byte, memory []byte) bool {
	at, from := uintptr(unsafe.Pointer(p)), uintptr(unsafe.Pointer(unsafe.SliceData(memory)))
	return at >= from && at < from+uintptr(len(memory))
}

const guardSegments = 45

// A superpacket of 45 datagrams comes in one read, and but for what a small packet would have taken it stays where the kernel
// has put it.
func TestGuardRead(t *testing.T) {
	ns, d, _ := newDevice(t)
	fd := connect(t, ns, unix.SOCK_DGRAM, 5000)
	needSegments(t, fd)
	calls := 0
	read := d.read.call
	d.read.call = func(fd uintptr) bool {
		done := read(fd)
		if done && d.read.errno == 0 {
			calls++
		}
		return done
	}
	const size = 1300
	for i := range 3 {
		if err := sendTrain(fd, i*guardSegments, size, guardSegments, size); err != nil {
			t.Fatal(err)
		}
		calls = 0
		b := packet.GetBatch()
		d.read.refill()
		place := d.read.iov[2].Base
		if err := d.Read(b); err != nil {
			t.Fatal(err)
		}
		if calls != 1 || b.Len() != 1 || b.Segments() != guardSegments {
			t.Fatalf("%d reads gave %d packets of %d segments, want 1 of each with %d", calls, b.Len(), b.Segments(), guardSegments)
		}
		p := b.Bufs[0].Bytes()
		if &p[packet.SmallSize] != place {
			t.Errorf("of the superpacket's octets those from %d on are not where they were read", packet.SmallSize)
		}
		if !bytes.Equal(p[28:], trainOf(i*guardSegments, guardSegments, size, size)) {
			t.Error("the superpacket's payload is another")
		}
		b.Release()
	}
}

// A train of 45 packets of one flow goes to the host by one write, each from where it lies.
func TestGuardWrite(t *testing.T) {
	_, d, drops := newDevice(t)
	if !d.udp {
		t.Skip("needs UDP segmentation offload of TUN devices")
	}
	calls, vectors := 0, []*byte(nil)
	write := d.write.call
	d.write.call = func(fd uintptr) bool {
		calls++
		vectors = vectors[:0]
		for _, iov := range d.write.iov[1:d.write.n] {
			vectors = append(vectors, iov.Base)
		}
		return write(fd)
	}
	for _, tcp := range []bool{true, false} {
		b := inbound(bytes.Repeat([]byte{1, 2, 3}, 15000), 1000)
		if tcp {
			b = inboundTCP(45, 1000)
		}
		if b.Len() != guardSegments {
			t.Fatalf("%d packets", b.Len())
		}
		packets := make([][]byte, b.Len())
		for i, p := range b.Bufs {
			packets[i] = p.Bytes()
		}
		calls = 0
		if err := d.Write(b); err != nil {
			t.Fatal(err)
		}
		if calls != 1 || len(vectors) != guardSegments {
			t.Fatalf("TCP %t: %d writes of %d pieces, want 1 of %d", tcp, calls, len(vectors), guardSegments)
		}
		for i, p := range packets {
			if !within(vectors[i], p) {
				t.Errorf("TCP %t: packet %d was written from elsewhere", tcp, i)
			}
		}
	}
	if m := drops.Snapshot(); len(m) != 0 {
		t.Errorf("drops %v", m)
	}
}

// inboundTCP returns segments of one connection from remote.
func inboundTCP(count, size int) *packet.Batch {
	b := packet.GetBatch()
	for i := range count {
		p := packet.From(datagram(i, size))
		h := p.Push(20)
		clear(h)
		binary.BigEndian.PutUint32(h, 6000<<16|7000)
		binary.BigEndian.PutUint32(h[4:], uint32(i*size))
		h[12], h[13] = 5<<4, 0x10
		binary.BigEndian.PutUint16(h[16:], packet.TransportChecksum(p.Bytes(), remote, local, packet.ProtocolTCP))
		packet.PushIPv4(p, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolTCP, Src: remote, Dst: local})
		b.Append(p)
	}
	return b
}

// Superpackets in and trains out allocate nothing.
func TestGuardAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget at random")
	}
	ns, d, _ := newDevice(t)
	fd := connect(t, ns, unix.SOCK_DGRAM, 5000)
	needSegments(t, fd)
	train := trainOf(0, guardSegments, 1300, 1300)
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 1300); err != nil {
		t.Fatal(err)
	}
	b := packet.GetBatch()
	read := func() {
		if _, err := unix.Write(fd, train); err != nil {
			t.Fatal(err)
		}
		if err := d.Read(b); err != nil {
			t.Fatal(err)
		}
		for _, p := range b.Bufs {
			p.Release()
		}
		b.Bufs = b.Bufs[:0]
	}
	read()
	if n := testing.AllocsPerRun(100, read); n != 0 {
		t.Errorf("reading a superpacket allocates %v times, want never", n)
	}
	var packets [][]byte
	for _, p := range inbound(make([]byte, 45*1000), 1000).Bufs {
		packets = append(packets, p.Bytes())
	}
	write := func() {
		out := packet.GetBatch()
		for _, p := range packets {
			out.Append(packet.From(p))
		}
		if err := d.Write(out); err != nil {
			t.Fatal(err)
		}
	}
	write()
	if n := testing.AllocsPerRun(100, write); n != 0 {
		t.Errorf("writing a train allocates %v times, want never", n)
	}
}

// taken has a device take what the kernel could have put into its memory, which was full of `around` before, and returns the
// packets that come out, cut.
func taken(t *testing.T, raw, p []byte, around byte) (out [][]byte, super bool, drops uint64) {
	d := &Device{drops: new(packet.Drops)}
	d.read.init()
	d.read.refill()
	small, large := d.read.small.Free()[:packet.SmallSize], d.read.large.Free()
	for i := range small {
		small[i] = around
	}
	for i := range large {
		large[i] = around
	}
	copy(d.read.header[:], raw)
	if n := copy(small, p); n < len(p) {
		copy(large[len(small):], p[n:])
	}
	d.read.n = virtio.HeaderLen + len(p)
	b := packet.GetBatch()
	d.take(b)
	super = slices.ContainsFunc(b.Bufs, (*packet.Buf).Super)
	if slices.ContainsFunc(b.Bufs, func(q *packet.Buf) bool { return len(q.Free()) < packet.Tailroom }) {
		t.Errorf("of %d octets came a packet without tailroom", len(p))
	}
	b.Cut()
	for _, q := range b.Bufs {
		out = append(out, bytes.Clone(q.Bytes()))
	}
	b.Release()
	d.read.refill() // what has been taken was taken whole
	d.read.release()
	return out, super, d.drops.Of(packet.DropMalformed)
}

// FuzzTake gives a device headers and packets that lie. It refuses them and counts that, or makes packets of theirs: nothing
// of what stood in its memory before is in them, and cut ones are right.
func FuzzTake(f *testing.F) {
	add := func(h virtio.Header, p []byte) {
		raw := make([]byte, virtio.HeaderLen)
		h.Put(raw)
		f.Add(raw, p)
	}
	tcp := inboundTCP(1, 5000).Bufs[0].Bytes()
	udp := inbound(make([]byte, 3000), 3000).Bufs[0].Bytes()
	good := virtio.Header{Flags: virtio.FlagNeedsChecksum, GSOType: virtio.GSOTCPv4, HdrLen: 40, GSOSize: 1000, CsumStart: 20, CsumOffset: 16}
	add(good, tcp)
	add(virtio.Header{Flags: virtio.FlagNeedsChecksum, GSOType: virtio.GSOUDPv4, HdrLen: 28, GSOSize: 1000, CsumStart: 20, CsumOffset: 6}, udp)
	for _, lie := range []func(*virtio.Header){
		func(h *virtio.Header) { h.GSOSize = 0 }, func(h *virtio.Header) { h.GSOSize = 65535 }, func(h *virtio.Header) { h.GSOType = 4 },
		func(h *virtio.Header) { h.GSOType = virtio.GSOUDPv4 }, func(h *virtio.Header) { h.CsumStart = 65535 }, func(h *virtio.Header) { h.CsumOffset = 65535 },
		func(h *virtio.Header) { h.GSOType, h.CsumStart, h.CsumOffset = 0, 4998, 40 }, func(h *virtio.Header) { h.Flags = 0 }, func(h *virtio.Header) { h.HdrLen = 65535 },
	} {
		h := good
		lie(&h)
		add(h, tcp)
		add(h, tcp[:1000])
		add(h, tcp[:39])
		add(h, append(slices.Clone(tcp), 1))
	}
	for _, n := range []int{packet.SmallSize - 28, packet.SmallSize - 27, packet.SmallSize + packet.Tailroom - 28, packet.SmallSize + packet.Tailroom - 27} {
		add(virtio.Header{}, inbound(make([]byte, n), n).Bufs[0].Bytes())
	}
	f.Fuzz(func(t *testing.T, raw, p []byte) {
		h, ok := virtio.Parse(raw)
		if !ok || len(p) > packet.LargeSize-packet.Headroom || h.GSOSize > 0 && len(p)/int(h.GSOSize) > 2000 { // the kernel makes no smaller segments
			return
		}
		out, super, drops := taken(t, raw, p, 0xdb)
		again, _, _ := taken(t, raw, p, 0x24)
		if len(out) == 0 != (drops == 1) || drops > 1 {
			t.Fatalf("%d packets and %d counted as malformed", len(out), drops)
		}
		if !slices.EqualFunc(out, again, bytes.Equal) {
			t.Fatal("what comes out depends on what was in the memory before")
		}
		var octets int
		for _, q := range out {
			octets += len(q)
			if h.GSOType == virtio.GSONone {
				continue
			}
			ip := packet.IPv4(q)
			if !ip.Valid() || ip.TotalLen() != len(q) || !ip.ChecksumOK() {
				t.Fatalf("a segment begins % x", q[:min(len(q), 40)])
			}
			if super {
				sum := packet.TransportChecksum(ip.Payload(), ip.Src(), ip.Dst(), ip.Protocol())
				if sum != 0 {
					t.Fatalf("a segment with the checksum wrong by %#x begins % x", sum, q[:min(len(q), 60)])
				}
			}
		}
		if h.GSOType == virtio.GSONone && len(out) == 1 && octets != len(p) {
			t.Fatalf("a packet of %d octets came out as %d", len(p), octets)
		}
		if limit := len(p) * (1 + len(out)); octets > limit {
			t.Fatalf("%d octets came out of %d", octets, len(p))
		}
	})
}
