package roam

import (
	"net/netip"
	"testing"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// What changes of IPv6 is a change of status where the interface has nothing else, and no flap while it comes up.
//
// Shows: DET-2
func TestChangesOfIPv6(t *testing.T) {
	bare := link.Interface{Index: 2, Name: "eth0", MTU: 1500, Up: true, GatewayHardware: packet.HardwareAddr{1}}
	addressed6 := bare
	addressed6.Address6 = netip.MustParsePrefix("2001:db8::5/64")
	whole := addressed6
	whole.Gateway6 = netip.MustParseAddr("fe80::1")
	moved, routed, other := whole, whole, whole
	moved.Address6 = netip.MustParsePrefix("2001:db8:1::5/64")
	routed.Gateway6 = netip.MustParseAddr("fe80::2")
	other.GatewayHardware = packet.HardwareAddr{2}
	both := addressed(whole, "10.0.2.5")
	bothMoved := both
	bothMoved.Address6, bothMoved.Gateway6 = netip.Prefix{}, netip.Addr{}
	for _, c := range []struct {
		name       string
		a, b       link.Interface
		agent      bool
		why        string
		configured bool
	}{
		{"address came", bare, addressed6, false, "IPv6 address is now 2001:db8::5/64", true},
		{"router came", addressed6, whole, false, "IPv6 gateway is now fe80::1", true},
		{"another address", whole, moved, false, "IPv6 address is now 2001:db8:1::5/64", false},
		{"another router", whole, routed, false, "IPv6 gateway is now fe80::2", false},
		{"the same router's address elsewhere", whole, other, false, "gateway has another hardware address", false},
		{"router went", whole, addressed6, false, "IPv6 default route went", false},
		{"address went", addressed6, bare, false, "IPv6 address went", false},
		{"IPv4 came", whole, both, false, "address is now 10.0.2.5/24", true},
		{"IPv6 went beside IPv4", both, bothMoved, false, "", false},
		{"IPv4 went", both, whole, false, "address went", false},
		{"beside a foreign agent", bare, whole, true, "", true},
	} {
		if why := changed(c.a, c.b, c.agent); why != c.why {
			t.Errorf("%s: %q, want %q", c.name, why, c.why)
		}
		if got := configured(c.a, c.b); c.why != "" && got != c.configured {
			t.Errorf("%s: a part of coming up: %v", c.name, got)
		}
	}
}
