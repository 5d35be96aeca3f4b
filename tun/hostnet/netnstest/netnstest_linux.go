package netnstest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// New makes a network namespace with its loopback interface up, which lives until the test's end and as long as something
// in it does. It skips the test, with the reason, where none can be made.
func New(t testing.TB) *os.File {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for network namespaces")
	}
	type result struct {
		file *os.File
		err  error
	}
	c := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine and runs no other
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			c <- result{nil, err}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		if err == nil {
			err = SetUp("lo", netip.Prefix{})
		}
		c <- result{f, err}
	}()
	r := <-c
	if r.err != nil {
		t.Skipf("needs network namespaces: %v", r.err)
	}
	t.Cleanup(func() { r.file.Close() })
	return r.file
}

// Do runs f on a thread of its own in the namespace and returns its error. What f starts as goroutines runs elsewhere.
func Do(ns *os.File, f func() error) error {
	c := make(chan error, 1)
	go func() {
		ended := false
		defer func() {
			if !ended {
				c <- errors.New("ended by the test") // t.Fatal or t.Skip inside f
			}
		}()
		runtime.LockOSThread() // never unlocked, as in New
		err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			err = f()
		}
		ended = true
		c <- err
	}()
	return <-c
}

// Enter starts a thread in the namespace, which lives until the test's end, and returns what runs a function on it: Do for
// many short functions, since the kernel takes its time for entering a namespace. What f starts as goroutines runs elsewhere.
func Enter(t testing.TB, ns *os.File) (do func(f func() error) error) {
	t.Helper()
	work, done := make(chan func() error), make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked, as in New
		done <- unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		for f := range work {
			done <- f()
		}
	}()
	if err := <-done; err != nil {
		close(work)
		t.Fatal(err)
	}
	t.Cleanup(func() { close(work) })
	return func(f func() error) error {
		work <- f
		return <-done
	}
}

// Inside is Do that fails the test with the error.
func Inside(t testing.TB, ns *os.File, f func() error) {
	t.Helper()
	if err := Do(ns, f); err != nil {
		t.Fatal(err)
	}
}

// Wire joins two namespaces by a veth pair. Each end gets its name and, if valid, its address, and is brought up.
func Wire(t testing.TB, a *os.File, nameA string, addrA netip.Prefix, b *os.File, nameB string, addrB netip.Prefix) {
	t.Helper()
	Inside(t, a, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = nameA
		veth := &netlink.Veth{LinkAttrs: attrs, PeerName: nameB, PeerNamespace: netlink.NsFd(int(b.Fd()))}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("make veth pair: %w", err)
		}
		return SetUp(nameA, addrA)
	})
	Inside(t, b, func() error { return SetUp(nameB, addrB) })
}

// SetUp gives an interface of the calling thread's namespace an address, if valid, and brings it up.
func SetUp(name string, addr netip.Prefix) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find interface %s: %w", name, err)
	}
	if addr.IsValid() {
		if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: IPNet(addr)}); err != nil {
			return fmt.Errorf("add address %v: %w", addr, err)
		}
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	return nil
}

// Route adds a route to a prefix by way of a next hop in the calling thread's namespace.
func Route(to netip.Prefix, by netip.Addr) error {
	if err := netlink.RouteAdd(&netlink.Route{Dst: IPNet(to), Gw: by.AsSlice()}); err != nil {
		return fmt.Errorf("add route to %v by %v: %w", to, by, err)
	}
	return nil
}

// IPNet returns a prefix, host bits kept, as packages net and netlink have it.
func IPNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Index returns the index of an interface of the namespace.
func Index(t testing.TB, ns *os.File, name string) (index int) {
	t.Helper()
	Inside(t, ns, func() error {
		l, err := netlink.LinkByName(name)
		if err == nil {
			index = l.Attrs().Index
		}
		return err
	})
	return index
}
