package packet_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"mipvpn/tun/device/virtio"
	"mipvpn/tun/packet"
)

var (
	superSrc  = netip.MustParseAddr("10.1.0.5")
	superDst  = netip.MustParseAddr("10.2.0.9")
	outerFrom = netip.MustParseAddrPort("10.0.9.7:434")
	outerTo   = netip.MustParseAddrPort("10.0.0.1:434")
)

// bigPacket returns a TCP or UDP packet with n octets of payload, and where its transport header begins.
func bigPacket(protocol uint8, n int) *packet.Buf {
	b := packet.GetLarge()
	payload := b.Extend(n)
	for i := range payload {
		payload[i] = byte(i*7 + i>>8)
	}
	if protocol == packet.ProtocolUDP {
		t := b.Push(packet.UDPLen)
		binary.BigEndian.PutUint16(t, 4000)
		binary.BigEndian.PutUint16(t[2:], 4001)
		binary.BigEndian.PutUint16(t[4:], uint16(packet.UDPLen+n))
		t[6], t[7] = 0, 0
	} else {
		t := b.Push(32)
		clear(t)
		binary.BigEndian.PutUint16(t, 5000)
		binary.BigEndian.PutUint16(t[2:], 80)
		binary.BigEndian.PutUint32(t[4:], 0xfffff000) // wraps within the packet
		t[12], t[13] = 8<<4, 0x80|0x10|0x08|0x01      // CWR, ACK, PSH, FIN
		t[20], t[21], t[22], t[23] = 1, 1, 8, 10
	}
	packet.PushIPv4(b, packet.IPv4Fields{TOS: 0x28, ID: 0xfffe, DontFragment: true, TTL: 64, Protocol: protocol, Src: superSrc, Dst: superDst})
	return b
}

// TestCutterIsSplit shows that the segments of a superpacket are those that the virtio-net header's offload means, for TCP and
// UDP, and that nothing of the payload is moved.
func TestCutterIsSplit(t *testing.T) {
	for _, protocol := range []uint8{packet.ProtocolTCP, packet.ProtocolUDP} {
		for _, size := range []int{1, 2, 99, 536, 1337, 1338, 4000} {
			for _, n := range []int{1, size, size + 1, 3 * size, 3*size - 1, min(45*size, 60000)} {
				b := bigPacket(protocol, n)
				h := virtio.Header{Flags: virtio.FlagNeedsChecksum, GSOType: virtio.GSOTCPv4, GSOSize: uint16(size), CsumStart: 20, CsumOffset: 16}
				if protocol == packet.ProtocolUDP {
					h.GSOType, h.CsumOffset = virtio.GSOUDPv4, 6
				}
				want := packet.GetBatch()
				if err := h.Split(b.Bytes(), want); err != nil {
					t.Fatal(err)
				}
				if err := b.MakeSuper(size); err != nil {
					t.Fatal(err)
				}
				if b.Segments() != want.Len() || b.SegmentLen() != want.Bufs[0].Len() {
					t.Errorf("protocol %d, %d octets in segments of %d: %d segments of %d, want %d of %d", protocol, n, size,
						b.Segments(), b.SegmentLen(), want.Len(), want.Bufs[0].Len())
				}
				got := packet.One(b)
				got.Cut()
				if got.Len() != want.Len() {
					t.Fatalf("%d segments, want %d", got.Len(), want.Len())
				}
				for i := range want.Bufs {
					if !bytes.Equal(got.Bufs[i].Bytes(), want.Bufs[i].Bytes()) {
						t.Fatalf("protocol %d, %d octets in segments of %d: segment %d is %x, want %x", protocol, n, size, i,
							got.Bufs[i].Bytes()[:52], want.Bufs[i].Bytes()[:52])
					}
				}
				got.Release()
				want.Release()
			}
		}
	}
}

// TestTemplate shows that headers pushed on a superpacket are those that each of its segments would have been given by itself.
func TestTemplate(t *testing.T) {
	for _, summed := range []bool{true, false} {
		for _, protocol := range []uint8{packet.ProtocolTCP, packet.ProtocolUDP} {
			id := uint16(0xfff0)
			push := func(b *packet.Buf) {
				copy(b.Push(4), []byte{4, 4, 0, 0})
				if summed {
					packet.PushUDP(b, outerFrom, outerTo)
				} else {
					packet.PushUDPUnsummed(b, outerFrom, outerTo)
				}
				packet.PushIPv4(b, packet.IPv4Fields{TOS: 0x28, ID: id, TTL: 64, Protocol: packet.ProtocolUDP, Src: outerFrom.Addr(), Dst: outerTo.Addr()})
			}
			b := bigPacket(protocol, 40*1001+7)
			if err := b.MakeSuper(1001); err != nil {
				t.Fatal(err)
			}
			each := packet.One(packet.From(b.Bytes()))
			if err := each.Bufs[0].MakeSuper(1001); err != nil {
				t.Fatal(err)
			}
			each.Cut()
			push(b)
			whole := packet.One(b)
			if whole.Segments() != each.Len() {
				t.Errorf("%d segments, want %d", whole.Segments(), each.Len())
			}
			whole.Cut()
			for i, p := range each.Bufs {
				push(p)
				id++
				got, want := whole.Bufs[i].Bytes(), p.Bytes()
				if !bytes.Equal(got, want) {
					t.Fatalf("protocol %d, summed %v: segment %d is %x, want %x", protocol, summed, i, got[:60], want[:60])
				}
				if u := packet.UDP(packet.IPv4(got).Payload()); !u.ChecksumOK(outerFrom.Addr(), outerTo.Addr()) {
					t.Fatalf("the UDP checksum of segment %d is wrong", i)
				}
			}
			whole.Release()
			each.Release()
		}
	}
}

// TestMakeSuperRefuses shows what cannot be a superpacket.
func TestMakeSuperRefuses(t *testing.T) {
	for name, change := range map[string]func(p packet.IPv4) int{
		"no IPv4":         func(p packet.IPv4) int { p[0] = 0x65; return 100 },
		"too short":       func(p packet.IPv4) int { p[3]--; return 100 },
		"a fragment":      func(p packet.IPv4) int { p[6] |= 0x20; return 100 },
		"a later one":     func(p packet.IPv4) int { p[7] = 1; return 100 },
		"ICMP":            func(p packet.IPv4) int { p[9] = packet.ProtocolICMP; return 100 },
		"a TCP header":    func(p packet.IPv4) int { p[32] = 4 << 4; return 100 },
		"a long header":   func(p packet.IPv4) int { p[32] = 15 << 4; return 100 },
		"size 0":          func(packet.IPv4) int { return 0 },
		"a negative size": func(packet.IPv4) int { return -1 },
		"a large size":    func(packet.IPv4) int { return 65536 },
	} {
		b := bigPacket(packet.ProtocolTCP, 20)
		if err := b.MakeSuper(change(b.Bytes())); !errors.Is(err, packet.ErrNotSuper) || b.Super() {
			t.Errorf("%s: %v", name, err)
		}
		b.Release()
	}
	b := bigPacket(packet.ProtocolUDP, 0)
	if err := b.MakeSuper(5); !errors.Is(err, packet.ErrNotSuper) {
		t.Errorf("no payload: %v", err)
	}
	b.Release()
}

// TestSlab shows that views share memory without touching each other, that one which needs more room moves, and that the slab
// lives as long as any of them.
func TestSlab(t *testing.T) {
	s := packet.GetSlab()
	mem := s.Bytes()
	for i := range 300 {
		mem[i] = byte(i)
	}
	a, b := s.View(0, 40, 100, 100), s.View(100, 100, 200, 204)
	s.Release()
	if &a.Push(40)[0] != &mem[0] {
		t.Error("a push within the view's room has moved it")
	}
	copy(b.Push(3), "xyz") // no room: it moves
	if string(b.Bytes()[:3]) != "xyz" || b.Bytes()[3] != 100 || b.Len() != 103 {
		t.Errorf("after the push: %x", b.Bytes())
	}
	if mem[99] != 99 {
		t.Error("a view has written into its neighbour")
	}
	b.Extend(300)
	c := packet.GetSlab()
	d := c.View(0, 0, 10, 10)
	copy(d.Extend(packet.SmallSize), bytes.Repeat([]byte{7}, packet.SmallSize))
	if d.Len() != packet.SmallSize+10 || d.Bytes()[10] != 7 {
		t.Errorf("a view extended has %d octets", d.Len())
	}
	for _, p := range []*packet.Buf{a, b, d} {
		p.Release()
	}
	c.Release()
	defer func() {
		if recover() == nil {
			t.Error("a view outside of the slab was made")
		}
	}()
	packet.GetSlab().View(0, 5, packet.SlabSize, packet.SlabSize+1)
}
