//go:build linux

package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/tun/device"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
)

var (
	eth0 = netip.MustParsePrefix("10.0.2.50/24")
	home = netip.MustParseAddr("10.0.8.100")
	gate = netip.MustParseAddr("10.0.2.1")
)

func prefixes(list ...string) (p []netip.Prefix) {
	for _, s := range list {
		p = append(p, netip.MustParsePrefix(s))
	}
	return p
}

// newNamespace returns a namespace with an interface eth0, its ARP and route checks set as a distribution may have them.
func newNamespace(t *testing.T) *os.File {
	ns, other := netnstest.New(t), netnstest.New(t)
	netnstest.Wire(t, ns, "eth0", eth0, other, "eth0", netip.PrefixFrom(gate, 24))
	netnstest.Inside(t, ns, func() error {
		return sysctlChanges{
			"net/ipv4/conf/all/rp_filter": "0", "net/ipv4/conf/default/rp_filter": "1", "net/ipv4/conf/eth0/rp_filter": "1",
			"net/ipv4/conf/lo/rp_filter": "2", "net/ipv4/conf/all/arp_ignore": "0", "net/ipv4/conf/all/arp_announce": "0",
			"net/ipv4/ip_forward": "0",
		}.write()
	})
	return ns
}

// openDevice makes a TUN device in the namespace.
func openDevice(t *testing.T, ns *os.File, name string) *device.Device {
	t.Helper()
	var d *device.Device
	netnstest.Inside(t, ns, func() (err error) {
		d, err = device.Open(name, 1400, nil)
		return err
	})
	t.Cleanup(func() { d.Close() })
	return d
}

// state returns Dump's text together with what it leaves out: the settings of sysctls.
func state(t *testing.T, ns *os.File, n *Network) (text string) {
	t.Helper()
	netnstest.Inside(t, ns, func() (err error) {
		text, err = n.Dump()
		return err
	})
	return text
}

func apply(t *testing.T, ns *os.File, n *Network, s link.Settings) {
	t.Helper()
	netnstest.Inside(t, ns, func() error { return n.Apply(s) })
}

// sysctlLines are what newNamespace's values become with a device mip0 and an address; mip0 itself inherits default's.
const sysctlLines = `sysctl net/ipv4/conf/all/arp_announce was 0 is 2
sysctl net/ipv4/conf/all/arp_ignore was 0 is 1
sysctl net/ipv4/conf/default/rp_filter was 1 is 2
sysctl net/ipv4/conf/eth0/rp_filter was 1 is 2
sysctl net/ipv4/conf/mip0/rp_filter was 1 is 2
`

const rules = `rule 28008: ipproto 17 sport 68-68 dport 67-67 lookup 254
rule 28009: not fwmark 0x6d690000/0xffff0000 lookup 28009
`

var laptop = link.Settings{
	Device: "mip0", Address: home, MTU: 1380, Routes: prefixes("10.0.0.0/16"), Shielded: []netip.Addr{home},
}

const laptopState = `device mip0 mtu 1380 up
address 10.0.8.100/32
` + rules + `route 10.0.0.0/16 dev mip0 metric 0 src 10.0.8.100 table 28009
route unreachable 10.0.0.0/16 metric 2147483647 table 28009
shielded 10.0.8.100 device mip0
` + sysctlLines

// Each step is applied to what the ones before have left.
func TestApply(t *testing.T) {
	ns := newNamespace(t)
	openDevice(t, ns, "mip0")
	n := New(Options{})
	for _, step := range []struct {
		name string
		s    link.Settings
		want string
	}{
		{"laptop", laptop, laptopState},
		{"laptop again", laptop, laptopState},
		{
			"broadcasts and groups",
			link.Settings{
				Device: "mip0", Address: home, MTU: 1380, Routes: prefixes("10.0.0.0/16", "239.192.0.0/14", "255.255.255.255/32"),
				Broadcasts: []netip.Addr{netip.MustParseAddr("10.0.8.255")}, Shielded: []netip.Addr{home},
			},
			`device mip0 mtu 1380 up
address 10.0.8.100/32
` + rules + `route 10.0.0.0/16 dev mip0 metric 0 src 10.0.8.100 table 28009
route 239.192.0.0/14 dev mip0 metric 0 src 10.0.8.100 table 28009
route 255.255.255.255/32 dev mip0 metric 0 src 10.0.8.100 table 28009
route broadcast 10.0.8.255/32 dev mip0 metric 0 src 10.0.8.100 table 28009
route unreachable 10.0.0.0/16 metric 2147483647 table 28009
route unreachable 10.0.8.255/32 metric 2147483647 table 28009
route unreachable 239.192.0.0/14 metric 2147483647 table 28009
route unreachable 255.255.255.255/32 metric 2147483647 table 28009
shielded 10.0.8.100 device mip0
` + sysctlLines,
		},
		{
			"other address, MTU, routes and shield",
			link.Settings{
				Device: "mip0", Address: netip.MustParseAddr("10.0.8.7"), MTU: 1280,
				Routes:   prefixes("0.0.0.0/0", "10.0.0.0/16", "10.0.8.0/24"),
				Shielded: []netip.Addr{netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("10.0.8.7")},
			},
			`device mip0 mtu 1280 up
address 10.0.8.7/32
` + rules + `route 0.0.0.0/0 dev mip0 metric 0 src 10.0.8.7 table 28009
route 10.0.0.0/16 dev mip0 metric 0 src 10.0.8.7 table 28009
route 10.0.8.0/24 dev mip0 metric 0 src 10.0.8.7 table 28009
route unreachable 0.0.0.0/0 metric 2147483647 table 28009
route unreachable 10.0.0.0/16 metric 2147483647 table 28009
route unreachable 10.0.8.0/24 metric 2147483647 table 28009
shielded 10.0.8.7 device mip0
shielded 198.51.100.7 device mip0
` + sysctlLines,
		},
		{
			"shielded only",
			link.Settings{Device: "mip0", Shielded: []netip.Addr{home}},
			"device mip0 mtu 1280 up\nshielded 10.0.8.100 device mip0\n" + sysctlLines,
		},
		{
			"agent",
			link.Settings{Device: "mip0", MTU: 1480, Routes: prefixes("10.0.8.0/24"), Forward: true},
			"device mip0 mtu 1480 up\n" + rules[strings.Index(rules, "\n")+1:] + `route 10.0.8.0/24 dev mip0 metric 0 table 28009
route unreachable 10.0.8.0/24 metric 2147483647 table 28009
sysctl net/ipv4/conf/default/rp_filter was 1 is 2
sysctl net/ipv4/conf/eth0/rp_filter was 1 is 2
sysctl net/ipv4/conf/mip0/rp_filter was 1 is 2
sysctl net/ipv4/ip_forward was 0 is 1
`,
		},
		{"laptop after agent", laptop, laptopState},
		{"nothing", link.Settings{}, ""},
		{"nothing again", link.Settings{}, ""},
		{"laptop after nothing", laptop, laptopState},
	} {
		apply(t, ns, n, step.s)
		if got := state(t, ns, n); got != step.want {
			t.Errorf("%s:\n%s\nwant:\n%s", step.name, got, step.want)
		}
	}
}

// Applying the same again changes nothing: the kernel announces no change of addresses, routes, rules or nftables.
func TestApplyIsIdempotent(t *testing.T) {
	ns := newNamespace(t)
	openDevice(t, ns, "mip0")
	n := New(Options{})
	apply(t, ns, n, laptop)
	watch := func(protocol int, groups ...int) int {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			t.Fatal(err)
		}
		for _, g := range groups {
			if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g); err != nil {
				t.Fatal(err)
			}
		}
		return fd
	}
	changes := func(fd int) (n int) { // the kernel sends its announcements before the call that makes the change returns
		for {
			var p [64 << 10]byte
			_, _, err := unix.Recvfrom(fd, p[:], 0)
			if errors.Is(err, unix.EAGAIN) {
				return n
			}
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
	}
	var route, nft int
	netnstest.Inside(t, ns, func() error {
		route = watch(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE)
		nft = watch(unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTABLES)
		return nil
	})
	apply(t, ns, n, laptop)
	apply(t, ns, New(Options{}), laptop) // a second run finds it as it should be
	if n := changes(route); n != 0 {
		t.Errorf("%d announcements of changed interfaces, addresses, routes or rules, want none", n)
	}
	if n := changes(nft); n != 0 {
		t.Errorf("%d announcements of changed nftables, want none", n)
	}
	other := laptop
	other.Routes = prefixes("10.0.0.0/16", "10.7.0.0/16")
	other.Shielded = nil
	apply(t, ns, n, other)
	if changes(route) == 0 || changes(nft) == 0 {
		t.Error("no announcement of real changes: the test sees nothing")
	}
}

// A crashed run leaves everything but the device. Its prefixes are blocked then, not leaked to the default route; the
// next run takes all of it over, or back.
func TestAfterCrash(t *testing.T) {
	ns := newNamespace(t)
	enterprise, internet := netip.MustParseAddr("10.0.1.20"), netip.MustParseAddr("192.0.2.9")
	netnstest.Inside(t, ns, func() error { return netnstest.Route(netip.MustParsePrefix("0.0.0.0/0"), gate) })
	crash := func() {
		t.Helper()
		d := openDevice(t, ns, "mip0")
		apply(t, ns, New(Options{}), laptop)
		if by := routeTo(t, ns, enterprise); by != "mip0" {
			t.Errorf("route to %v goes by %s, want mip0", enterprise, by)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if by := routeTo(t, ns, enterprise); by != "unreachable" {
			t.Errorf("after a crash the route to %v goes by %s, want unreachable", enterprise, by)
		}
		if by := routeTo(t, ns, internet); by != "eth0" {
			t.Errorf("after a crash the route to %v goes by %s, want eth0", internet, by)
		}
	}
	crash()
	next := New(Options{})
	openDevice(t, ns, "mip1")
	s := laptop
	s.Device = "mip1"
	apply(t, ns, next, s)
	got := state(t, ns, next)
	// mip1 has inherited the default that the run before changed; the vanished mip0 is forgotten.
	want := strings.ReplaceAll(laptopState, "sysctl net/ipv4/conf/mip0/rp_filter was 1 is 2\n", "")
	want = strings.ReplaceAll(want, "mip0", "mip1")
	if got != want {
		t.Errorf("after taking over:\n%s\nwant:\n%s", got, want)
	}
	apply(t, ns, next, link.Settings{})
	if by := routeTo(t, ns, enterprise); by != "eth0" {
		t.Errorf("after taking everything back the route to %v goes by %s, want eth0", enterprise, by)
	}
	crash()
	last := New(Options{})
	apply(t, ns, last, link.Settings{})
	if got := state(t, ns, last); got != "" {
		t.Errorf("after taking back what a crash left:\n%s", got)
	}
	netnstest.Inside(t, ns, func() error {
		for path, want := range map[string]string{
			"net/ipv4/conf/eth0/rp_filter": "1", "net/ipv4/conf/default/rp_filter": "1", "net/ipv4/conf/lo/rp_filter": "2",
			"net/ipv4/conf/all/arp_ignore": "0", "net/ipv4/conf/all/arp_announce": "0",
		} {
			if got, err := readSysctl(path); err != nil || got != want {
				t.Errorf("%s is %s (%v), want %s as before", path, got, err, want)
			}
		}
		c, err := nftables.New()
		if err != nil {
			return err
		}
		tables, err := c.ListTables()
		if len(tables) != 0 {
			t.Errorf("%d nftables tables are left", len(tables))
		}
		return err
	})
}

// routeTo returns the interface that the kernel would send an application's packet by, or why it would not.
func routeTo(t *testing.T, ns *os.File, addr netip.Addr) (by string) {
	t.Helper()
	netnstest.Inside(t, ns, func() error {
		routes, err := netlink.RouteGet(addr.AsSlice())
		if errors.Is(err, unix.EHOSTUNREACH) {
			by = "unreachable"
			return nil
		}
		if err != nil {
			return err
		}
		l, err := netlink.LinkByIndex(routes[0].LinkIndex)
		if err == nil {
			by = l.Attrs().Name
		}
		return err
	})
	return by
}

// What others have put into the routing tables and nftables is left alone.
func TestForeignStateIsLeftAlone(t *testing.T) {
	ns := newNamespace(t)
	openDevice(t, ns, "mip0")
	n := New(Options{})
	var before []string
	snapshot := func() (list []string) {
		netnstest.Inside(t, ns, func() error {
			found, err := netlink.RuleList(netlink.FAMILY_V4)
			if err != nil {
				return err
			}
			for _, r := range found {
				list = append(list, ruleKey(r))
			}
			c, err := nftables.New()
			if err != nil {
				return err
			}
			tables, err := c.ListTables()
			for _, table := range tables {
				list = append(list, table.Name)
			}
			return err
		})
		return list
	}
	netnstest.Inside(t, ns, func() error {
		r := netlink.NewRule()
		r.Priority, r.Table, r.Mark = 28009, 77, 5
		if err := netlink.RuleAdd(r); err != nil {
			return err
		}
		c, err := nftables.New()
		if err != nil {
			return err
		}
		c.AddTable(&nftables.Table{Name: "mipvpn", Family: nftables.TableFamilyINet})
		return c.Flush()
	})
	before = snapshot()
	apply(t, ns, n, laptop)
	if after := snapshot(); len(after) != len(before)+3 {
		t.Errorf("rules and tables are %q, want two rules and a table more than %q", after, before)
	}
	apply(t, ns, n, link.Settings{})
	if after := snapshot(); !slices.Equal(after, before) {
		t.Errorf("rules and tables are %q afterwards, were %q", after, before)
	}
}

// Somebody else emptied the chain: the next Apply shields again.
func TestShieldIsRestored(t *testing.T) {
	ns := newNamespace(t)
	openDevice(t, ns, "mip0")
	n := New(Options{})
	apply(t, ns, n, laptop)
	netnstest.Inside(t, ns, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		c.FlushChain(&nftables.Chain{Name: shieldChain, Table: n.table()})
		return c.Flush()
	})
	if got := state(t, ns, n); strings.Contains(got, "shielded") {
		t.Fatalf("flushing the chain left it shielding:\n%s", got)
	}
	apply(t, ns, n, laptop)
	if got := state(t, ns, n); got != laptopState {
		t.Errorf("state:\n%s\nwant:\n%s", got, laptopState)
	}
}

func TestApplyRefuses(t *testing.T) {
	for i, s := range []link.Settings{
		{Address: home},
		{Routes: prefixes("10.0.0.0/16")},
		{Device: "mip0", Address: netip.MustParseAddr("2001:db8::1")},
		{Device: "mip0", Routes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/16")}},
		{Device: "mip0", Routes: prefixes("2001:db8::/32")},
		{Device: "mip0", Shielded: []netip.Addr{{}}},
		{Broadcasts: []netip.Addr{home}},
		{Device: "mip0", Broadcasts: []netip.Addr{netip.MustParseAddr("239.1.2.3")}},
	} {
		if err := New(Options{}).Apply(s); err == nil {
			t.Errorf("settings %d were taken: %+v", i, s)
		}
	}
	ns := newNamespace(t)
	err := netnstest.Do(ns, func() error { return New(Options{}).Apply(laptop) })
	if err == nil || !strings.Contains(err.Error(), "mip0") {
		t.Errorf("settings for a device that is not there: %v, want an error that names it", err)
	}
}

func ExampleOptions_WithDefaults() {
	o := Options{Name: "agent"}.WithDefaults()
	fmt.Printf("%s %d %#x %#x\n", o.Name, o.Table, o.ProtectedMark, o.PlaintextMark)
	// Output: agent 28009 0x6d690001 0x6d690002
}

// Networks of one namespace, such as the roles of one agent, do not undo each other's changes: whoever goes last restores the
// sysctls, in either order.
//
// Shows: AGT-7.
func TestSeveralNetworks(t *testing.T) {
	for _, order := range [][2]int{{0, 1}, {1, 0}} {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			ns := newNamespace(t)
			var networks [2]*Network
			var settings [2]link.Settings
			for i, name := range []string{"mip0", "mip1"} {
				openDevice(t, ns, name)
				networks[i] = New(Options{Name: name, Table: 28100 + 2*i, Priority: 28100 + 3*i, Protocol: uint8(110 + i),
					ProtectedMark: 0x6d6a0001 + uint32(i)<<16, PlaintextMark: 0x6d6a0002 + uint32(i)<<16})
				settings[i] = link.Settings{Device: name, MTU: 1400, Routes: prefixes(fmt.Sprintf("10.0.%d.0/24", 8+i)), Forward: true}
				apply(t, ns, networks[i], settings[i])
			}
			first, last := networks[order[0]], networks[order[1]]
			left := state(t, ns, last)
			apply(t, ns, networks[0], settings[0]) // changes nothing, though another has come since
			apply(t, ns, first, link.Settings{})
			if got := state(t, ns, first); strings.Contains(got, "rule") || strings.Contains(got, "route") {
				t.Errorf("the first one has left\n%s", got)
			}
			if got := state(t, ns, last); got != left || !strings.Contains(got, "metric 0 table") || !strings.Contains(got, "sysctl net/ipv4/ip_forward was 0 is 1\n") ||
				!strings.Contains(got, "sysctl net/ipv4/conf/eth0/rp_filter was 1 is 2\n") {
				t.Errorf("the other one has\n%s, before\n%s", got, left)
			}
			apply(t, ns, last, link.Settings{})
			netnstest.Inside(t, ns, func() error {
				for path, want := range map[string]string{"net/ipv4/ip_forward": "0", "net/ipv4/conf/eth0/rp_filter": "1", "net/ipv4/conf/default/rp_filter": "1"} {
					if got, err := readSysctl(path); err != nil || got != want {
						t.Errorf("%s is %s (%v) after both have gone, before it was %s", path, got, err, want)
					}
				}
				return nil
			})
		})
	}
}
