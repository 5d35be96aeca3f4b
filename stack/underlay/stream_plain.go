//go:build darwin || windows

package underlay

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"mipvpn/tun/link"
)

var (
	_ link.StreamHost = (*Host)(nil)
	_ link.PortalHost = (*Host)(nil)
)

// DialThrough implements link.StreamHost and link.PortalHost.
func (h *Host) DialThrough(ctx context.Context, index int, to netip.AddrPort) (net.Conn, error) {
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	local, err := ownAddress(index, to.Addr().Is4())
	if err != nil {
		return nil, fmt.Errorf("underlay: through interface %d: %w", index, err)
	}
	d := net.Dialer{LocalAddr: local, KeepAliveConfig: streamProbes, Control: func(_, _ string, raw syscall.RawConn) error {
		var bound error
		if err := raw.Control(func(fd uintptr) { bound = plainBind(int(fd), index, to.Addr().Is6()) }); err != nil {
			return err
		}
		return bound
	}}
	c, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, fmt.Errorf("underlay: through interface %d: %w", index, err)
	}
	return c, nil
}

// ListenStream implements link.StreamHost.
func (h *Host) ListenStream(local netip.AddrPort) (net.Listener, error) {
	c := net.ListenConfig{KeepAliveConfig: streamProbes}
	l, err := c.Listen(context.Background(), "tcp", local.String())
	if err != nil {
		return nil, fmt.Errorf("underlay: listen for TCP on %v: %w", local, err)
	}
	return l, nil
}

// OpenPortal fails with ErrUnsupported: a browser is not confined on this system. The system's own window for captive portals shows
// the page while the client is down.
func (*Host) OpenPortal(link.Portal) (link.PortalWay, error) {
	return nil, fmt.Errorf("underlay: open the way to a portal: %w", ErrUnsupported)
}

// ListenLocal implements link.PortalHost.
func (*Host) ListenLocal() (net.PacketConn, error) {
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("underlay: %w", err)
	}
	return c, nil
}
