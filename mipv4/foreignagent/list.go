package foreignagent

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

// Entry is one entry of the visitor list (RFC 5944 §3.7.1) as people are shown it.
type Entry struct {
	// Visitor is the registration.
	Visitor *Visitor
	// Granted is the lifetime that was granted in seconds, wire.LifetimeInfinite for one that does not end.
	Granted uint16
	// Left is what is left of it, 0 for one that does not end.
	Left time.Duration
}

// Visitors returns the registrations of home addresses in a network, with the zero Prefix all, by home address and home agent.
func (m *Machine) Visitors(now link.Instant, within netip.Prefix) []Entry {
	var out []Entry
	for key, r := range m.registrations {
		if r.visitor == nil || within.IsValid() && !within.Contains(key.home) {
			continue
		}
		e := Entry{Visitor: r.visitor, Granted: r.lifetime}
		if r.lifetime != wire.LifetimeInfinite {
			e.Left = max(0, r.until-now.Boot)
		}
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b Entry) int {
		return cmp.Or(a.Visitor.Home.Compare(b.Visitor.Home), a.Visitor.HomeAgent.Compare(b.Visitor.HomeAgent))
	})
	return out
}

// Drop strikes all registrations of a home address off by the administrator's will and returns how many there were. What is
// pending of it is forgotten. The home agents are told where that was agreed in registration, and the mobile node (RFC 3543 §4.2.3).
// It may register again.
func (m *Machine) Drop(now link.Instant, home netip.Addr) int {
	dropped := 0
	for key, r := range m.registrations {
		if key.home != home {
			continue
		}
		m.removeAllPending(r)
		if r.visitor != nil {
			m.strike(now, r)
			dropped++
		}
		m.tidy(r)
	}
	return dropped
}
