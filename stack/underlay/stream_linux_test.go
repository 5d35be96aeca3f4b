package underlay

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
)

// A connection of an interface that has lost its address does not begin under the home address, which the kernel would choose: it
// fails before anything has left.
// Shows: HST-2, MEC-C
func TestDialThroughWithoutAddress(t *testing.T) {
	p := newPair(t)
	dev, err := p.a.OpenDevice("mip0", 1380)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	if err := p.a.Apply(link.Settings{Device: "mip0", Address: homeA, MTU: 1380}); err != nil {
		t.Fatal(err)
	}
	to := netip.AddrPortFrom(addrB.Addr(), 4500)
	l, err := p.b.ListenStream(to)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := p.a.DialThrough(t.Context(), p.indexA, to)
	if err != nil {
		t.Fatal(err)
	}
	if from := netip.MustParseAddrPort(c.LocalAddr().String()).Addr(); from != addrA.Addr() {
		t.Errorf("from %v, want %v", from, addrA.Addr())
	}
	c.Close()
	netnstest.Inside(t, p.nsA, func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		own, err := netlink.ParseAddr(addrA.String())
		if err != nil {
			return err
		}
		if err := netlink.AddrDel(eth0, own); err != nil {
			return err
		}
		there, err := netlink.ParseIPNet(addrB.Masked().String())
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: there})
	})
	if c, err := p.a.DialThrough(t.Context(), p.indexA, to); !errors.Is(err, errNoAddress) {
		if err == nil {
			c.Close()
		}
		t.Errorf("without an address: %v, want %v", err, errNoAddress)
	}
}
