package homeagent

import (
	"net/netip"
	"slices"
	"time"

	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

// Entry is one entry of the mobility binding list (RFC 5944 §3.8.1) as people are shown it.
type Entry struct {
	// HomeAddress and CareOfAddress are the binding's, as registered.
	HomeAddress, CareOfAddress netip.Addr
	// NAI is the mobile node's network access identifier, "" for one without.
	NAI string
	// Tunnel is the binding's.
	Tunnel *Tunnel
	// Granted is the lifetime that was granted in seconds, wire.LifetimeInfinite for one that does not end.
	Granted uint16
	// Left is what is left of it, 0 for one that does not end.
	Left time.Duration
}

// Bindings returns the bindings whose home addresses are in a network, with the zero Prefix all, by home address; those of one home
// address in the order in which they were made. It looks at every mobile node unless the network is a single address.
func (m *Machine) Bindings(now link.Instant, within netip.Prefix) []Entry {
	var out []Entry
	add := func(n *node) {
		for _, b := range n.bindings {
			e := Entry{HomeAddress: n.home, NAI: n.nai, CareOfAddress: b.careOf, Tunnel: b.tunnel, Granted: b.granted}
			if b.granted != wire.LifetimeInfinite {
				e.Left = max(0, b.until()-now.Boot)
			}
			out = append(out, e)
		}
	}
	if within.IsSingleIP() {
		if n := m.nodes[within.Addr()]; n != nil {
			add(n)
		}
		return out
	}
	for home, n := range m.nodes {
		if !within.IsValid() || within.Contains(home) {
			add(n)
		}
	}
	slices.SortStableFunc(out, func(a, b Entry) int { return a.HomeAddress.Compare(b.HomeAddress) })
	return out
}

// Len returns how many bindings there are.
func (m *Machine) Len() int { return m.count }

// Drop takes all bindings of a home address back by the administrator's will and returns how many there were. Whoever has agreed
// to that in registration is told, and the mobile node with it (RFC 3543). The mobile node may register again.
func (m *Machine) Drop(now link.Instant, home netip.Addr) int {
	n := m.nodes[home]
	if n == nil {
		return 0
	}
	return m.drop(now, n)
}

// drop takes all bindings of a mobile node back.
func (m *Machine) drop(now link.Instant, n *node) int {
	dropped := len(n.bindings)
	m.asking.overtake(n, func(*pending) bool { return true })
	for len(n.bindings) > 0 {
		b := n.bindings[len(n.bindings)-1]
		m.remove(b, Dropped)
		m.revoke(now, b, true)
	}
	if dropped > 0 {
		m.table.set(n.home, nil)
	}
	return dropped
}
