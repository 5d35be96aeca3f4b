package esp

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"mipvpn/tun/packet"
)

func TestPrefixSelector(t *testing.T) {
	for _, c := range []struct{ prefix, start, end string }{
		{"10.0.9.77/24", "10.0.9.0", "10.0.9.255"}, {"0.0.0.0/0", "0.0.0.0", "255.255.255.255"},
		{"2001:db8:1:2:3::/61", "2001:db8:1::", "2001:db8:1:7:ffff:ffff:ffff:ffff"}, {"::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"2001:db8::1/128", "2001:db8::1", "2001:db8::1"}, {"192.0.2.1/32", "192.0.2.1", "192.0.2.1"}, {"128.0.0.0/1", "128.0.0.0", "255.255.255.255"},
	} {
		s := PrefixSelector(netip.MustParsePrefix(c.prefix))
		if s.Start.String() != c.start || s.End.String() != c.end || s.StartPort != 0 || s.EndPort != 65535 {
			t.Errorf("%s: %v to %v", c.prefix, s.Start, s.End)
		}
	}
	if s := PrefixSelector(netip.MustParsePrefix("::ffff:192.0.2.0/120")); s != (Selector{}) {
		t.Errorf("a mapped prefix gives %v", s)
	}
}

func TestIntersect(t *testing.T) {
	tcp := func(prefix string, from, to uint16) Selector {
		s := PrefixSelector(netip.MustParsePrefix(prefix))
		s.Protocol, s.StartPort, s.EndPort = packet.ProtocolTCP, from, to
		return s
	}
	all := PrefixSelector(netip.MustParsePrefix("10.0.0.0/8"))
	for _, c := range []struct {
		a, b, want Selector
		ok         bool
	}{
		{all, PrefixSelector(netip.MustParsePrefix("10.0.9.0/24")), PrefixSelector(netip.MustParsePrefix("10.0.9.0/24")), true},
		{all, tcp("0.0.0.0/0", 80, 90), tcp("10.0.0.0/8", 80, 90), true},
		{tcp("10.0.0.0/8", 80, 90), tcp("10.2.0.0/16", 85, 99), tcp("10.2.0.0/16", 85, 90), true},
		{tcp("10.0.0.0/8", 80, 90), tcp("10.0.0.0/8", 91, 99), Selector{}, false},
		{all, PrefixSelector(netip.MustParsePrefix("11.0.0.0/8")), Selector{}, false},
		{all, Selector{}, Selector{}, false}, {AnySelector(), AnySelector6(), Selector{}, false},
		{AnySelector6(), PrefixSelector(netip.MustParsePrefix("2001:db8::/32")), PrefixSelector(netip.MustParsePrefix("2001:db8::/32")), true},
	} {
		for _, pair := range [][2]Selector{{c.a, c.b}, {c.b, c.a}} {
			if got, ok := pair[0].Intersect(pair[1]); got != c.want || ok != c.ok {
				t.Errorf("%v and %v: %v, %v, want %v", pair[0], pair[1], got, ok, c.want)
			}
		}
	}
}

// RFC 4301 §4.4.1.1 and §7: protocols, ports, ICMP type and code, fragments.
func TestSelectorsLookAtPorts(t *testing.T) {
	any := AnySelector()
	web := any
	web.Protocol, web.StartPort, web.EndPort = packet.ProtocolTCP, 80, 443
	echo := any
	echo.Protocol, echo.StartPort, echo.EndPort = packet.ProtocolICMP, 8<<8, 8<<8|255
	tcpAny := any
	tcpAny.Protocol = packet.ProtocolTCP
	make4 := func(protocol uint8, payload []byte, fragment uint16) packet.IPv4 {
		b := packet.From(payload)
		packet.PushIPv4(b, packet.IPv4Fields{TTL: 64, Protocol: protocol, Src: client, Dst: server})
		p := packet.IPv4(b.Bytes())
		binary.BigEndian.PutUint16(p[6:], fragment)
		return p
	}
	to443 := []byte{0xc0, 0x00, 0x01, 0xbb}
	for _, c := range []struct {
		name   string
		remote Selector
		p      packet.IPv4
		want   bool
	}{
		{"any, other protocol", any, make4(47, nil, 0), true},
		{"port inside", web, make4(packet.ProtocolTCP, to443, 0), true},
		{"port outside", web, make4(packet.ProtocolTCP, []byte{1, 187, 0xc0, 0}, 0), false},
		{"protocol differs", web, make4(packet.ProtocolUDP, to443, 0), false},
		{"cut before its ports", web, make4(packet.ProtocolTCP, to443[:3], 0), false},
		{"a later fragment, ports wanted", web, make4(packet.ProtocolTCP, to443, 1), false},
		{"a first fragment, ports wanted", web, make4(packet.ProtocolTCP, to443, 0x2000), true},
		{"a later fragment, no ports wanted", tcpAny, make4(packet.ProtocolTCP, to443, 1), true},
		{"ICMP type inside", echo, make4(packet.ProtocolICMP, []byte{8, 0, 0, 0}, 0), true},
		{"ICMP type outside", echo, make4(packet.ProtocolICMP, []byte{3, 0, 0, 0}, 0), false},
	} {
		_, dst := sides(c.p)
		if got := dst.matches(compile([]Selector{c.remote})); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	if src, _ := sides(make4(47, nil, 0)); src.matches(nil) || src.matches(compile([]Selector{{}})) {
		t.Error("an empty list or the zero selector matches")
	}
}
