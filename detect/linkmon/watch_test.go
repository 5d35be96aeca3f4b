//go:build linux

package linkmon

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
)

// An address that comes right after the carrier is told of in a hint of its own, also when nothing happens any more after
// it. How long that takes is logged: 100 ms before hints were gathered for 10 ms only.
func TestAddressAfterCarrier(t *testing.T) {
	ns, other := netnstest.New(t), netnstest.New(t)
	netnstest.Wire(t, ns, "eth0", netip.Prefix{}, other, "eth0", netip.Prefix{})
	hints := make(chan struct{}, 1000)
	var stop func()
	netnstest.Inside(t, ns, func() (err error) {
		stop, err = New().Watch(func() { hints <- struct{}{} })
		return err
	})
	defer stop()
	m := New()
	until := func(seen func(link.Interface) bool) {
		for {
			<-hints // never comes if the change is not noticed
			if list := snapshot(t, ns, m); len(list) == 1 && seen(list[0]) {
				return
			}
		}
	}
	var delays []time.Duration
	for range 3 {
		change(t, other, netlink.LinkSetDown)
		until(func(i link.Interface) bool { return !i.Up })
		change(t, other, netlink.LinkSetUp)
		until(func(i link.Interface) bool { return i.Up })
		change(t, ns, func(l netlink.Link) error { return netlink.AddrAdd(l, addr("10.0.2.50/24")) })
		at := time.Now()
		until(func(i link.Interface) bool { return i.Address.IsValid() })
		delays = append(delays, time.Since(at).Round(100*time.Microsecond))
		change(t, ns, func(l netlink.Link) error { return netlink.AddrDel(l, addr("10.0.2.50/24")) })
		until(func(i link.Interface) bool { return !i.Address.IsValid() })
	}
	slices.Sort(delays)
	t.Logf("an address was seen after %v", delays)
}

// A carrier that is gone and back before anybody looks gives a hint, and a snapshot that differs from the one before.
//
// Shows: DET-2
func TestFlapIsSeen(t *testing.T) {
	ns, other := netnstest.New(t), netnstest.New(t)
	netnstest.Wire(t, ns, "eth0", netip.MustParsePrefix("10.0.2.50/24"), other, "eth0", netip.Prefix{})
	m := New()
	before := snapshot(t, ns, m)
	for !before[0].Up {
		before = snapshot(t, ns, m)
	}
	hints := make(chan struct{}, 1000)
	netnstest.Inside(t, ns, func() error {
		stop, err := New().Watch(func() { hints <- struct{}{} })
		if err == nil {
			t.Cleanup(stop)
		}
		return err
	})
	change(t, other, func(l netlink.Link) error {
		if err := netlink.LinkSetDown(l); err != nil {
			return err
		}
		return netlink.LinkSetUp(l)
	})
	for {
		<-hints
		now := snapshot(t, ns, m)
		if !now[0].Up {
			continue
		}
		if changes := Compare(before, now); len(changes) == 1 && changes[0].Reason == "carrier flapped" {
			return
		}
		t.Fatalf("%+v after %+v", now, before)
	}
}
