package homeagent

import (
	"errors"
	"fmt"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

// checkReplay checks the Identification (RFC 5944 §3.8.2.1 b). answered is set when the request must not be looked at further: it was
// denied, or it duplicates an accepted one and got that one's answer again.
func (m *Machine) checkReplay(now link.Instant, q *request) (answered bool, err error) {
	if q.association.ReplayProtection() == auth.Nonces {
		return m.checkNonce(now, q)
	}
	return m.checkTimestamp(now, q)
}

// checkNonce checks the nonce (RFC 5944 §5.7.2): it must be the one that the last replies had, and then it has had its use.
func (m *Machine) checkNonce(now link.Instant, q *request) (answered bool, err error) {
	n := q.node
	if n.nonce == 0 {
		n.nonce = auth.NextNonceCounter(0, now)
		m.touch(n)
	} else if q.Identification.High() == q.association.Nonce(n.nonce) {
		n.nonce = auth.NextNonceCounter(n.nonce, now)
		m.touch(n)
		return false, nil
	}
	if b := q.node.binding(q.CareOfAddress); b != nil && b.identification == q.Identification && !q.Deregistration() {
		return true, m.answerDuplicate(now, q, b) // the mobile node repeats its requests unchanged (RFC 5944 §3.6.3)
	}
	if m.asking.repeats(q) {
		return true, fmt.Errorf("%w: home address %v from %v", ErrPending, q.HomeAddress, q.source)
	}
	return true, m.deny(q, wire.CodeIdentificationMismatch, errors.New("the nonce is not that of this agent's last reply"))
}

// replyIdentification returns what the reply to q carries: the request's field, with nonces the next one in its high half.
func (m *Machine) replyIdentification(q *request) wire.Identification {
	if q.association.ReplayProtection() != auth.Nonces || q.node.nonce == 0 {
		return q.Identification
	}
	return auth.WithNonce(q.Identification, q.association.Nonce(q.node.nonce))
}

// checkTimestamp checks the timestamp (RFC 5944 §5.7.1).
func (m *Machine) checkTimestamp(now link.Instant, q *request) (answered bool, err error) {
	off := q.Identification.Time().Sub(now.Wall)
	fresh := off <= m.cfg.Tolerance && off >= -m.cfg.Tolerance
	if fresh && q.Identification > q.node.last {
		q.node.last = q.Identification
		m.touch(q.node)
		return false, nil
	}
	if fresh && !q.Deregistration() {
		// A duplicate must not extend the lifetime (RFC 5944 §3.8.2.2); whoever sent it changes nothing by it.
		if b := q.node.binding(q.CareOfAddress); b != nil && b.identification == q.Identification {
			return true, m.answerDuplicate(now, q, b)
		}
	}
	if fresh && m.asking.repeats(q) {
		return true, fmt.Errorf("%w: home address %v from %v", ErrPending, q.HomeAddress, q.source)
	}
	q.RegistrationRequest.Identification = q.Identification.WithHigh(wire.IdentificationAt(now.Wall))
	if fresh {
		err = fmt.Errorf("timestamp is not later than the last one accepted")
	} else {
		err = fmt.Errorf("timestamp is %v off this agent's clock, %v is tolerated", off.Round(time.Millisecond), m.cfg.Tolerance)
	}
	return true, m.deny(q, wire.CodeIdentificationMismatch, err)
}
