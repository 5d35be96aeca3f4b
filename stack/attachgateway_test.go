package stack

import (
	"bytes"
	"net/netip"
	"testing"

	"mipvpn/ipsec/suite"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Shows: MEC-B (the laptop's data path: registration messages go to the agent and come from it alone, everything else is the
// host's; what has no security association's mark, or comes after the attachment has been closed, does not arrive)
func TestAttachViaGateway(t *testing.T) {
	l := compose(t, composition{ModeVF, false}, suite.AESGCM128)
	v := l.vpn.link.Load()
	var replies []string
	a, err := AttachViaGateway(v, gatewayAgent, func(m []byte) { replies = append(replies, string(m)) }, l.engine.Inbound())
	check(t, err)
	var sent netip.AddrPort
	l.wire.each = func(s []byte) {
		p := packet.From(s)
		defer p.Release()
		if r := l.atFar.Open(p); r != packet.NotDropped {
			t.Fatalf("the gateway: %v", r)
		}
		ip := packet.IPv4(p.Bytes())
		u := packet.UDP(ip.Payload())
		if ip.Src() != home || ip.Dst() != gatewayAgent || ip.TTL() != 255 || u.DstPort() != RegistrationPort || string(u.Payload()) != "request" {
			t.Errorf("the gateway got %x", []byte(ip))
		}
		sent = netip.AddrPortFrom(ip.Src(), u.SrcPort())
	}
	check(t, a.Send([]byte("request")))
	l.wire.each = nil

	reply := func(src netip.AddrPort, marked bool) {
		p := packet.From([]byte("reply"))
		packet.PushUDP(p, src, sent)
		packet.PushIPv4(p, packet.IPv4Fields{TTL: 255, Protocol: packet.ProtocolUDP, Src: src.Addr(), Dst: home})
		if marked {
			p.SA = l.inbound.SPI
		}
		v.Deliver(packet.One(p))
	}
	reply(netip.AddrPortFrom(gatewayAgent, RegistrationPort), true)
	if len(replies) != 1 || replies[0] != "reply" || l.device.written != 0 {
		t.Errorf("replies %q, %d packets for the host", replies, l.device.written)
	}
	reply(netip.AddrPortFrom(correspondent, RegistrationPort), true) // of the person's own
	reply(netip.AddrPortFrom(correspondent, RegistrationPort), false)
	if len(replies) != 1 || l.device.written != 1 || l.drops.Of(packet.DropPolicy) != 1 {
		t.Errorf("replies %q, %d packets for the host, drops %v", replies, l.device.written, l.drops.Snapshot())
	}

	carrier, err := a.Carrier(mobilenode.Tunnel{})
	check(t, err)
	before := bytes.Clone(patterned(700, false))
	got := 0
	l.wire.each = func(s []byte) {
		if p, err := l.opened(s); err == nil && bytes.Equal(p, before) {
			got++
		}
	}
	check(t, carrier(link.Protected).Send(one(before)))
	if got != 1 {
		t.Error("a packet did not leave as it was")
	}
	v.SetCarrier(nil)
	check(t, carrier(link.Protected).Send(one(before)))
	if got != 1 || l.drops.Of(packet.DropNoPath) != 1 {
		t.Errorf("drops of a link that is down: %v", l.drops.Snapshot())
	}
	check(t, a.Close())
	reply(netip.AddrPortFrom(correspondent, RegistrationPort), true)
	reply(netip.AddrPortFrom(gatewayAgent, RegistrationPort), true)
	if len(replies) != 1 || l.device.written != 1 || l.drops.Of(packet.DropNoFlow) != 2 {
		t.Errorf("after Close: replies %q, %d packets for the host, drops %v", replies, l.device.written, l.drops.Snapshot())
	}
}

// Shows: MEC-B (a change between an address of the gateway's and the home address: the link before goes on receiving, and is the
// same one when it is needed again)
func TestLinksOfTwoAddresses(t *testing.T) {
	m := &memory{wire: &wire{}, flows: map[uint8]*memoryFlow{}}
	var drops packet.Drops
	v, err := OpenVPN(m, far, &drops, func(Message) {})
	check(t, err)
	got := map[netip.Addr]int{}
	listen := func(address netip.Addr) *PacketLink {
		l := v.Link(address)
		l.SetRest(func(b *packet.Batch) {
			got[address] += b.Len()
			b.Release()
		})
		return l
	}
	arrive := func(addresses ...string) {
		b := packet.GetBatch()
		for _, a := range addresses {
			b.Append(packet.From(toHome(a, 100)))
		}
		v.deliver(b)
	}
	ordinary := listen(inner)
	arrive(inner.String(), home.String())
	through := listen(home)
	arrive(inner.String(), home.String(), inner.String(), "10.0.8.101")
	if got[inner] != 3 || got[home] != 1 || drops.Of(packet.DropNotHomeAddress) != 2 {
		t.Errorf("received %v, drops %v", got, drops.Snapshot())
	}
	if v.Link(inner) != ordinary || v.Link(home) != through || v.Link(home) != through {
		t.Error("another link for the same address")
	}
	third := listen(netip.MustParseAddr("10.0.9.3"))
	arrive(inner.String(), home.String(), third.Addr().String())
	if got[inner] != 3 || got[home] != 2 || got[third.Addr()] != 1 {
		t.Errorf("received %v", got)
	}
	check(t, v.Close())
}
