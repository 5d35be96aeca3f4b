package simnet

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

var _ link.HomeLinkHost = (*Host)(nil)

// homeLink implements link.HomeLink. ARP is no frames here: what is announced holds at once on the whole wire.
type homeLink struct {
	nic    *NIC
	device string
	homes  map[netip.Addr]bool
	heard  map[netip.Addr]packet.HardwareAddr
	groups map[netip.Addr]bool
	closed bool
}

// OpenHomeLink implements link.HomeLinkHost.
func (h *Host) OpenHomeLink(index int, device string) (link.HomeLink, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	c := h.nic(index)
	if c == nil {
		return nil, fmt.Errorf("simnet: open home link on interface %d of %s: %w", index, h.name, ErrNotFound)
	}
	l := &homeLink{nic: c, device: device, homes: make(map[netip.Addr]bool), heard: make(map[netip.Addr]packet.HardwareAddr), groups: make(map[netip.Addr]bool)}
	c.homeLinks = append(c.homeLinks, l)
	return l, nil
}

func (l *homeLink) Hardware() packet.HardwareAddr { return l.nic.hw }

// change runs f under the mutex unless the link is closed.
func (l *homeLink) change(f func()) error {
	n := l.nic.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if l.closed {
		return net.ErrClosed
	}
	f()
	return nil
}

// Intercept implements link.HomeLink.
func (l *homeLink) Intercept(home netip.Addr) error {
	return l.change(func() { l.homes[home] = true })
}

// Release implements link.HomeLink.
func (l *homeLink) Release(home netip.Addr) error {
	return l.change(func() { delete(l.homes, home) })
}

// Announce implements link.HomeLink.
func (l *homeLink) Announce(home netip.Addr, hardware packet.HardwareAddr) error {
	return l.change(func() {
		w := l.nic.wire
		if w == nil || l.nic.host.asleep {
			return
		}
		for _, c := range w.nics {
			if c.hw == hardware {
				if w.announced == nil {
					w.announced = make(map[netip.Addr]*NIC)
				}
				w.announced[home] = c
			}
			for _, o := range c.homeLinks {
				if c != l.nic && c.hw != hardware {
					o.heard[home] = hardware
				}
			}
		}
	})
}

// Heard implements link.HomeLink.
func (l *homeLink) Heard(home netip.Addr) (hw packet.HardwareAddr, ok bool) {
	_ = l.change(func() { hw, ok = l.heard[home] })
	return hw, ok
}

// Forget implements link.HomeLink.
func (l *homeLink) Forget(home netip.Addr) {
	_ = l.change(func() { delete(l.heard, home) })
}

// Join implements link.HomeLink. It matters on wires that snoop.
func (l *homeLink) Join(group netip.Addr) error {
	return l.change(func() { l.groups[group] = true })
}

// Leave implements link.HomeLink.
func (l *homeLink) Leave(group netip.Addr) error {
	return l.change(func() { delete(l.groups, group) })
}

// joined reports whether the interface is a member of a group by a home link.
func (c *NIC) joined(group netip.Addr) bool {
	return slices.ContainsFunc(c.homeLinks, func(l *homeLink) bool { return l.groups[group] })
}

// Close implements link.HomeLink.
func (l *homeLink) Close() error {
	_ = l.change(func() {
		l.closed = true
		l.nic.homeLinks = slices.DeleteFunc(slices.Clone(l.nic.homeLinks), func(o *homeLink) bool { return o == l })
	})
	return nil
}

// answers reports whether the interface answers ARP for what a home link intercepts.
func (c *NIC) answers(addr netip.Addr) bool {
	return slices.ContainsFunc(c.homeLinks, func(l *homeLink) bool { return l.homes[addr] })
}

// homeDevice returns the device that packets to an intercepted address go into, nil for none.
func (h *Host) homeDevice(dst netip.Addr) *device {
	for _, c := range h.nics {
		for _, l := range c.homeLinks {
			if l.homes[dst] && l.device != "" {
				return h.device(l.device)
			}
		}
	}
	return nil
}
