package packet

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"testing"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The data words of RFC 1071 §3: 0001 f203 f4f5 f6f7 sum to ddf2 with the carries folded in.
func TestChecksumRFC1071(t *testing.T) {
	p := unhex(t, "0001f203f4f5f6f7")
	if got := PartialSum(p, 0); got != 0xddf2 {
		t.Errorf("sum %#x, want 0xddf2", got)
	}
	if got := Checksum(p, 0); got != ^uint16(0xddf2) {
		t.Errorf("checksum %#x, want %#x", got, ^uint16(0xddf2))
	}
}

// naive is the checksum as RFC 1071 §4.1 writes it, a word at a time.
func naive(p []byte) uint16 {
	var s uint32
	for i := 0; i < len(p); i += 2 {
		w := uint32(p[i]) << 8
		if i+1 < len(p) {
			w |= uint32(p[i+1])
		}
		s += w
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

func TestChecksumAgreesWithNaive(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 200 {
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(r.Uint32())
			if n%3 == 0 {
				p[i] |= 0xf0 // many carries
			}
		}
		if got, want := Checksum(p, 0), naive(p); got != want {
			t.Fatalf("length %d: %#x, want %#x", n, got, want)
		}
		if even := n / 2 * 2; Checksum(p[even:], PartialSum(p[:even], 0)) != naive(p) {
			t.Fatalf("length %d: partial sums do not add up", n)
		}
	}
}

// RFC 1624 §4: a header checksum of dd2f, a word going from 5555 to 3285, gives 0000.
func TestChecksumUpdateRFC1624(t *testing.T) {
	if got := ChecksumUpdate(0xdd2f, 0x5555, 0x3285); got != 0 {
		t.Errorf("got %#x, want 0", got)
	}
}

func TestIPv4HeaderGolden(t *testing.T) {
	// A header computed by hand elsewhere and known widely: its checksum is b861.
	p := IPv4(unhex(t, "45000073000040004011b861c0a80001c0a800c7"))
	b := From(make([]byte, 0x73-IPv4Len))
	defer b.Release()
	PushIPv4(b, IPv4Fields{DontFragment: true, TTL: 64, Protocol: ProtocolUDP,
		Src: netip.MustParseAddr("192.168.0.1"), Dst: netip.MustParseAddr("192.168.0.199")})
	if got := b.Bytes()[:IPv4Len]; !bytes.Equal(got, p) {
		t.Errorf("header %x, want %x", got, p)
	}
	h := IPv4(b.Bytes())
	if !h.Valid() || !h.ChecksumOK() || h.TotalLen() != 0x73 || !h.DontFragment() || h.MoreFragments() || h.FragmentOffset() != 0 {
		t.Errorf("view of %x is wrong", []byte(h))
	}
	if !h.DecrementTTL() || h.TTL() != 63 || !h.ChecksumOK() {
		t.Error("decrementing the TTL broke the header")
	}
	h.SetTOS(0xb9)
	if h.TOS() != 0xb9 || !h.ChecksumOK() {
		t.Error("setting the TOS broke the header")
	}
	h[8] = 1
	if h.DecrementTTL() {
		t.Error("a TTL of 1 was decremented")
	}
}

func TestIPv4ValidRefusesEveryPrefixAndBadLengths(t *testing.T) {
	p := unhex(t, "45000018000040004011b861c0a80001c0a800c7deadbeef")
	for n := range p {
		if IPv4(p[:n]).Valid() {
			t.Errorf("a prefix of %d octets is called valid", n)
		}
	}
	if !IPv4(p).Valid() {
		t.Fatal("the whole packet is not valid")
	}
	for _, c := range []struct {
		name  string
		at    int
		value byte
	}{{"version 6", 0, 0x65}, {"header of 16", 0, 0x44}, {"header over the total", 0, 0x4f}, {"total over the packet", 3, 0x19}, {"total under the header", 3, 0x13}} {
		q := bytes.Clone(p)
		q[c.at] = c.value
		if IPv4(q).Valid() {
			t.Errorf("%s is called valid", c.name)
		}
	}
}

func TestUDPRoundTrip(t *testing.T) {
	src, dst := netip.MustParseAddrPort("10.0.0.1:434"), netip.MustParseAddrPort("10.0.0.2:49152")
	b := From([]byte("payload of an odd length"))
	defer b.Release()
	PushUDP(b, src, dst)
	u := UDP(b.Bytes())
	if !u.Valid() || u.SrcPort() != 434 || u.DstPort() != 49152 || string(u.Payload()) != "payload of an odd length" {
		t.Fatalf("view of %x is wrong", []byte(u))
	}
	if !u.ChecksumOK(src.Addr(), dst.Addr()) {
		t.Error("checksum is wrong")
	}
	u[10] ^= 1
	if u.ChecksumOK(src.Addr(), dst.Addr()) {
		t.Error("a changed octet passes the checksum")
	}
	u[6], u[7] = 0, 0
	if !u.ChecksumOK(src.Addr(), dst.Addr()) {
		t.Error("an absent checksum is refused")
	}
	n := From([]byte("payload"))
	defer n.Release()
	PushUDPUnsummed(n, src, dst)
	if u := UDP(n.Bytes()); !u.Valid() || u.SrcPort() != 434 || u.DstPort() != 49152 || u.Checksum() != 0 || string(u.Payload()) != "payload" {
		t.Errorf("without a checksum: %x", []byte(u))
	}
}

func TestBufRooms(t *testing.T) {
	b := From([]byte("middle"))
	copy(b.Push(5), "front")
	copy(b.Extend(3), "end")
	if got := string(b.Bytes()); got != "frontmiddleend" {
		t.Fatalf("got %q", got)
	}
	if p, ok := b.Pull(5); !ok || string(p) != "front" {
		t.Fatalf("pulled %q, %v", p, ok)
	}
	if _, ok := b.Pull(100); ok {
		t.Error("pulled more than there is")
	}
	if !b.Trim(6) || b.Trim(7) {
		t.Error("trim is wrong")
	}
	if got := string(b.Bytes()); got != "middle" {
		t.Fatalf("got %q", got)
	}
	if cap(b.Bytes()) != len(b.Bytes()) {
		t.Error("the packet's capacity reaches into the tailroom")
	}
	b.Release()
	c := GetSmall()
	defer c.Release()
	if c.Len() != 0 || c.Room() != Headroom || len(c.Free()) != SmallSize+Tailroom || c.SA != 0 || c.Peer.IsValid() {
		t.Error("a fresh buffer is not fresh")
	}
	defer func() {
		if recover() == nil {
			t.Error("pushing past the headroom does not panic")
		}
	}()
	c.Push(Headroom + 1)
}

func TestBatchKeepCountsAndKeepsOrder(t *testing.T) {
	var drops Drops
	b := GetBatch()
	for i := range 6 {
		b.Append(From([]byte{byte(i)}))
	}
	b.Keep(&drops, func(p *Buf) DropReason {
		if p.Bytes()[0]%2 == 1 {
			return DropReplayed
		}
		return NotDropped
	})
	if b.Len() != 3 || b.Bytes() != 3 || drops.Of(DropReplayed) != 3 {
		t.Fatalf("%d packets, %d octets, %d counted", b.Len(), b.Bytes(), drops.Of(DropReplayed))
	}
	for i, p := range b.Bufs {
		if p.Bytes()[0] != byte(2*i) {
			t.Errorf("packet %d is %d", i, p.Bytes()[0])
		}
	}
	b.Drop(&drops, DropGateClosed)
	want := map[string]uint64{"replayed": 3, "gate_closed": 3}
	got := drops.Snapshot()
	if len(got) != len(want) || got["replayed"] != 3 || got["gate_closed"] != 3 {
		t.Errorf("snapshot %v, want %v", got, want)
	}
}

func TestDropReasonNames(t *testing.T) {
	seen := make(map[string]bool)
	for r := range numDropReasons {
		s := r.String()
		if s == "" || s == "unknown" || seen[s] {
			t.Errorf("reason %d has the name %q", r, s)
		}
		seen[s] = true
	}
	if numDropReasons.String() != "unknown" {
		t.Error("a reason past the last has a name")
	}
}

func TestBatchCycleDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's sync.Pool drops buffers at random, so allocations say nothing")
	}
	var drops Drops
	n := testing.AllocsPerRun(200, func() {
		b := GetBatch()
		for range 8 {
			p := GetSmall()
			p.Extend(100)
			b.Append(p)
		}
		b.Keep(&drops, func(p *Buf) DropReason {
			PushIPv4(p, IPv4Fields{TTL: 1, Src: netip.IPv4Unspecified(), Dst: netip.IPv4Unspecified()})
			return NotDropped
		})
		b.Release()
	})
	if n >= 1 {
		t.Errorf("%v allocations a batch", n)
	}
}

func FuzzHeaderViews(f *testing.F) {
	f.Add(mustHex("45000073000040004011b861c0a80001c0a800c7"))
	f.Add(mustHex("4500001c000040004011b861c0a80001c0a800c701b2c00000080000"))
	f.Fuzz(func(t *testing.T, p []byte) {
		ip := IPv4(p)
		if !ip.Valid() {
			return
		}
		_ = ip.ChecksumOK()
		payload := ip.Payload()
		if len(payload)+ip.HeaderLen() != ip.TotalLen() {
			t.Fatal("header and payload are not the packet")
		}
		if u := UDP(payload); u.Valid() && len(u.Payload())+UDPLen != u.Length() {
			t.Fatal("UDP header and payload are not the datagram")
		}
	})
}

func mustHex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}
