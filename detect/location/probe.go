package location

import "mipvpn/tun/link"

// probe asks for a series of requests to the i-HA from outside (DET-9). It ends when ProbeTime is over, or earlier when the
// series does: as long as it lasts its requests may replace the binding through the VPN, and the i-HA then sends to this
// interface in the clear.
func (m *Machine) probe(now link.Instant) {
	m.internal.asked(now.Boot)
	m.timers[timerProbe] = now.Boot + m.config.Probe
	m.timers[timerProbeEnd] = now.Boot + m.config.ProbeTime
	m.emit(ProbeInternal{m.epoch})
}

// endProbe notes that no probe is out any more.
func (m *Machine) endProbe() { m.timers[timerProbeEnd] = never }

// askLater has both home agents asked again after a pause, which doubles each time up to Config.Pause (DET-18). It is called
// by both series when they end; the first of them counts.
func (m *Machine) askLater(now link.Instant) {
	if m.timers[timerAgain] != never {
		return
	}
	m.timers[timerAgain] = now.Boot + m.pause
	m.pause = min(2*m.pause, m.config.Pause)
}
