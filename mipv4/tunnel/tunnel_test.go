package tunnel

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"mipvpn/tun/packet"
)

var (
	home          = netip.MustParseAddr("10.0.8.100")
	correspondent = netip.MustParseAddr("10.0.1.20")
	homeAgent     = netip.MustParseAddr("10.0.1.10")
	careOf        = netip.MustParseAddr("192.168.1.50")
)

// ipv4 returns a whole IPv4 packet in a Buf.
func ipv4(t testing.TB, f packet.IPv4Fields, payload []byte) *packet.Buf {
	t.Helper()
	p := packet.From(payload)
	packet.PushIPv4(p, f)
	return p
}

func fields() packet.IPv4Fields {
	return packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolTCP, Src: correspondent, Dst: home, ID: 77}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Shows: MIP-6, MIP-7 (RFC 3519 §3.3: type 4, next header 4, reserved zero, then the inner packet unchanged).
func TestEncapsulateUDPGolden(t *testing.T) {
	inner := unhex(t, `4500 0018 0001 4000 4001 0000 0a000864 0a000114 0800f7ff`)
	ip := packet.IPv4(inner)
	ip[10], ip[11] = 0, 0
	sum := packet.Checksum(ip[:20], 0)
	ip[10], ip[11] = byte(sum>>8), byte(sum)
	p := packet.From(inner)
	if r := (Encapsulator{Encapsulation: UDP}).Encapsulate(p); r != packet.NotDropped {
		t.Fatalf("dropped: %v", r)
	}
	want := append(unhex(t, "04 04 0000"), inner...)
	if !bytes.Equal(p.Bytes(), want) {
		t.Errorf("payload\n%x, want\n%x", p.Bytes(), want)
	}
	p.Release()
}

// Shows: MIP-12 (RFC 2003 §3.1: TTL only when forwarding, TOS copied, TTL 0 never encapsulated; RFC 6040 normal mode).
func TestEncapsulateHeaderRules(t *testing.T) {
	for _, c := range []struct {
		name       string
		ttl, tos   uint8
		forwarding bool
		want       packet.DropReason
		wantTTL    uint8
	}{
		{"host", 64, 0xb8 | ecnCE, false, packet.NotDropped, 64},
		{"forwarded", 64, 0x28 | ecnECT0, true, packet.NotDropped, 63},
		{"host with ttl 1", 1, ecnECT1, false, packet.NotDropped, 1},
		{"forwarded with ttl 1", 1, 0, true, packet.DropTTL, 1},
		{"host with ttl 0", 0, 0, false, packet.DropTTL, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := fields()
			f.TTL, f.TOS = c.ttl, c.tos
			p := ipv4(t, f, []byte("payload"))
			defer p.Release()
			if r := (Encapsulator{Forwarding: c.forwarding}).Encapsulate(p); r != c.want {
				t.Fatalf("got %v, want %v", r, c.want)
			}
			ip := packet.IPv4(p.Bytes())
			if ip.TTL() != c.wantTTL || !ip.ChecksumOK() || ip.TOS() != c.tos {
				t.Errorf("inner header %x: ttl %d, want %d", ip[:20], ip.TTL(), c.wantTTL)
			}
			if c.want == packet.NotDropped && p.TOS != c.tos {
				t.Errorf("outer TOS %#x, want %#x", p.TOS, c.tos)
			}
		})
	}
}

// Shows: MIP-12 (RFC 6040 §4.2, figure 4, every cell).
func TestCombineECN(t *testing.T) {
	const drop = 0xff
	// Rows: inner Not-ECT, ECT(0), ECT(1), CE; columns: outer Not-ECT, ECT(0), ECT(1), CE.
	order := []uint8{ecnNotECT, ecnECT0, ecnECT1, ecnCE}
	want := [4][4]uint8{
		{ecnNotECT, ecnNotECT, ecnNotECT, drop},
		{ecnECT0, ecnECT0, ecnECT1, ecnCE},
		{ecnECT1, ecnECT1, ecnECT1, ecnCE},
		{ecnCE, ecnCE, ecnCE, ecnCE},
	}
	for i, inner := range order {
		for o, outer := range order {
			got, ok := CombineECN(0xb8|inner, 0x28|outer)
			if !ok {
				got = drop
			}
			if got != want[i][o] {
				t.Errorf("inner %d, outer %d: %d, want %d", inner, outer, got, want[i][o])
			}
		}
	}
}

// Shows: MIP-12 (ingress check, RFC 2003 §6.2 and RFC 3519 §4.3: address and port of the peer, inner destination).
func TestDecapsulatorChecks(t *testing.T) {
	peer := netip.AddrPortFrom(homeAgent, 434)
	sealed := func(change func(*packet.Buf)) *packet.Buf {
		p := ipv4(t, fields(), []byte("hello"))
		if change != nil {
			change(p)
		}
		if r := (Encapsulator{Encapsulation: UDP}).Encapsulate(p); r != packet.NotDropped {
			t.Fatalf("encapsulation dropped: %v", r)
		}
		p.Peer = peer
		return p
	}
	for _, c := range []struct {
		name string
		make func() *packet.Buf
		want packet.DropReason
	}{
		{"good", func() *packet.Buf { return sealed(nil) }, packet.NotDropped},
		{"padded", func() *packet.Buf { p := sealed(nil); copy(p.Extend(6), "padpad"); return p }, packet.NotDropped},
		{"other port", func() *packet.Buf {
			p := sealed(nil)
			p.Peer = netip.AddrPortFrom(homeAgent, 4343)
			return p
		}, packet.DropWrongTunnelPeer},
		{"other address", func() *packet.Buf { p := sealed(nil); p.Peer = netip.AddrPortFrom(careOf, 434); return p }, packet.DropWrongTunnelPeer},
		{"signalling", func() *packet.Buf { p := sealed(nil); p.Bytes()[0] = 3; return p }, packet.DropMalformed},
		{"gre", func() *packet.Buf { p := sealed(nil); p.Bytes()[1] = 47; return p }, packet.DropUnsupported},
		{"short", func() *packet.Buf { p := sealed(nil); p.Trim(3); return p }, packet.DropMalformed},
		{"cut", func() *packet.Buf { p := sealed(nil); p.Trim(p.Len() - 1); return p }, packet.DropMalformed},
		{"inner checksum", func() *packet.Buf { p := sealed(nil); p.Bytes()[DataHeaderLen+12]++; return p }, packet.DropMalformed},
		{"not ect under ce", func() *packet.Buf { p := sealed(nil); p.TOS = ecnCE; return p }, packet.DropPolicy},
		{"other destination", func() *packet.Buf {
			f := fields()
			f.Dst = correspondent
			p := ipv4(t, f, nil)
			(Encapsulator{Encapsulation: UDP}).Encapsulate(p)
			p.Peer = peer
			return p
		}, packet.DropNotHomeAddress},
	} {
		t.Run(c.name, func(t *testing.T) {
			var drops packet.Drops
			d := Decapsulator{Encapsulation: UDP, Peer: peer, Inner: home, Drops: &drops}
			b := packet.One(c.make())
			d.Apply(b)
			defer b.Release()
			if c.want == packet.NotDropped {
				if b.Len() != 1 || !bytes.HasSuffix(b.Bufs[0].Bytes(), []byte("hello")) {
					t.Fatalf("not passed on: %v", drops.Snapshot())
				}
				return
			}
			if b.Len() != 0 || drops.Of(c.want) != 1 {
				t.Fatalf("drops %v, want one for %v", drops.Snapshot(), c.want)
			}
		})
	}
}

// Shows: MIP-12 (RFC 2003 §3.1: inner TTL 0 is discarded on decapsulation).
func TestOpenInnerTTLZero(t *testing.T) {
	f := fields()
	f.TTL = 0
	p := ipv4(t, f, nil)
	defer p.Release()
	if r := Open(p, IPIP); r != packet.DropTTL {
		t.Errorf("got %v, want %v", r, packet.DropTTL)
	}
}

func TestOpenRewritesECN(t *testing.T) {
	f := fields()
	f.TOS = 0xb8 | ecnECT0
	p := ipv4(t, f, nil)
	defer p.Release()
	p.TOS = ecnCE
	if r := Open(p, IPIP); r != packet.NotDropped {
		t.Fatal(r)
	}
	ip := packet.IPv4(p.Bytes())
	if ip.TOS() != 0xb8|ecnCE || !ip.ChecksumOK() {
		t.Errorf("TOS %#x, checksum ok %t", ip.TOS(), ip.ChecksumOK())
	}
}

func TestStepsDoNotAllocate(t *testing.T) {
	p := ipv4(t, fields(), make([]byte, 1200))
	defer p.Release()
	e := Encapsulator{Encapsulation: UDP}
	n := testing.AllocsPerRun(100, func() {
		if e.Encapsulate(p) != packet.NotDropped || Open(p, UDP) != packet.NotDropped {
			t.Fatal("dropped")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations a packet, want 0", n)
	}
}

func TestEncapsulationNames(t *testing.T) {
	if IPIP.String() != "ipip" || UDP.String() != "udp" || Encapsulation(9).String() != "encapsulation 9" {
		t.Error(IPIP, UDP, Encapsulation(9))
	}
	if IPIP.TotalOverhead() != 20 || UDP.TotalOverhead() != 32 {
		t.Error("overheads", IPIP.TotalOverhead(), UDP.TotalOverhead())
	}
	if !IsData([]byte{4}) || IsData(nil) || IsData([]byte{1}) {
		t.Error("IsData")
	}
}

func FuzzOpen(f *testing.F) {
	p := packet.From([]byte("hello"))
	packet.PushIPv4(p, fields())
	f.Add(append([]byte{4, 4, 0, 0}, p.Bytes()...), uint8(3), true)
	f.Add(append([]byte(nil), p.Bytes()...), uint8(0), false)
	f.Add([]byte{4}, uint8(0), true)
	f.Fuzz(func(t *testing.T, data []byte, tos uint8, udp bool) {
		if len(data) > packet.SmallSize {
			return
		}
		e := IPIP
		if udp {
			e = UDP
		}
		p := packet.From(data)
		defer p.Release()
		p.TOS = tos
		if Open(p, e) != packet.NotDropped {
			return
		}
		ip := packet.IPv4(p.Bytes())
		if !ip.Valid() || !ip.ChecksumOK() || ip.TTL() == 0 || ip.TotalLen() != p.Len() {
			t.Fatalf("passed on %x", p.Bytes())
		}
		if r := (Encapsulator{Encapsulation: e}).Encapsulate(p); r != packet.NotDropped {
			t.Fatalf("what Open passed on cannot be encapsulated: %v", r)
		}
	})
}
