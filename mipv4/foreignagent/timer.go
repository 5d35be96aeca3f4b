package foreignagent

import (
	"container/heap"
	"time"

	"mipvpn/mipv4/wire"
)

// timer is when something of a registration becomes due.
type timer struct {
	registration *registration
	at           time.Duration // boot time
	place        int           // in the agenda counted from 1, 0 outside
}

// agenda holds timers, the earliest first, so that what an expiry or a change costs hardly grows with their number.
type agenda []*timer

// set has t become due at the boot time at.
func (a *agenda) set(t *timer, at time.Duration) {
	switch {
	case t.place == 0:
		t.at = at
		heap.Push(a, t)
	case t.at != at:
		t.at = at
		heap.Fix(a, t.place-1)
	}
}

// stop takes t out.
func (a *agenda) stop(t *timer) {
	if t.place > 0 {
		heap.Remove(a, t.place-1)
	}
}

// due returns the registration of the earliest timer if that is due at the boot time now, and nil otherwise.
func (a agenda) due(now time.Duration) *registration {
	if len(a) == 0 || a[0].at > now {
		return nil
	}
	return a[0].registration
}

// Len implements heap.Interface.
func (a agenda) Len() int { return len(a) }

// Less implements heap.Interface.
func (a agenda) Less(i, j int) bool { return a[i].at < a[j].at }

// Swap implements heap.Interface.
func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].place, a[j].place = i+1, j+1
}

// Push implements heap.Interface.
func (a *agenda) Push(x any) {
	t := x.(*timer)
	*a = append(*a, t)
	t.place = len(*a)
}

// Pop implements heap.Interface.
func (a *agenda) Pop() any {
	old := *a
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*a = old[:len(old)-1]
	t.place = 0
	return t
}

// newRegistration returns a registration without anything.
func newRegistration(key registrationKey) *registration {
	r := &registration{key: key}
	r.waiting.registration, r.ending.registration, r.revoking.registration, r.keeping.registration = r, r, r, r
	return r
}

// tidy is called after each change of a registration: it sets the registration's timers, and forgets it when it has neither a
// visitor nor pending requests.
func (m *Machine) tidy(r *registration) {
	if len(r.pending) > 0 {
		m.waits.set(&r.waiting, r.pending[0].until)
	} else {
		m.waits.stop(&r.waiting)
	}
	if r.visitor != nil && r.lifetime != wire.LifetimeInfinite {
		m.ends.set(&r.ending, r.until)
	} else {
		m.ends.stop(&r.ending)
	}
	if r.revocation != nil {
		m.revokes.set(&r.revoking, r.revocation.next)
	} else {
		m.revokes.stop(&r.revoking)
	}
	if r.visitor != nil && r.keepAlive > 0 {
		m.keeper.at.set(&r.keeping, r.keepAt)
	} else {
		m.keeper.at.stop(&r.keeping)
	}
	if r.visitor == nil && len(r.pending) == 0 && r.revocation == nil && m.registrations[r.key] == r {
		delete(m.registrations, r.key)
	}
}

// Deadline returns the boot time at which HandleTimeout wants to be called, and false when nothing can become due.
func (m *Machine) Deadline() (time.Duration, bool) {
	at, ok := m.advertiser.deadline()
	for _, a := range []agenda{m.waits, m.ends, m.revokes, m.keeper.at} {
		if len(a) > 0 && (!ok || a[0].at < at) {
			at, ok = a[0].at, true
		}
	}
	return at, ok
}
