package ike

import (
	"time"

	"mipvpn/tun/link"
)

// keepalives are the NAT keepalives of an end behind a NAT (RFC 3948 §4) and what is learned of the NAT's patience. That a mapping
// has held is only known when something has come through it that was not an answer, after this end had sent nothing: a NAT may
// give a mapping that it had forgotten the same port again, so that what the peer sees of it proves nothing. Now and then a
// silence is made half as long again as is known to be safe, to give the peer the occasion.
type keepalives struct {
	// interval is learned, 0 where nothing is; failed is one after which the mapping was another, 0 for none.
	interval, failed time.Duration
	// since is when the last keepalive was sent; sent and esp are what had been sent until then.
	since     time.Duration
	sent, esp uint64
	rounds    int // until the next longer silence
	// trial is the length of the silence that is under way, asked that of the one that a check is under way for; 0 for none.
	trial, asked time.Duration
}

// trialRounds is how many keepalives there are from one longer silence to the next, on the average.
const trialRounds = 6

// KeepaliveLearned says that the NAT of the network in use has held a mapping for that long: what UseKeepalive takes on the same
// network later.
type KeepaliveLearned struct{ Interval time.Duration }

func (KeepaliveLearned) event() {}

// UseKeepalive tells the machine what KeepaliveLearned has said on this network before, 0 for nothing. It is bounded by
// Config.Keepalive and Config.KeepaliveLimit. A driver says so after Established and after a move to another network, where what
// was learned before is forgotten.
func (m *Machine) UseKeepalive(now link.Instant, learned time.Duration) {
	m.keep = keepalives{interval: min(learned, m.cfg.KeepaliveLimit)}
	if m.established && m.err == nil {
		m.startKeepalive(now)
	}
}

// keepaliveInterval is the interval that is known to be safe, or the longer one that is used for the sake of power.
func (m *Machine) keepaliveInterval() time.Duration {
	return max(m.cfg.Keepalive, m.keep.interval, m.sparedKeepalive())
}

// learning tells whether a longer interval may be found.
func (m *Machine) learning() bool {
	return m.cfg.SentESP != nil && m.established && m.keepaliveInterval() < m.cfg.KeepaliveLimit
}

// sendKeepalive sends a keepalive and arms the next one.
func (m *Machine) sendKeepalive(now link.Instant) {
	k := &m.keep
	if k.trial != 0 && m.silent() && m.mobike.on && m.running() {
		k.asked = k.trial
		m.probe(now) // shows a mapping that has changed, and says where this end is now
	}
	m.transmits.Push(Transmit{Local: m.local, Remote: m.remote, Payload: []byte{0xff}, Keepalive: true})
	k.trial = 0
	k.since, k.sent = now.Boot, m.sent
	next := m.keepaliveInterval()
	if m.learning() {
		k.esp = m.cfg.SentESP()
		k.rounds--
		longer := min(next+next/2, m.cfg.KeepaliveLimit)
		if k.rounds <= 0 && (k.failed == 0 || longer < k.failed) {
			k.trial, next = longer, longer
			k.rounds = trialRounds/2 + int(m.randomUpTo(trialRounds)) // out of step with what the peer does
		}
	}
	m.keepaliveAt = now.Boot + next
}

// silent tells whether this end has sent nothing since the last keepalive.
func (m *Machine) silent() bool {
	k := &m.keep
	return k.since != 0 && m.sent == k.sent && m.cfg.SentESP != nil && m.cfg.SentESP() == k.esp
}

// heardThroughNAT takes note of an authentic, fresh message over the path in use.
func (m *Machine) heardThroughNAT(now link.Instant) {
	if !m.nat.Local || m.arrived.path() != m.path() || !m.learning() || !m.silent() {
		return
	}
	if held := min(now.Since(m.keep.since), m.cfg.KeepaliveLimit); held > m.keepaliveInterval() {
		m.keep.interval = held
		m.emit(KeepaliveLearned{Interval: held})
	}
}

// mappingLost takes note that the NAT has given another mapping: what was tried, or thought, does not hold.
func (m *Machine) mappingLost() {
	k := &m.keep
	switch {
	case k.asked != 0:
		k.failed = k.asked
	case m.keepaliveInterval() > m.cfg.Keepalive:
		k.failed, k.interval = m.keepaliveInterval(), 0
		m.emit(KeepaliveLearned{Interval: m.cfg.Keepalive})
	}
}
