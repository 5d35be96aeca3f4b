//go:build linux

package underlay

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"

	"mipvpn/tun/device/virtio"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// tcpPacket returns an IPv4 packet of TCP from homeB to homeA that carries data, with only the pseudo header in its TCP
// checksum.
func tcpPacket(data []byte) *packet.Buf {
	b := packet.From(data)
	h := b.Push(20)
	clear(h)
	h[12], h[13] = 5<<4, 0x10
	n := b.Len()
	packet.PushIPv4(b, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolTCP, Src: homeB, Dst: homeA})
	p := b.Bytes()
	binary.BigEndian.PutUint16(p[36:], uint16(packet.PartialSum(p[12:20], packet.ProtocolTCP+uint32(n))))
	return b
}

// The kernel merges TCP segments inside IP in IP on receipt, and a raw socket gets them so: longer than the link carries,
// with a TCP checksum that is not whole. The flow gives packets as they could have crossed the wire. Here the other end
// sends such a packet as one long frame with a virtio-net header, which arrives at the raw socket in the same form.
func TestMergedTunnelPacketsAreMended(t *testing.T) {
	p := newPair(t)
	atA := newInbox()
	open(t, p.linkA, link.FlowSpec{Protocol: packet.ProtocolIPIP, Remote: netip.AddrPortFrom(addrB.Addr(), 0)}, atA.receive)
	frA := openTestFrames(t, p.a, p.indexA, func(b *packet.Batch) { b.Release() })
	sender := openTestFrames(t, p.b, p.indexB, func(b *packet.Batch) { b.Release() }).(*frames)
	for _, ns := range []*os.File{p.nsA, p.nsB} { // the flow was opened at 1500
		netnstest.Inside(t, ns, func() error {
			l, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			return netlink.LinkSetMTU(l, 20000)
		})
	}
	data := bytes.Repeat([]byte("pack my box with five dozen liquor jugs. "), 300)
	for _, test := range []struct{ length, packets int }{{1000, 1}, {len(data), 9}} {
		b := tcpPacket(data[:test.length])
		packet.PushIPv4(b, packet.IPv4Fields{TOS: 4, TTL: 64, Protocol: packet.ProtocolIPIP, Src: addrB.Addr(), Dst: addrA.Addr()})
		h := virtio.Header{Flags: virtio.FlagNeedsChecksum, CsumStart: ethernetLen + 40, CsumOffset: 16}
		to, from := frA.Hardware(), sender.Hardware()
		head := b.Push(frameHead)
		h.Put(head)
		copy(head[virtio.HeaderLen:], append(append(to[:], from[:]...), 8, 0))
		sender.tx.mu.Lock()
		sender.tx.begin()
		sender.tx.add(b.Bytes())
		_, errno, err := sender.tx.flush()
		sender.tx.mu.Unlock()
		if errno != 0 || err != nil {
			t.Fatalf("send a frame of %d octets: %v, %v", b.Len(), errno, err)
		}
		var got []byte
		for i, q := range atA.take(t, test.packets) {
			if why := checkTCP(q.Bytes()); why != "" || q.Len() > 1480 {
				t.Fatalf("packet %d of %d octets: %s", i, q.Len(), why)
			}
			if q.TOS != 4 || q.Peer.Addr() != addrB.Addr() || q.Interface != p.indexA {
				t.Errorf("packet %d has TOS %d, peer %v, interface %d", i, q.TOS, q.Peer, q.Interface)
			}
			got = append(got, q.Bytes()[40:]...)
		}
		if !bytes.Equal(got, data[:test.length]) {
			t.Errorf("%d octets of %d arrived, or others", len(got), test.length)
		}
	}
}

// The same inside GRE: each packet that comes out has the GRE header in front, without the checksum that was that of one segment.
func TestMergedGREPacketsAreMended(t *testing.T) {
	p := newPair(t)
	atA := newInbox()
	open(t, p.linkA, link.FlowSpec{Protocol: packet.ProtocolGRE, Remote: netip.AddrPortFrom(addrB.Addr(), 0)}, atA.receive)
	raw := open(t, p.linkB, link.FlowSpec{Protocol: packet.ProtocolGRE, Remote: netip.AddrPortFrom(addrA.Addr(), 0)}, func(b *packet.Batch) { b.Release() })
	for _, ns := range []*os.File{p.nsA, p.nsB} { // the flows were opened at 1500
		netnstest.Inside(t, ns, func() error {
			l, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			return netlink.LinkSetMTU(l, 20000)
		})
	}
	data := bytes.Repeat([]byte("pack my box with five dozen liquor jugs. "), 300)
	for _, test := range []struct {
		header  []byte
		left    []byte
		length  int
		packets int
	}{
		{[]byte{0, 0, 8, 0}, []byte{0, 0, 8, 0}, 1000, 1},
		{[]byte{0, 0, 8, 0}, []byte{0, 0, 8, 0}, len(data), 9},
		{[]byte{0xa0, 0, 8, 0, 1, 2, 0, 0, 9, 8, 7, 6}, []byte{0x20, 0, 8, 0, 9, 8, 7, 6}, len(data), 9},
	} {
		b := tcpPacket(data[:test.length])
		copy(b.Push(len(test.header)), test.header)
		if err := raw.Send(netip.AddrPort{}, b.Bytes()); err != nil {
			t.Fatal(err)
		}
		b.Release()
		var got []byte
		for i, q := range atA.take(t, test.packets) {
			head := q.Bytes()[:len(test.left)]
			inner := q.Bytes()[len(test.left):]
			if why := checkTCP(inner); why != "" || q.Len() > 1480 || !bytes.Equal(head, test.left) {
				t.Fatalf("packet %d of %d octets, header %x: %s", i, q.Len(), head, why)
			}
			got = append(got, inner[40:]...)
		}
		if !bytes.Equal(got, data[:test.length]) {
			t.Errorf("%d octets of %d arrived, or others", len(got), test.length)
		}
	}
	for _, other := range [][]byte{{1, 2}, {0x80, 0, 8, 0, 1}, {0x10, 0, 8, 0, 0, 0, 0, 1, 0x45}, {0x20, 0, 8, 0, 1, 2, 3, 4, 'x'}} {
		if err := raw.Send(netip.AddrPort{}, other); err != nil {
			t.Fatal(err)
		}
		if got := atA.take(t, 1)[0].Bytes(); !bytes.Equal(got, other) {
			t.Errorf("received %x, sent %x", got, other)
		}
	}
}

// Minimal encapsulation shares the outer header with its packet: time to live and DF are sent as the packet has them, and what
// arrives in the header is told.
//
// Shows: MIP-6 (RFC 2004 §3: TTL and DF of the outer header, through the kernel)
func TestMinimalHeader(t *testing.T) {
	p := newPair(t)
	atB := newInbox()
	open(t, p.linkB, link.FlowSpec{Protocol: packet.ProtocolMinimal}, atB.receive)
	f := open(t, p.linkA, link.FlowSpec{Protocol: packet.ProtocolMinimal, Remote: netip.AddrPortFrom(addrB.Addr(), 0)}, func(b *packet.Batch) { b.Release() })
	for i, c := range []struct {
		ttl   uint8
		whole bool
	}{{1, false}, {17, true}, {0, false}, {255, true}} {
		b := numbered(0, 100)
		b.TTL, b.DontFragment, b.TOS = c.ttl, c.whole, 0xb8
		if err := f.Path(link.Protected).Send(packet.One(b)); err != nil {
			t.Fatal(err)
		}
		want := c.ttl
		if want == 0 {
			want = 64
		}
		if got := atB.take(t, 1)[0]; got.TTL != want || got.DontFragment != c.whole || got.TOS != 0xb8 || got.Len() != 100 {
			t.Errorf("packet %d arrived with TTL %d, DF %t, TOS %#x, %d octets; want %d, %t", i, got.TTL, got.DontFragment, got.TOS, got.Len(), want, c.whole)
		}
	}
}

// The reverse-path check of a strict kernel would drop what comes from inside a prefix that is routed into the device.
//
// Shows: HST-1 (strict rp_filter handled)
func TestStrictReversePathFilter(t *testing.T) {
	p := newPair(t)
	strict := func(value string) { // the kernel takes the greater of the two
		netnstest.Inside(t, p.nsA, func() error {
			if err := os.WriteFile("/proc/sys/net/ipv4/conf/all/rp_filter", []byte("0"), 0); err != nil {
				return err
			}
			return os.WriteFile("/proc/sys/net/ipv4/conf/eth0/rp_filter", []byte(value), 0)
		})
	}
	openDevice(t, p.a, homeA) // routes 10.1.0.0/16, where B is, into the device
	atA, atB := newInbox(), newInbox()
	server := open(t, p.linkB, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 434}, atB.receive)
	client := open(t, p.linkA, link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: server.Local()}, atA.receive)
	// The first packet waits for ARP; those after it are looked at when they are sent.
	if err := server.Send(client.Local(), []byte("first")); err != nil {
		t.Fatal(err)
	}
	atA.take(t, 1)
	for _, step := range []struct{ filter, payload string }{{"1", "lost to the strict filter"}, {"2", "arrives"}} {
		strict(step.filter)
		if err := server.Send(client.Local(), []byte(step.payload)); err != nil {
			t.Fatal(err)
		}
	}
	if got := atA.take(t, 1)[0].Bytes(); string(got) != "arrives" {
		t.Errorf("received %q: the filter does not filter, and the test shows nothing", got)
	}
	strict("1")
	if err := p.a.Apply(link.Settings{Device: "mip0", Address: homeA, MTU: 1380, Routes: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}); err != nil {
		t.Fatal(err)
	}
	if err := server.Send(client.Local(), []byte("after Apply")); err != nil {
		t.Fatal(err)
	}
	if got := atA.take(t, 1)[0].Bytes(); string(got) != "after Apply" {
		t.Errorf("received %q", got)
	}
}
