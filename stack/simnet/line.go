package simnet

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"mipvpn/tun/link"
)

// line is a host's kill switch (link.Settings.KillSwitch): like the kernel's it outlives the device and whoever made it.
type line struct {
	prefixes []netip.Prefix
	permits  map[int]time.Duration // by index of the interface: boot time until which plaintext may leave
}

// hold puts the kill switch of s in the place of any other; permits of the one before are void. Mutex held.
func (h *Host) hold(s link.Settings) {
	h.line = &line{prefixes: slices.Clone(s.Routes), permits: make(map[int]time.Duration)}
}

// held reports whether packets to dst may leave by a device only. Mutex held.
func (h *Host) held(dst netip.Addr) bool {
	return h.line != nil && slices.ContainsFunc(h.line.prefixes, func(p netip.Prefix) bool { return p.Contains(dst) })
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
