package underlay

import (
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"mipvpn/detect/linkmon"
	"mipvpn/tun/device"
	"mipvpn/tun/hostnet"
	"mipvpn/tun/link"
)

// Host is the kernel as a link.Host: the network namespace of the thread that called NewHost, or that of
// Options.Namespace.
type Host struct {
	*clock
	opts    Options
	monitor *linkmon.Monitor
	network *hostnet.Network
	ports   *ports
}

var _ link.Host = (*Host)(nil)

// snapshotTries is how often the interfaces are read anew because one has gone meanwhile.
const snapshotTries = 3

// NewHost returns the kernel as a Host. It opens no socket yet and changes nothing; what it opens later needs
// CAP_NET_ADMIN and CAP_NET_RAW. Close it after everything that was opened through it.
func NewHost(opts Options) (*Host, error) {
	opts.Settings = opts.Settings.WithDefaults()
	c, err := newClock()
	if err != nil {
		return nil, fmt.Errorf("underlay: %w", err)
	}
	return &Host{clock: c, opts: opts, monitor: linkmon.New(), network: hostnet.New(opts.Settings), ports: &ports{drops: opts.Drops}}, nil
}

// Close ends the Host's timers. It takes back nothing that Apply has done: Apply the zero Settings for that.
func (h *Host) Close() error { return h.clock.close() }

// in runs f in the Host's network namespace.
func (h *Host) in(f func() error) error {
	if h.opts.Namespace == nil {
		return f()
	}
	runtime.LockOSThread()
	before, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open this thread's network namespace: %w", err)
	}
	defer unix.Close(before)
	if err := unix.Setns(int(h.opts.Namespace.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace: %w", err)
	}
	err = f()
	if back := unix.Setns(before, unix.CLONE_NEWNET); back != nil {
		// The thread is in the wrong namespace and stays locked to this goroutine, so that no other runs on it.
		return fmt.Errorf("return to the network namespace before: %w", back)
	}
	runtime.UnlockOSThread()
	return err
}

// Interfaces returns a snapshot of all interfaces but loopback and TUN devices, in the order of their indices. The kill
// switch, where there is one, stands on each of them before it returns; it fails where that cannot be done.
func (h *Host) Interfaces() (list []link.Interface, err error) {
	err = h.in(func() error {
		for range snapshotTries { // an interface may go before it is covered
			if list, err = h.monitor.Snapshot(); err != nil {
				return err
			}
			names := make([]string, 0, len(list))
			for _, i := range list {
				names = append(names, i.Name)
			}
			if err = h.network.Cover(names); err == nil {
				return nil
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Watch calls f when something about the interfaces may have changed; see linkmon.Monitor.Watch.
func (h *Host) Watch(f func()) (stop func(), err error) {
	err = h.in(func() error {
		stop, err = h.monitor.Watch(f)
		return err
	})
	return stop, err
}

// OpenDevice makes a TUN device; see device.Open.
func (h *Host) OpenDevice(name string, mtu int) (dev link.Device, err error) {
	err = h.in(func() error {
		d, err := device.Open(name, mtu, h.opts.Drops)
		if err == nil {
			dev = d
		}
		return err
	})
	return dev, err
}

// Apply puts the network into the state s; see hostnet.Network.Apply.
func (h *Host) Apply(s link.Settings) error {
	return h.in(func() error { return h.network.Apply(s) })
}

// Permit implements link.PlaintextPermit by the kill switch's set; see hostnet.Network.Permit.
func (h *Host) Permit(index int, until time.Duration) error {
	return h.in(func() error { return h.network.Permit(index, until-h.Now().Boot) })
}

// Forbid implements link.PlaintextPermit.
func (h *Host) Forbid(index int) error {
	return h.in(func() error { return h.network.Forbid(index) })
}

// Underlay returns the link of the interface with this index and its address addr, or, with index 0, of addr on every
// interface. Errors: no such interface, addr is not IPv4.
func (h *Host) Underlay(index int, addr netip.Addr) (l link.Link, err error) {
	err = h.in(func() error {
		k, err := newKernelLink(h, index, addr)
		if err == nil {
			l = k
		}
		return err
	})
	return l, err
}

// OpenFrames opens IPv4 in Ethernet frames on the interface with this index.
func (h *Host) OpenFrames(index int, recv link.Receiver) (fr link.Frames, err error) {
	err = h.in(func() error {
		f, err := openFrames(h, index, allFrames, recv)
		if err == nil {
			fr = f
		}
		return err
	})
	return fr, err
}

// OpenAdvertisements implements link.AdvertisementHost.
func (h *Host) OpenAdvertisements(index int, recv link.Receiver) (fr link.Frames, err error) {
	err = h.in(func() error {
		f, err := openFrames(h, index, advertisements, recv)
		if err == nil {
			fr = f
		}
		return err
	})
	return fr, err
}
