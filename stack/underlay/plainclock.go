package underlay

import (
	"sync"
	"time"

	"mipvpn/tun/link"
)

// plainClock is a clock whose timers are Go's. Those stand still in suspend, so while one is armed for a far time it is looked at
// again and again: what passed in suspend fires at most plainLook after the resume.
type plainClock struct {
	boot func() time.Duration // the time since boot, suspend included
}

// plainLook is how long a timer goes without looking at the clock.
const plainLook = time.Second

// Now reads both clocks.
func (c *plainClock) Now() link.Instant {
	return link.Instant{Boot: c.boot(), Wall: time.Now().Round(0)}
}

// NewTimer returns a stopped timer.
func (c *plainClock) NewTimer() link.Timer { return &plainTimer{clock: c, c: make(chan struct{}, 1)} }

type plainTimer struct {
	clock *plainClock
	c     chan struct{}

	mu    sync.Mutex
	at    time.Duration
	round uint64 // counts Reset and Stop, so that a look of an earlier round changes nothing
	next  *time.Timer
}

func (t *plainTimer) C() <-chan struct{} { return t.c }

func (t *plainTimer) Reset(at time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	t.at = at
	t.look()
}

func (t *plainTimer) Stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
}

// clear ends what is armed and takes back an expiry. mu is held.
func (t *plainTimer) clear() {
	t.round++
	if t.next != nil {
		t.next.Stop()
		t.next = nil
	}
	select {
	case <-t.c:
	default:
	}
}

// look fires, or looks again later. mu is held.
func (t *plainTimer) look() {
	left := t.at - t.clock.boot()
	if left <= 0 {
		t.next = nil
		t.c <- struct{}{} // has room: an armed timer's channel is empty
		return
	}
	round := t.round
	t.next = time.AfterFunc(min(left, plainLook), func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if round == t.round {
			t.look()
		}
	})
}
