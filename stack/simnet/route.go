package simnet

import (
	"fmt"
	"net/netip"
	"slices"
)

// Route is a static route of a host.
type Route struct {
	// Prefix that is routed.
	Prefix netip.Prefix
	// Via is the next hop, on a network that the host is connected to; the zero Addr when Prefix is on the wire of NIC.
	Via netip.Addr
	// NIC is the interface, nil when Via says it.
	NIC *NIC
}

// AddRoute adds a static route, ahead of older ones for the same prefix.
func (h *Host) AddRoute(r Route) {
	if !r.Via.IsValid() && r.NIC == nil {
		panic(fmt.Sprintf("simnet: route to %v on %s: a next hop or an interface is needed", r.Prefix, h.name))
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.routes = slices.Insert(h.routes, 0, r)
}

// RemoveRoute takes the static routes for the prefix away.
func (h *Host) RemoveRoute(p netip.Prefix) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.routes = slices.DeleteFunc(h.routes, func(r Route) bool { return r.Prefix == p })
}

// hop is where a packet goes next: an interface and the neighbour to resolve, or a device.
type hop struct {
	nic  *NIC
	next netip.Addr
	dev  *device
}

// route looks up the way to dst. A bound interface or bypass (what flows send) leaves the routes into devices out, which
// otherwise come before all others (link.Settings.Routes).
func (h *Host) route(dst netip.Addr, bound *NIC, bypass bool) (hop, bool) {
	if bound == nil && !bypass && !h.neighbour(dst) {
		if d := h.deviceRoute(dst); d != nil {
			return hop{dev: d}, true
		}
		if h.held(dst) {
			return hop{}, false
		}
	}
	if bound != nil && (dst == limitedBroadcast || dst.IsMulticast()) {
		return hop{nic: bound, next: dst}, bound.up()
	}
	best, found, bits := hop{}, false, -1
	consider := func(p netip.Prefix, via hop) {
		if p.Bits() > bits && p.Contains(dst) && via.nic != nil && via.nic.up() && (bound == nil || via.nic == bound) {
			best, found, bits = via, true, p.Bits()
		}
	}
	for _, c := range h.nics {
		if c.addr.IsValid() {
			consider(c.addr.Masked(), hop{nic: c, next: dst})
		}
	}
	for _, r := range h.routes {
		c, next := r.NIC, r.Via
		if c == nil {
			c = h.connected(r.Via)
		}
		if !next.IsValid() {
			next = dst
		}
		consider(r.Prefix, hop{nic: c, next: next})
	}
	for _, c := range h.nics {
		if c.gateway.IsValid() {
			consider(defaultRoute, hop{nic: c, next: c.gateway})
		}
	}
	return best, found
}

var (
	defaultRoute     = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
)

// deviceRoute returns the device with the longest prefix for dst, nil for none.
func (h *Host) deviceRoute(dst netip.Addr) *device {
	if d := h.homeDevice(dst); d != nil {
		return d
	}
	var best *device
	bits := -1
	for _, d := range h.devices {
		routes := h.settings[d.name].Routes
		if h.settings[d.name].Full {
			routes = append(slices.Clip(routes), defaultRoute)
		}
		for _, p := range routes {
			if p.Bits() > bits && p.Contains(dst) {
				best, bits = d, p.Bits()
			}
		}
	}
	return best
}

// connected returns the interface whose network has addr.
func (h *Host) connected(addr netip.Addr) *NIC {
	for _, c := range h.nics {
		if c.up() && c.addr.IsValid() && c.addr.Contains(addr) {
			return c
		}
	}
	return nil
}

// sourceFor returns the address that packets over the hop come from.
func (h *Host) sourceFor(via hop) netip.Addr {
	if via.dev != nil {
		if a := h.settings[via.dev.name].Address; a.IsValid() {
			return a
		}
	} else if via.nic.addr.IsValid() {
		return via.nic.addr.Addr()
	}
	for _, c := range h.nics {
		if c.addr.IsValid() {
			return c.addr.Addr()
		}
	}
	return netip.Addr{}
}
