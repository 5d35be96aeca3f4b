package roam

import (
	"net/netip"
	"strings"
	"testing"

	"mipvpn/stack"
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

// wired6 is wired with IPv6 alone.
func wired6() link.Interface {
	i := wired("")
	i.Address6, i.Gateway6 = netip.MustParsePrefix("2001:db8::5/64"), netip.MustParseAddr("fe80::1")
	return i
}

// On an interface with IPv6 alone the VPN stands straight on it: no home agent is reached there, and nothing is ever sent in the
// clear. A foreign agent, and IPv4, are preferred when they come.
//
// Shows: DET-18 (IPv6 only), MOD-vc
func TestIPv6Alone(t *testing.T) {
	m := started(wired6())
	verdict(m, 2, Unreachable)
	expect(t, m, "use 2 vc")
	if c := m.Choice(); len(c.Grounds) != 1 || c.Grounds[0] != GroundInterface || !strings.Contains(c.Why, "IPv6 alone") || c.Barred {
		t.Errorf("%+v", c)
	}
	if m.deaf {
		t.Error("that nobody was asked makes the x-HA deaf")
	}
	m.HandleAgent(t0, 2, true)
	expect(t, m, "hold", "abandon 2", "epoch eth0", "attempt eth0 fa")
	m.HandleAgent(t0, 2, false)
	expect(t, m, "abandon 2", "epoch eth0", "attempt eth0")
	verdict(m, 2, Unreachable)
	expect(t, m, "use 2 vc")
	both := addressed(wired6(), "10.0.2.5")
	m.HandleSnapshot(t0, []link.Interface{both})
	expect(t, m, "hold", "abandon 2", "epoch eth0", "attempt eth0")
	verdict(m, 2, Inside)
	expect(t, m, "use 2 c")

	for pin, want := range map[stack.Mode][]string{
		stack.ModeVC: {"epoch eth0", "attempt eth0 external", "use 2 vc"}, stack.ModeVF: {"epoch eth0", "attempt eth0 external", "use 2 vc"},
		stack.ModeC: {"epoch eth0", "blocked"}, stack.ModeCVC: {"epoch eth0", "blocked"}, stack.ModeFVC: {"epoch eth0", "blocked"},
	} {
		m := New(Config{})
		m.HandlePin(t0, pin)
		m.HandleSnapshot(t0, []link.Interface{wired6()})
		m.Start(t0)
		verdict(m, 2, Unreachable)
		if got := drain(m); strings.Join(got, ", ") != strings.Join(want, ", ") {
			t.Errorf("mode %s is pinned: %v, want %v", pin, got, want)
		}
	}
	m = New(Config{Update: Forbidden})
	m.HandleSnapshot(t0, []link.Interface{wired6()})
	m.Start(t0)
	verdict(m, 2, Unreachable)
	expect(t, m, "epoch eth0", "attempt eth0", "blocked")
}
