package homeagent

import (
	"maps"
	"net/netip"
	"slices"
	"sync"

	"mipvpn/mipv4/wire"
)

// Broadcasts says how broadcasts of the home network, and datagrams to groups there, go into a tunnel (RFC 5944 §4.3, §4.4).
type Broadcasts uint8

// How broadcasts go into a tunnel.
const (
	// NoBroadcasts: not at all. The mobile node has not asked for them, or they are not granted.
	NoBroadcasts Broadcasts = iota
	// PlainBroadcasts: as they are, because the mobile node itself is the end of the tunnel (D bit).
	PlainBroadcasts
	// NestedBroadcasts: in a unicast datagram to the home address first, by which the foreign agent at the end of the tunnel knows
	// whom they are for.
	NestedBroadcasts
)

// String returns "none", "plain" or "nested".
func (b Broadcasts) String() string {
	switch b {
	case PlainBroadcasts:
		return "plain"
	case NestedBroadcasts:
		return "nested"
	}
	return "none"
}

// parseBroadcasts returns what is stored by its name, "" for none.
func parseBroadcasts(name string) (Broadcasts, bool) {
	for _, b := range []Broadcasts{PlainBroadcasts, NestedBroadcasts} {
		if name == b.String() {
			return b, true
		}
	}
	return NoBroadcasts, name == ""
}

// broadcastsTo returns how broadcasts go into the tunnel that a request is granted.
func (m *Machine) broadcastsTo(q *request) Broadcasts {
	switch {
	case !m.cfg.Broadcasts || !q.Flags.Has(wire.FlagBroadcast):
		return NoBroadcasts
	case q.CoLocated():
		return PlainBroadcasts
	}
	return NestedBroadcasts
}

// listeners are the routes with a tunnel that broadcasts go into. The zero value has none.
type listeners struct {
	mu     sync.Mutex
	routes map[netip.Addr]*Route
}

// set replaces the route of a home address, nil for none.
func (l *listeners) set(home netip.Addr, r *Route) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r == nil || !slices.ContainsFunc(r.Tunnels, func(t *Tunnel) bool { return t.Broadcasts != NoBroadcasts }) {
		delete(l.routes, home)
		return
	}
	if l.routes == nil {
		l.routes = make(map[netip.Addr]*Route)
	}
	l.routes[home] = r
}

// Listeners returns the routes of the mobile nodes that broadcasts of the home network are handed to, in no order. A route may have
// tunnels beside that none go into. It takes a lock and its time grows with their number: a caller limits how often it asks.
func (t *Table) Listeners() []*Route {
	t.listeners.mu.Lock()
	defer t.listeners.mu.Unlock()
	return slices.Collect(maps.Values(t.listeners.routes))
}
