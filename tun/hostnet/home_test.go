//go:build linux

package hostnet

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
)

// Shows: AGT-1 (an on-link home network: a home address is led into the device, the others stay on the link; applying settings anew
// keeps that, and the zero Settings and another home device take it away).
func TestRouteHome(t *testing.T) {
	ns := newNamespace(t)
	openDevice(t, ns, "mip0")
	n := New(Options{})
	away, present := netip.MustParseAddr("10.0.2.60"), netip.MustParseAddr("10.0.2.61") // of eth0's network
	out := func(what, wantAway string) {
		t.Helper()
		netnstest.Inside(t, ns, func() error {
			for addr, want := range map[netip.Addr]string{away: wantAway, present: "eth0"} {
				routes, err := netlink.RouteGet(addr.AsSlice())
				if err != nil {
					return err
				}
				i, err := net.InterfaceByIndex(routes[0].LinkIndex)
				if err != nil {
					return err
				}
				if i.Name != want {
					t.Errorf("%s: %v leaves by %s, want %s", what, addr, i.Name, want)
				}
			}
			return nil
		})
	}
	do := func(f ...func() error) {
		t.Helper()
		netnstest.Inside(t, ns, func() error {
			var errs []error
			for _, f := range f {
				errs = append(errs, f())
			}
			return errors.Join(errs...)
		})
	}
	agent := link.Settings{Device: "mip0", MTU: 1380, Forward: true} // no virtual home network
	do(func() error { return n.SetHomeDevice("mip0") })
	apply(t, ns, n, agent)
	out("nobody is away", "eth0")
	do(func() error { return n.RouteHome(away) }, func() error { return n.RouteHome(away) })
	out("away", "mip0")
	agent.Routes = prefixes("10.0.8.0/24")
	apply(t, ns, n, agent)
	out("applied anew", "mip0")
	do(func() error { return n.UnrouteHome(away) }, func() error { return n.UnrouteHome(away) })
	out("back", "eth0")
	do(func() error { return n.RouteHome(away) }, func() error { return n.SetHomeDevice("") })
	out("no home device", "eth0")
	do(func() error { return n.SetHomeDevice("mip0") }, func() error { return n.RouteHome(away) })
	apply(t, ns, n, link.Settings{})
	out("taken back", "eth0")
	if text := state(t, ns, n); text != "device mip0 mtu 1380\n" && text != "" {
		t.Errorf("left behind:\n%s", text)
	}
	// What a crashed run has left goes with the first Apply of another.
	do(func() error { return n.SetHomeDevice("mip0") })
	apply(t, ns, n, agent)
	do(func() error { return n.RouteHome(away) })
	apply(t, ns, New(Options{}), agent)
	out("after a crash", "eth0")
}
