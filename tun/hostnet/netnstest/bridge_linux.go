package netnstest

import (
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
)

// End is one namespace on a Bridge.
type End struct {
	// Namespace is the namespace.
	Namespace *os.File
	// Address of the interface there, if valid.
	Address netip.Prefix
}

// Bridge joins any number of namespaces to one link, each by an interface of the name given, which is up.
func Bridge(t testing.TB, name string, ends ...End) {
	t.Helper()
	middle := New(t)
	port := func(i int) string { return fmt.Sprintf("port%d", i) }
	for i, e := range ends {
		Wire(t, e.Namespace, name, e.Address, middle, port(i), netip.Prefix{})
	}
	Inside(t, middle, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "br0"
		br := &netlink.Bridge{LinkAttrs: attrs}
		if err := netlink.LinkAdd(br); err != nil {
			return fmt.Errorf("make bridge: %w", err)
		}
		for i := range ends {
			l, err := netlink.LinkByName(port(i))
			if err != nil {
				return fmt.Errorf("find %s: %w", port(i), err)
			}
			if err := netlink.LinkSetMaster(l, br); err != nil {
				return fmt.Errorf("join %s to the bridge: %w", port(i), err)
			}
		}
		return netlink.LinkSetUp(br)
	})
}
