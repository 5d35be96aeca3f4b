package ike

import (
	"time"

	"mipvpn/ipsec/ike/message"
	"mipvpn/tun/link"
)

// livenessAt returns when the peer has been silent for too long.
func (m *Machine) livenessAt() (time.Duration, bool) {
	if !m.running() || m.cfg.Liveness < 0 || m.current.exchange != nil || len(m.current.queue) != 0 {
		return 0, false
	}
	return m.lastHeard + m.livenessInterval(), true
}

// verdictAt returns when the peer counts as dead if the request x is not answered by then (RFC 7296 §2.4): Config.Dead
// after its last proof of life, but never without having been asked for as long as a liveness check would ask. ESP packets
// of a peer that answers no requests put it off for as long again at most. It is false where the number of repetitions
// decides.
func (m *Machine) verdictAt(x *exchange) (time.Duration, bool) {
	if m.cfg.Dead <= 0 || !m.established || m.deleting || x.sa.state == saDeleting {
		return 0, false
	}
	return max(min(m.lastHeard, x.sentAt+m.cfg.Dead)+m.cfg.Dead, x.sentAt+m.asking()), true
}

// asking is how long a liveness check asks before the verdict, when Config.Dead is set.
func (m *Machine) asking() time.Duration { return m.cfg.Dead - max(m.cfg.Liveness, 0) }

// pace returns the time to the next repetition: with a verdict to come there are at least four in the time that a liveness
// check has, and none behind the verdict.
func (m *Machine) pace(now link.Instant, x *exchange) time.Duration {
	at, ok := m.verdictAt(x)
	if !ok {
		return x.interval
	}
	return max(min(x.interval, m.asking()/4, at-now.Boot), 0)
}

// probe makes the peer answer: by the outstanding request if there is one, else by an empty one.
func (m *Machine) probe(now link.Instant) {
	if x := m.current.exchange; x != nil {
		// The extra repetition does not count. When the next one is near anyway it is not needed.
		if initial := m.cfg.Retransmission.Initial; x.resendAt-now.Boot > initial {
			x.tries, x.interval = x.tries-1, initial
			m.resend(now, x)
		}
		return
	}
	m.current.heldUntil = 0
	m.enqueue(now, m.current, newExchange(message.Informational, m.liveness()))
}
