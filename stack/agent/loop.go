package agent

import (
	"sync"
	"time"

	"mipvpn/tun/link"
)

// inboxSize is how many signalling messages wait for their machine at most, in each of the two inboxes; more are dropped, as a socket
// would.
const inboxSize = 256

// machine is the part of every protocol machine that a loop drives by itself.
type machine interface {
	HandleTimeout(link.Instant)
	Deadline() (time.Duration, bool)
}

// loop is the goroutine that owns one machine: it calls it with messages and expiries, one at a time, and drains it after
// each.
type loop struct {
	clock link.Clock
	inbox chan func(link.Instant)
	known chan func(link.Instant) // what is not to wait behind strangers' messages
	stop  chan struct{}
	done  chan struct{}
	once  sync.Once
}

// newLoop starts the loop for m. drain sends what the machine has to send; it runs on the loop.
func newLoop(clock link.Clock, m machine, drain func()) *loop {
	l := &loop{
		clock: clock, inbox: make(chan func(link.Instant), inboxSize), known: make(chan func(link.Instant), inboxSize),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	go l.run(m, drain)
	return l
}

func (l *loop) run(m machine, drain func()) {
	defer close(l.done)
	timer := l.clock.NewTimer()
	defer timer.Stop()
	for {
		if at, ok := m.Deadline(); ok {
			timer.Reset(at)
		} else {
			timer.Stop()
		}
		select {
		case f := <-l.inbox: // where both have something, each has its turn as often as the other
			f(l.clock.Now())
		case f := <-l.known:
			f(l.clock.Now())
		case <-timer.C():
			m.HandleTimeout(l.clock.Now())
		case <-l.stop:
			return
		}
		drain()
	}
}

// post has f called on the loop. It does not block, and reports false when the inbox is full.
func (l *loop) post(f func(now link.Instant)) bool { return offer(l.inbox, f) }

// postKnown is post for what comes from where somebody who is known is: it has an inbox of its own, which strangers cannot fill.
func (l *loop) postKnown(f func(now link.Instant)) bool { return offer(l.known, f) }

func offer(inbox chan<- func(link.Instant), f func(link.Instant)) bool {
	select {
	case inbox <- f:
		return true
	default:
		return false
	}
}

// deliver has f called on the loop, and waits for room in the inbox; not when the loop has ended. It must not be called on the
// loop.
func (l *loop) deliver(f func(now link.Instant)) {
	select {
	case l.inbox <- f:
	case <-l.done:
	}
}

// close ends the loop and waits for it.
func (l *loop) close() {
	l.once.Do(func() { close(l.stop) })
	<-l.done
}
