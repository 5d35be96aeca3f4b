//go:build linux

package hostnet

import (
	"encoding/binary"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
)

// guarded is a laptop with a kill switch.
func guarded() link.Settings {
	s := laptop
	s.KillSwitch = true
	return s
}

// takeRules removes the policy rules as systemd-networkd does when it starts: whatever is not the kernel's.
func takeRules() error {
	list, err := netlink.RuleList(netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	for _, r := range list {
		if r.Protocol != unix.RTPROT_KERNEL {
			if err := netlink.RuleDel(&r); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeRoutes removes all routes of the table.
func takeRoutes() error {
	list, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: 28009}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return err
	}
	for _, r := range list {
		if err := netlink.RouteDel(&r); err != nil {
			return err
		}
	}
	return nil
}

// takeTables is `nft flush ruleset`.
func takeTables() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	c.FlushRuleset()
	return c.Flush()
}

// takeSysctls is `sysctl --system` with a file that has other values.
func takeSysctls() error {
	var errs []error
	for path, value := range map[string]string{"all/arp_ignore": "0", "eth0/rp_filter": "1", "default/rp_filter": "1"} {
		errs = append(errs, os.WriteFile(sysctlRoot+"net/ipv4/conf/"+path, []byte(value), 0))
	}
	return errors.Join(errs...)
}

// takeAddress takes the address off the device, and the device down.
func takeAddress() error {
	l, err := netlink.LinkByName("mip0")
	if err != nil {
		return err
	}
	list, err := netlink.AddrList(l, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	for _, a := range list {
		if err := netlink.AddrDel(l, &a); err != nil {
			return err
		}
	}
	return nil
}

// Shows: HST-1, HST-2 (what other programs take away is put back as it was, and nothing else is changed)
func TestRestore(t *testing.T) {
	ns := newNamespace(t)
	openDevice(t, ns, "mip0")
	n := New(Options{})
	restore := func() (r link.Restored) {
		t.Helper()
		netnstest.Inside(t, ns, func() (err error) {
			r, err = n.Restore()
			return err
		})
		return r
	}
	if r := restore(); r.Any() {
		t.Errorf("put back %v before there was anything", r)
	}
	apply(t, ns, n, guarded())
	before := state(t, ns, n)
	for _, c := range []struct {
		name string
		take func() error
		want link.Restored
	}{
		{"nothing", func() error { return nil }, link.Restored{}},
		{"rules", takeRules, link.Restored{Rules: 2}},
		{"routes", takeRoutes, link.Restored{Routes: 2}},
		{"nftables", takeTables, link.Restored{KillSwitch: true, Shield: true}},
		{"address", takeAddress, link.Restored{Routes: 1}}, // that has it as its source
		{"sysctls", takeSysctls, link.Restored{Sysctls: 3}},
		{"sysctls and their memory", func() error { return errors.Join(takeSysctls(), takeTables()) }, link.Restored{KillSwitch: true, Shield: true, Sysctls: 3}},
	} {
		netnstest.Inside(t, ns, c.take)
		if c.want.Any() && state(t, ns, n) == before {
			t.Fatalf("%s: nothing was taken away", c.name)
		}
		if r := restore(); r != c.want {
			t.Errorf("%s: put back %+v, want %+v", c.name, r, c.want)
		}
		if after := state(t, ns, n); after != before {
			t.Errorf("%s: after it was put back:\n%s\nbefore:\n%s", c.name, after, before)
		}
		if r := restore(); r.Any() {
			t.Errorf("%s: put back %+v once more", c.name, r)
		}
	}
	if got := (link.Restored{Rules: 1, Routes: 2, Sysctls: 1, KillSwitch: true}).String(); got != "1 rule, 2 routes, 1 kernel variable and the kill switch" {
		t.Errorf("in words: %q", got)
	}
	apply(t, ns, n, link.Settings{})
	clean := state(t, ns, n)
	if r := restore(); r.Any() || state(t, ns, n) != clean {
		t.Errorf("put back %v after everything was taken back", r)
	}
}

// TestWatch shows that each removal of something of ours is told of.
func TestWatch(t *testing.T) {
	ns := newNamespace(t)
	openDevice(t, ns, "mip0")
	n := New(Options{})
	apply(t, ns, n, guarded())
	told := make(chan struct{}, 100)
	var stop func()
	netnstest.Inside(t, ns, func() (err error) {
		stop, err = n.Watch(func() { told <- struct{}{} })
		return err
	})
	wait := func(what string) {
		t.Helper()
		select {
		case <-told:
		case <-time.After(time.Minute):
			t.Fatalf("%s: nothing was told", what)
		}
		for len(told) > 0 {
			<-told
		}
	}
	netnstest.Inside(t, ns, takeRoutes)
	wait("routes")
	netnstest.Inside(t, ns, takeRules)
	wait("rules")
	netnstest.Inside(t, ns, takeTables)
	wait("nftables")
	netnstest.Inside(t, ns, takeAddress)
	wait("address")
	netnstest.Inside(t, ns, takeSysctls)
	wait("sysctls")
	stop()
	stop()
}

// message is one netlink message.
func message(kind uint16, body []byte) []byte {
	m := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	m = binary.NativeEndian.AppendUint16(m, kind)
	return append(append(m, make([]byte, 10)...), body...)
}

// route is the body of a message about a route of a table.
func route(table uint32) []byte {
	b := make([]byte, unix.SizeofRtMsg)
	b = binary.NativeEndian.AppendUint16(b, 8)
	b = binary.NativeEndian.AppendUint16(b, unix.RTA_TABLE)
	return binary.NativeEndian.AppendUint32(b, table)
}

// FuzzConcerns gives any octets to what reads netlink's messages.
func FuzzConcerns(f *testing.F) {
	n := New(Options{})
	for _, seed := range []struct {
		data []byte
		want bool
	}{
		{message(unix.RTM_DELROUTE, route(28009)), true}, {message(unix.RTM_DELROUTE, route(254)), false}, {message(unix.RTM_NEWROUTE, route(28009)), false},
		{message(unix.RTM_NEWNETCONF, nil), true},
		{append(message(unix.RTM_NEWROUTE, route(28009)), message(unix.RTM_DELRULE, nil)...), true}, {message(delTable, nil), true},
		{message(unix.RTM_DELROUTE, []byte{1}), false}, {nil, false},
	} {
		if got := n.concerns(seed.data); got != seed.want {
			f.Errorf("%x: %v, want %v", seed.data, got, seed.want)
		}
		f.Add(seed.data)
	}
	f.Fuzz(func(t *testing.T, data []byte) { n.concerns(data) })
}
