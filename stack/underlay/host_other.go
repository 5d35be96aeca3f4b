//go:build !linux && !darwin && !windows

package underlay

import (
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"mipvpn/tun/link"
)

// Host is the kernel of this machine as a link.Host. On this operating system none can be made.
type Host struct{ link.Clock }

// NewHost fails with an error that wraps ErrUnsupported: the underlay exists for Linux only.
func NewHost(Options) (*Host, error) { return nil, unsupported() }

func unsupported() error {
	return fmt.Errorf("underlay: kernel flows on %s: %w", runtime.GOOS, ErrUnsupported)
}

// Close does nothing.
func (*Host) Close() error { return nil }

// Interfaces fails with ErrUnsupported.
func (*Host) Interfaces() ([]link.Interface, error) { return nil, unsupported() }

// Watch fails with ErrUnsupported.
func (*Host) Watch(func()) (func(), error) { return nil, unsupported() }

// Underlay fails with ErrUnsupported.
func (*Host) Underlay(int, netip.Addr) (link.Link, error) { return nil, unsupported() }

// OpenFrames fails with ErrUnsupported.
func (*Host) OpenFrames(int, link.Receiver) (link.Frames, error) { return nil, unsupported() }

// OpenDevice fails with ErrUnsupported.
func (*Host) OpenDevice(string, int) (link.Device, error) { return nil, unsupported() }

// Apply fails with ErrUnsupported.
func (*Host) Apply(link.Settings) error { return unsupported() }

// Permit fails with ErrUnsupported.
func (*Host) Permit(int, time.Duration) error { return unsupported() }

// Forbid fails with ErrUnsupported.
func (*Host) Forbid(int) error { return unsupported() }
