package e2e

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"mipvpn/stack/simnet"
)

// On kernels, an application on the laptop, which is in the office, hears what a neighbour broadcasts on the home link, and is
// heard there when it sends to the home network's broadcast address.
//
// Shows: MIP-11
func TestBroadcastsOnTheKernel(t *testing.T) {
	k := newKernelHome(t)
	k.move(t, "office0")
	k.until(t, officeLaptop.Addr())
	const port = 9999
	application := k.listen(t, k.laptop, netip.AddrPortFrom(netip.IPv4Unspecified(), port))
	neighbour := k.listen(t, k.neighbour, netip.AddrPortFrom(homeNeighbour, 5000))
	hearsAt(t, neighbour, netip.MustParseAddrPort("255.255.255.255:9999"), application, homeNeighbour)

	all := k.listen(t, k.neighbour, netip.AddrPortFrom(netip.IPv4Unspecified(), port))
	near := k.listen(t, k.laptop, netip.AddrPortFrom(simnet.LabHomeAddress, 5000))
	hearsAt(t, near, netip.MustParseAddrPort("10.0.8.255:9999"), all, simnet.LabHomeAddress)
}

// hearsAt sends to an address again and again until it is heard from another socket, and comes from the source given.
func hearsAt(t *testing.T, from *net.UDPConn, to netip.AddrPort, at *net.UDPConn, source netip.Addr) {
	t.Helper()
	buf := make([]byte, 100)
	for end := time.Now().Add(30 * time.Second); ; {
		if _, err := from.WriteToUDPAddrPort([]byte("here"), to); err != nil {
			t.Fatal(err)
		}
		if err := at.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		n, seen, err := at.ReadFromUDPAddrPort(buf)
		if err == nil {
			if seen.Addr().Unmap() != source || string(buf[:n]) != "here" {
				t.Errorf("heard %q from %v, want it from %v", buf[:n], seen, source)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatalf("nothing that was sent to %v was heard: %v", to, err)
		}
	}
}
