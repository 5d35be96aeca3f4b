package client

import (
	"net/netip"
	"testing"

	"mipvpn/client/control"
	"mipvpn/tun/link"
)

// TestWayOf goes through the rules by which LinkSettings decides about an address.
func TestWayOf(t *testing.T) {
	prefixes := func(texts ...string) (list []netip.Prefix) {
		for _, s := range texts {
			list = append(list, netip.MustParsePrefix(s))
		}
		return list
	}
	split := link.Settings{Routes: prefixes("10.0.0.0/8", "10.1.0.0/16"), Blocked: prefixes("2001:db8::/32")}
	full := link.Settings{Routes: split.Routes, Blocked: split.Blocked, Full: true}
	home := split
	home.Routes = append(prefixes("239.192.0.0/14", "255.255.255.255/32"), split.Routes...)
	local := full
	local.Local = true
	connected := prefixes("192.168.1.0/24", "10.0.5.0/24", "203.0.113.0/24", "fd00:1::/64")
	for _, c := range []struct {
		settings link.Settings
		address  string
		way      control.Way
		rule     string
	}{
		{split, "10.2.3.4", control.WayClient, "enterprise.prefixes 10.0.0.0/8"},
		{split, "10.1.3.4", control.WayClient, "enterprise.prefixes 10.1.0.0/16"},
		{split, "203.0.113.9", control.WayHost, "enterprise.tunnel split"},
		{split, "2001:db8::1", control.WayRefused, "enterprise.prefixes6 2001:db8::/32"},
		{split, "2001:db9::1", control.WayHost, "enterprise.tunnel split"},
		{split, "255.255.255.255", control.WayHost, "enterprise.tunnel split"},
		{home, "255.255.255.255", control.WayClient, "internal_home_agent.broadcasts"},
		{home, "239.193.1.2", control.WayClient, "internal_home_agent.groups 239.192.0.0/14"},
		{home, "239.1.2.3", control.WayHost, "enterprise.tunnel split"},
		{full, "10.2.3.4", control.WayClient, "enterprise.prefixes 10.0.0.0/8"},
		{full, "198.51.100.1", control.WayClient, "enterprise.tunnel full"},
		{full, "192.168.1.7", control.WayClient, "enterprise.tunnel full"},
		{full, "2001:db9::1", control.WayRefused, "enterprise.tunnel full"},
		{local, "192.168.1.7", control.WayHost, "kill_switch.allow_local"},
		{local, "192.168.2.7", control.WayClient, "enterprise.tunnel full"},
		{local, "203.0.113.7", control.WayClient, "enterprise.tunnel full"}, // connected, but not private
		{local, "10.0.5.7", control.WayClient, "enterprise.prefixes 10.0.0.0/8"},
		{local, "224.0.0.251", control.WayHost, "kill_switch.allow_local"},
		{local, "239.255.255.250", control.WayHost, "kill_switch.allow_local"},
		{local, "239.1.2.3", control.WayClient, "enterprise.tunnel full"},
		{local, "fd00:1::5", control.WayHost, "kill_switch.allow_local"},
		{local, "fd00:2::5", control.WayRefused, "enterprise.tunnel full"},
		{local, "2001:db8::1", control.WayRefused, "enterprise.prefixes6 2001:db8::/32"},
	} {
		way, rule, reason := wayOf(netip.MustParseAddr(c.address), c.settings, connected)
		if way != c.way || rule != c.rule || reason == "" {
			t.Errorf("%s (full %v, local %v): %s by %q because %q, expected %s by %q", c.address, c.settings.Full, c.settings.Local, way, rule, reason, c.way, c.rule)
		}
	}
}
