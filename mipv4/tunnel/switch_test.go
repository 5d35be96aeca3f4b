package tunnel

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"mipvpn/tun/packet"
)

var (
	swHome    = netip.MustParseAddr("198.51.100.100")
	swGateway = netip.MustParseAddr("192.0.2.4")
	swCareOf  = netip.MustParseAddr("203.0.113.50")
	swAgent   = netip.MustParseAddr("192.0.2.20")
)

// packetOf returns a packet from src to dst that travels as s, with a payload.
func packetOf(s Switched, src, dst netip.AddrPort, payload []byte, unsummed bool) packet.IPv4 {
	p := packet.From(payload)
	defer p.Release()
	protocol := uint8(packet.ProtocolESP)
	if s != SwitchedESP {
		protocol = packet.ProtocolUDP
		if unsummed {
			packet.PushUDPUnsummed(p, src, dst)
		} else {
			packet.PushUDP(p, src, dst)
		}
	}
	packet.PushIPv4(p, packet.IPv4Fields{TOS: 0xb9, ID: 7, DontFragment: true, TTL: 60, Protocol: protocol, Src: src.Addr(), Dst: dst.Addr()})
	return bytes.Clone(p.Bytes())
}

// The octets of docs/zero-overhead.md: an IKE message and an ESP packet, before and after.
//
// Shows: MEC-D (header rewriting, checksums corrected incrementally)
func TestSwitchAddressesGolden(t *testing.T) {
	for name, c := range map[string]struct{ before, after string }{
		"IKE": {
			"4500 0024 0001 0000 4011 8e2c c6336464 c0000204 01f4 01f4 0010 ff35 0102030405060708",
			"4500 0024 0001 0000 4011 7c81 cb007132 c0000214 01f4 01f4 0010 ed8a 0102030405060708",
		},
		"ESP": {
			"4500 0020 0002 4000 4032 4e0e c6336464 c0000204 00001001 00000001 abcdef01",
			"4500 0020 0002 4000 4032 3c63 cb007132 c0000214 00001001 00000001 abcdef01",
		},
	} {
		p := packet.IPv4(unhex(t, c.before))
		if !p.ChecksumOK() || p.Protocol() == packet.ProtocolUDP && !packet.UDP(p.Payload()).ChecksumOK(p.Src(), p.Dst()) {
			t.Fatalf("%s: the example is wrong: %x", name, []byte(p))
		}
		SwitchAddresses(p, swCareOf, swAgent)
		if want := unhex(t, c.after); !bytes.Equal(p, want) {
			t.Errorf("%s: %x, want %x", name, []byte(p), want)
		}
	}
}

// Whatever the addresses and the payload, the checksums stay right, a checksum of zero stays zero, and the way back restores
// every octet.
//
// Shows: MEC-D (a zero checksum is kept, RFC 3948 §2.1)
func FuzzSwitchAddresses(f *testing.F) {
	f.Add(uint32(0xc6336464), uint32(0xc0000204), uint32(0xcb007132), uint32(0xc0000214), []byte("payload"), false)
	f.Add(uint32(0), uint32(0xffffffff), uint32(0xffffffff), uint32(0), []byte{}, true)
	f.Fuzz(func(t *testing.T, a, b, c, d uint32, payload []byte, unsummed bool) {
		if len(payload) > 2000 {
			return
		}
		addr := func(v uint32) netip.Addr {
			return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, v)))
		}
		before := packetOf(SwitchedIKE, netip.AddrPortFrom(addr(a), 1), netip.AddrPortFrom(addr(b), 500), payload, unsummed)
		ip := packet.IPv4(bytes.Clone(before))
		SwitchAddresses(ip, addr(c), addr(d))
		u := packet.UDP(ip.Payload())
		if !ip.ChecksumOK() || !u.ChecksumOK(ip.Src(), ip.Dst()) || ip.Src() != addr(c) || ip.Dst() != addr(d) || (u.Checksum() == 0) != unsummed {
			t.Fatalf("%x became %x", []byte(before), []byte(ip))
		}
		SwitchAddresses(ip, addr(a), addr(b))
		if packet.UDP(ip.Payload()).Checksum() == 0xffff { // two ways to write the same sum
			return
		}
		if !bytes.Equal(ip, before) {
			t.Fatalf("%x came back as %x", []byte(before), []byte(ip))
		}
	})
}

// What qualifies, and what escapes.
//
// Shows: MEC-D (only ESP and UDP 500/4500 at the default destination; no fragments, no options)
func TestWhatIsSwitched(t *testing.T) {
	udp := func(src uint16) packet.IPv4 {
		return packetOf(SwitchedIKE, netip.AddrPortFrom(swGateway, src), netip.AddrPortFrom(swHome, 61000), make([]byte, 40), false)
	}
	fragment := func(ip packet.IPv4, flags uint16) packet.IPv4 {
		binary.BigEndian.PutUint16(ip[6:], flags)
		return ip
	}
	options := append(packet.IPv4(nil), 0x46)
	options = append(options, udp(500)[1:20]...)
	options = append(append(options, 1, 1, 1, 0), udp(500)[20:]...)
	binary.BigEndian.PutUint16(options[2:], uint16(len(options)))
	lying := udp(500)
	lying[25]--
	other := udp(500)
	other[9] = packet.ProtocolTCP
	for name, c := range map[string]struct {
		ip   packet.IPv4
		want Switched
	}{
		"ESP":                    {packetOf(SwitchedESP, netip.AddrPortFrom(swGateway, 0), netip.AddrPortFrom(swHome, 0), make([]byte, 40), false), SwitchedESP},
		"IKE":                    {udp(500), SwitchedIKE},
		"UDP 4500":               {udp(4500), SwitchedNATT},
		"UDP 434":                {udp(434), NotSwitched},
		"a first fragment":       {fragment(udp(500), 0x2000), NotSwitched},
		"a last fragment":        {fragment(udp(500), 0x0001), NotSwitched},
		"DF alone":               {fragment(udp(500), 0x4000), SwitchedIKE},
		"options":                {options, NotSwitched},
		"a UDP length that lies": {lying, NotSwitched},
		"TCP":                    {other, NotSwitched},
	} {
		if !c.ip.Valid() {
			t.Fatalf("%s: the example is no packet", name)
		}
		if got := SwitchedFrom(c.ip); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// Out at the home agent and in again at the other end: the packet is what it was, but for its checksum where that is left out.
func TestSwitchOutAndIn(t *testing.T) {
	ike, espUDP := make([]byte, 60), append([]byte{1, 2, 3, 4}, make([]byte, 56)...)
	for name, c := range map[string]struct {
		s       Switched
		payload []byte
		sum     bool // the restored header has a checksum
	}{
		"ESP":           {SwitchedESP, espUDP, false},
		"IKE":           {SwitchedIKE, ike, true},
		"IKE at 4500":   {SwitchedNATT, ike, true},
		"ESP at 4500":   {SwitchedNATT, espUDP, false},
		"NAT keepalive": {SwitchedNATT, []byte{0xff}, true},
	} {
		port := c.s.Port()
		before := packetOf(c.s, netip.AddrPortFrom(swGateway, port), netip.AddrPortFrom(swHome, port), c.payload, false)
		p := packet.From(before)
		if r := SwitchOut(p, SwitchedFrom(before), swCareOf); r != packet.NotDropped {
			t.Fatalf("%s: %v", name, r)
		}
		if !bytes.Equal(p.Bytes(), c.payload) || p.Peer != netip.AddrPortFrom(swCareOf, port) || p.TOS != 0xb9 || !p.DontFragment {
			t.Errorf("%s: %x to %v, TOS %x, DF %t", name, p.Bytes(), p.Peer, p.TOS, p.DontFragment)
		}
		SwitchIn(p, c.s, swHome, swGateway, 77)
		ip := packet.IPv4(p.Bytes())
		if !ip.Valid() || !ip.ChecksumOK() || ip.Src() != swHome || ip.Dst() != swGateway || ip.TOS() != 0xb9 || ip.ID() != 77 {
			t.Fatalf("%s: restored %x", name, []byte(ip))
		}
		if c.s == SwitchedESP {
			continue
		}
		u := packet.UDP(ip.Payload())
		if u.DstPort() != port || u.SrcPort() != port || !u.ChecksumOK(ip.Src(), ip.Dst()) || (u.Checksum() != 0) != c.sum || !bytes.Equal(u.Payload(), c.payload) {
			t.Errorf("%s: restored UDP %x", name, []byte(u))
		}
		p.Release()
	}
	damaged := packetOf(SwitchedIKE, netip.AddrPortFrom(swGateway, 500), netip.AddrPortFrom(swHome, 500), ike, false)
	damaged[40] ^= 1
	if r := SwitchOut(packet.From(damaged), SwitchedIKE, swCareOf); r != packet.DropMalformed {
		t.Errorf("a damaged message: %v", r)
	}
}

// An ICMP error about a switched packet says to the default destination what it would have said about its own packet.
//
// Shows: MEC-D (ICMP: too big and unreachable, translated back)
func TestTranslateErrors(t *testing.T) {
	for _, s := range []Switched{SwitchedESP, SwitchedIKE, SwitchedNATT} {
		about := packetOf(s, netip.AddrPortFrom(swGateway, s.Port()), netip.AddrPortFrom(swHome, 61000), make([]byte, 1300), false)
		switched := packet.IPv4(bytes.Clone(about))
		SwitchAddresses(switched, swAgent, swCareOf)
		m := AppendICMPError(nil, ICMPUnreachable, CodeFragmentNeeded, 1200, switched)
		e, ok := ParseSwitchedError(m, swAgent)
		if !ok || e.CareOf != swCareOf || !e.TooBig || e.MTU != 1200 {
			t.Fatalf("%v: %+v, %t", s, e, ok)
		}
		e.Own()
		p := e.Translate(swAgent, swHome, swGateway, 1200)
		ip := packet.IPv4(p.Bytes())
		want := AppendICMPError(nil, ICMPUnreachable, CodeFragmentNeeded, 1200, about)
		if ip.Src() != swAgent || ip.Dst() != swGateway || !bytes.Equal(ip.Payload(), want) {
			t.Errorf("%v: %x\nwant %x", s, ip.Payload(), want)
		}
		p.Release()
		short := bytes.Clone(m[:icmpHeaderLen+packet.IPv4Len+8])
		binary.BigEndian.PutUint16(short[2:], 0)
		binary.BigEndian.PutUint16(short[2:], packet.Checksum(short, 0))
		if _, ok := ParseSwitchedError(short, swAgent); !ok {
			t.Errorf("%v: the shortest quotation is refused", s)
		}
	}
	tunnelled := packetOf(SwitchedESP, netip.AddrPortFrom(swAgent, 0), netip.AddrPortFrom(swCareOf, 0), make([]byte, 100), false)
	ours := AppendICMPError(nil, ICMPUnreachable, CodePort, 0, tunnelled)
	damaged := bytes.Clone(ours)
	damaged[30] ^= 1
	for name, c := range map[string]struct {
		m     []byte
		local netip.Addr
	}{
		"about somebody else's packet": {ours, swHome},
		"damaged":                      {damaged, swAgent},
		"an echo":                      {AppendEchoRequest(nil, swHome, swAgent, 1, 1), swAgent},
		"nothing":                      {nil, swAgent},
		"about registration": {AppendICMPError(nil, ICMPUnreachable, CodePort, 0, packetOf(SwitchedIKE,
			netip.AddrPortFrom(swAgent, 434), netip.AddrPortFrom(swCareOf, 61000), make([]byte, 30), false)), swAgent},
	} {
		if e, ok := ParseSwitchedError(c.m, c.local); ok {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

// FuzzSwitchedError: any octets are an error about a switched packet or none, and what is translated is a packet.
func FuzzSwitchedError(f *testing.F) {
	about := packetOf(SwitchedNATT, netip.AddrPortFrom(swAgent, 4500), netip.AddrPortFrom(swCareOf, 61000), make([]byte, 100), false)
	f.Add(AppendICMPError(nil, ICMPUnreachable, CodeFragmentNeeded, 1200, about))
	f.Add(AppendICMPError(nil, ICMPTimeExceeded, CodeTTL, 0, about)[:40])
	f.Fuzz(func(t *testing.T, m []byte) {
		if len(m) >= 4 { // so that more than the checksum is tried
			m = bytes.Clone(m)
			m[2], m[3] = 0, 0
			binary.BigEndian.PutUint16(m[2:], packet.Checksum(m, 0))
		}
		before := bytes.Clone(m)
		e, ok := ParseSwitchedError(m, swAgent)
		if !ok {
			return
		}
		p := e.Translate(swAgent, swHome, swGateway, e.MTU)
		defer p.Release()
		ip := packet.IPv4(p.Bytes())
		if !bytes.Equal(m, before) || !ip.Valid() || len(ip) > maxICMPError || packet.Checksum(ip.Payload(), 0) != 0 || ip.Dst() != swGateway {
			t.Fatalf("%x became %x", m, []byte(ip))
		}
	})
}

func TestSwitchingDoesNotAllocate(t *testing.T) {
	ip := packetOf(SwitchedESP, netip.AddrPortFrom(swGateway, 0), netip.AddrPortFrom(swHome, 0), make([]byte, 1400), false)
	p := packet.From(ip)
	defer p.Release()
	if n := testing.AllocsPerRun(100, func() {
		SwitchOut(p, SwitchedESP, swCareOf)
		SwitchIn(p, SwitchedESP, swGateway, swHome, 1)
	}); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}

func BenchmarkSwitchAddresses(b *testing.B) {
	ip := packetOf(SwitchedIKE, netip.AddrPortFrom(swGateway, 500), netip.AddrPortFrom(swHome, 500), make([]byte, 1400), false)
	b.ReportAllocs()
	for b.Loop() {
		SwitchAddresses(ip, swAgent, swCareOf)
	}
}

func BenchmarkSwitchOutAndIn(b *testing.B) {
	for name, c := range map[string]struct {
		s Switched
		n uint16
	}{"ESP": {SwitchedESP, 0}, "ESP in UDP": {SwitchedNATT, 4500}} {
		b.Run(name, func(b *testing.B) {
			payload := append([]byte{1, 2, 3, 4}, make([]byte, 1396)...)
			p := packet.From(packetOf(c.s, netip.AddrPortFrom(swGateway, c.n), netip.AddrPortFrom(swHome, c.n), payload, true))
			defer p.Release()
			b.ReportAllocs()
			for b.Loop() {
				SwitchOut(p, c.s, swCareOf)
				SwitchIn(p, c.s, swGateway, swHome, 1)
			}
		})
	}
}
