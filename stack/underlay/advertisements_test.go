//go:build linux

package underlay

import (
	"bytes"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// icmpPacket returns an IPv4 packet of an ICMP message.
func icmpPacket(src, dst netip.Addr, message ...byte) *packet.Buf {
	b := packet.From(message)
	packet.PushIPv4(b, packet.IPv4Fields{TTL: 1, Protocol: packet.ProtocolICMP, Src: src, Dst: dst})
	return b
}

// Agent advertisements are all that arrives of an interface's frames, and frames leave it as ever.
//
// Shows: MIP-7 (an agent is heard beside an address of one's own)
func TestOnlyAdvertisements(t *testing.T) {
	p := newPair(t)
	heard, all := newInbox(), newInbox()
	ears, err := p.b.OpenAdvertisements(p.indexB, heard.receive)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ears.Close() })
	agent := openTestFrames(t, p.a, p.indexA, all.receive)
	src, group := netip.MustParseAddr("172.16.5.1"), netip.MustParseAddr("224.0.0.1")
	groupHardware := packet.HardwareAddr{0x01, 0x00, 0x5e, 0, 0, 1}
	var want [][]byte
	b := packet.GetBatch()
	for _, q := range []struct {
		p  *packet.Buf
		to packet.HardwareAddr
	}{
		{udpPacket(netip.AddrPortFrom(src, 434), netip.AddrPortFrom(homeB, 434), "a reply"), ears.Hardware()},
		{icmpPacket(src, group, 9, 0, 1, 2, 3, 4, 5, 6), groupHardware},
		{icmpPacket(src, homeB, 8, 0, 1, 2, 3, 4, 5, 6), ears.Hardware()},
		{icmpPacket(src, homeB), ears.Hardware()},
		{icmpPacket(src, netip.MustParseAddr("255.255.255.255"), 9, 16, 0, 0), packet.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
	} {
		q.p.Hardware = q.to
		if ip := packet.IPv4(q.p.Bytes()); ip.Protocol() == packet.ProtocolICMP && len(ip.Payload()) > 0 && ip.Payload()[0] == 9 {
			want = append(want, bytes.Clone(ip))
		}
		b.Append(q.p)
	}
	if err := agent.Out(link.Protected).Send(b); err != nil {
		t.Fatal(err)
	}
	for i, got := range heard.take(t, len(want)) {
		if !bytes.Equal(got.Bytes(), want[i]) || got.Hardware != agent.Hardware() || got.Interface != p.indexB {
			t.Errorf("heard % x from %v on interface %d, want % x from %v on %d", got.Bytes(), got.Hardware, got.Interface, want[i], agent.Hardware(), p.indexB)
		}
	}
	q := icmpPacket(netip.IPv4Unspecified(), netip.MustParseAddr("224.0.0.2"), 10, 0, 0xf5, 0xff, 0, 0, 0, 0)
	q.Hardware = packet.HardwareAddr{0x01, 0x00, 0x5e, 0, 0, 2}
	sent := bytes.Clone(q.Bytes())
	if err := ears.Out(link.Protected).Send(packet.One(q)); err != nil {
		t.Fatal(err)
	}
	if got := all.take(t, 1)[0]; !bytes.Equal(got.Bytes(), sent) || got.Hardware != ears.Hardware() {
		t.Errorf("sent % x, % x arrived from %v", sent, got.Bytes(), got.Hardware)
	}
}

// The filter takes whole router advertisements and refuses everything else, whatever a frame holds.
func TestAdvertisementFilter(t *testing.T) {
	vm, err := bpf.NewVM(onlyAdvertisements())
	if err != nil {
		t.Fatal(err)
	}
	frame := func(change func([]byte), message ...byte) []byte {
		ip := icmpPacket(homeA, homeB, message...).Bytes()
		change(ip)
		return append(make([]byte, ethernetLen), ip...)
	}
	same := func([]byte) {}
	for name, c := range map[string]struct {
		frame []byte
		want  bool
	}{
		"advertisement":   {frame(same, 9, 0, 0, 0), true},
		"of other agents": {frame(same, 9, 16, 0, 0), true},
		"with options":    {frame(func(ip []byte) { ip[0], ip[20] = 0x46, 8 }, 8, 0, 0, 0, 9), true},
		"solicitation":    {frame(same, 10, 0, 0, 0), false},
		"empty":           {frame(same), false},
		"first fragment":  {frame(func(ip []byte) { ip[6] = 0x20 }, 9, 0), false},
		"later fragment":  {frame(func(ip []byte) { ip[7] = 1 }, 9, 0), false},
		"other protocol":  {frame(func(ip []byte) { ip[9] = packet.ProtocolUDP }, 9, 0), false},
		"no packet":       {make([]byte, ethernetLen+9), false},
	} {
		if n, err := vm.Run(c.frame); err != nil || (n > 0) != c.want {
			t.Errorf("%s: %d octets are taken, %v", name, n, err)
		}
	}
}
