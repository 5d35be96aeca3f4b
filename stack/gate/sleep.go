package gate

import "time"

// sleepGap is how far boot time must have run ahead of the time that the process has lived through to count as a sleep.
const sleepGap = 200 * time.Millisecond

// WatchSleep has the gate notice a suspend by itself, at the very check that follows it: a proof from before lets nothing pass
// any more, however young it is, even while whoever holds the gate has not been told of the resume yet (DET-2). lived returns
// the time since an arbitrary start without what the host slept (CLOCK_MONOTONIC); it must be safe for concurrent use. It is
// called before the gate is used.
func (g *Gate) WatchSleep(lived func() time.Duration) { g.lived = lived }

// awake returns how far boot time has run ahead, for the proof that the gate is being opened with. The other clock is read
// first: what passes between the two readings makes a sleep look shorter, never a moment look like a sleep.
func (g *Gate) awake() time.Duration {
	if g.lived == nil {
		return 0
	}
	lived := g.lived()
	return g.clock.Now().Boot - lived
}

// slept reports whether the host has slept since the gate was opened with e; boot was read before.
func (g *Gate) slept(e *entry, boot time.Duration) bool {
	return g.lived != nil && boot-g.lived()-e.ahead > sleepGap
}
