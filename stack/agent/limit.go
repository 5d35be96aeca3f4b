package agent

import (
	"sync"
	"time"
)

const (
	// errorsPerSecond and errorBurst bound the ICMP errors that an agent sends (RFC 1812 §4.3.2.8).
	errorsPerSecond = 100
	errorBurst      = 50
	// noticeInterval is the least time between two log entries about one kind of rejected message.
	noticeInterval = 10 * time.Second
)

// limiter admits a burst and then so many a second. The zero value admits nothing.
type limiter struct {
	mu     sync.Mutex
	rate   float64 // a second
	burst  float64
	credit float64
	last   time.Duration // boot time
}

func newLimiter(rate, burst float64, now time.Duration) *limiter {
	return &limiter{rate: rate, burst: burst, credit: burst, last: now}
}

// allow reports whether one more is admitted at the boot time now.
func (l *limiter) allow(now time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d := now - l.last; d > 0 {
		l.credit = min(l.burst, l.credit+d.Seconds()*l.rate)
		l.last = now
	}
	if l.credit < 1 {
		return false
	}
	l.credit--
	return true
}

// notices thins out log entries that a stranger could multiply: one for each kind in noticeInterval. It belongs to one
// goroutine.
type notices map[string]*notice

type notice struct {
	last       time.Duration
	suppressed int
}

// due reports whether an entry of that kind is to be written at the boot time now, and how many were left out since the
// last one. kind must come from a fixed set.
func (n notices) due(kind string, now time.Duration) (suppressed int, ok bool) {
	e := n[kind]
	if e == nil {
		n[kind] = &notice{last: now}
		return 0, true
	}
	if now-e.last < noticeInterval {
		e.suppressed++
		return 0, false
	}
	suppressed = e.suppressed
	e.last, e.suppressed = now, 0
	return suppressed, true
}
