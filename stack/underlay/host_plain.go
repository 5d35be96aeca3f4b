//go:build darwin || windows

package underlay

import (
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"mipvpn/detect/linkmon"
	"mipvpn/tun/device"
	"mipvpn/tun/hostnet"
	"mipvpn/tun/link"
)

// Host is the kernel of this machine as a link.Host, with UDP flows over the sockets of Go's net package. There are neither frames
// nor other protocols, so that a foreign agent can neither be reached nor run (modes f, fvc and fvf), and no permits for plaintext
// (modes c and f, and being at home). None of it has been run on a real machine.
type Host struct {
	*plainClock
	opts    Options
	monitor *linkmon.Monitor
	network *hostnet.Network
	ports   *ports
}

var (
	_ link.Host        = (*Host)(nil)
	_ link.LimitedHost = (*Host)(nil)
)

// Limits implements link.LimitedHost.
func (*Host) Limits() link.Limits {
	return link.Limits{
		Plaintext: "has no packet filter whose permits end by themselves, so that the kernel could not hold the line: choose vc or cvc",
		Frames:    "gives no access to the link layer: choose vc or cvc",
	}
}

// NewHost returns the kernel as a Host. It opens no socket yet and changes nothing; what it changes later needs the rights of an
// administrator. Close it after everything that was opened through it.
func NewHost(opts Options) (*Host, error) {
	opts.Settings = opts.Settings.WithDefaults()
	return &Host{plainClock: &plainClock{boot: bootTime}, opts: opts, monitor: linkmon.New(), network: hostnet.New(opts.Settings),
		ports: &ports{drops: opts.Drops}}, nil
}

// Close does nothing: timers are the garbage collector's.
func (*Host) Close() error { return nil }

// Interfaces returns a snapshot of all interfaces that lead to a network, in the order of their indices.
func (h *Host) Interfaces() ([]link.Interface, error) { return h.monitor.Snapshot() }

// Watch calls f when something about the interfaces may have changed; see linkmon.Monitor.Watch.
func (h *Host) Watch(f func()) (stop func(), err error) { return h.monitor.Watch(f) }

// Underlay returns the link of the interface with this index and its address addr, or, with index 0, of addr on every interface. It
// opens UDP flows alone.
func (h *Host) Underlay(index int, addr netip.Addr) (link.Link, error) {
	return newPlainLink(h.ports, index, addr)
}

// OpenFrames fails with ErrUnsupported: the link layer is not reached on this system.
func (*Host) OpenFrames(int, link.Receiver) (link.Frames, error) {
	return nil, fmt.Errorf("underlay: frames on %s, without which there are no foreign agents: %w", runtime.GOOS, ErrUnsupported)
}

// OpenDevice makes a TUN device; see device.Open.
func (h *Host) OpenDevice(name string, mtu int) (link.Device, error) {
	d, err := device.Open(deviceName(name), mtu, h.opts.Drops)
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Apply puts the network into the state s; see hostnet.Network.Apply.
func (h *Host) Apply(s link.Settings) error { return h.network.Apply(s) }

// Permit implements link.PlaintextPermit; see hostnet.Network.Permit.
func (h *Host) Permit(index int, until time.Duration) error {
	return h.network.Permit(index, until-h.Now().Boot)
}

// Forbid implements link.PlaintextPermit.
func (h *Host) Forbid(index int) error { return h.network.Forbid(index) }
