//go:build linux

package linkmon

import (
	"encoding/binary"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/tun/device"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// change does something to eth0 of a namespace, or of the one at its other end.
func change(t *testing.T, ns *os.File, f func(l netlink.Link) error) {
	t.Helper()
	netnstest.Inside(t, ns, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return f(l)
	})
}

func snapshot(t *testing.T, ns *os.File, m *Monitor) (list []link.Interface) {
	t.Helper()
	netnstest.Inside(t, ns, func() (err error) {
		list, err = m.Snapshot()
		return err
	})
	return list
}

// carrierChanges reads how often eth0's carrier has come or gone from sysfs, which shows the namespace of who mounts it.
func carrierChanges(t *testing.T, ns *os.File) uint32 {
	t.Helper()
	var n uint64
	netnstest.Inside(t, ns, func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return err
		}
		dir := t.TempDir()
		if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return err
		}
		if err := unix.Mount("sysfs", dir, "sysfs", 0, ""); err != nil {
			return err
		}
		defer unix.Unmount(dir, unix.MNT_DETACH)
		p, err := os.ReadFile(dir + "/class/net/eth0/carrier_changes")
		if err == nil {
			n, err = strconv.ParseUint(strings.TrimSpace(string(p)), 10, 32)
		}
		return err
	})
	return uint32(n)
}

func addr(text string) *netlink.Addr {
	return &netlink.Addr{IPNet: netnstest.IPNet(netip.MustParsePrefix(text))}
}

func defaultRoute(by string, metric int) *netlink.Route {
	return &netlink.Route{Dst: netnstest.IPNet(netip.MustParsePrefix("0.0.0.0/0")), Gw: netip.MustParseAddr(by).AsSlice(), Priority: metric}
}

// Everything that a DHCP client, a person or a cable does to an interface shows in the snapshots.
//
// Shows: DET-2
func TestSnapshots(t *testing.T) {
	ns, other := netnstest.New(t), netnstest.New(t)
	netnstest.Wire(t, ns, "eth0", netip.Prefix{}, other, "eth0", netip.MustParsePrefix("10.0.2.1/24"))
	netnstest.Inside(t, ns, func() error { // neither is told of
		d, err := device.Open("tun0", 1400, nil)
		if err != nil {
			return err
		}
		t.Cleanup(func() { d.Close() })
		return netnstest.SetUp("tun0", netip.MustParsePrefix("10.9.9.9/32"))
	})
	var hardware, gateway packet.HardwareAddr
	change(t, ns, func(l netlink.Link) error { copy(hardware[:], l.Attrs().HardwareAddr); return nil })
	change(t, other, func(l netlink.Link) error { copy(gateway[:], l.Attrs().HardwareAddr); return nil })
	moved := packet.HardwareAddr{2, 0, 0, 0, 0, 7}
	neighbour := func(hw packet.HardwareAddr, state int) func(netlink.Link) error {
		return func(l netlink.Link) error {
			return netlink.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, Family: netlink.FAMILY_V4, State: state,
				IP: netip.MustParseAddr("10.0.2.1").AsSlice(), HardwareAddr: hw[:]})
		}
	}
	at := func(f func(netlink.Link, *netlink.Route) error, r *netlink.Route) func(netlink.Link) error {
		return func(l netlink.Link) error { r.LinkIndex = l.Attrs().Index; return f(l, r) }
	}
	add := func(_ netlink.Link, r *netlink.Route) error { return netlink.RouteAdd(r) }

	m := New()
	flap := func(l netlink.Link) error { // gone and back before anybody looks
		if err := netlink.LinkSetDown(l); err != nil {
			return err
		}
		return netlink.LinkSetUp(l)
	}
	want := link.Interface{Index: netnstest.Index(t, ns, "eth0"), Name: "eth0", Hardware: hardware, MTU: 1500, Up: true}
	want.CarrierChanges = carrierChanges(t, ns)
	last := []link.Interface{want}
	for _, step := range []struct {
		name   string
		where  *os.File
		do     func(netlink.Link) error
		expect func(*link.Interface)
		reason string // of the change, if it is one
	}{
		{"at first", ns, func(netlink.Link) error { return nil }, func(*link.Interface) {}, ""},
		{"address", ns, func(l netlink.Link) error { return netlink.AddrAdd(l, addr("10.0.2.50/24")) },
			func(i *link.Interface) { i.Address = netip.MustParsePrefix("10.0.2.50/24") }, "address 10.0.2.50/24"},
		{"secondary address", ns, func(l netlink.Link) error { return netlink.AddrAdd(l, addr("10.0.2.60/24")) }, func(*link.Interface) {}, ""},
		{"default route", ns, at(add, defaultRoute("10.0.2.2", 200)),
			func(i *link.Interface) { i.Gateway = netip.MustParseAddr("10.0.2.2") }, "gateway 10.0.2.2"},
		{"better default route", ns, at(add, defaultRoute("10.0.2.1", 100)),
			func(i *link.Interface) { i.Gateway = netip.MustParseAddr("10.0.2.1") }, "gateway 10.0.2.1, was 10.0.2.2"},
		{"gateway resolved", ns, neighbour(gateway, unix.NUD_REACHABLE), func(i *link.Interface) { i.GatewayHardware = gateway }, ""},
		{"gateway forgotten by the kernel", ns, func(l netlink.Link) error {
			return netlink.NeighDel(&netlink.Neigh{LinkIndex: l.Attrs().Index, Family: netlink.FAMILY_V4, IP: netip.MustParseAddr("10.0.2.1").AsSlice()})
		}, func(*link.Interface) {}, ""},
		{"another station as gateway", ns, neighbour(moved, unix.NUD_STALE), func(i *link.Interface) { i.GatewayHardware = moved },
			"gateway at " + moved.String() + ", was at " + gateway.String()},
		{"MTU", ns, func(l netlink.Link) error { return netlink.LinkSetMTU(l, 1400) },
			func(i *link.Interface) { i.MTU = 1400 }, "MTU 1400, was 1500"},
		{"address gone", ns, func(l netlink.Link) error {
			if err := netlink.AddrDel(l, addr("10.0.2.60/24")); err != nil {
				return err
			}
			return netlink.AddrDel(l, addr("10.0.2.50/24"))
		}, func(i *link.Interface) {
			i.Address, i.Gateway, i.GatewayHardware = netip.Prefix{}, netip.Addr{}, packet.HardwareAddr{}
		}, "address 10.0.2.50/24 gone, gateway 10.0.2.1 gone"},
		{"cable pulled", other, netlink.LinkSetDown, func(i *link.Interface) { i.Up = false; i.CarrierChanges++ }, "carrier down"},
		{"cable back", other, netlink.LinkSetUp, func(i *link.Interface) { i.Up = true; i.CarrierChanges++ }, "carrier up"},
		{"cable pulled and plugged in again at once", other, flap, func(i *link.Interface) { i.CarrierChanges += 2 }, "carrier flapped"},
		{"set down", ns, netlink.LinkSetDown, func(i *link.Interface) { i.Up = false; i.CarrierChanges++ }, "carrier down"},
	} {
		change(t, step.where, step.do)
		step.expect(&want)
		got := snapshot(t, ns, m)
		for !slices.Equal(got, []link.Interface{want}) && len(got) == 1 && got[0].Up != want.Up {
			got = snapshot(t, ns, m) // the kernel's link watch follows a change of carrier a little later
		}
		if !slices.Equal(got, []link.Interface{want}) {
			t.Fatalf("%s: %+v, want %+v", step.name, got, want)
		}
		var reason string
		for _, c := range Compare(last, got) {
			reason = c.Reason
		}
		if reason != step.reason {
			t.Errorf("%s: the change is %q, want %q", step.name, reason, step.reason)
		}
		last = got
	}
	change(t, ns, netlink.LinkDel)
	if got := snapshot(t, ns, m); len(got) != 0 {
		t.Errorf("interface removed: %+v", got)
	}
}

// Each kind of change gives a hint.
func TestWatch(t *testing.T) {
	ns, other := netnstest.New(t), netnstest.New(t)
	netnstest.Wire(t, ns, "eth0", netip.Prefix{}, other, "eth0", netip.Prefix{})
	hints := make(chan struct{}, 1000)
	var stop func()
	netnstest.Inside(t, ns, func() (err error) {
		stop, err = New().Watch(func() { hints <- struct{}{} })
		return err
	})
	m := New()
	for _, step := range []struct {
		name  string
		where *os.File
		do    func(netlink.Link) error
		seen  func(link.Interface) bool
	}{
		{"address", ns, func(l netlink.Link) error { return netlink.AddrAdd(l, addr("10.0.2.50/24")) },
			func(i link.Interface) bool { return i.Address.IsValid() }},
		{"route", ns, func(l netlink.Link) error { return netlink.RouteAdd(defaultRoute("10.0.2.1", 0)) },
			func(i link.Interface) bool { return i.Gateway.IsValid() }},
		{"neighbour", ns, func(l netlink.Link) error {
			return netlink.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, Family: netlink.FAMILY_V4, State: unix.NUD_REACHABLE,
				IP: netip.MustParseAddr("10.0.2.1").AsSlice(), HardwareAddr: []byte{2, 0, 0, 0, 0, 7}})
		}, func(i link.Interface) bool { return !i.GatewayHardware.IsZero() }},
		{"carrier", other, netlink.LinkSetDown, func(i link.Interface) bool { return !i.Up }},
	} {
		change(t, step.where, step.do)
		for {
			<-hints // never comes if the change is not noticed
			if list := snapshot(t, ns, m); len(list) == 1 && step.seen(list[0]) {
				break
			}
		}
	}
	stop()
	stop()
}

// nested returns a netlink attribute: length, type, value, padded to 4 octets.
func nested(typ uint16, value []byte) []byte {
	p := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	p = binary.NativeEndian.AppendUint16(p, typ)
	p = append(p, value...)
	for len(p)%4 != 0 {
		p = append(p, 0)
	}
	return p
}

func number(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// scanResult returns an answer to NL80211_CMD_GET_SCAN as cfg80211 builds it: generation and ifindex, then the nested BSS.
func scanResult(bssid []byte, status []byte) []byte {
	bss := nested(1, bssid)
	bss = append(bss, nested(2, number(2412))...) // frequency
	if status != nil {
		bss = append(bss, nested(9, status)...)
	}
	p := []byte{34, 1, 0, 0} // NL80211_CMD_NEW_SCAN_RESULTS
	p = append(p, nested(46, number(7))...)
	p = append(p, nested(3, number(5))...)
	return append(p, nested(0x8000|47, bss)...)
}

func TestParseAssociation(t *testing.T) {
	bssid := []byte{2, 1, 2, 3, 4, 5}
	for _, test := range []struct {
		name    string
		message []byte
		ok      bool
	}{
		{"associated", scanResult(bssid, number(1)), true},
		{"authenticated only", scanResult(bssid, number(0)), false},
		{"not ours", scanResult(bssid, nil), false},
		{"short BSSID", scanResult(bssid[:5], number(1)), false},
		{"short status", scanResult(bssid, []byte{1}), false},
		{"empty", nil, false},
	} {
		got, ok := parseBSS(test.message)
		if ok != test.ok || ok && got != packet.HardwareAddr(bssid) {
			t.Errorf("%s: %v %t, want %t", test.name, got, ok, test.ok)
		}
		if want := 5; test.message != nil && parseInterface(test.message) != want {
			t.Errorf("%s: interface %d, want %d", test.name, parseInterface(test.message), want)
		}
	}
}

// FuzzParseAssociation checks that no message of the kernel's, however broken, breaks the reader.
func FuzzParseAssociation(f *testing.F) {
	whole := scanResult([]byte{2, 1, 2, 3, 4, 5}, number(1))
	for n := range len(whole) {
		f.Add(whole[:n])
	}
	f.Add(whole)
	f.Fuzz(func(t *testing.T, message []byte) {
		if bssid, ok := parseBSS(message); !ok && !bssid.IsZero() {
			t.Errorf("%v although not associated", bssid)
		}
		parseInterface(message)
	})
}

// linkMessage returns an RTM_NEWLINK message with one attribute.
func linkMessage(typ uint16, value []byte) []byte {
	return append(make([]byte, unix.SizeofIfInfomsg), nested(typ, value)...)
}

func TestParseCarrierChanges(t *testing.T) {
	for _, test := range []struct {
		name    string
		message []byte
		want    uint32
	}{
		{"count", linkMessage(unix.IFLA_CARRIER_CHANGES, number(7)), 7},
		{"flags of the type are not looked at", linkMessage(unix.IFLA_CARRIER_CHANGES|unix.NLA_F_NET_BYTEORDER, number(7)), 7},
		{"another attribute", linkMessage(unix.IFLA_CARRIER, number(7)), 0},
		{"short value", linkMessage(unix.IFLA_CARRIER_CHANGES, []byte{7, 0}), 0},
		{"no attribute", make([]byte, unix.SizeofIfInfomsg), 0},
		{"empty", nil, 0},
	} {
		if got := parseCarrierChanges(test.message); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

// FuzzParseCarrierChanges checks that no message of the kernel's, however broken, breaks the reader, and that
// nothing comes out of one that has no room for the count.
func FuzzParseCarrierChanges(f *testing.F) {
	whole := linkMessage(unix.IFLA_CARRIER_CHANGES, number(7))
	for n := range len(whole) {
		f.Add(whole[:n])
	}
	f.Add(whole)
	f.Fuzz(func(t *testing.T, message []byte) {
		n := parseCarrierChanges(message)
		if len(message) < len(whole) && n != 0 {
			t.Errorf("%d out of %d octets", n, len(message))
		}
	})
}
