//go:build !linux && !darwin && !windows

package underlay

import (
	"context"
	"net"
	"net/netip"

	"mipvpn/tun/link"
)

// OpenPortal fails with ErrUnsupported.
func (*Host) OpenPortal(link.Portal) (link.PortalWay, error) { return nil, unsupported() }

// DialThrough fails with ErrUnsupported.
func (*Host) DialThrough(context.Context, int, netip.AddrPort) (net.Conn, error) {
	return nil, unsupported()
}

// ListenLocal fails with ErrUnsupported.
func (*Host) ListenLocal() (net.PacketConn, error) { return nil, unsupported() }

// ListenStream fails with ErrUnsupported.
func (*Host) ListenStream(netip.AddrPort) (net.Listener, error) { return nil, unsupported() }
