//go:build linux

package linkmon

import (
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// addr6 is an IPv6 address as addr has it, with flags and without a second lost to duplicate address detection.
func addr6(text string, flags int) *netlink.Addr {
	p := netip.MustParsePrefix(text)
	return &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 128)}, Flags: flags | unix.IFA_F_NODAD}
}

// The address and the router of a network with IPv6 alone show in the snapshots: not a deprecated address, nor another one while
// the first may be used.
//
// Shows: DET-2, DET-18 (a network with IPv6 alone is seen)
func TestSnapshotsOfIPv6(t *testing.T) {
	ns, other := netnstest.New(t), netnstest.New(t)
	netnstest.Wire(t, ns, "eth0", netip.Prefix{}, other, "eth0", netip.Prefix{})
	m := New()
	router := packet.HardwareAddr{2, 0, 0, 0, 0, 9}
	add := func(text string) func(netlink.Link) error {
		return func(l netlink.Link) error { return netlink.AddrAdd(l, addr6(text, 0)) }
	}
	deprecate := func(text string) func(netlink.Link) error {
		return func(l netlink.Link) error {
			a := addr6(text, 0)
			a.ValidLft, a.PreferedLft = 3600, 0
			return netlink.AddrReplace(l, a)
		}
	}
	var last link.Interface
	for _, step := range []struct {
		name    string
		where   *os.File
		do      func(netlink.Link) error
		address string
		gateway string
		reason  string
	}{
		{"link-local alone", ns, add("fe80::5/64"), "invalid Prefix", "invalid IP", ""},
		{"unique local", ns, add("fd00:1::5/64"), "fd00:1::5/64", "invalid IP", "IPv6 address fd00:1::5/64"},
		{"global, later", ns, add("2001:db8:1::5/64"), "fd00:1::5/64", "invalid IP", ""},
		{"the first one deprecated", ns, deprecate("fd00:1::5/64"), "2001:db8:1::5/64", "invalid IP", "IPv6 address 2001:db8:1::5/64, was fd00:1::5/64"},
		{"router", ns, func(l netlink.Link) error {
			return netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)},
				Gw: netip.MustParseAddr("fe80::1").AsSlice()})
		}, "2001:db8:1::5/64", "fe80::1", "IPv6 gateway fe80::1"},
		{"router resolved", ns, func(l netlink.Link) error {
			return netlink.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, Family: netlink.FAMILY_V6, State: unix.NUD_REACHABLE,
				IP: netip.MustParseAddr("fe80::1").AsSlice(), HardwareAddr: router[:]})
		}, "2001:db8:1::5/64", "fe80::1", ""},
		{"IPv4 beside it", ns, func(l netlink.Link) error { return netlink.AddrAdd(l, addr("10.0.2.50/24")) },
			"2001:db8:1::5/64", "fe80::1", "address 10.0.2.50/24"},
		{"all gone", ns, func(l netlink.Link) error {
			for _, a := range []*netlink.Addr{addr("10.0.2.50/24"), addr6("2001:db8:1::5/64", 0)} {
				if err := netlink.AddrDel(l, a); err != nil {
					return err
				}
			}
			return nil
		}, "invalid Prefix", "fe80::1", "address 10.0.2.50/24 gone, IPv6 address 2001:db8:1::5/64 gone"},
	} {
		change(t, step.where, step.do)
		list := snapshot(t, ns, m)
		if len(list) != 1 {
			t.Fatalf("%s: %+v", step.name, list)
		}
		i := list[0]
		if i.Address6.String() != step.address || i.Gateway6.String() != step.gateway {
			t.Errorf("%s: %v by %v, want %s by %s", step.name, i.Address6, i.Gateway6, step.address, step.gateway)
		}
		reason := ""
		for _, c := range Compare([]link.Interface{last}, list) {
			reason = c.Reason
		}
		if last.Index != 0 && reason != step.reason {
			t.Errorf("%s: the change is %q, want %q", step.name, reason, step.reason)
		}
		if step.name == "router resolved" && i.GatewayHardware != router {
			t.Errorf("the router's hardware address is %v", i.GatewayHardware)
		}
		last = i
	}
	if last.Has6() || last.Has4() {
		t.Errorf("%+v has addresses", last)
	}
}

func TestPrimary6(t *testing.T) {
	at := func(text string, flags int) netlink.Addr {
		a := addr6(text, flags)
		a.LinkIndex = 7
		return *a
	}
	ip4 := netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(192, 0, 2, 1), Mask: net.CIDRMask(24, 32)}, LinkIndex: 7}
	local := at("fe80::1/64", 0)
	local.Scope = unix.RT_SCOPE_LINK
	for _, test := range []struct {
		name   string
		list   []netlink.Addr
		before string
		want   string
	}{
		{"none", []netlink.Addr{ip4, local, {LinkIndex: 7}}, "", ""},
		{"tentative", []netlink.Addr{at("2001:db8::1/64", unix.IFA_F_TENTATIVE)}, "", ""},
		{"optimistic", []netlink.Addr{at("2001:db8::1/64", unix.IFA_F_TENTATIVE|unix.IFA_F_OPTIMISTIC)}, "", "2001:db8::1/64"},
		{"somebody else's", []netlink.Addr{at("2001:db8::1/64", unix.IFA_F_DADFAILED)}, "", ""},
		{"temporary before stable", []netlink.Addr{at("2001:db8::1/64", 0), at("2001:db8::2/64", unix.IFA_F_TEMPORARY)}, "", "2001:db8::2/64"},
		{"global before unique local", []netlink.Addr{at("fd00::1/64", unix.IFA_F_TEMPORARY), at("2001:db8::2/64", 0)}, "", "2001:db8::2/64"},
		{"the one before", []netlink.Addr{at("2001:db8::2/64", unix.IFA_F_TEMPORARY), at("2001:db8::1/64", 0)}, "2001:db8::1/64", "2001:db8::1/64"},
		{"the one before deprecated", []netlink.Addr{at("2001:db8::1/64", unix.IFA_F_DEPRECATED), at("2001:db8::3/64", 0), at("2001:db8::2/64", 0)}, "2001:db8::1/64", "2001:db8::2/64"},
	} {
		var before, want netip.Prefix
		if test.before != "" {
			before = netip.MustParsePrefix(test.before)
		}
		if test.want != "" {
			want = netip.MustParsePrefix(test.want)
		}
		if got := primary6(test.list, 7, before); got != want {
			t.Errorf("%s: %v, want %v", test.name, got, want)
		}
		if got := primary6(test.list, 8, netip.Prefix{}); got.IsValid() {
			t.Errorf("%s: %v on another interface", test.name, got)
		}
	}
}
