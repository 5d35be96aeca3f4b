package queue

import (
	"container/heap"
	"time"
)

// Timer is when something of Of becomes due. It is a field of Of, and stands in one Agenda at most.
type Timer[T any] struct {
	// Of is what the timer is of.
	Of T

	at    time.Duration // boot time
	place int           // in the agenda counted from 1, 0 outside
}

// NewTimer returns a timer that is in no agenda, with a boot time at which it would become due.
func NewTimer[T any](of T, at time.Duration) Timer[T] { return Timer[T]{Of: of, at: at} }

// At returns the boot time that the timer was made with or set to last.
func (t *Timer[T]) At() time.Duration { return t.at }

// Running reports whether the timer is set.
func (t *Timer[T]) Running() bool { return t.place > 0 }

// Agenda holds the timers that are set, the earliest first. The zero value holds none.
type Agenda[T any] struct{ timers timers[T] }

// Set has the timer become due at the boot time at.
func (a *Agenda[T]) Set(t *Timer[T], at time.Duration) {
	switch {
	case t.place == 0:
		t.at = at
		heap.Push(&a.timers, t)
	case t.at != at:
		t.at = at
		heap.Fix(&a.timers, t.place-1)
	}
}

// Stop takes the timer out; one that is not set stays so.
func (a *Agenda[T]) Stop(t *Timer[T]) {
	if t.place > 0 {
		heap.Remove(&a.timers, t.place-1)
	}
}

// Len returns how many timers are set.
func (a *Agenda[T]) Len() int { return len(a.timers) }

// First returns what the earliest timer is of, and false when none is set. The timer stays.
func (a *Agenda[T]) First() (of T, ok bool) {
	if len(a.timers) == 0 {
		return of, false
	}
	return a.timers[0].Of, true
}

// Due returns what the earliest timer is of if that is due at the boot time now, and false otherwise. The timer stays.
func (a *Agenda[T]) Due(now time.Duration) (of T, ok bool) {
	if len(a.timers) == 0 || a.timers[0].at > now {
		return of, false
	}
	return a.timers[0].Of, true
}

// Deadline returns the boot time at which the earliest timer is due, and false when none is set.
func (a *Agenda[T]) Deadline() (at time.Duration, ok bool) {
	if len(a.timers) == 0 {
		return 0, false
	}
	return a.timers[0].at, true
}

// All returns what the timers are of, in no order. The list is the caller's.
func (a *Agenda[T]) All() []T {
	all := make([]T, len(a.timers))
	for i, t := range a.timers {
		all[i] = t.Of
	}
	return all
}

// Earliest returns the earlier of two deadlines, each a boot time and whether there is one.
func Earliest(at time.Duration, ok bool, other time.Duration, more bool) (time.Duration, bool) {
	if more && (!ok || other < at) {
		return other, true
	}
	return at, ok
}

// timers is the heap.
type timers[T any] []*Timer[T]

func (s timers[T]) Len() int           { return len(s) }
func (s timers[T]) Less(i, j int) bool { return s[i].at < s[j].at }
func (s timers[T]) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].place, s[j].place = i+1, j+1
}

// Push implements heap.Interface.
func (s *timers[T]) Push(x any) {
	t := x.(*Timer[T])
	*s = append(*s, t)
	t.place = len(*s)
}

// Pop implements heap.Interface.
func (s *timers[T]) Pop() any {
	old := *s
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*s = old[:len(old)-1]
	t.place = 0
	return t
}
