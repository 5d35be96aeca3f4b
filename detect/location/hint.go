package location

import "mipvpn/tun/link"

// Hint is what unauthenticated signs make likely about an interface (DET-11). It is never a proof nor part of one.
type Hint uint8

// The hints.
const (
	// HintNone: nothing is known.
	HintNone Hint = iota
	// HintInside: the interface looks like one that was inside. A Machine does nothing about that: both requests leave
	// together whatever the hint, and the first reply is taken up at once (DET-6, DET-7).
	HintInside
	// HintOutside: the interface looks like one that was outside. Then a new VPN need not wait for the end of the detection
	// period; the i-HA is asked for all of that period all the same, and its proof still wins.
	HintOutside
)

// String returns "none", "inside" or "outside".
func (h Hint) String() string {
	switch h {
	case HintInside:
		return "inside"
	case HintOutside:
		return "outside"
	}
	return "none"
}

// HandleHint takes a hint about the interface in this epoch. One for another epoch is refused.
func (m *Machine) HandleHint(now link.Instant, epoch uint64, h Hint) error {
	if err := m.present(epoch); err != nil {
		return err
	}
	m.hint = h
	if h == HintOutside && m.state == StateTentative {
		m.decideEarly(now)
	}
	return nil
}

// decideEarly decides outside before the end of the detection period; for the rest of it the i-HA goes on being asked.
func (m *Machine) decideEarly(now link.Instant) {
	m.trying = true
	m.timers[timerSilence], m.timers[timerAgain] = never, never
	if m.config.Probe > 0 {
		m.timers[timerProbe] = now.Boot + m.config.Probe
	}
	m.enter(StateOutside, m.witness+" answered on a network that was outside before; the i-HA is still being tried")
	m.emit(Outside{Epoch: m.epoch, Trying: true})
}
