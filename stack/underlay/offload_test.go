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
