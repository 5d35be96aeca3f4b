package virtio

import (
	"bytes"
	"encoding/binary"
	"testing"

	"mipvpn/tun/packet"
)

// segments returns a TCP stream cut into packets with whole checksums.
func segments(t testing.TB, payload, size int) []*packet.Buf {
	t.Helper()
	out := packet.GetBatch()
	h := Header{Flags: FlagNeedsChecksum, GSOType: GSOTCPv4, GSOSize: uint16(size), CsumStart: 20, CsumOffset: tcpChecksum}
	if err := h.Split(tcpPacket(tcpACK|tcpPSH, payload), out); err != nil {
		t.Fatal(err)
	}
	return out.Bufs
}

// mend writes the checksums of a changed packet anew.
func mend(p []byte) {
	ip := packet.IPv4(p)
	clear(p[10:12])
	binary.BigEndian.PutUint16(p[10:], packet.Checksum(p[:20], 0))
	clear(p[36:38])
	binary.BigEndian.PutUint16(p[36:], packet.Checksum(p[20:], pseudoHeader(ip, len(p)-20)))
}

// What Join joins, Split cuts into the same packets again.
func TestJoin(t *testing.T) {
	for _, size := range []int{100, 1000, 1448} {
		want := segments(t, 5*1448, size)
		bufs := segments(t, 5*1448, size)
		for at := 0; at < len(bufs); {
			n, h := Join(bufs[at:], true)
			if n < 2 && at < len(bufs)-1 {
				t.Fatalf("size %d: %d packets joined at %d of %d", size, n, at, len(bufs))
			}
			whole := bytes.Clone(bufs[at].Bytes())
			for _, b := range bufs[at+1 : at+n] {
				whole = append(whole, b.Bytes()[h.HdrLen:]...)
			}
			if ip := packet.IPv4(whole); !ip.Valid() || !ip.ChecksumOK() || ip.TotalLen() != len(whole) {
				t.Fatalf("size %d: joined packet of %d octets has the header % x", size, len(whole), whole[:20])
			}
			for i, b := range split(t, h, whole) {
				if !bytes.Equal(b.Bytes(), want[at+i].Bytes()) {
					t.Fatalf("size %d: packet %d after joining and cutting\n% x, before\n% x", size, at+i, b.Bytes(), want[at+i].Bytes())
				}
			}
			at += n
		}
	}
}

func TestJoinStops(t *testing.T) {
	for name, test := range map[string]struct {
		change func(bufs []*packet.Buf) // to the third of five packets
		want   int
	}{
		"nothing":           {func([]*packet.Buf) {}, 5},
		"TOS":               {func(b []*packet.Buf) { b[2].Bytes()[1] = 1; mend(b[2].Bytes()) }, 2},
		"DF":                {func(b []*packet.Buf) { b[2].Bytes()[6] = 0; mend(b[2].Bytes()) }, 2},
		"fragment":          {func(b []*packet.Buf) { b[2].Bytes()[6] = 0x20; mend(b[2].Bytes()) }, 2},
		"TTL":               {func(b []*packet.Buf) { b[2].Bytes()[8] = 9; mend(b[2].Bytes()) }, 2},
		"source":            {func(b []*packet.Buf) { b[2].Bytes()[15]++; mend(b[2].Bytes()) }, 2},
		"port":              {func(b []*packet.Buf) { b[2].Bytes()[23]++; mend(b[2].Bytes()) }, 2},
		"sequence":          {func(b []*packet.Buf) { b[2].Bytes()[27]++; mend(b[2].Bytes()) }, 2},
		"acknowledgement":   {func(b []*packet.Buf) { b[2].Bytes()[31]++; mend(b[2].Bytes()) }, 2},
		"window":            {func(b []*packet.Buf) { b[2].Bytes()[35]++; mend(b[2].Bytes()) }, 2},
		"timestamps":        {func(b []*packet.Buf) { b[2].Bytes()[47]++; mend(b[2].Bytes()) }, 2},
		"FIN":               {func(b []*packet.Buf) { b[2].Bytes()[33] |= 1; mend(b[2].Bytes()) }, 2},
		"ECE":               {func(b []*packet.Buf) { b[2].Bytes()[33] |= 0x40; mend(b[2].Bytes()) }, 2},
		"PSH ends":          {func(b []*packet.Buf) { b[2].Bytes()[33] |= 8; mend(b[2].Bytes()) }, 3},
		"PSH on the first":  {func(b []*packet.Buf) { b[0].Bytes()[33] |= 8; mend(b[0].Bytes()) }, 1},
		"protocol":          {func(b []*packet.Buf) { b[2].Bytes()[9] = 17; mend(b[2].Bytes()) }, 2},
		"wrong TCP sum":     {func(b []*packet.Buf) { b[2].Bytes()[60]++ }, 2},
		"wrong IPv4 sum":    {func(b []*packet.Buf) { b[2].Bytes()[10]++ }, 2},
		"first is wrong":    {func(b []*packet.Buf) { b[0].Bytes()[60]++ }, 1},
		"empty packet":      {func(b []*packet.Buf) { b[2].Trim(0) }, 2},
		"half a packet":     {func(b []*packet.Buf) { b[2].Trim(39) }, 2},
		"octets at the end": {func(b []*packet.Buf) { b[2].Extend(1)[0] = 1 }, 2},
	} {
		bufs := segments(t, 5000, 1000)
		test.change(bufs)
		before := bytes.Clone(bufs[0].Bytes())
		n, h := Join(bufs, true)
		if n != test.want {
			t.Errorf("%s: %d packets joined, want %d", name, n, test.want)
		}
		if n == 1 && (h != Header{} || !bytes.Equal(bufs[0].Bytes(), before)) {
			t.Errorf("%s: nothing was joined but the packet or its header changed", name)
		}
	}
	shorter := append(segments(t, 1500, 1000), segments(t, 100, 1000)...)
	if n, _ := Join(shorter, true); n != 2 {
		t.Errorf("%d packets joined past a shorter one, want 2", n)
	}
	if n, _ := Join(segments(t, 3000, 1000)[:1], true); n != 1 {
		t.Errorf("%d of one packet joined", n)
	}
	long := segments(t, 65000, 1300)
	next := segments(t, 65000, 1300)
	for _, b := range next { // goes on where long ends
		p := b.Bytes()
		binary.BigEndian.PutUint32(p[24:], binary.BigEndian.Uint32(p[24:])+65000)
		mend(p)
	}
	last := long[len(long)-1].Bytes()
	last[33] &^= tcpPSH
	mend(last)
	n, h := Join(append(long, next...), true)
	if octets := int(h.HdrLen) + n*1300; octets > packet.LargeSize || octets+1300 <= packet.LargeSize {
		t.Errorf("%d packets make a superpacket of %d octets, want as many as %d octets hold", n, octets, packet.LargeSize)
	}
}

// FuzzJoin checks that whatever follows a segment, what is made of it fits together.
func FuzzJoin(f *testing.F) {
	for _, b := range segments(f, 3000, 1000) {
		f.Add(b.Bytes())
	}
	f.Add([]byte{0x45})
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) > packet.LargeSize {
			return
		}
		bufs := []*packet.Buf{segments(t, 2000, 1000)[0], packet.From(p), packet.From(p)}
		n, h := Join(bufs, true)
		total := bufs[0].Len()
		for _, b := range bufs[1:n] {
			total += b.Len() - int(h.HdrLen)
		}
		if got := packet.IPv4(bufs[0].Bytes()).TotalLen(); got != total {
			t.Errorf("total length %d of %d packets with %d octets", got, n, total)
		}
		if n, _ := Join(bufs[1:], true); n > 2 || n < 1 {
			t.Errorf("%d of 2 packets joined", n)
		}
	})
}

func BenchmarkJoin(b *testing.B) {
	bufs := segments(b, 40*1328, 1328)
	first := bytes.Clone(bufs[0].Bytes())
	b.SetBytes(40 * 1328)
	b.ReportAllocs()
	for b.Loop() {
		copy(bufs[0].Bytes(), first)
		if n, _ := Join(bufs, true); n != 40 {
			b.Fatal(n)
		}
	}
}

// A sum that is known is taken for that of the packet, so that its octets are not summed again.
func TestJoinTakesTheSumThatIsKnown(t *testing.T) {
	join := func(sums func(i int, b *packet.Buf)) int {
		bufs := segments(t, 5*1000, 1000)
		for i, b := range bufs {
			sums(i, b)
		}
		n, _ := Join(bufs, true)
		return n
	}
	right := func(b *packet.Buf) uint16 { return uint16(packet.PartialSum(b.Bytes(), 0)) }
	if n := join(func(_ int, b *packet.Buf) { b.SetSum(right(b)) }); n != 5 {
		t.Errorf("%d packets joined whose sums are right", n)
	}
	if n := join(func(i int, b *packet.Buf) {
		if i == 3 {
			b.Bytes()[100] ^= 1
		}
		b.SetSum(right(b))
	}); n != 3 {
		t.Errorf("%d packets joined, the fourth of which has a wrong checksum", n)
	}
	if n := join(func(i int, b *packet.Buf) {
		if i == 3 {
			b.SetSum(right(b) ^ 1)
		}
	}); n != 3 {
		t.Errorf("%d packets joined, of the fourth of which another sum is known", n)
	}
}
