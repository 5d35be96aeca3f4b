package linkmon

import (
	"sync"
	"time"
)

// An address that arrives shortly after the carrier must not wait long, and an interface that flaps must not keep the
// machine busy: hints are gathered for a short time each, and for longer once many have been passed on.
const (
	// gather is how long hints that follow one that was passed on are gathered into the next, at least.
	gather = 10 * time.Millisecond
	// pace is the time between hints that are passed on, on the average of a long time.
	pace = 100 * time.Millisecond
	// burst is how many hints may be passed on ahead of the pace.
	burst = 5
)

// coalescer passes hints on: one that comes after a quiet time at once, others as one at the end of the time that they are
// gathered for.
type coalescer struct {
	f func()

	mu      sync.Mutex
	running bool      // a goroutine is passing on, or hints are being gathered
	pending bool      // a hint has come since the last was passed on
	due     time.Time // when the next would be passed on by the pace alone
	stopped bool
	timer   *time.Timer
}

func (c *coalescer) hint() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return
	}
	if c.running {
		c.pending = true
		return
	}
	c.running = true
	go c.pass()
}

// pass calls f and begins to gather.
func (c *coalescer) pass() {
	c.f()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stopped {
		c.timer = time.AfterFunc(c.wait(time.Now()), c.over)
	}
}

// wait returns for how long to gather after a hint was passed on, and takes that one into account.
func (c *coalescer) wait(now time.Time) time.Duration {
	if c.due.Before(now) {
		c.due = now
	}
	c.due = c.due.Add(pace)
	return max(gather, c.due.Sub(now)-burst*pace)
}

// over ends the gathering.
func (c *coalescer) over() {
	c.mu.Lock()
	again := c.pending && !c.stopped
	c.pending, c.running = false, again
	c.mu.Unlock()
	if again {
		c.pass()
	}
}

// stop lets no further hint through. A call of f that is under way goes on.
func (c *coalescer) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	if c.timer != nil {
		c.timer.Stop()
	}
}
