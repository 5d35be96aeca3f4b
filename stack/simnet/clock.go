package simnet

import (
	"slices"
	"time"

	"mipvpn/tun/link"
)

// Now implements link.Clock.
func (h *Host) Now() link.Instant {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return h.instant()
}

func (h *Host) instant() link.Instant {
	now := h.net.now()
	return link.Instant{Boot: now + h.bootOffset, Wall: h.net.start.Add(now).Add(h.wallOffset).Round(0)}
}

// StepWall sets the host's wall clock forward by d (backward for a negative one). Boot time is not touched.
func (h *Host) StepWall(d time.Duration) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.wallOffset += d
}

// Suspend puts the host to sleep: it neither receives nor sends, and its timers wait for Resume while its clocks go on.
// Interfaces keep their wires.
func (h *Host) Suspend() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.asleep = true
}

// Resume wakes the host: timers that came due in suspend fire now, and watchers get a hint.
func (h *Host) Resume() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.asleep = false
	late := h.late
	h.late = nil
	for _, f := range late {
		f()
	}
	h.hint()
}

// AdvanceBoot makes a suspend of length d happen in no time of the network: boot and wall time are later by d, timers
// that came due meanwhile fire now, and watchers get a hint.
func (h *Host) AdvanceBoot(d time.Duration) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.bootOffset += d
	h.wallOffset += d
	for _, t := range slices.Clone(h.timers) {
		t.arm(t.due)
	}
	h.hint()
}

// awake runs f now, or at Resume when the host is asleep. Mutex held.
func (h *Host) awake(f func()) {
	if h.asleep {
		h.late = append(h.late, f)
		return
	}
	f()
}

// after runs f when d has passed, later when the host is asleep then.
func (h *Host) after(d time.Duration, f func()) *event {
	return h.net.at(h.net.now()+d, h.lane, func() { h.awake(f) })
}

// timer implements link.Timer.
type timer struct {
	host *Host
	c    chan struct{}
	due  time.Duration // boot time
	e    *event
	gen  int // counts arms and disarms, so that a firing put off by suspend knows that it is out of date
}

// NewTimer implements link.Clock.
func (h *Host) NewTimer() link.Timer { return &timer{host: h, c: make(chan struct{}, 1)} }

// C implements link.Timer.
func (t *timer) C() <-chan struct{} { return t.c }

// Reset implements link.Timer.
func (t *timer) Reset(at time.Duration) {
	t.host.net.mu.Lock()
	defer t.host.net.mu.Unlock()
	t.disarm()
	t.arm(at)
}

// Stop implements link.Timer.
func (t *timer) Stop() {
	t.host.net.mu.Lock()
	defer t.host.net.mu.Unlock()
	t.disarm()
}

// disarm takes back the expiry, received or to come.
func (t *timer) disarm() {
	t.gen++
	t.host.net.cancel(t.e)
	t.e = nil
	t.host.timers = slices.DeleteFunc(t.host.timers, func(o *timer) bool { return o == t })
	select {
	case <-t.c:
	default:
	}
}

// arm schedules the expiry at boot time at.
func (t *timer) arm(at time.Duration) {
	h := t.host
	h.net.cancel(t.e)
	t.gen++
	gen := t.gen
	t.due = at
	if !slices.Contains(h.timers, t) {
		h.timers = append(h.timers, t)
	}
	fire := func() {
		if t.gen != gen {
			return
		}
		t.e = nil
		h.timers = slices.DeleteFunc(h.timers, func(o *timer) bool { return o == t })
		select {
		case t.c <- struct{}{}:
		default:
		}
	}
	t.e = h.net.at(at-h.bootOffset, h.lane, func() { h.awake(fire) })
}
