package ike

import (
	"fmt"
	"time"

	"mipvpn/tun/link"
)

// Park has the machine send nothing of its own accord until Unpark: no liveness check, no keepalive, no rekeying and no
// repetition of a request. It is for an end that has no path to the peer and needs none for the time being, whose SAs are
// kept: silence must not be taken for the peer's death then. Lifetimes go on: when that of the IKE SA or of a child SA ends,
// Closed with ErrExpired follows, and nobody is told. Messages that arrive are answered. Errors: ErrClosed when it is not
// established.
func (m *Machine) Park() error {
	if !m.running() {
		return fmt.Errorf("ike: park: %w", ErrClosed)
	}
	m.parked = true
	return nil
}

// Unpark ends Park: what was due meanwhile is done at the next HandleTimeout. A request that was outstanding has all its
// repetitions before it again, the first of them at once. Whether the peer still has the SAs is not known: CheckLiveness
// asks.
func (m *Machine) Unpark(now link.Instant) {
	if !m.parked {
		return
	}
	m.parked = false
	for _, s := range m.sas {
		if x := s.exchange; x != nil && x.wires != nil {
			x.tries, x.interval, x.sentAt, x.resendAt = 0, m.cfg.Retransmission.Initial, now.Boot, now.Boot
		}
	}
	if m.mobike.lapsed && m.running() {
		m.followAddresses(now)
	}
}

// idle tells whether the machine is parked and lives.
func (m *Machine) idle() bool { return m.parked && m.err == nil }

// expiry returns when the first lifetime ends, 0 for never.
func (m *Machine) expiry() time.Duration {
	first := m.current.expireAt
	for _, c := range m.children {
		if c.expireAt != 0 && (first == 0 || c.expireAt < first) {
			first = c.expireAt
		}
	}
	return first
}

// idleTimeout does what is due at now while the machine is parked.
func (m *Machine) idleTimeout(now link.Instant) {
	if due(now, m.expiry()) {
		m.close(now, fmt.Errorf("ike: parked: %w", ErrExpired))
	}
}
