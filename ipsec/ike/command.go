package ike

import (
	"errors"
	"fmt"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike/message"
	"mipvpn/tun/link"
)

// Start sends the first message of an initiator. Errors: ErrUnexpected when it is started already or is a responder.
func (m *Machine) Start(now link.Instant) error {
	if m.initiator == nil || m.current != nil || m.err != nil {
		return fmt.Errorf("ike: start: %w", ErrUnexpected)
	}
	s, err := m.newSA(true)
	if err != nil {
		return err
	}
	m.current, m.lastHeard = s, now.Boot
	m.addSA(s)
	if resuming, err := m.startResume(now, s); err != nil || resuming {
		return errors.Join(err, m.err)
	}
	return m.startInit(now, s)
}

// startInit begins with IKE_SA_INIT.
func (m *Machine) startInit(now link.Instant, s *ikeSA) error {
	t, err := newInitTask(m)
	if err != nil {
		return err
	}
	m.enqueue(now, s, newExchange(message.IKESAInit, t, &natTask{}, fragmentTask{}, announceTask{}, redirectTask{}, agentTask{}))
	return m.err
}

// Delete closes the IKE SA and all child SAs: the peer is told, and Closed with ErrDeleted follows when it has answered or
// after Retransmission.RefusedTries. Before the peer is authenticated Closed follows at once; a responder is told once, so that
// it does not wait.
func (m *Machine) Delete(now link.Instant) {
	if m.err != nil || m.deleting {
		return
	}
	m.deleting = true
	if m.current == nil || !m.established {
		var farewell []message.Payload
		if m.initiator != nil {
			farewell = append(farewell, deleteIKE)
		}
		m.close(now, ErrDeleted, farewell...)
		return
	}
	s := m.current
	s.queue, s.heldUntil, s.rekeyAt, s.expireAt = nil, 0, 0, 0
	m.enqueue(now, s, newExchange(message.Informational, &deleteIKETask{}))
}

// RekeyIKE replaces the IKE SA by one with fresh keys. Errors: ErrClosed when it is not established.
func (m *Machine) RekeyIKE(now link.Instant) error {
	if !m.running() {
		return fmt.Errorf("ike: rekey IKE SA: %w", ErrClosed)
	}
	m.current.rekeyAt = 0
	if !m.rekeying(m.current) {
		m.enqueue(now, m.current, newExchange(message.CreateChildSA, &ikeRekeyTask{}))
	}
	return m.err
}

// RekeyChild replaces a child SA by one with fresh keys. Errors: ErrClosed, ErrNoChild.
func (m *Machine) RekeyChild(now link.Instant, id ChildID) error {
	if !m.running() {
		return fmt.Errorf("ike: rekey child SA: %w", ErrClosed)
	}
	c := m.childByID(id)
	if c == nil || c.state != childInstalled || c.replacedBy != nil {
		return fmt.Errorf("ike: rekey child SA %d: %w", id, ErrNoChild)
	}
	m.rekeyChild(now, c)
	return m.err
}

// CreateChild asks for one more child SA with these selectors. Errors: ErrClosed.
func (m *Machine) CreateChild(now link.Instant, local, remote []esp.Selector) error {
	if !m.running() {
		return fmt.Errorf("ike: create child SA: %w", ErrClosed)
	}
	t := &childTask{local: append([]esp.Selector(nil), local...), remote: append([]esp.Selector(nil), remote...), agent: m.agent.home.IsValid()}
	m.enqueue(now, m.current, newExchange(message.CreateChildSA, t))
	return m.err
}

// DeleteChild closes one child SA, and the successor that a rekeying of ours under way makes. Errors: ErrClosed, ErrNoChild
// (also for one that was replaced: its successor is to be named).
func (m *Machine) DeleteChild(now link.Instant, id ChildID) error {
	if !m.running() {
		return fmt.Errorf("ike: delete child SA: %w", ErrClosed)
	}
	c := m.childByID(id)
	if c == nil || c.state != childInstalled || c.replacedBy != nil {
		return fmt.Errorf("ike: delete child SA %d: %w", id, ErrNoChild)
	}
	m.deleteChild(now, c, ErrDeleted)
	return m.err
}

// CheckLiveness asks the peer at once whether it lives (RFC 7296 §2.4): Alive follows, or Closed with ErrNoAnswer after
// the retransmissions. An outstanding request is repeated at once and serves for it. Errors: ErrClosed.
func (m *Machine) CheckLiveness(now link.Instant) error {
	if !m.running() {
		return fmt.Errorf("ike: check liveness: %w", ErrClosed)
	}
	m.probing = true
	m.probe(now)
	return m.err
}
