package tunnel

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"mipvpn/tun/packet"
)

// goldenInner is an ICMP packet from the home address to the correspondent, put together by hand.
const goldenInner = "4500 0018 0001 4000 4001 1d6d 0a000864 0a000114 0800f7ff"

// Shows: MIP-6 (octets of RFC 2004 §3 and of RFC 2784 §2.1, RFC 2890 §2, put together by hand, both ways)
func TestAlternativeGolden(t *testing.T) {
	for _, c := range []struct {
		name string
		e    Encapsulation
		o    GREOptions
		want string
	}{
		{"minimal", Minimal, GREOptions{}, "01 80 e107 0a000114 0a000864 0800f7ff"},
		{"GRE", GRE, GREOptions{}, "0000 0800" + goldenInner},
		{"GRE with key", GRE, GREOptions{Keyed: true, Key: 0x12345678}, "2000 0800 12345678" + goldenInner},
		{"GRE with checksum", GRE, GREOptions{Checksum: true}, "8000 0800 77ff 0000" + goldenInner},
		{"GRE with key and checksum", GRE, GREOptions{Keyed: true, Key: 0x12345678, Checksum: true}, "a000 0800 ef52 0000 12345678" + goldenInner},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := packet.From(unhex(t, goldenInner))
			defer p.Release()
			if r := (Encapsulator{Encapsulation: c.e, GRE: c.o}).Encapsulate(p); r != packet.NotDropped {
				t.Fatalf("dropped: %v", r)
			}
			if want := unhex(t, c.want); !bytes.Equal(p.Bytes(), want) {
				t.Fatalf("payload\n%x, want\n%x", p.Bytes(), want)
			}
			if got := packet.IPv4Len + p.Len() - 24; got > (Encapsulator{Encapsulation: c.e, GRE: c.o}).TotalOverhead() {
				t.Errorf("%d octets were added", got)
			}
			if p.Peer = netip.AddrPortFrom(careOf, 0); c.e == Minimal {
				p.ID = 1 // as the outer header had it
			}
			if r := c.o.Open(p, c.e); r != packet.NotDropped {
				t.Fatalf("refused: %v", r)
			}
			if !bytes.Equal(p.Bytes(), unhex(t, goldenInner)) || p.TTL != 0 || p.ID != 0 || p.DontFragment {
				t.Errorf("opened as\n%x, want\n%x", p.Bytes(), unhex(t, goldenInner))
			}
		})
	}
}

// Shows: MIP-6, MIP-12 (RFC 2004 §3: the outer header has time to live, DF and type of service of the packet, and gives them back;
// without S the original source is the outer one)
func TestMinimalSharesTheHeader(t *testing.T) {
	f := fields()
	f.TTL, f.TOS, f.DontFragment = 17, 0xb8|ecnECT0, true
	p := ipv4(t, f, []byte("payload"))
	defer p.Release()
	if r := (Encapsulator{Encapsulation: Minimal, Forwarding: true}).Encapsulate(p); r != packet.NotDropped {
		t.Fatal(r)
	}
	if p.TTL != 16 || !p.DontFragment || p.TOS != f.TOS {
		t.Fatalf("the outer header gets TTL %d, DF %t, TOS %#x", p.TTL, p.DontFragment, p.TOS)
	}
	p.Peer, p.TTL, p.ID, p.TOS = netip.AddrPortFrom(homeAgent, 0), 12, 4711, 0xb8|ecnCE // four hops later
	if r := Open(p, Minimal); r != packet.NotDropped {
		t.Fatal(r)
	}
	ip := packet.IPv4(p.Bytes())
	if ip.TTL() != 12 || ip.ID() != 4711 || !ip.DontFragment() || ip.TOS() != 0xb8|ecnCE || ip.Src() != correspondent || ip.Dst() != home ||
		ip.Protocol() != packet.ProtocolTCP || !bytes.Equal(ip.Payload(), []byte("payload")) || !ip.ChecksumOK() {
		t.Errorf("restored %x", ip)
	}

	short := packet.From(unhex(t, "06 00 0000 0a000864 68656c6c6f")) // S clear: 0600 + 0a00 + 0864 = 1864
	defer short.Release()
	binary.BigEndian.PutUint16(short.Bytes()[2:], ^uint16(0x1864))
	short.Peer, short.TTL = netip.AddrPortFrom(homeAgent, 0), 5
	if r := Open(short, Minimal); r != packet.NotDropped {
		t.Fatal(r)
	}
	if ip := packet.IPv4(short.Bytes()); ip.Src() != homeAgent || ip.Dst() != home || string(ip.Payload()) != "hello" {
		t.Errorf("without S restored %x", ip)
	}
}

// Shows: MIP-6 (minimal encapsulation refuses fragments, RFC 2004 §3, and what has IPv4 options)
func TestMinimalRefuses(t *testing.T) {
	for name, change := range map[string]func(packet.IPv4) packet.IPv4{
		"first fragment": func(ip packet.IPv4) packet.IPv4 { ip[6] |= 0x20; return ip },
		"last fragment":  func(ip packet.IPv4) packet.IPv4 { ip[7] = 1; return ip },
		"options": func(ip packet.IPv4) packet.IPv4 {
			ip = append(ip[:20:20], append([]byte{1, 1, 1, 0}, ip[20:]...)...)
			ip[0] = 0x46
			binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
			return ip
		},
	} {
		p := ipv4(t, fields(), []byte("payload"))
		q := packet.From(change(p.Bytes()))
		if FitsMinimal(q.Bytes()) {
			t.Errorf("%s fits", name)
		}
		before := bytes.Clone(q.Bytes())
		if r := (Encapsulator{Encapsulation: Minimal}).Encapsulate(q); r != packet.DropUnsupported || !bytes.Equal(q.Bytes(), before) {
			t.Errorf("%s: %v, %x", name, r, q.Bytes())
		}
		p.Release()
		q.Release()
	}
}

// Shows: MIP-6, MIP-12 (what arrives in the wrong form is refused: checksums, keys, versions, RFC 1701's bits, loops)
func TestAlternativeRefusals(t *testing.T) {
	key := GREOptions{Keyed: true, Key: 7}
	for _, c := range []struct {
		name    string
		e       Encapsulation
		o       GREOptions
		payload string
		want    packet.DropReason
	}{
		{"minimal, checksum", Minimal, GREOptions{}, "01 80 e108 0a000114 0a000864 0800f7ff", packet.DropMalformed},
		{"minimal, short", Minimal, GREOptions{}, "01 80 e107 0a0001", packet.DropMalformed},
		{"minimal, without the source it announces", Minimal, GREOptions{}, "01 80 e107 0a000114 0a0008", packet.DropMalformed},
		{"GRE, short", GRE, GREOptions{}, "0000 08", packet.DropMalformed},
		{"GRE, shorter than its bits say", GRE, GREOptions{}, "3000 0800 00000000", packet.DropMalformed},
		{"GRE, checksum", GRE, GREOptions{}, "8000 0800 77fe 0000" + goldenInner, packet.DropMalformed},
		{"GRE, version 1", GRE, GREOptions{}, "0001 0800" + goldenInner, packet.DropUnsupported},
		{"GRE, routing of RFC 1701", GRE, GREOptions{}, "4000 0800 00000000 00000000" + goldenInner, packet.DropUnsupported},
		{"GRE, recursion of RFC 1701", GRE, GREOptions{}, "0400 0800" + goldenInner, packet.DropUnsupported},
		{"GRE, reserved bits that are ignored", GRE, GREOptions{}, "03f8 0800" + goldenInner, packet.NotDropped},
		{"GRE, sequence number", GRE, GREOptions{}, "1000 0800 00000000" + goldenInner, packet.DropUnsupported},
		{"GRE, another protocol", GRE, GREOptions{}, "0000 86dd" + goldenInner, packet.DropUnsupported},
		{"GRE, a key that was not asked for", GRE, GREOptions{}, "2000 0800 00000007" + goldenInner, packet.DropWrongTunnelPeer},
		{"GRE, without the key", GRE, key, "0000 0800" + goldenInner, packet.DropWrongTunnelPeer},
		{"GRE, another key", GRE, key, "2000 0800 00000008" + goldenInner, packet.DropWrongTunnelPeer},
		{"GRE, the key, and a checksum that we do not send", GRE, key, "a000 0800 0000 0000 00000007" + goldenInner, packet.NotDropped},
		{"GRE, to the tunnel's entry", GRE, GREOptions{}, "0000 0800 4500 0014 0000 0000 4001 0000 0a000864 c0a80132", packet.DropPolicy},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := unhex(t, c.payload)
			switch c.name {
			case "GRE, the key, and a checksum that we do not send":
				binary.BigEndian.PutUint16(b[4:], packet.Checksum(b, 0))
			case "GRE, to the tunnel's entry":
				binary.BigEndian.PutUint16(b[14:], packet.Checksum(b[4:], 0))
			}
			p := packet.From(b)
			defer p.Release()
			p.Peer, p.TTL = netip.AddrPortFrom(careOf, 0), 64
			if r := c.o.Open(p, c.e); r != c.want {
				t.Errorf("got %v, want %v", r, c.want)
			}
		})
	}
}

// Shows: MIP-6 (a superpacket is each of its segments; those that need headers of their own are cut)
func TestAlternativeSuperpacket(t *testing.T) {
	for _, e := range []Encapsulator{
		{Encapsulation: Minimal}, {Encapsulation: GRE}, {Encapsulation: GRE, GRE: GREOptions{Keyed: true, Key: 3}}, {Encapsulation: GRE, GRE: GREOptions{Checksum: true}},
	} {
		one := packet.One(superpacket(t, 1501, 500, fields()))
		one.Cut()
		e.Apply(one)
		whole := packet.One(superpacket(t, 1501, 500, fields()))
		e.Apply(whole)
		if stays := whole.Len() == 1; stays == e.Cuts() {
			t.Errorf("%+v: %d packets", e, whole.Len())
		}
		if !slices.EqualFunc(contents(whole), contents(one), bytes.Equal) {
			t.Errorf("%+v: other segments than those encapsulated alone", e)
		}
		if e.Cuts() {
			p := superpacket(t, 1501, 500, fields())
			if r := e.Encapsulate(p); r != packet.DropUnsupported {
				t.Errorf("%+v: a superpacket: %v", e, r)
			}
			p.Release()
		}
	}
}

// Shows: MIP-12 (ICMP errors from within tunnels of both forms are read, and relayed about the inner packet, RFC 2003 §4, RFC 2004 §5)
func TestAlternativeErrors(t *testing.T) {
	for _, e := range []Encapsulator{
		{Encapsulation: Minimal}, {Encapsulation: GRE}, {Encapsulation: GRE, GRE: GREOptions{Keyed: true, Key: 3, Checksum: true}},
	} {
		f := fields()
		f.DontFragment = true
		p := ipv4(t, f, make([]byte, 100))
		if r := e.Encapsulate(p); r != packet.NotDropped {
			t.Fatal(r)
		}
		packet.PushIPv4(p, packet.IPv4Fields{TTL: 60, ID: 9, DontFragment: true, Protocol: e.Encapsulation.Protocol(), Src: homeAgent, Dst: careOf})
		m := AppendICMPError(nil, ICMPUnreachable, CodeFragmentNeeded, 1400, p.Bytes())
		p.Release()
		got, ok := ParseICMPError(m, homeAgent, 434)
		want := 1400 - e.TotalOverhead()
		if !ok || got.Encapsulation != e.Encapsulation || got.Remote != netip.AddrPortFrom(careOf, 0) || got.MTU != want || !got.Relay {
			t.Fatalf("%+v: %+v, %t, want an MTU of %d", e, got, ok, want)
		}
		answer := got.Answer(homeAgent, want)
		if answer == nil {
			t.Fatalf("%+v: nothing is relayed", e)
		}
		relayed := packet.IPv4(answer.Bytes())
		about := packet.IPv4(relayed.Payload()[8:])
		if relayed.Dst() != correspondent || about.Src() != correspondent || about.Dst() != home || about.TotalLen() != 120 ||
			!about.ChecksumOK() || about.Protocol() != packet.ProtocolTCP {
			t.Errorf("%+v: relayed %x", e, relayed)
		}
		answer.Release()
	}
	for _, quoted := range []string{"0001 0800 00000000", "0000 86dd 00000000", "4000 0800 00000000"} {
		p := ipv4(t, packet.IPv4Fields{TTL: 60, Protocol: packet.ProtocolGRE, Src: homeAgent, Dst: careOf}, unhex(t, quoted))
		if _, ok := ParseICMPError(AppendICMPError(nil, ICMPUnreachable, CodeHostUnreachable, 0, p.Bytes()), homeAgent, 434); ok {
			t.Errorf("GRE header %s is taken for a tunnel's", quoted)
		}
		p.Release()
	}
}

// What a form opens is a well-formed packet that can enter again.
func FuzzOpenAlternative(f *testing.F) {
	f.Add(unhex(f, "01 80 e107 0a000114 0a000864 0800f7ff"), uint8(0), uint8(64), false, false)
	f.Add(unhex(f, "a000 0800 ef52 0000 12345678"+goldenInner), uint8(3), uint8(0), true, true)
	f.Add(unhex(f, "0000 0800"+goldenInner), uint8(1), uint8(0), true, false)
	f.Fuzz(func(t *testing.T, data []byte, tos, ttl uint8, gre, keyed bool) {
		if len(data) > packet.SmallSize-64 {
			return
		}
		e := Encapsulator{Encapsulation: Minimal}
		if gre {
			e = Encapsulator{Encapsulation: GRE, GRE: GREOptions{Keyed: keyed, Key: 0x12345678}}
		}
		p := packet.From(data)
		defer p.Release()
		p.Peer, p.TOS, p.TTL = netip.AddrPortFrom(careOf, 0), tos, ttl
		if e.GRE.Open(p, e.Encapsulation) != packet.NotDropped {
			return
		}
		ip := packet.IPv4(p.Bytes())
		if !ip.Valid() || !ip.ChecksumOK() || ip.TTL() == 0 || ip.TotalLen() != p.Len() {
			t.Fatalf("passed on %x", p.Bytes())
		}
		if e.Encapsulation == Minimal && !FitsMinimal(ip) {
			return
		}
		before := bytes.Clone(ip)
		if r := e.Encapsulate(p); r != packet.NotDropped {
			t.Fatalf("what was passed on cannot enter again: %v", r)
		}
		p.Peer, p.ID = netip.AddrPortFrom(careOf, 0), packet.IPv4(before).ID()
		if r := e.GRE.Open(p, e.Encapsulation); r != packet.NotDropped || !bytes.Equal(p.Bytes(), before) {
			t.Fatalf("in and out again: %v, %x, want %x", r, p.Bytes(), before)
		}
	})
}
