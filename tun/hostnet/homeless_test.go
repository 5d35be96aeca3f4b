//go:build linux

package hostnet

import (
	"net/netip"
	"strings"
	"testing"

	"mipvpn/tun/link"
)

// Before a home address is known the kill switch holds all the same, and the settings with one take its place.
//
// Shows: HST-2 (a home address that is still to be assigned)
func TestKillSwitchWithoutHomeAddress(t *testing.T) {
	h := newHostile(t)
	h.openMip0()
	homeless := lined
	homeless.Address, homeless.Shielded = netip.Addr{}, nil
	apply(t, h.ns, h.network, homeless)
	looked := 0
	for _, p := range inetProbes {
		if p.passes || strings.Contains(p.name, "HoA") { // which nobody knows yet
			continue
		}
		looked++
		if h.passed(p) {
			t.Errorf("without a home address: %s gets through", p.name)
		}
	}
	if looked == 0 {
		t.Error("nothing was looked at")
	}
	apply(t, h.ns, h.network, lined)
	assigned := state(t, h.ns, h.network)
	apply(t, h.ns, h.network, link.Settings{})
	apply(t, h.ns, h.network, lined)
	if fresh := state(t, h.ns, h.network); assigned != fresh {
		t.Errorf("after the address was assigned:\n%s\nwant:\n%s", assigned, fresh)
	}
}
