package simnet

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"mipvpn/tun/packet"
)

var (
	offloadNear = netip.MustParseAddrPort("10.0.8.100:40000")
	offloadFar  = netip.MustParseAddrPort("10.0.1.20:80")
)

// queued returns what an application's write of n octets in segments of size is on the wire, from octet seq on.
func queued(tcp bool, id uint16, seq uint32, n, size int, last uint8) [][]byte {
	var all [][]byte
	for off := 0; off < n; off += size {
		data := make([]byte, min(size, n-off))
		for i := range data {
			data[i] = byte((int(seq) + off + i) * 7)
		}
		var t []byte
		f := packet.IPv4Fields{ID: id, TTL: 64, Protocol: packet.ProtocolUDP, Src: offloadNear.Addr(), Dst: offloadFar.Addr(), DontFragment: tcp}
		if tcp {
			s := segment{src: offloadNear, dst: offloadFar, seq: seq + uint32(off), ack: 9, flags: tcpACK, window: 1000, data: data}
			if off+size >= n {
				s.flags |= last
			}
			t, f.Protocol = s.encode(), packet.ProtocolTCP
		} else {
			t = udpSegment(offloadNear, offloadFar, data)
		}
		p := make([]byte, packet.IPv4Len+len(t))
		packet.IPv4(p).Encode(f, len(p))
		copy(p[packet.IPv4Len:], t)
		all = append(all, p)
		id++
	}
	return all
}

// read has a device's queue read, and returns how many Bufs came, and their segments.
func read(t *testing.T, queue [][]byte) (bufs int, segments [][]byte) {
	t.Helper()
	b := packet.GetBatch()
	take(queue, b)
	bufs = b.Len()
	if b.Segments() != len(queue) {
		t.Fatalf("%d packets were read as %d", len(queue), b.Segments())
	}
	b.Cut()
	for _, p := range b.Bufs {
		segments = append(segments, bytes.Clone(p.Bytes()))
	}
	b.Release()
	return bufs, segments
}

// TestOffload shows that what is read as superpackets is, cut again, octet for octet what waited to be read.
func TestOffload(t *testing.T) {
	for _, c := range []struct {
		name  string
		queue [][]byte
		want  int
	}{
		{"a write", queued(true, 65530, 1, 14000, 1400, 0), 1},
		{"a write with a shorter end", queued(true, 1, 0xfffffff0, 14100, 1400, tcpPSH), 1},
		{"two writes", slices.Concat(queued(true, 1, 1, 2900, 1400, tcpPSH), queued(true, 4, 2901, 2800, 1400, tcpFIN)), 2},
		{"datagrams", queued(false, 1, 1, 3000, 1000, 0), 1},
		{"one of each", slices.Concat(queued(true, 1, 1, 100, 100, 0), queued(false, 2, 1, 100, 100, 0)), 2},
		{"a gap", slices.Concat(queued(true, 1, 1, 2800, 1400, 0), queued(true, 3, 2802, 2800, 1400, 0)), 2},
		{"identifications that do not count on", slices.Concat(queued(true, 1, 1, 2800, 1400, 0), queued(true, 9, 2801, 2800, 1400, 0)), 2},
		{"more than fits", queued(true, 1, 1, 70000, 1400, 0), 2},
		{"longer segments", slices.Concat(queued(true, 1, 1, 100, 100, 0), queued(true, 2, 101, 200, 200, 0)), 2},
		{"SYN", slices.Concat(queued(true, 1, 1, 100, 100, tcpSYN), queued(true, 2, 101, 100, 100, 0)), 2},
	} {
		n, got := read(t, c.queue)
		if n != c.want {
			t.Errorf("%s: %d packets read, want %d", c.name, n, c.want)
		}
		if !slices.EqualFunc(got, c.queue, bytes.Equal) {
			t.Errorf("%s: what was read differs from what waited", c.name)
		}
	}
}

// FuzzOffload does the same with any octets changed.
func FuzzOffload(f *testing.F) {
	f.Add(uint64(1), true, uint16(1400), uint16(5000), uint16(0), byte(0))
	f.Add(uint64(2), false, uint16(1000), uint16(5000), uint16(1040), byte(1))
	f.Fuzz(func(t *testing.T, seed uint64, tcp bool, size, n, at uint16, change byte) {
		rng := rand.New(rand.NewPCG(seed, 1))
		queue := queued(tcp, uint16(rng.Uint32()), rng.Uint32(), int(n%20000), 1+int(size%1400), byte(rng.Uint32()))
		queue = append(queue, queued(!tcp, uint16(rng.Uint32()), rng.Uint32(), int(n%20000), 1+int(size%1400), byte(rng.Uint32()))...)
		if len(queue) > 2000 {
			return
		}
		i := int(at)
		for _, p := range queue {
			if i < len(p) {
				p[i] ^= change
				break
			}
			i -= len(p)
		}
		if _, got := read(t, queue); !slices.EqualFunc(got, queue, bytes.Equal) {
			t.Fatal("what was read differs from what waited")
		}
	})
}
