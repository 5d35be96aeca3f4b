package judge

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

const canary = "sixteen octets!!"

func newJudge() *Judge {
	j := &Judge{Enterprise: netip.MustParsePrefix("10.0.0.0/16"),
		Secret: []netip.Addr{netip.MustParseAddr("10.0.8.100"), netip.MustParseAddr("10.0.1.20")}}
	j.AddCanary([]byte(canary))
	return j
}

// ipv4 builds a packet, outermost header first, from pairs "source destination" and what each carries.
func ipv4(src, dst string, proto layers.IPProtocol, inner []byte) []byte {
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: proto, SrcIP: net.ParseIP(src), DstIP: net.ParseIP(dst)}
	return serialize(ip, gopacket.Payload(inner))
}

func udp(src, dst uint16, body []byte) []byte {
	return serialize(&layers.UDP{SrcPort: layers.UDPPort(src), DstPort: layers.UDPPort(dst)}, gopacket.Payload(body))
}

func ethernet(t layers.EthernetType, inner []byte) []byte {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	return serialize(&layers.Ethernet{SrcMAC: mac, DstMAC: mac, EthernetType: t}, gopacket.Payload(inner))
}

func serialize(ls ...gopacket.SerializableLayer) []byte {
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, ls...); err != nil {
		panic(err)
	}
	return append([]byte(nil), b.Bytes()...)
}

func esp(n int) []byte {
	b := make([]byte, n)
	binary.BigEndian.PutUint32(b, 0x12345678)
	copy(b[16:], []byte{10, 0, 8, 100}) // ciphertext may look like anything
	return b
}

// TestFrames shows what is a leak and what is not, frame by frame, and what each counts as.
func TestFrames(t *testing.T) {
	request := append([]byte{1, 0, 0, 60}, []byte{10, 0, 8, 100}...)
	user := ipv4("10.0.8.100", "10.0.1.20", layers.IPProtocolUDP, udp(7, 7, []byte("hello")))
	tunnel := func(inner []byte) []byte { return append([]byte{4, 4, 0, 0}, inner...) }
	icmp := func(kind uint8, quoted []byte) []byte {
		return serialize(&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, 1)}, gopacket.Payload(quoted))
	}
	arp := func(target string) []byte {
		return serialize(&layers.ARP{AddrType: 1, Protocol: 0x0800, HwAddressSize: 6, ProtAddressSize: 4, Operation: 1,
			SourceHwAddress: make([]byte, 6), SourceProtAddress: []byte{172, 16, 5, 1}, DstHwAddress: make([]byte, 6),
			DstProtAddress: net.ParseIP(target).To4()})
	}
	ip := func(src, dst string, proto layers.IPProtocol, inner []byte) []byte {
		return ethernet(layers.EthernetTypeIPv4, ipv4(src, dst, proto, inner))
	}
	const cafe, xha, xhoa, gw = "192.168.1.100", "192.0.2.20", "198.51.100.100", "192.0.2.10"
	quotedRequest := ipv4("192.168.1.100", "10.0.1.10", layers.IPProtocolUDP, udp(5000, 434, request))
	for _, c := range []struct {
		name  string
		frame []byte
		leak  bool
		want  Tally
	}{
		{"registration to the x-HA", ip(cafe, xha, layers.IPProtocolUDP, udp(5000, 434, request)), false, Tally{Registrations: 1}},
		{"registration to the i-HA from outside", ip(cafe, "10.0.1.10", layers.IPProtocolUDP, udp(5000, 434, request)), false, Tally{Registrations: 1}},
		{"registration through a foreign agent from the home address", ip("10.0.8.100", "172.16.5.1", layers.IPProtocolUDP, udp(5000, 434, request)), false, Tally{Registrations: 1}},
		{"registration with a canary", ip(cafe, xha, layers.IPProtocolUDP, udp(5000, 434, append(request, canary...))), true, Tally{Registrations: 1}},
		{"ESP", ip(cafe, gw, layers.IPProtocolESP, esp(80)), false, Tally{ESP: 1}},
		{"ESP from an office care-of address", ip("10.0.2.100", gw, layers.IPProtocolESP, esp(80)), false, Tally{ESP: 1}},
		{"ESP from the home address", ip("10.0.8.100", gw, layers.IPProtocolESP, esp(80)), true, Tally{ESP: 1}},
		{"ESP over UDP", ip(cafe, gw, layers.IPProtocolUDP, udp(4500, 4500, esp(80))), false, Tally{ESP: 1}},
		{"ESP over UDP tunnelling", ip(cafe, xha, layers.IPProtocolUDP, udp(5000, 434, tunnel(ipv4(xhoa, gw, layers.IPProtocolESP, esp(80))))), false, Tally{ESP: 1}},
		{"ESP over IP-IP", ip("192.0.2.40", xha, layers.IPProtocolIPv4, ipv4(xhoa, gw, layers.IPProtocolESP, esp(80))), false, Tally{ESP: 1}},
		{"IKE", ip(xhoa, gw, layers.IPProtocolUDP, udp(500, 500, make([]byte, 60))), false, Tally{IKE: 1}},
		{"IKE over port 4500", ip(xhoa, gw, layers.IPProtocolUDP, udp(4500, 4500, make([]byte, 60))), false, Tally{IKE: 1}},
		{"user packet, bare", ethernet(layers.EthernetTypeIPv4, user), true, Tally{Other: 1}},
		{"user packet over IP-IP", ip(cafe, "10.0.1.10", layers.IPProtocolIPv4, user), true, Tally{Other: 1}},
		{"user packet over UDP tunnelling", ip(cafe, xha, layers.IPProtocolUDP, udp(5000, 434, tunnel(user))), true, Tally{Other: 1}},
		{"a SYN to the enterprise", ip(cafe, "10.0.77.5", layers.IPProtocolTCP, make([]byte, 20)), true, Tally{Other: 1}},
		{"name query to the enterprise", ip(cafe, "10.0.1.53", layers.IPProtocolUDP, udp(5000, 53, make([]byte, 20))), true, Tally{Other: 1}},
		{"canary to anywhere", ip(cafe, "203.0.113.1", layers.IPProtocolTCP, append(make([]byte, 40), canary...)), true, Tally{Other: 1}},
		{"canary in ESP", ip(cafe, gw, layers.IPProtocolESP, append(esp(80), canary...)), true, Tally{ESP: 1}},
		{"user packet over GRE", ip(cafe, xha, layers.IPProtocolGRE, append([]byte{0, 0, 8, 0}, user...)), true, Tally{Other: 1}},
		{"user packet over minimal encapsulation", ip(cafe, xha, 55, append([]byte{6, 128, 0, 0, 10, 0, 8, 100}, make([]byte, 30)...)), true, Tally{Other: 1}},
		{"later fragment of a user packet", ethernet(layers.EthernetTypeIPv4, serialize(&layers.IPv4{Version: 4, TTL: 64, FragOffset: 100,
			Protocol: layers.IPProtocolUDP, SrcIP: net.ParseIP("10.0.8.100"), DstIP: net.ParseIP("192.0.2.1")}, gopacket.Payload(make([]byte, 30)))), true, Tally{Other: 1}},
		{"ARP for the home address", ethernet(layers.EthernetTypeARP, arp("10.0.8.100")), true, Tally{Other: 1}},
		{"ARP for the foreign agent", ethernet(layers.EthernetTypeARP, arp("172.16.5.1")), false, Tally{Other: 1}},
		{"address in an unknown protocol", ethernet(0x88b5, append(make([]byte, 50), 10, 0, 8, 100)), true, Tally{Other: 1}},
		{"unreachable about a registration", ip("192.168.1.1", cafe, layers.IPProtocolICMPv4, icmp(3, quotedRequest)), false, Tally{Registrations: 1}},
		{"unreachable about a registration, cut short", ip("192.168.1.1", cafe, layers.IPProtocolICMPv4, icmp(3, quotedRequest[:28])), false, Tally{Registrations: 1}},
		{"unreachable about a user packet", ip("192.168.1.1", cafe, layers.IPProtocolICMPv4, icmp(3, user[:28])), true, Tally{Other: 1}},
		{"other traffic", ip(cafe, "203.0.113.1", layers.IPProtocolTCP, make([]byte, 40)), false, Tally{Other: 1}},
		{"an empty frame", nil, false, Tally{Other: 1}},
	} {
		j := newJudge()
		reason := j.Frame("w", time.Time{}, c.frame)
		if (reason != "") != c.leak {
			t.Errorf("%s: leak = %q, want one: %v", c.name, reason, c.leak)
		}
		c.want.Frames = 1
		if c.leak {
			c.want.Leaks = 1
		}
		if got := j.Tally("w"); got != c.want {
			t.Errorf("%s: tally %+v, want %+v", c.name, got, c.want)
		}
		if n, kept := j.Leaks(); n != c.want.Leaks || len(kept) != n {
			t.Errorf("%s: %d leaks, %d kept, want %d", c.name, n, len(kept), c.want.Leaks)
		}
	}
}

// FuzzFrame shows that no frame brings the judge down, and that a canary is found in whatever stands around it.
func FuzzFrame(f *testing.F) {
	f.Add(ethernet(layers.EthernetTypeIPv4, ipv4("1.2.3.4", "5.6.7.8", layers.IPProtocolUDP, udp(434, 434, []byte{4, 4, 0, 0, 0x45}))), 3)
	f.Add([]byte{}, 0)
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		j := newJudge()
		j.Frame("w", time.Time{}, b)
		at = max(0, min(at, len(b)))
		marked := append(append(append([]byte(nil), b[:at]...), canary...), b[at:]...)
		if j.Frame("w", time.Time{}, marked) == "" {
			t.Errorf("a canary at offset %d was not seen", at)
		}
	})
}
