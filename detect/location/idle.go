package location

import (
	"fmt"
	"time"

	"mipvpn/tun/link"
)

// HandleActivity tells that user data was seen to pass, either way, at the boot time at. With Config.Idle it is to be told
// before each HandleTimeout; nothing is needed a packet.
func (m *Machine) HandleActivity(at time.Duration) { m.active = max(m.active, at) }

// Wake ends a pause: user data wants to pass, so detection begins again (RFC 5265 §3.2.4). In any other state it changes
// nothing.
func (m *Machine) Wake(now link.Instant, reason string) {
	if m.state != StatePaused {
		return
	}
	m.active = now.Boot
	m.detect(now, reason)
}

// idle reports whether no user data has passed for so long that re-registration is to pause.
func (m *Machine) idle(now link.Instant) bool {
	return m.config.Idle > 0 && m.state == StateInside && now.Boot-m.active >= m.config.Idle
}

// rest gives the proof up and asks no more. The binding with the i-HA stays, and the registration machine goes on renewing
// it within its lifetime (RFC 5265 §3.2.4); each such renewal is a proof like any other.
func (m *Machine) rest() {
	m.proof = Proof{}
	m.disarm()
	reason := fmt.Sprintf("inside, idle: no user data for %v, so that re-registration pauses and nothing passes in the clear until some wants to", m.config.Idle)
	m.enter(StatePaused, reason)
	m.emit(Paused{m.epoch, reason})
}
