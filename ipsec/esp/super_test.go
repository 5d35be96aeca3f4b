package esp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"mipvpn/ipsec/suite"
	"mipvpn/tun/packet"
)

// form says what a superpacket of the tests looks like.
type form struct {
	udp     bool // UDP, else TCP
	options int  // words of TCP options
	pushed  int  // 0 nothing, 1 an IPv4 header (IP in IP), 2 IPv4 and UDP headers and 4 octets of Mobile IP, 3 without UDP checksum
	payload int
	size    int // octets of payload of a segment
}

// inner and outer addresses of superpackets; both match the selectors of parameters.
var outerClient, outerServer = client, netip.MustParseAddr("10.0.0.7")

// superpacket returns a superpacket of that form whose octets follow from the seed.
func superpacket(t testing.TB, f form, seed uint64) *packet.Buf {
	t.Helper()
	p := packet.GetLarge()
	fillSuper(t, p, f, seed)
	return p
}

func fillSuper(t testing.TB, p *packet.Buf, f form, seed uint64) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	protocol, header := uint8(packet.ProtocolTCP), 20+4*f.options
	if f.udp {
		protocol, header = packet.ProtocolUDP, packet.UDPLen
	}
	octets := p.Extend(header + f.payload)
	for rest := octets; len(rest) > 0; {
		var word [8]byte
		binary.BigEndian.PutUint64(word[:], r.Uint64())
		rest = rest[copy(rest, word[:]):]
	}
	if f.udp {
		binary.BigEndian.PutUint16(octets[4:], uint16(len(octets)))
	} else {
		octets[12] = byte(header / 4 << 4)
	}
	packet.PushIPv4(p, packet.IPv4Fields{TOS: uint8(r.Uint32()), ID: uint16(r.Uint32()), DontFragment: r.IntN(2) == 0, TTL: 64,
		Protocol: protocol, Src: client, Dst: server})
	if err := p.MakeSuper(f.size); err != nil {
		t.Fatal(err)
	}
	outer := packet.IPv4Fields{TOS: uint8(r.Uint32()), ID: 0xfff0, TTL: 63, Protocol: packet.ProtocolIPIP, Src: outerClient, Dst: outerServer}
	switch f.pushed {
	case 1:
		packet.PushIPv4(p, outer)
	case 2, 3:
		copy(p.Push(4), []byte{4, 0, 0, 0})
		src, dst := netip.AddrPortFrom(outerClient, 434), netip.AddrPortFrom(outerServer, 434)
		if f.pushed == 2 {
			packet.PushUDP(p, src, dst)
		} else {
			packet.PushUDPUnsummed(p, src, dst)
		}
		outer.Protocol = packet.ProtocolUDP
		packet.PushIPv4(p, outer)
	}
	p.Peer, p.DontFragment, p.Probe = netip.AddrPortFrom(server, uint16(seed)), seed&1 == 0, seed&2 == 0
	p.Hardware, p.Interface, p.SA, p.TOS = packet.HardwareAddr{2, byte(seed)}, int(seed), uint32(seed)+9, 0x55
}

// outcome is all that there is to know of a packet.
type outcome struct {
	octets    string
	peer      netip.AddrPort
	hardware  packet.HardwareAddr
	iface     int
	tos       uint8
	sa        uint32
	df, probe bool
}

func outcomes(b *packet.Batch) []outcome {
	var list []outcome
	for _, p := range b.Bufs {
		list = append(list, outcome{string(p.Bytes()), p.Peer, p.Hardware, p.Interface, p.TOS, p.SA, p.DontFragment, p.Probe})
	}
	return list
}

// differs tells where two lists of packets first differ.
func differs(got, want []outcome) string {
	for i := range min(len(got), len(want)) {
		g, w := got[i], want[i]
		if g == w {
			continue
		}
		if g.octets != w.octets {
			return fmt.Sprintf("packet %d of %d:\n got %x\nwant %x", i, len(want), g.octets, w.octets)
		}
		g.octets, w.octets = "", ""
		return fmt.Sprintf("packet %d of %d: got %+v, want %+v", i, len(want), g, w)
	}
	if len(got) != len(want) {
		return fmt.Sprintf("%d packets, want %d", len(got), len(want))
	}
	return ""
}

// checkSealed seals what build makes once as it is and once cut beforehand, and compares the packets; then it opens them
// and compares with what the cut gives.
func checkSealed(t *testing.T, e suite.Encryption, esn bool, first uint64, build func() *packet.Batch) {
	t.Helper()
	var drops, plainDrops packet.Drops
	var table Table
	whole, in := pair(t, e, esn, &drops)
	plain, _ := pair(t, e, esn, &plainDrops)
	whole.sequence.Store(first)
	plain.sequence.Store(first)
	in.window.top = first
	table.Add(in)

	want := build()
	defer want.Release()
	want.Cut()
	var inner []string
	for _, p := range want.Bufs {
		if plain.Matches(p.Bytes()) {
			inner = append(inner, string(p.Bytes()))
		}
	}
	plain.Apply(want)
	got := build()
	defer got.Release()
	whole.Apply(got)
	if d := differs(outcomes(got), outcomes(want)); d != "" {
		t.Fatalf("%v, ESN %v: %s", e, esn, d)
	}
	if whole.Usage() != plain.Usage() || whole.sequence.Load() != plain.sequence.Load() {
		t.Errorf("%v, ESN %v: usage %+v, sequence number %d, want %+v, %d", e, esn, whole.Usage(), whole.sequence.Load(), plain.Usage(), plain.sequence.Load())
	}
	for r := range packet.DropReason(40) {
		if drops.Of(r) != plainDrops.Of(r) {
			t.Errorf("%v, ESN %v: %d dropped as %v, want %d", e, esn, drops.Of(r), r, plainDrops.Of(r))
		}
	}
	if plainDrops.Of(packet.DropSAExhausted) != 0 {
		return
	}
	for _, p := range got.Bufs {
		p.TOS = 0
	}
	table.Open(got, &drops)
	if got.Len() != len(inner) {
		t.Fatalf("%v, ESN %v: %d of %d packets open: %v", e, esn, got.Len(), len(inner), drops.Snapshot())
	}
	for i, p := range got.Bufs {
		if string(p.Bytes()) != inner[i] {
			t.Fatalf("%v, ESN %v: packet %d opens to\n%x, want\n%x", e, esn, i, p.Bytes(), inner[i])
		}
	}
}

// forms are superpackets as they come and as they hardly ever come: segments shorter than the trailer and than their head,
// last segments of one octet, one segment only, more than a slab holds.
var forms = []form{
	{payload: 45 * 1338, size: 1338},
	{payload: 44*1338 + 1, size: 1338, options: 3},
	{payload: 5 * 1338, size: 1338, pushed: 1, options: 3},
	{payload: 5*1300 + 700, size: 1300, pushed: 2},
	{payload: 5*1300 + 3, size: 1300, pushed: 3, udp: true},
	{payload: 3 * 1200, size: 1200, udp: true},
	{payload: 65000, size: 100, pushed: 2, options: 10},
	{payload: 40, size: 1}, {payload: 41, size: 2, pushed: 1}, {payload: 41, size: 3, udp: true}, {payload: 41, size: 4, pushed: 2},
	{payload: 43, size: 5, pushed: 3, options: 10}, {payload: 43, size: 6}, {payload: 43, size: 7},
	{payload: 400, size: 30, pushed: 2, options: 10}, {payload: 400, size: 39}, {payload: 400, size: 40}, {payload: 400, size: 41},
	{payload: 100, size: 100}, {payload: 100, size: 1000, pushed: 2}, {payload: 1, size: 1}, {payload: 101, size: 100},
	{payload: 65495, size: 1460},
}

// Shows: IKE-9. Sealing a superpacket gives the octets that cutting it and sealing each segment gives, and what else is
// known of the packet goes over.
func TestSuperpacketsSealLikeTheirSegments(t *testing.T) {
	for _, e := range suite.Encryptions() {
		for _, esn := range []bool{false, true} {
			for i, f := range forms {
				checkSealed(t, e, esn, uint64(i), func() *packet.Batch { return packet.One(superpacket(t, f, uint64(i))) })
			}
		}
	}
}

// Superpackets, ordinary packets and packets that are dropped in one batch keep their order.
func TestMixedBatchKeepsItsOrder(t *testing.T) {
	stranger := netip.MustParseAddr("10.0.9.2")
	for _, e := range suite.Encryptions() {
		for seed := range uint64(8) {
			checkSealed(t, e, seed&1 == 0, 1<<32-30-1000*(seed&4), func() *packet.Batch {
				r := rand.New(rand.NewPCG(seed, 2))
				b := packet.GetBatch()
				for range 1 + r.IntN(20) {
					switch n := r.Uint64(); n % 5 {
					case 0, 1:
						b.Append(ping(client, server, int(n>>8%1300)))
					case 2:
						b.Append(ping(stranger, server, 10))
					default:
						b.Append(superpacket(t, forms[n>>8%uint64(len(forms))], n))
					}
				}
				return b
			})
		}
	}
}

// When the sequence numbers end within a superpacket, the first segments leave, and the rest is dropped and counted.
func TestNumbersEndWithinASuperpacket(t *testing.T) {
	f := form{payload: 1000, size: 100, pushed: 1}
	for left := range uint64(24) {
		build := func() *packet.Batch {
			b := packet.One(ping(client, server, 3))
			b.Append(superpacket(t, f, 8))
			b.Append(ping(client, server, 4))
			b.Append(superpacket(t, f, 9))
			return b
		}
		checkSealed(t, suite.AESGCM128, false, 1<<32-1-left, build)
		var drops packet.Drops
		o, _ := pair(t, suite.AESGCM128, false, &drops)
		o.sequence.Store(1<<32 - 1 - left)
		b := build()
		o.Apply(b)
		if want := min(left, 22); uint64(b.Len()) != want || drops.Of(packet.DropSAExhausted) != 22-want || o.Usage().Packets != want {
			t.Errorf("%d numbers left: %d packets, drops %v, %+v", left, b.Len(), drops.Snapshot(), o.Usage())
		}
		b.Release()
	}
	po, _ := parameters(suite.AESGCM128, false)
	po.MaxBytes = 100
	var drops packet.Drops
	o, err := NewOutbound(po, &drops)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{10, 0} {
		b := packet.One(superpacket(t, f, 8))
		if o.Apply(b); b.Len() != want || drops.Of(packet.DropSAExhausted) != uint64(10*i) {
			t.Errorf("round %d of the lifetime in octets: %d packets, drops %v", i, b.Len(), drops.Snapshot())
		}
		b.Release()
	}
}

// A superpacket that lies between others in one memory is sealed without an octet of theirs being touched, whatever the
// sizes, and the packets of one slab do not touch each other when headers are pushed in front of them.
func TestSealingStaysInTheSlot(t *testing.T) {
	const floor, from = 1000, 1000 + packet.Headroom
	for _, e := range suite.Encryptions() {
		for size := 1; size < 130; size++ {
			f := form{payload: 397, size: size, pushed: size % 4, options: size % 11}
			o, _ := pair(t, e, false, nil)
			slab := packet.GetSlab()
			for i := range packet.SlabSize {
				slab.Bytes()[i] = 0xa5
			}
			// The view ends where the room that Apply asks for ends.
			start := from + packet.IPv4Len
			ceil := start + 20 + 4*f.options + f.payload + o.tail
			p := slab.View(floor, start, start, ceil)
			fillSuper(t, p, f, uint64(size))
			want := packet.One(superpacket(t, f, uint64(size)))
			want.Cut()
			plain, _ := pair(t, e, false, nil)
			plain.Apply(want)
			got := packet.One(p)
			o.Apply(got)
			for _, q := range got.Bufs {
				if q.Room() != Headroom {
					t.Fatalf("%d octets of room in front, want %d", q.Room(), Headroom)
				}
				for i := range q.Push(Headroom) {
					q.Bytes()[i] = byte(i)
				}
			}
			for i, q := range got.Bufs {
				if !bytes.Equal(q.Bytes()[Headroom:], want.Bufs[i].Bytes()) {
					t.Fatalf("%v, segments of %d: packet %d is not what it was", e, size, i)
				}
			}
			got.Release()
			want.Release()
			for i, octet := range slab.Bytes() {
				if (i < floor || i >= ceil) && octet != 0xa5 {
					t.Fatalf("%v, segments of %d: octet %d outside %d to %d was written", e, size, i, floor, ceil)
				}
			}
			slab.Release()
		}
	}
}

// What does not match, is no whole packet, or has no room behind is dropped as a whole.
func TestSuperpacketsThatAreDropped(t *testing.T) {
	f := form{payload: 1000, size: 100}
	for _, c := range []struct {
		name  string
		spoil func(*packet.Buf)
		want  packet.DropReason
	}{
		{"stranger", func(p *packet.Buf) { p.Bytes()[15] ^= 1 }, packet.DropSelector},
		{"cut", func(p *packet.Buf) { p.Trim(p.Len() - 1) }, packet.DropMalformed},
		{"longer than it says", func(p *packet.Buf) { p.Extend(1) }, packet.DropMalformed},
		{"no room", func(p *packet.Buf) {
			n := p.Len() + len(p.Free()) - 3
			p.Extend(len(p.Free()) - 3)
			binary.BigEndian.PutUint16(p.Bytes()[2:], uint16(n))
		}, packet.DropTooBig},
	} {
		var drops packet.Drops
		o, _ := pair(t, suite.AESGCM128, false, &drops)
		slab := packet.GetSlab()
		p := slab.View(0, 40, 40, 4000)
		slab.Release()
		fillSuper(t, p, f, 4)
		c.spoil(p)
		n := uint64(p.Segments())
		b := packet.One(p)
		b.Append(ping(client, server, 1))
		if o.Apply(b); b.Len() != 1 || drops.Of(c.want) != n || o.sequence.Load() != 1 {
			t.Errorf("%s: %d packets, drops %v, sequence number %d", c.name, b.Len(), drops.Snapshot(), o.sequence.Load())
		}
		b.Release()
	}
}

// FuzzSuperpackets compares sealing whole with cutting first for any sizes, prefixes and neighbours.
func FuzzSuperpackets(f *testing.F) {
	for i, x := range forms {
		f.Add(uint64(i), uint16(x.payload), uint16(x.size), uint8(x.options), uint8(x.pushed), x.udp, i%2 == 0, uint8(i))
	}
	f.Fuzz(func(t *testing.T, seed uint64, payload, size uint16, options, pushed uint8, udp, esn bool, cipher uint8) {
		x := form{udp: udp, options: int(options % 11), pushed: int(pushed % 4), payload: 1 + int(payload)%65400, size: 1 + int(size)}
		x.payload = min(x.payload, 100*x.size)
		y := x
		y.payload, y.size = 1+x.payload/2, 1+x.size/3
		y.payload = min(y.payload, 100*y.size)
		e := suite.Encryptions()[int(cipher)%len(suite.Encryptions())]
		checkSealed(t, e, esn, seed>>40, func() *packet.Batch {
			b := packet.One(superpacket(t, x, seed))
			b.Append(ping(client, server, int(seed%1300)))
			b.Append(superpacket(t, y, seed+1))
			return b
		})
	})
}
