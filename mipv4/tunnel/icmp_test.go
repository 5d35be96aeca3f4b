package tunnel

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"mipvpn/tun/packet"
)

// Shows: MIP-12 (fragmentation needed, RFC 1191 §4, toward the source).
func TestICMPError(t *testing.T) {
	f := fields()
	f.DontFragment = true
	p := ipv4(t, f, make([]byte, 1480))
	defer p.Release()
	e := ICMPError(homeAgent, ICMPUnreachable, CodeFragmentNeeded, 1468, p.Bytes())
	if e == nil {
		t.Fatal("no error was made")
	}
	defer e.Release()
	ip := packet.IPv4(e.Bytes())
	if ip.Src() != homeAgent || ip.Dst() != correspondent || !ip.ChecksumOK() || ip.TotalLen() != maxICMPError {
		t.Fatalf("header %x", ip[:20])
	}
	m := ip.Payload()
	if packet.Checksum(m, 0) != 0 || m[0] != 3 || m[1] != 4 || binary.BigEndian.Uint16(m[6:]) != 1468 {
		t.Fatalf("message %x", m[:8])
	}
	if !bytes.Equal(m[8:28], p.Bytes()[:20]) {
		t.Error("the header is not quoted")
	}
	if MayAnswer(ip) {
		t.Error("an ICMP error may be answered")
	}
}

func TestMayAnswer(t *testing.T) {
	change := func(c func(*packet.IPv4Fields)) packet.IPv4 {
		f := fields()
		c(&f)
		return packet.IPv4(ipv4(t, f, []byte{8, 0, 0, 0, 0, 0, 0, 0}).Bytes())
	}
	later := change(func(*packet.IPv4Fields) {})
	later[7] = 1
	for name, c := range map[string]struct {
		ip   packet.IPv4
		want bool
	}{
		"tcp":             {change(func(*packet.IPv4Fields) {}), true},
		"echo request":    {change(func(f *packet.IPv4Fields) { f.Protocol = 1 }), true},
		"later fragment":  {later, false},
		"from a group":    {change(func(f *packet.IPv4Fields) { f.Src = netip.MustParseAddr("224.0.0.1") }), false},
		"from nowhere":    {change(func(f *packet.IPv4Fields) { f.Src = netip.IPv4Unspecified() }), false},
		"to a group":      {change(func(f *packet.IPv4Fields) { f.Dst = netip.MustParseAddr("224.0.0.1") }), false},
		"to all":          {change(func(f *packet.IPv4Fields) { f.Dst = netip.MustParseAddr("255.255.255.255") }), false},
		"no packet":       {packet.IPv4{1, 2, 3}, false},
		"loopback source": {change(func(f *packet.IPv4Fields) { f.Src = netip.MustParseAddr("127.0.0.1") }), false},
	} {
		if got := MayAnswer(c.ip); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}

// routerError returns the ICMP error of a router inside the tunnel about a packet from the correspondent to the home
// address in a tunnel from the home agent to the care-of address, quoting at most quote octets.
func routerError(t testing.TB, e Encapsulation, typ, code uint8, mtu uint16, quote int) []byte {
	t.Helper()
	p := ipv4(t, fields(), []byte("0123456789abcdef"))
	if r := (Encapsulator{Encapsulation: e}).Encapsulate(p); r != packet.NotDropped {
		t.Fatal(r)
	}
	protocol := uint8(packet.ProtocolIPIP)
	if e == UDP {
		packet.PushUDP(p, netip.AddrPortFrom(homeAgent, 434), netip.AddrPortFrom(careOf, 50001))
		protocol = packet.ProtocolUDP
	}
	packet.PushIPv4(p, packet.IPv4Fields{TTL: 60, Protocol: protocol, Src: homeAgent, Dst: careOf})
	outer := append([]byte(nil), p.Bytes()...)
	p.Release()
	m := append([]byte{typ, code, 0, 0, 0, 0, byte(mtu >> 8), byte(mtu)}, outer[:min(quote, len(outer))]...)
	binary.BigEndian.PutUint16(m[2:], packet.Checksum(m, 0))
	return m
}

// Shows: MIP-12 (RFC 2003 §4: relaying of ICMP messages from within the tunnel, soft state for the MTU).
func TestParseICMPError(t *testing.T) {
	for _, c := range []struct {
		name      string
		e         Encapsulation
		typ, code uint8
		mtu       uint16
		relay     bool
		wantCode  uint8
		wantMTU   int
	}{
		{"too big", IPIP, 3, CodeFragmentNeeded, 1400, true, CodeFragmentNeeded, 1380},
		{"too big, udp", UDP, 3, CodeFragmentNeeded, 1400, true, CodeFragmentNeeded, 1368},
		{"too big, old router", IPIP, 3, CodeFragmentNeeded, 0, true, CodeFragmentNeeded, 0},
		{"net", IPIP, 3, CodeNetUnreachable, 0, true, CodeNetUnreachable, 0},
		{"host", IPIP, 3, CodeHostUnreachable, 0, true, CodeHostUnreachable, 0},
		{"protocol", IPIP, 3, CodeProtocol, 0, true, CodeHostUnreachable, 0},
		{"port", UDP, 3, CodePort, 0, false, CodePort, 0},
		{"source route", IPIP, 3, CodeSourceRoute, 0, false, CodeSourceRoute, 0},
		{"time exceeded", IPIP, 11, CodeTTL, 0, true, CodeHostUnreachable, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, ok := ParseICMPError(routerError(t, c.e, c.typ, c.code, c.mtu, 1000), homeAgent, 434)
			if !ok {
				t.Fatal("not taken")
			}
			wantPort := uint16(0)
			if c.e == UDP {
				wantPort = 50001
			}
			if e.Remote != netip.AddrPortFrom(careOf, wantPort) || e.Encapsulation != c.e || e.MTU != c.wantMTU {
				t.Errorf("%+v", e)
			}
			if e.Relay != c.relay || e.Type != ICMPUnreachable || e.Code != c.wantCode {
				t.Errorf("relay %t as type %d code %d, want %t code %d", e.Relay, e.Type, e.Code, c.relay, c.wantCode)
			}
			answer := e.Answer(homeAgent, 1380)
			if (answer != nil) != c.relay {
				t.Fatalf("answer made: %t, want %t", answer != nil, c.relay)
			}
			if answer == nil {
				return
			}
			defer answer.Release()
			ip := packet.IPv4(answer.Bytes())
			m := ip.Payload()
			if ip.Dst() != correspondent || packet.Checksum(m, 0) != 0 || m[1] != c.wantCode {
				t.Errorf("answer %x", answer.Bytes())
			}
			if got := binary.BigEndian.Uint16(m[6:]); c.wantCode == CodeFragmentNeeded && got != 1380 || c.wantCode != CodeFragmentNeeded && got != 0 {
				t.Errorf("next-hop MTU %d", got)
			}
			if packet.IPv4(m[8:]).Dst() != home {
				t.Errorf("quotes %x", m[8:28])
			}
		})
	}
}

func TestParseICMPErrorRefuses(t *testing.T) {
	good := routerError(t, IPIP, 3, 4, 1400, 1000)
	short := routerError(t, IPIP, 3, 4, 1400, 28) // 8 octets behind the header, as RFC 792 asks of routers
	e, ok := ParseICMPError(short, homeAgent, 434)
	if !ok || e.Inner != nil || e.MTU != 1380 || e.Answer(homeAgent, 1380) != nil {
		t.Errorf("a short quote: %+v, %t", e, ok)
	}
	bad := append([]byte(nil), good...)
	bad[9]++
	if _, ok := ParseICMPError(bad, homeAgent, 434); ok {
		t.Error("a wrong checksum was taken")
	}
	if _, ok := ParseICMPError(good, careOf, 434); ok {
		t.Error("a tunnel of another address was taken")
	}
	if _, ok := ParseICMPError(routerError(t, UDP, 3, 4, 1400, 1000), homeAgent, 435); ok {
		t.Error("a tunnel of another port was taken")
	}
	echo := AppendEchoRequest(nil, home, homeAgent, 1, 1)[DataHeaderLen+20:]
	if _, ok := ParseICMPError(append(echo, make([]byte, 40)...), homeAgent, 434); ok {
		t.Error("an echo request was taken")
	}
}

func FuzzParseICMPError(f *testing.F) {
	f.Add(routerError(f, IPIP, 3, 4, 1400, 1000))
	f.Add(routerError(f, UDP, 11, 0, 0, 1000))
	f.Add(routerError(f, UDP, 3, 1, 0, 28))
	f.Add(routerError(f, IPIP, 3, 1, 0, 48))
	f.Fuzz(func(t *testing.T, m []byte) {
		if len(m) >= 4 { // most inputs would fail at the checksum
			m[2], m[3] = 0, 0
			binary.BigEndian.PutUint16(m[2:], packet.Checksum(m, 0))
		}
		e, ok := ParseICMPError(m, homeAgent, 434)
		if !ok {
			return
		}
		if a := e.Answer(homeAgent, e.MTU); a != nil {
			if ip := packet.IPv4(a.Bytes()); !ip.Valid() || a.Len() > maxICMPError {
				t.Fatalf("answer %x", a.Bytes())
			}
			a.Release()
		}
	})
}

func TestPathMTU(t *testing.T) {
	var m PathMTU
	if got := m.Of(0, 1480); got != 1480 {
		t.Errorf("nothing learnt: %d", got)
	}
	if !m.Learn(0, 1300) || m.Of(time.Second, 1480) != 1300 {
		t.Errorf("learnt 1300, got %d", m.Of(time.Second, 1480))
	}
	if m.Learn(time.Second, 1400) {
		t.Error("a larger MTU was learnt")
	}
	if !m.Learn(time.Second, 68) || m.Of(time.Second, 1480) != MinPathMTU {
		t.Errorf("a forged 68: %d, want %d", m.Of(time.Second, 1480), MinPathMTU)
	}
	if got := m.Of(time.Second+PathMTUAge, 1480); got != 1480 {
		t.Errorf("after its time: %d, want 1480", got)
	}
	if !m.Learn(time.Second+PathMTUAge, 1400) || m.Of(2*time.Second+PathMTUAge, 1480) != 1400 {
		t.Error("1400 was not learnt after 512 aged")
	}
	if got := m.Of(2*time.Second+PathMTUAge, 1000); got != 1000 {
		t.Errorf("a smaller link: %d", got)
	}
}

func TestParseUnreachable(t *testing.T) {
	p := packet.From([]byte{1, 2, 3})
	packet.PushUDP(p, netip.AddrPortFrom(careOf, 434), netip.AddrPortFrom(homeAgent, 434))
	packet.PushIPv4(p, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolUDP, Src: careOf, Dst: homeAgent})
	defer p.Release()
	m := AppendICMPError(nil, ICMPUnreachable, CodePort, 0, p.Bytes())
	to, code, ok := ParseUnreachable(m, careOf, 434)
	if !ok || to != netip.AddrPortFrom(homeAgent, 434) || code != CodePort {
		t.Errorf("%v, code %d, %t", to, code, ok)
	}
	if _, _, ok := ParseUnreachable(m, homeAgent, 434); ok {
		t.Error("about another host's datagram")
	}
	if _, _, ok := ParseUnreachable(m, careOf, 435); ok {
		t.Error("about another port's datagram")
	}
	if _, _, ok := ParseUnreachable(m[:20], careOf, 434); ok {
		t.Error("a message cut short was taken")
	}
}
