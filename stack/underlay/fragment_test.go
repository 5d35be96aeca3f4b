//go:build linux

package underlay

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	mip "mipvpn/mipv4/tunnel"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Shows: HST-4, MIP-12 (each packet bears the DF that it asks for, in a batch of both kinds and in trains of segments; a
// packet over the interface's MTU is refused with DF and fragmented without; an ICMP message that anybody can forge changes
// none of that)
func TestDontFragmentOfEachPacket(t *testing.T) {
	for _, spec := range []link.FlowSpec{
		{Protocol: packet.ProtocolUDP, Remote: netip.AddrPortFrom(addrB.Addr(), 434)},
		{Protocol: packet.ProtocolIPIP, Remote: netip.AddrPortFrom(addrB.Addr(), 0)},
	} {
		t.Run(fmt.Sprintf("protocol %d", spec.Protocol), func(t *testing.T) { testDontFragment(t, spec) })
	}
}

func testDontFragment(t *testing.T, spec link.FlowSpec) {
	p := newPair(t)
	atB := newInbox()
	frames := openTestFrames(t, p.b, p.indexB, atB.receive)
	// Something listens, so that the kernel at B sends no ICMP message of its own.
	open(t, p.linkB, link.FlowSpec{Protocol: spec.Protocol, Port: spec.Remote.Port()}, func(b *packet.Batch) { b.Release() })
	f := open(t, p.linkA, spec, func(b *packet.Batch) { b.Release() })
	check := func(when string) packet.IPv4 {
		t.Helper()
		order := []bool{true, true, true, false, false, true, false}
		batch := packet.GetBatch()
		for i, whole := range order {
			b := numbered(i, 1400)
			b.DontFragment, b.Probe = whole && i != 5, i == 5
			batch.Append(b)
		}
		if err := f.Path(link.Protected).Send(batch); err != nil {
			t.Fatal(err)
		}
		if err := f.Send(netip.AddrPort{}, make([]byte, 40)); err != nil {
			t.Fatal(err)
		}
		got := atB.take(t, len(order)+1)
		for i, b := range got {
			want := i < len(order) && order[i]
			if ip := packet.IPv4(b.Bytes()); ip.DontFragment() != want || ip.MoreFragments() || ip.FragmentOffset() != 0 {
				t.Errorf("%s: packet %d of %d octets has DF %t, want %t whole", when, i, len(ip), ip.DontFragment(), want)
			}
		}
		return packet.IPv4(got[0].Bytes())
	}
	first := check("at first")

	// "Fragmentation needed", next-hop MTU 600, about the first packet: the kernel's path MTU cache believes it.
	m := mip.AppendICMPError(nil, mip.ICMPUnreachable, mip.CodeFragmentNeeded, 600, first)
	forged := packet.From(m)
	packet.PushIPv4(forged, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolICMP, Src: addrB.Addr(), Dst: addrA.Addr()})
	icmp, atA := newInbox(), newInbox()
	forged.Hardware = openTestFrames(t, p.a, p.indexA, atA.receive).Hardware()
	open(t, p.linkA, link.FlowSpec{Protocol: packet.ProtocolICMP}, icmp.receive)
	if err := frames.Out(link.Protected).Send(packet.One(forged)); err != nil {
		t.Fatal(err)
	}
	icmp.take(t, 1)
	check("after a forged ICMP message")

	long := numbered(1, 1600)
	long.DontFragment = true
	if err := f.Path(link.Protected).Send(packet.One(long)); !errors.Is(err, link.ErrTooBig) {
		t.Errorf("a packet of 1600 octets with DF: error %v, want link.ErrTooBig", err)
	}
	if err := f.Path(link.Protected).Send(packet.One(numbered(2, 1600))); err != nil {
		t.Errorf("a packet of 1600 octets without DF: %v", err)
	}
	for i, b := range atB.take(t, 2) {
		if ip := packet.IPv4(b.Bytes()); ip.DontFragment() || ip.MoreFragments() != (i == 0) {
			t.Errorf("fragment %d: DF %t, MF %t, offset %d", i, ip.DontFragment(), ip.MoreFragments(), ip.FragmentOffset())
		}
	}
	check("after fragments")
}
