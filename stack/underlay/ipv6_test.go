//go:build linux

package underlay

import (
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

var (
	sixA = netip.MustParsePrefix("2001:db8::1/64")
	sixB = netip.MustParsePrefix("2001:db8::2/64")
)

// newPair6 is newPair with IPv6 addresses alone.
func newPair6(t testing.TB) *pair {
	p := &pair{nsA: netnstest.New(t), nsB: netnstest.New(t)}
	netnstest.Wire(t, p.nsA, "eth0", netip.Prefix{}, p.nsB, "eth0", netip.Prefix{})
	for _, end := range []struct {
		ns *os.File
		at netip.Prefix
	}{{p.nsA, sixA}, {p.nsB, sixB}} {
		netnstest.Inside(t, end.ns, func() error {
			l, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			// No second is lost to duplicate address detection.
			return netlink.AddrAdd(l, &netlink.Addr{IPNet: netnstest.IPNet(end.at), Flags: unix.IFA_F_NODAD})
		})
	}
	p.a, p.b = newHost(t, p.nsA), newHost(t, p.nsB)
	p.indexA, p.indexB = netnstest.Index(t, p.nsA, "eth0"), netnstest.Index(t, p.nsB, "eth0")
	var err error
	if p.linkA, err = p.a.Underlay(p.indexA, sixA.Addr()); err != nil {
		t.Fatal(err)
	}
	if p.linkB, err = p.b.Underlay(0, sixB.Addr()); err != nil {
		t.Fatal(err)
	}
	return p
}

// Shows: IKE-6. UDP flows over IPv6: both sockets of a flow that carries signalling, TOS, the interface, trains.
func TestUDPFlowOverIPv6(t *testing.T) {
	p := newPair6(t)
	atA, atB := newInbox(), newInbox()
	server := open(t, p.linkB, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 4500, Signalling: link.SignallingNATTraversal}, atB.receive)
	client := open(t, p.linkA, link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: server.Local(), Signalling: link.SignallingNATTraversal}, atA.receive)
	if client.Local().Addr() != sixA.Addr() || client.Local().Port() == 0 || client.Path(link.Protected).Overhead != 48 {
		t.Errorf("client %v, %+v", client.Local(), client.Path(link.Protected))
	}
	ike := append(make([]byte, 4), "an IKE message"...)
	if err := client.Send(netip.AddrPort{}, ike); err != nil {
		t.Fatal(err)
	}
	got := atB.take(t, 1)[0]
	if string(got.Bytes()) != string(ike) || got.Peer != client.Local() || got.Interface != p.indexB {
		t.Fatalf("server received %q from %v on interface %d, want it from %v on %d", got.Bytes(), got.Peer, got.Interface, client.Local(), p.indexB)
	}
	reply := packet.From([]byte("data of a child SA"))
	reply.Peer, reply.TOS = got.Peer, 0xba
	if err := server.Path(link.Protected).Send(packet.One(reply)); err != nil {
		t.Fatal(err)
	}
	if got = atA.take(t, 1)[0]; got.Peer != server.Local() || got.TOS != 0xba || got.Interface != p.indexA {
		t.Fatalf("client received %q from %v on interface %d with TOS %#x", got.Bytes(), got.Peer, got.Interface, got.TOS)
	}
	const n = 100
	b := packet.GetBatch()
	lengths := make([]int, n)
	for i := range n {
		lengths[i] = 1400
		q := numbered(i+0x01000000, 1400) // no marker of zeros
		b.Append(q)
	}
	if err := client.Path(link.Protected).Send(b); err != nil {
		t.Fatal(err)
	}
	for i, q := range atB.take(t, n) {
		want := numbered(i+0x01000000, 1400)
		if string(q.Bytes()) != string(want.Bytes()) {
			t.Fatalf("packet %d of a train: %d octets %.8x", i, q.Len(), q.Bytes())
		}
		want.Release()
	}
	if err := client.Send(netip.MustParseAddrPort("192.0.2.1:500"), ike); err == nil {
		t.Error("sent to IPv4")
	}
	stray := packet.From([]byte("x"))
	stray.Peer = netip.MustParseAddrPort("192.0.2.1:500")
	if err := server.Path(link.Protected).Send(packet.One(stray)); err == nil {
		t.Error("sent data to IPv4")
	}
}

// Shows: IKE-6. ESP over IPv6 (IP protocol 50).
func TestESPOverIPv6(t *testing.T) {
	p := newPair6(t)
	atB := newInbox()
	open(t, p.linkB, link.FlowSpec{Protocol: packet.ProtocolESP}, atB.receive)
	client := open(t, p.linkA, link.FlowSpec{Protocol: packet.ProtocolESP, Remote: netip.AddrPortFrom(sixB.Addr(), 0)}, func(b *packet.Batch) { b.Release() })
	q := packet.From([]byte("an ESP packet"))
	q.TOS = 0x28
	if err := client.Path(link.Protected).Send(packet.One(q)); err != nil {
		t.Fatal(err)
	}
	got := atB.take(t, 1)[0]
	if string(got.Bytes()) != "an ESP packet" || got.Peer != netip.AddrPortFrom(sixA.Addr(), 0) || got.TOS != 0x28 || got.Interface != p.indexB {
		t.Errorf("received %q from %v on interface %d with TOS %#x", got.Bytes(), got.Peer, got.Interface, got.TOS)
	}
}

func TestNoFlowsOfOtherAddresses(t *testing.T) {
	p := newPair6(t)
	for _, a := range []string{"::", "fe80::1", "::ffff:192.0.2.1", "0.0.0.0"} {
		if _, err := p.a.Underlay(p.indexA, netip.MustParseAddr(a)); err == nil {
			t.Errorf("a link of %s", a)
		}
	}
	if _, err := p.linkA.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: netip.MustParseAddrPort("192.0.2.1:500")}, func(b *packet.Batch) { b.Release() }); err == nil {
		t.Error("a flow from IPv6 to IPv4")
	}
	var m mmsghdr
	var name endpointName
	m.setName(&name, true)
	if m.hdr.Namelen != unix.SizeofSockaddrInet6 {
		t.Errorf("%d octets of address", m.hdr.Namelen)
	}
	for _, s := range []string{"192.0.2.1:500", "[2001:db8::1]:4500"} {
		at := netip.MustParseAddrPort(s)
		putSockaddr(&name, at, at.Addr().Is6())
		if got := sockaddr(&name); got != at {
			t.Errorf("%v reads as %v", at, got)
		}
	}
}
