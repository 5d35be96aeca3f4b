package link

import "time"

// Instant is the time that machines are given: read once an event or batch, never by a machine itself.
type Instant struct {
	// Boot is the time since an arbitrary start that counts suspend (CLOCK_BOOTTIME). Every interval, every deadline and
	// the gate go by it.
	Boot time.Duration
	// Wall is the time of day, which may be set and step. Only Mobile IP timestamps and certificates go by it.
	Wall time.Time
}

// Add returns the instant d later on both clocks.
func (i Instant) Add(d time.Duration) Instant { return Instant{Boot: i.Boot + d, Wall: i.Wall.Add(d)} }

// Since returns the boot time that has passed since the boot time earlier.
func (i Instant) Since(earlier time.Duration) time.Duration { return i.Boot - earlier }

// Clock reads the time and makes timers.
type Clock interface {
	Now() Instant
	// NewTimer returns a stopped timer.
	NewTimer() Timer
}

// Timer fires at a boot time, also when that passed in suspend.
type Timer interface {
	// C yields one value for each expiry. It has room for one.
	C() <-chan struct{}
	// Reset arms the timer for the boot time at (in the past: at once) and takes back an expiry not yet received.
	Reset(at time.Duration)
	// Stop disarms the timer and takes back an expiry not yet received.
	Stop()
}
