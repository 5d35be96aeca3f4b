package interop

import (
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// space is an anonymous network namespace.
type space struct{ file *os.File }

// newSpace makes a namespace, or skips the test where none may be made.
func newSpace(t *testing.T) *space {
	t.Helper()
	var s space
	var err error
	var wg sync.WaitGroup
	wg.Go(func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			s.file, err = os.Open("/proc/thread-self/ns/net")
		}
	})
	wg.Wait()
	if err != nil {
		t.Skipf("needs network namespaces (root): %v", err)
	}
	t.Cleanup(func() { s.file.Close() })
	h := s.netlink(t)
	lo, err := h.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	return &s
}

func (s *space) netlink(t *testing.T) *netlink.Handle {
	t.Helper()
	h, err := netlink.NewHandleAt(netns.NsHandle(s.file.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

// do runs f in the namespace; what it opens stays there.
func (s *space) do(t *testing.T, f func() error) {
	t.Helper()
	var err error
	var wg sync.WaitGroup
	wg.Go(func() {
		runtime.LockOSThread()
		if err = unix.Setns(int(s.file.Fd()), unix.CLONE_NEWNET); err == nil {
			err = f()
		}
	})
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
}

// starts are commands for the one thread that is the parent of all children: the kernel ends them with it.
var starts = sync.OnceValue(func() chan<- func() {
	ch := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range ch {
			f()
		}
	}()
	return ch
})

// launch starts a command in the namespace.
func (s *space) launch(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	result := make(chan error)
	starts() <- func() {
		if err := unix.Setns(int(s.file.Fd()), unix.CLONE_NEWNET); err != nil {
			result <- err
			return
		}
		result <- cmd.Start()
	}
	return <-result
}

// cable joins two namespaces by a pair of interfaces with these names and addresses.
func cable(t *testing.T, a *space, aName, aAddr string, b *space, bName, bAddr string) {
	t.Helper()
	h := a.netlink(t)
	if err := h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: aName}, PeerName: bName,
		PeerNamespace: netlink.NsFd(int(b.file.Fd()))}); err != nil {
		t.Fatal(err)
	}
	for _, end := range []struct {
		s          *space
		name, addr string
	}{{a, aName, aAddr}, {b, bName, bAddr}} {
		h := end.s.netlink(t)
		l, err := h.LinkByName(end.name)
		if err != nil {
			t.Fatal(err)
		}
		addr, err := netlink.ParseAddr(end.addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.AddrAdd(l, addr); err != nil {
			t.Fatal(err)
		}
		if err := h.LinkSetUp(l); err != nil {
			t.Fatal(err)
		}
	}
}

// route adds a route.
func (s *space) route(t *testing.T, to, via string) {
	t.Helper()
	dst, err := netlink.ParseIPNet(to)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.netlink(t).RouteAdd(&netlink.Route{Dst: dst, Gw: netip.MustParseAddr(via).AsSlice()}); err != nil {
		t.Fatal(err)
	}
}

// forward turns on forwarding.
func (s *space) forward(t *testing.T) {
	t.Helper()
	s.do(t, func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0) })
}
