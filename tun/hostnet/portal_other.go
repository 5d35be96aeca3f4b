//go:build !linux

package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"mipvpn/tun/link"
)

// ErrPortalClosed is returned for what is asked of a way that has been closed.
var ErrPortalClosed = errors.New("hostnet: the way to the portal is closed")

// PortalWay is an open way to a captive portal. On this operating system there is none.
type PortalWay struct{}

// OpenPortal fails with ErrUnsupported.
func (*Network) OpenPortal(link.Portal) (*PortalWay, error) {
	return nil, fmt.Errorf("hostnet: open the way to a portal on %s: %w", runtime.GOOS, ErrUnsupported)
}

// Confinement implements link.PortalWay.
func (*PortalWay) Confinement() string { return "none" }

// Join fails with ErrPortalClosed.
func (*PortalWay) Join(int, uint32) error { return ErrPortalClosed }

// Admit fails with ErrPortalClosed.
func (*PortalWay) Admit([]netip.Addr, time.Duration) error { return ErrPortalClosed }

// Close does nothing.
func (*PortalWay) Close() error { return nil }
