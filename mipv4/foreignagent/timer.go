package foreignagent

import (
	"time"

	"mipvpn/mipv4/wire"
	"mipvpn/tun/queue"
)

// newRegistration returns a registration without anything.
func newRegistration(key registrationKey) *registration {
	r := &registration{key: key}
	r.waiting.Of, r.ending.Of, r.revoking.Of, r.keeping.Of = r, r, r, r
	return r
}

// tidy is called after each change of a registration: it sets the registration's timers, and forgets it when it has neither a
// visitor nor pending requests.
func (m *Machine) tidy(r *registration) {
	if len(r.pending) > 0 {
		m.waits.Set(&r.waiting, r.pending[0].until)
	} else {
		m.waits.Stop(&r.waiting)
	}
	if r.visitor != nil && r.lifetime != wire.LifetimeInfinite {
		m.ends.Set(&r.ending, r.until)
	} else {
		m.ends.Stop(&r.ending)
	}
	if r.revocation != nil {
		m.revokes.Set(&r.revoking, r.revocation.next)
	} else {
		m.revokes.Stop(&r.revoking)
	}
	if r.visitor != nil && r.keepAlive > 0 {
		m.keeper.at.Set(&r.keeping, r.keepAt)
	} else {
		m.keeper.at.Stop(&r.keeping)
	}
	if r.visitor == nil && len(r.pending) == 0 && r.revocation == nil && m.registrations[r.key] == r {
		delete(m.registrations, r.key)
	}
}

// Deadline returns the boot time at which HandleTimeout wants to be called, and false when nothing can become due.
func (m *Machine) Deadline() (time.Duration, bool) {
	at, ok := m.advertiser.deadline()
	for _, a := range []*queue.Agenda[*registration]{&m.waits, &m.ends, &m.revokes, &m.keeper.at} {
		other, more := a.Deadline()
		at, ok = queue.Earliest(at, ok, other, more)
	}
	return at, ok
}
