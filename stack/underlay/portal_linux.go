package underlay

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"mipvpn/tun/hostnet"
	"mipvpn/tun/link"
)

var _ link.PortalHost = (*Host)(nil)

// OpenPortal implements link.PortalHost by the kill switch's portal sets and control groups; see hostnet.Network.OpenPortal.
func (h *Host) OpenPortal(p link.Portal) (link.PortalWay, error) {
	w := &portalWay{host: h}
	err := h.in(func() (err error) {
		w.way, err = h.network.OpenPortal(p)
		return err
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// portalWay is a way in the Host's network namespace.
type portalWay struct {
	host *Host
	way  *hostnet.PortalWay
}

func (w *portalWay) Admit(addresses []netip.Addr, remaining time.Duration) error {
	return w.host.in(func() error { return w.way.Admit(addresses, remaining) })
}

func (w *portalWay) Join(pid int, user uint32) error {
	return w.host.in(func() error { return w.way.Join(pid, user) })
}

func (w *portalWay) Confinement() string { return w.way.Confinement() }

func (w *portalWay) Close() error { return w.host.in(w.way.Close) }

// ListenLocal implements link.PortalHost.
func (h *Host) ListenLocal() (c net.PacketConn, err error) {
	err = h.in(func() error {
		c, err = net.ListenPacket("udp4", "127.0.0.1:0")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("underlay: %w", err)
	}
	return c, nil
}
