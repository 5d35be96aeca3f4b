package linkmon

import (
	"sync"
	"time"
)

// quiet is how long hints that follow one that was passed on are gathered into the next.
const quiet = 100 * time.Millisecond

// coalescer passes hints on: the first at once, those within quiet after it as one at the end of that time.
type coalescer struct {
	f func()

	mu      sync.Mutex
	running bool // a goroutine is passing on or waiting out quiet
	pending bool // a hint has come since the last was passed on
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

// pass calls f and starts the quiet time.
func (c *coalescer) pass() {
	c.f()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stopped {
		c.timer = time.AfterFunc(quiet, c.over)
	}
}

// over ends the quiet time.
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
