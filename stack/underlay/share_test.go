//go:build linux

package underlay

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Shows: MEC-D (the ports of IKE serve the gateway and the x-HA at once: flows of one port to different endpoints share it, each
// sends to its own and hears it alone, and the last one that closes gives the port back)
func TestFlowsShareTheirPort(t *testing.T) {
	p := newPair(t)
	two := netip.MustParsePrefix("10.1.0.3/24")
	netnstest.Inside(t, p.nsB, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.AddrAdd(l, &netlink.Addr{IPNet: netnstest.IPNet(two)})
	})
	neighbours(t, p.nsA, p.nsB, two.Addr())
	second, err := p.b.Underlay(p.indexB, two.Addr())
	if err != nil {
		t.Fatal(err)
	}
	const port = 4500
	spec := func(to netip.Addr) link.FlowSpec {
		return link.FlowSpec{Protocol: packet.ProtocolUDP, Port: port, Remote: netip.AddrPortFrom(to, port), Signalling: link.SignallingNATTraversal}
	}
	far := map[netip.Addr]link.Flow{}
	for addr, l := range map[netip.Addr]link.Link{addrB.Addr(): p.linkB, two.Addr(): second} {
		in := newInbox()
		far[addr] = open(t, l, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: port}, in.receive)
	}
	near := map[netip.Addr]inbox{addrB.Addr(): newInbox(), two.Addr(): newInbox()}
	flows := map[netip.Addr]link.Flow{}
	for addr, in := range near {
		flows[addr] = open(t, p.linkA, spec(addr), in.receive)
		if l := flows[addr].Local(); l != netip.AddrPortFrom(addrA.Addr(), port) {
			t.Fatalf("local %v", l)
		}
	}
	if f, err := p.linkA.Open(spec(addrB.Addr()), near[addrB.Addr()].receive); err == nil {
		_ = f.Close()
		t.Error("the same flow was opened twice")
	}
	for _, marked := range []bool{true, false} { // by the socket for signalling, and by that for data
		for addr, in := range near {
			payload := append([]byte{0, 0, 0, 0}, addr.String()...)
			if !marked {
				payload[0] = 7
			}
			if err := far[addr].Send(netip.AddrPortFrom(addrA.Addr(), port), payload); err != nil {
				t.Fatal(err)
			}
			got := in.take(t, 1)[0]
			if !bytes.Equal(got.Bytes(), payload) || got.Peer != netip.AddrPortFrom(addr, port) {
				t.Errorf("%v: %q from %v", addr, got.Bytes(), got.Peer)
			}
			got.Release()
		}
	}
	atB := newInbox()
	openTestFrames(t, p.b, p.indexB, atB.receive)
	for addr, f := range flows {
		if err := f.Path(link.Protected).Send(packet.One(packet.From([]byte("from the flow")))); err != nil {
			t.Fatal(err)
		}
		got := atB.take(t, 1)[0]
		if ip := packet.IPv4(got.Bytes()); ip.Dst() != addr || packet.UDP(ip.Payload()).DstPort() != port {
			t.Errorf("the flow to %v sent to %v", addr, ip.Dst())
		}
		got.Release()
	}
	if err := flows[addrB.Addr()].Close(); err != nil {
		t.Fatal(err)
	}
	if err := flows[addrB.Addr()].Send(netip.AddrPort{}, []byte("late")); err == nil {
		t.Error("a closed flow sends")
	}
	if err := far[two.Addr()].Send(netip.AddrPortFrom(addrA.Addr(), port), []byte("still here")); err != nil {
		t.Fatal(err)
	}
	near[two.Addr()].take(t, 1)[0].Release()
	if err := flows[two.Addr()].Close(); err != nil {
		t.Fatal(err)
	}
	again, err := p.linkA.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Port: port}, near[two.Addr()].receive)
	if err != nil {
		t.Fatalf("the port was not given back: %v", err)
	}
	_ = again.Close()
}
