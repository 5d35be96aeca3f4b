package e2e

import (
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"mipvpn/stack/simnet"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/packet"
)

// On kernels, applications on the laptop hear what a neighbour sends to all on the home link and to a group that they have joined,
// and are heard there when they do: in the office, where the office hears nothing of it, and at home.
//
// Shows: MIP-11 (real sockets: limited and subnet-directed broadcasts, groups joined by IP_ADD_MEMBERSHIP and IGMP through the tunnel;
// what stays off the visited network)
func TestBroadcastsOnTheKernel(t *testing.T) {
	k := newKernelHome(t)
	const port = 9999
	group := netip.MustParseAddr("239.192.1.1")
	any := netip.AddrPortFrom(netip.IPv4Unspecified(), port)
	neighbour := k.listen(t, k.neighbour, netip.AddrPortFrom(homeNeighbour, 5000))
	joinedThere, all := k.join(t, k.neighbour, netip.AddrPortFrom(group, 9998)), k.listen(t, k.neighbour, any)

	k.move(t, "office0")
	k.until(t, officeLaptop.Addr())
	application, near := k.listen(t, k.laptop, any), k.listen(t, k.laptop, netip.AddrPortFrom(simnet.LabHomeAddress, 5000))
	joined := k.join(t, k.laptop, netip.AddrPortFrom(group, 9998))
	leaked := k.leaks(t, "office0", group)
	both := func(broadcasts ...string) {
		t.Helper()
		for _, dst := range broadcasts {
			to := netip.AddrPortFrom(netip.MustParseAddr(dst), port)
			hearsAt(t, neighbour, to, application, homeNeighbour)
			hearsAt(t, near, to, all, simnet.LabHomeAddress)
		}
		hearsAt(t, neighbour, netip.AddrPortFrom(group, 9998), joined, homeNeighbour)
		hearsAt(t, near, netip.AddrPortFrom(group, 9998), joinedThere, simnet.LabHomeAddress)
	}
	both("255.255.255.255", "10.0.8.255")
	if got := leaked(); got != "" {
		t.Errorf("in the office was seen %s", got)
	}
	k.move(t, "home0")
	k.until(t, simnet.LabHomeAddress)
	both("255.255.255.255")
}

// join returns a socket of an application in the namespace that has joined a group, on the interface that the kernel's routes name.
func (k *kernelHome) join(t *testing.T, ns *os.File, at netip.AddrPort) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	netnstest.Inside(t, ns, func() (err error) {
		c, err = net.ListenMulticastUDP("udp4", nil, net.UDPAddrFromAddrPort(at))
		return err
	})
	t.Cleanup(func() { c.Close() })
	return c
}

// leaks returns a function that tells of packets to groups and to all that have come to the router's interface, "" for none, and of any
// others from the home address.
func (k *kernelHome) leaks(t *testing.T, iface string, group netip.Addr) func() string {
	t.Helper()
	limited := netip.MustParseAddr("255.255.255.255")
	var seen atomic.Pointer[string]
	frames, err := kernelHost(t, k.server).OpenFrames(netnstest.Index(t, k.server, iface), func(b *packet.Batch) {
		for _, p := range b.Bufs {
			ip := packet.IPv4(p.Bytes())
			if ip.Valid() && (ip.Src() == simnet.LabHomeAddress || ip.Protocol() == packet.ProtocolUDP && (ip.Dst() == group || ip.Dst() == limited)) {
				what := ip.Src().String() + ">" + ip.Dst().String()
				seen.Store(&what)
			}
		}
		b.Release()
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = frames.Close() })
	return func() string {
		if s := seen.Load(); s != nil {
			return *s
		}
		return ""
	}
}

// hearsAt sends to an address again and again until it is heard from another socket, with the source given: what the sender's own host
// hears of itself, as hosts do, is passed over.
func hearsAt(t *testing.T, from *net.UDPConn, to netip.AddrPort, at *net.UDPConn, source netip.Addr) {
	t.Helper()
	buf := make([]byte, 100)
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		if _, err := from.WriteToUDPAddrPort([]byte(to.String()), to); err != nil {
			t.Fatal(err)
		}
		if err := at.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		for {
			n, seen, err := at.ReadFromUDPAddrPort(buf)
			if err != nil {
				break
			}
			if seen.Addr().Unmap() == source && string(buf[:n]) == to.String() {
				return
			}
		}
	}
	t.Fatalf("nothing that was sent to %v from %v was heard", to, source)
}
