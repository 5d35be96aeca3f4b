//go:build !linux

package resolve

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"

	"github.com/godbus/dbus/v5"

	"mipvpn/tun/link"
)

// ErrUnsupported is wrapped by what this operating system cannot do.
var ErrUnsupported = errors.New("not supported on this operating system")

// SystemServers fails on this operating system.
type SystemServers struct {
	// Root, ResolvConf and Own are there as on linux, and not used.
	Root       string
	ResolvConf func() ([]byte, error)
	Own        []netip.Addr
}

// Servers fails with ErrUnsupported.
func (*SystemServers) Servers(context.Context, link.Interface) ([]netip.Addr, error) {
	return nil, fmt.Errorf("resolve: name servers of an interface on %s: %w", runtime.GOOS, ErrUnsupported)
}

// NewSystemServers returns a source that fails.
func NewSystemServers(own netip.Addr, original func() ([]byte, error)) *SystemServers {
	return &SystemServers{ResolvConf: original, Own: []netip.Addr{own}}
}

// SystemBus fails with ErrUnsupported.
func SystemBus(context.Context) (*dbus.Conn, error) {
	return nil, fmt.Errorf("resolve: system bus on %s: %w", runtime.GOOS, ErrUnsupported)
}
