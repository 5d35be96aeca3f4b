//go:build linux

package hostnet

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
)

// Shows: AGT-5 (an address that is taken from another host stands on the device: neighbours find it here, it goes with the device, and
// a host that would not answer ARP for it refuses).
func TestTakenAddress(t *testing.T) {
	ns, neighbour := netnstest.New(t), netnstest.New(t)
	netnstest.Wire(t, ns, "eth0", eth0, neighbour, "eth0", netip.PrefixFrom(gate, 24))
	taken := netip.MustParseAddr("10.0.2.77")
	d := openDevice(t, ns, "ha0")
	n := New(Options{})
	s := link.Settings{Device: "ha0", MTU: 1400, Taken: taken, Routes: prefixes("10.0.8.0/24"), Forward: true}
	netnstest.Inside(t, ns, func() error {
		if err := (sysctlChanges{"net/ipv4/conf/all/arp_ignore": "1"}).write(); err != nil {
			return err
		}
		if err := n.Apply(s); err == nil {
			t.Error("taken by a host that does not answer ARP for it")
		}
		if err := (sysctlChanges{"net/ipv4/conf/all/arp_ignore": "0"}).write(); err != nil {
			return err
		}
		return n.Apply(s)
	})
	if !resolves(t, neighbour, taken) {
		t.Fatal("the neighbour does not find the address")
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	netnstest.Inside(t, ns, func() error {
		list, err := netlink.AddrList(nil, netlink.FAMILY_V4)
		for _, a := range list {
			if a.IP.Equal(taken.AsSlice()) {
				t.Error("the address outlives the device")
			}
		}
		return err
	})
	netnstest.Inside(t, ns, func() error { return n.Apply(link.Settings{}) })
	for name, bad := range map[string]link.Settings{
		"no device":     {Taken: taken},
		"two addresses": {Device: "ha0", Taken: taken, Address: home},
		"shielded":      {Device: "ha0", Taken: taken, Shielded: []netip.Addr{home}},
		"IPv6":          {Device: "ha0", Taken: netip.MustParseAddr("2001:db8::1")},
	} {
		if err := check(bad); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// resolves reports whether the neighbour gets an answer to ARP requests for the address, within half a minute.
func resolves(t *testing.T, ns *os.File, addr netip.Addr) bool {
	t.Helper()
	found := false
	netnstest.Inside(t, ns, func() error {
		c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 9)))
		if err != nil {
			return err
		}
		defer c.Close()
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		for deadline := time.Now().Add(30 * time.Second); !found && time.Now().Before(deadline); <-time.After(10 * time.Millisecond) {
			_, _ = c.Write([]byte{0}) // nobody listens, which the next Write may say
			list, err := netlink.NeighList(l.Attrs().Index, netlink.FAMILY_V4)
			if err != nil {
				return err
			}
			for _, x := range list {
				found = found || x.IP.Equal(addr.AsSlice()) && x.State&(unix.NUD_REACHABLE|unix.NUD_STALE|unix.NUD_DELAY|unix.NUD_PROBE) != 0
			}
		}
		return nil
	})
	return found
}
