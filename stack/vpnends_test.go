package stack

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/suite"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// sentBy is a link of its own whose packets are kept.
type sentBy struct {
	*PacketLink
	packets [][]byte
}

func newSentBy(addr string, overhead int) *sentBy {
	s := &sentBy{PacketLink: NewPacketLink(netip.MustParseAddr(addr), new(packet.Drops), nil)}
	s.SetCarrier(func(link.Class) link.Path { return link.Path{Out: s, MTU: 1500 - overhead, Overhead: overhead} })
	return s
}

// Send implements link.Sender.
func (s *sentBy) Send(b *packet.Batch) error {
	for _, p := range b.Bufs {
		s.packets = append(s.packets, bytes.Clone(p.Bytes()))
	}
	b.Release()
	return nil
}

// last returns protocol, destination and UDP source port of what was sent last, and forgets all.
func (s *sentBy) last() (protocol uint8, to netip.Addr, port uint16) {
	if len(s.packets) == 0 {
		return 0, netip.Addr{}, 0
	}
	ip := packet.IPv4(s.packets[len(s.packets)-1])
	s.packets = nil
	if ip.Protocol() == packet.ProtocolUDP {
		port = packet.UDP(ip.Payload()).SrcPort()
	}
	return ip.Protocol(), ip.Dst(), port
}

// arrives has a UDP packet from the gateway arrive.
func (s *sentBy) arrives(from netip.AddrPort, port uint16, payload []byte) {
	p := packet.From(payload)
	packet.PushUDP(p, from, netip.AddrPortFrom(s.Addr(), port))
	packet.PushIPv4(p, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolUDP, Src: from.Addr(), Dst: s.Addr()})
	s.Deliver(packet.One(p))
}

// Shows: MEC-C, IKE-7. A VPN stands on several links at once: messages leave by the link and the port that the IKE machine names
// and arrive by each, packets go where the machine's update says and their overhead is that of the link there, a further port is
// opened and used, and a link that has been left receives nothing.
func TestVPNOnSeveralBearers(t *testing.T) {
	var got []Message
	home, direct := newSentBy("198.51.100.77", 40), newSentBy("192.168.7.20", 0)
	second := netip.MustParseAddr("192.0.2.11")
	v, err := OpenVPN(home, far, new(packet.Drops), func(m Message) { got = append(got, m) })
	check(t, err)
	check(t, v.Stand(direct, far))
	check(t, v.Stand(direct, far)) // the same again
	check(t, v.Listen([]netip.Addr{far, second, netip.MustParseAddr("2001:db8::1")}))
	at := func(l *sentBy, port uint16) netip.AddrPort { return netip.AddrPortFrom(l.Addr(), port) }

	for _, l := range []*sentBy{home, direct} {
		for _, port := range []uint16{esp.PortIKE, esp.PortNATT} {
			for _, gateway := range []netip.Addr{far, second} {
				check(t, v.Send(at(l, port), gateway, []byte("question")))
				if protocol, to, from := l.last(); protocol != packet.ProtocolUDP || to != gateway || from != port {
					t.Errorf("from %v port %d to %v: sent protocol %d from port %d to %v", l.Addr(), port, gateway, protocol, from, to)
				}
				answer := []byte("answer")
				if port == esp.PortNATT {
					answer = append(make([]byte, esp.MarkerLen), answer...)
				}
				got = nil
				l.arrives(netip.AddrPortFrom(gateway, port), port, answer)
				if len(got) != 1 || got[0].Local != at(l, port) || got[0].Remote.Addr() != gateway || string(got[0].Payload) != "answer" {
					t.Errorf("to %v port %d from %v: arrived %+v", l.Addr(), port, gateway, got)
				}
			}
		}
	}
	if err := v.Send(netip.MustParseAddrPort("192.168.7.21:4500"), far, []byte("x")); !errors.Is(err, ErrNoBearer) {
		t.Errorf("from an address of no bearer: %v", err)
	}

	inside := v.Link(inner)
	out, err := esp.NewOutbound(esp.Parameters{SPI: 0x1234, Encryption: suite.AESGCM128, Key: make([]byte, suite.AESGCM128.KeyLen()),
		Local: []esp.Selector{esp.AddrSelector(inner)}, Remote: []esp.Selector{esp.AnySelector()}}, new(packet.Drops))
	check(t, err)
	v.Use(out, esp.Overhead(suite.AESGCM128), true)
	flow, err := inside.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: netip.AddrPortFrom(internalAgent, 434)}, func(b *packet.Batch) { b.Release() })
	check(t, err)
	through := func(l *sentBy, gateway netip.Addr, port uint16) {
		t.Helper()
		check(t, flow.Send(netip.AddrPort{}, []byte("data")))
		if protocol, to, from := l.last(); protocol != packet.ProtocolUDP || to != gateway || from != port {
			t.Errorf("data went as protocol %d from port %d to %v, want port %d by %v", protocol, from, to, port, l.Addr())
		}
	}
	through(home, far, esp.PortNATT)
	narrow := inside.MTU()
	check(t, v.Follow(at(direct, esp.PortNATT), netip.AddrPortFrom(second, esp.PortNATT), ike.EndpointUpdate{}))
	through(direct, second, esp.PortNATT)
	if wide := inside.MTU(); wide != narrow+40 {
		t.Errorf("MTU %d on the link without overhead, %d on the one with 40 octets", wide, narrow)
	}

	further, err := v.OpenPort(direct.Addr(), far)
	check(t, err)
	if further.Addr() != direct.Addr() || slices.Contains([]uint16{0, esp.PortIKE, esp.PortNATT}, further.Port()) {
		t.Fatalf("the further port is %v", further)
	}
	check(t, v.Follow(further, netip.AddrPortFrom(far, esp.PortNATT), ike.EndpointUpdate{}))
	through(direct, far, further.Port())
	check(t, v.SendKeepalive(further, far))
	if protocol, to, from := direct.last(); protocol != packet.ProtocolUDP || to != far || from != further.Port() {
		t.Errorf("the keepalive went as protocol %d from port %d to %v", protocol, from, to)
	}
	got = nil
	direct.arrives(netip.AddrPortFrom(far, esp.PortNATT), further.Port(), append(make([]byte, esp.MarkerLen), "answer"...))
	if len(got) != 1 || got[0].Local != further {
		t.Errorf("to the further port: arrived %+v", got)
	}

	// The same address on another network: packets go by the new link, and the old one's flows are closed.
	elsewhere := newSentBy(direct.Addr().String(), 0)
	check(t, v.Follow(at(direct, esp.PortNATT), netip.AddrPortFrom(far, esp.PortNATT), ike.EndpointUpdate{}))
	check(t, v.Stand(elsewhere, far))
	through(elsewhere, far, esp.PortNATT)
	got = nil
	direct.arrives(netip.AddrPortFrom(far, esp.PortNATT), esp.PortNATT, append(make([]byte, esp.MarkerLen), "late"...))
	if len(got) != 0 {
		t.Errorf("the link before still receives: %+v", got)
	}

	check(t, v.Leave(home.Addr()))
	home.arrives(netip.AddrPortFrom(far, esp.PortNATT), esp.PortNATT, append(make([]byte, esp.MarkerLen), "late"...))
	if err := v.Send(at(home, esp.PortNATT), far, []byte("x")); len(got) != 0 || !errors.Is(err, ErrNoBearer) {
		t.Errorf("left: received %+v, sending says %v", got, err)
	}
	check(t, v.Close())
	if err := v.Stand(home, far); err == nil {
		t.Error("a closed VPN stands on a link")
	}
}
