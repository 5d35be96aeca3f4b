package simnet

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// line is a host's kill switch (link.Settings.KillSwitch): like the kernel's it outlives the device and whoever made it.
type line struct {
	prefixes []netip.Prefix
	homes    []netip.Addr          // Settings.Address and Shielded
	full     bool                  // nothing leaves but by a device or as what flows send
	local    bool                  // but to the local network (link.Settings.Local)
	permits  map[int]time.Duration // by index of the interface: boot time until which plaintext may leave
}

// hold puts the kill switch of s in the place of any other; permits of the one before are void. Mutex held.
func (h *Host) hold(s link.Settings) {
	homes := slices.Clone(s.Shielded)
	if s.Address.IsValid() {
		homes = append(homes, s.Address)
	}
	h.line = &line{prefixes: slices.Clone(s.Routes), homes: homes, full: s.Full, local: s.Full && s.Local, permits: make(map[int]time.Duration)}
}

// held reports whether packets to dst may leave by a device only. Mutex held.
func (h *Host) held(dst netip.Addr) bool {
	return h.line != nil && (h.line.full || h.line.enterprise(dst)) && !h.neighbour(dst)
}

// enterprise reports whether dst is the enterprise's.
func (l *line) enterprise(dst netip.Addr) bool {
	return slices.ContainsFunc(l.prefixes, func(p netip.Prefix) bool { return p.Contains(dst) })
}

// neighbour reports whether dst is on the local network that the kill switch has an exception for: a private address of a
// network that an interface is connected to, and not the enterprise's, even if that network claims it. Mutex held.
func (h *Host) neighbour(dst netip.Addr) bool {
	if h.line == nil || !h.line.local || h.line.enterprise(dst) || !dst.IsPrivate() && !dst.IsLinkLocalUnicast() {
		return false
	}
	return slices.ContainsFunc(h.nics, func(c *NIC) bool {
		return c.addr.IsValid() && c.addr.Masked().Contains(dst) && isPrivate(c.addr.Masked())
	})
}

// isPrivate reports whether all addresses of the network are private, so that it cannot claim others.
func isPrivate(p netip.Prefix) bool {
	for _, of := range []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} {
		if q := netip.MustParsePrefix(of); q.Bits() <= p.Bits() && q.Overlaps(p) {
			return true
		}
	}
	return false
}

// outlaws reports whether an unmarked packet (of an application, a packet socket, or forwarded) may not leave by a physical
// interface: it goes to the enterprise (in a full tunnel anywhere but to a neighbour) or comes from a home address. Mutex held.
func (h *Host) outlaws(ip packet.IPv4) bool {
	return h.line != nil && ip.Valid() && (h.held(ip.Dst()) || slices.Contains(h.line.homes, ip.Src()))
}

// permits reports whether packets of the class may leave by the interface now. Mutex held.
func (h *Host) permits(c *NIC, plaintext bool) bool {
	if !plaintext || h.line == nil {
		return true
	}
	return h.net.now()+h.bootOffset < h.line.permits[c.index]
}

// Permit implements link.Host. Boot time goes on in suspend, which the kernel's own permits do not notice.
func (h *Host) Permit(index int, until time.Duration) error {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.line == nil {
		return fmt.Errorf("simnet: permit plaintext on interface %d of %s: kill switch: %w", index, h.name, ErrNotFound)
	}
	h.line.permits[index] = until
	return nil
}

// Forbid implements link.Host.
func (h *Host) Forbid(index int) error {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.line != nil {
		delete(h.line.permits, index)
	}
	return nil
}
