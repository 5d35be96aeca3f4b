package underlay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"mipvpn/tun/link"
)

var _ link.StreamHost = (*Host)(nil)

const (
	// streamUnsent bounds what a TCP connection takes before it can send it, so that little is late when the path is slow.
	streamUnsent = 128 << 10
)

// tune sets what all TCP connections of a Host have.
func (h *Host) tune(fd uintptr) error {
	for _, o := range []struct{ level, option, value int }{
		{unix.SOL_SOCKET, unix.SO_MARK, int(h.opts.mark(link.Protected))},
		{unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, streamUnsent},
		{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(streamSilence.Milliseconds())},
	} {
		if err := unix.SetsockoptInt(int(fd), o.level, o.option, o.value); err != nil {
			return fmt.Errorf("set option %d of level %d to %d: %w", o.option, o.level, o.value, err)
		}
	}
	return nil
}

// controlling returns a Control function that tunes the socket and then sets more.
func (h *Host) controlling(more func(fd int) error) func(string, string, syscall.RawConn) error {
	return func(_, _ string, raw syscall.RawConn) error {
		var err error
		outer := raw.Control(func(fd uintptr) {
			if err = h.tune(fd); err == nil && more != nil {
				err = more(int(fd))
			}
		})
		return errors.Join(outer, err)
	}
}

// DialThrough implements link.StreamHost and link.PortalHost.
func (h *Host) DialThrough(ctx context.Context, index int, to netip.AddrPort) (c net.Conn, err error) {
	d := net.Dialer{KeepAliveConfig: streamProbes, Control: h.controlling(func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, index)
	})}
	// With an address the dialer makes the socket in the calling goroutine, and so in the Host's namespace.
	err = h.in(func() error {
		// Left to the kernel, the source of an interface without an address is another interface's: the home address.
		if d.LocalAddr, err = ownAddress(index, to.Addr().Unmap().Is4()); err != nil {
			return err
		}
		c, err = d.DialContext(ctx, "tcp", netip.AddrPortFrom(to.Addr().Unmap(), to.Port()).String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("underlay: through interface %d: %w", index, err)
	}
	return c, nil
}

// ListenStream implements link.StreamHost. Connections that are accepted inherit the mark.
func (h *Host) ListenStream(local netip.AddrPort) (l net.Listener, err error) {
	c := net.ListenConfig{KeepAliveConfig: streamProbes, Control: h.controlling(nil)}
	err = h.in(func() error {
		l, err = c.Listen(context.Background(), "tcp", local.String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("underlay: listen for TCP on %v: %w", local, err)
	}
	return l, nil
}
