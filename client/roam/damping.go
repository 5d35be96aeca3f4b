package roam

import (
	"math"
	"time"
)

const (
	// Each change of an interface's connection status adds 1 to its penalty, which halves every dampHalf and never exceeds
	// dampMost. An interface is damped from dampOn until its penalty is under dampOff.
	dampHalf = 10 * time.Second
	dampOn   = 12.0
	dampOff  = 6.0
	dampMost = 20.0
	// A damped interface is tried again dampPause after the last attempt, or as soon as it has been quiet for dampQuiet.
	dampPause = 2 * time.Second
	dampQuiet = time.Second
)

// damper is the flap damping of one interface.
type damper struct {
	penalty            float64
	at                 time.Duration // when penalty was worked out
	changed, attempted time.Duration // the last change, the last attempt
	on                 bool
}

func (d *damper) decay(now time.Duration) {
	d.penalty *= math.Exp2(-float64(now-d.at) / float64(dampHalf))
	d.at = now
	if d.on && d.penalty < dampOff {
		d.on = false
	}
}

// change takes account of a change and reports whether damping begins with it.
func (d *damper) change(now time.Duration) (begins bool) {
	d.decay(now)
	d.penalty = min(d.penalty+1, dampMost)
	d.changed = now
	if d.on || d.penalty < dampOn {
		return false
	}
	d.on = true
	return true
}

// until returns when damping ends if nothing changes any more; now without damping.
func (d *damper) until(now time.Duration) time.Duration {
	d.decay(now)
	if !d.on {
		return now
	}
	left := float64(dampHalf) * math.Log2(d.penalty/dampOff)
	return now + time.Duration(left) + time.Millisecond // so that it is surely over then
}

// ready returns when an attempt may be begun.
func (d *damper) ready(now time.Duration) time.Duration {
	d.decay(now)
	if !d.on {
		return now
	}
	return max(now, min(d.attempted+dampPause, d.changed+dampQuiet))
}
