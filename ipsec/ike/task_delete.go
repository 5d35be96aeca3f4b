package ike

import (
	"mipvpn/ipsec/ike/message"
	"mipvpn/tun/link"
)

// livenessTask is an empty INFORMATIONAL request (RFC 7296 §1.4, §2.4). That an answer comes is all.
type livenessTask struct{}

func (livenessTask) needed(m *Machine) bool                                             { return m.running() }
func (livenessTask) request(link.Instant, *Machine, *exchange) error                    { return nil }
func (livenessTask) response(link.Instant, *Machine, *exchange, *message.Message) error { return nil }
func (livenessTask) abandon(link.Instant, *Machine)                                     {}

// deleteChildTask closes a child SA (RFC 7296 §1.4.1).
type deleteChildTask struct{ child *child }

func (t *deleteChildTask) needed(*Machine) bool { return t.child.state == childDeleting }

func (t *deleteChildTask) request(_ link.Instant, _ *Machine, x *exchange) error {
	x.add(message.Delete{Protocol: message.ProtocolESP, SPIs: []uint32{t.child.in}})
	return nil
}

func (t *deleteChildTask) response(now link.Instant, m *Machine, _ *exchange, _ *message.Message) error {
	// Whatever the answer says: we have closed our half, and the peer has heard it.
	if t.child.state == childDeleting {
		m.finishChild(now, t.child, t.child.reason)
	}
	return nil
}

func (t *deleteChildTask) abandon(now link.Instant, m *Machine) {
	if m.err == nil && t.child.state == childDeleting {
		m.finishChild(now, t.child, t.child.reason)
	}
}

// deleteIKETask closes the IKE SA that carries it (RFC 7296 §1.4.1). It is the last request there.
type deleteIKETask struct{}

func (t *deleteIKETask) needed(*Machine) bool { return true }

func (t *deleteIKETask) request(_ link.Instant, _ *Machine, x *exchange) error {
	x.sa.state = saDeleting
	x.add(deleteIKE)
	return nil
}

func (t *deleteIKETask) response(now link.Instant, m *Machine, x *exchange, _ *message.Message) error {
	if x.sa == m.current {
		m.close(now, ErrDeleted)
	} else {
		m.shutSA(now, x.sa)
	}
	return nil
}

func (t *deleteIKETask) abandon(link.Instant, *Machine) {}

// answerDeletes handles the Delete payloads of an INFORMATIONAL request. ended is set when one closes the IKE SA.
func (m *Machine) answerDeletes(now link.Instant, in *message.Message) (out []message.Payload, ended bool) {
	var closed []uint32
	for _, p := range in.Payloads {
		d, ok := p.(message.Delete)
		switch {
		case !ok:
		case d.Protocol == message.ProtocolIKE:
			ended = true
		case d.Protocol == message.ProtocolESP:
			for _, spi := range d.SPIs {
				if in := m.deletedByPeer(now, spi); in != 0 {
					closed = append(closed, in)
				}
			}
		}
	}
	if len(closed) != 0 {
		out = append(out, message.Delete{Protocol: message.ProtocolESP, SPIs: closed})
	}
	return out, ended
}

// deletedByPeer closes the child SA whose outbound SPI the peer deletes. It returns our inbound SPI for the answer, or 0
// when there is no such child SA or our own Delete is on its way (RFC 7296 §1.4.1, §2.25.1).
func (m *Machine) deletedByPeer(now link.Instant, spi uint32) uint32 {
	c := m.childByOut(spi)
	if c == nil {
		return 0
	}
	crossed := c.state == childDeleting
	m.finishChild(now, c, ErrDeletedByPeer)
	if crossed {
		return 0
	}
	return c.in
}

// peerClosed ends the IKE SA that the peer has deleted.
func (m *Machine) peerClosed(now link.Instant, s *ikeSA) {
	switch {
	case s != m.current:
		m.shutSA(now, s)
	case m.deleting:
		m.close(now, ErrDeleted)
	default:
		// A rekeying of ours is forgotten; when the peer has rekeyed too, its successor carries on (§2.8.2).
		if s.exchange != nil {
			if t, ok := s.exchange.rekeyTask(); ok && t.settle(now, m) {
				m.shutSA(now, s)
				m.startNext(now, m.current)
				return
			}
		}
		m.close(now, ErrDeletedByPeer)
	}
}
