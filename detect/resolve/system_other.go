//go:build !linux && !darwin && !windows

package resolve

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"

	"mipvpn/tun/link"
)

// SystemServers fails on this operating system.
type SystemServers struct{}

// Servers fails with ErrUnsupported.
func (*SystemServers) Servers(context.Context, link.Interface) ([]netip.Addr, error) {
	return nil, fmt.Errorf("resolve: name servers of an interface on %s: %w", runtime.GOOS, ErrUnsupported)
}

// NewSystemServers returns a source that fails.
func NewSystemServers(netip.Addr, func() ([]byte, error)) *SystemServers { return &SystemServers{} }
