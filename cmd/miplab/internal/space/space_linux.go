package space

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Space is one network namespace.
type Space struct {
	// Name is what the lab calls the box. The kernel does not know it.
	Name string

	file *os.File
}

// New makes a namespace whose loopback interface is up and which has no IPv6.
func New(name string) (*Space, error) {
	type made struct {
		file *os.File
		err  error
	}
	ch := make(chan made)
	go func() {
		// The thread stays locked and ends with the goroutine, in the new namespace.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			ch <- made{nil, fmt.Errorf("space: making network namespace %s: %w", name, err)}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			err = fmt.Errorf("space: holding network namespace %s: %w", name, err)
		}
		ch <- made{f, err}
	}()
	m := <-ch
	if m.err != nil {
		return nil, m.err
	}
	s := &Space{Name: name, file: m.file}
	if err := s.prepare(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Space) prepare() error {
	h, err := s.Netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("space: %s: loopback: %w", s.Name, err)
	}
	if err := h.LinkSetUp(lo); err != nil {
		return fmt.Errorf("space: %s: loopback: %w", s.Name, err)
	}
	// A kernel without IPv6 has nothing to turn off.
	if err := s.Sysctl("net.ipv6.conf.all.disable_ipv6", "1"); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := s.Sysctl("net.ipv6.conf.default.disable_ipv6", "1"); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

// FD returns the descriptor that holds the namespace; the Space keeps owning it.
func (s *Space) FD() int { return int(s.file.Fd()) }

// Close lets go of the namespace.
func (s *Space) Close() error { return s.file.Close() }

// Do runs f on a thread that is in the namespace: sockets that f itself opens belong to it for good. Goroutines that f
// starts do not run in it.
func (s *Space) Do(f func() error) error {
	ch := make(chan error)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			runtime.UnlockOSThread()
			ch <- fmt.Errorf("space: %w", err)
			return
		}
		defer home.Close()
		if err := unix.Setns(s.FD(), unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			ch <- fmt.Errorf("space: entering %s: %w", s.Name, err)
			return
		}
		err = f()
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		} // else the thread ends with this goroutine
		ch <- err
	}()
	return <-ch
}

// launches are commands to be started by the one thread that all child processes have as their parent: the kernel
// watches threads, not processes, when it ends the children of a parent that has died (PR_SET_PDEATHSIG).
var launches = sync.OnceValue(func() chan<- func() {
	ch := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range ch {
			f()
		}
	}()
	return ch
})

// Start starts the command in the namespace, as exec.Cmd.Start does. The kernel kills it when this process dies.
func (s *Space) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	ch := make(chan error)
	launches() <- func() { ch <- s.launch(cmd) }
	return <-ch
}

// launch runs on the locked thread. A thread that cannot return home is of no further use, so that is a panic.
func (s *Space) launch(cmd *exec.Cmd) error {
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("space: %w", err)
	}
	defer home.Close()
	if err := unix.Setns(s.FD(), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("space: entering %s: %w", s.Name, err)
	}
	err = cmd.Start()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		panic(fmt.Sprintf("space: leaving %s: %v", s.Name, back))
	}
	return err
}

// Netlink returns a route netlink handle of the namespace; the caller closes it.
func (s *Space) Netlink() (*netlink.Handle, error) {
	h, err := netlink.NewHandleAt(netns.NsHandle(s.FD()), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("space: netlink of %s: %w", s.Name, err)
	}
	return h, nil
}

// Nftables returns a connection to the namespace's nftables.
func (s *Space) Nftables() (*nftables.Conn, error) {
	c, err := nftables.New(nftables.WithNetNSFd(s.FD()))
	if err != nil {
		return nil, fmt.Errorf("space: nftables of %s: %w", s.Name, err)
	}
	return c, nil
}

// Sysctl writes a kernel setting of the namespace, named with dots.
func (s *Space) Sysctl(name, value string) error {
	return s.Do(func() error {
		return os.WriteFile("/proc/sys/"+strings.ReplaceAll(name, ".", "/"), []byte(value), 0)
	})
}
