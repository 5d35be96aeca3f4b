package ike

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"mipvpn/ipsec/ike/message"
	"mipvpn/tun/link"
)

// handleRequest takes a verified request with the expected message ID and answers it.
func (m *Machine) handleRequest(now link.Instant, s *ikeSA, d Datagram, in *message.Message) error {
	kind, early := in.Header.Exchange, s.state == saAuth
	if early && (s.initiator || kind != m.first.expects() && kind != message.Informational) ||
		!early && (kind == message.IKEAuth || kind == message.IKEIntermediate) {
		return fmt.Errorf("ike: %w: %v request while %v", ErrUnexpected, in.Header.Exchange, s)
	}
	if w := m.waiting; w != nil {
		if w.from == nil || !bytes.Equal(w.from.Payload, d.Payload) {
			return fmt.Errorf("ike: %w: %v request while another one waits for the driver", ErrUnexpected, in.Header.Exchange)
		}
		w.from.Local, w.from.Remote, w.from.TCP = d.Local, d.Remote, d.TCP // the answer goes where the repetition came from (RFC 7296 §2.11)
		return nil
	}
	return m.answerRequest(now, s, &d, in)
}

// answerRequest answers a request, or keeps it until the driver has answered.
func (m *Machine) answerRequest(now link.Instant, s *ikeSA, d *Datagram, in *message.Message) error {
	var out []message.Payload
	var after func()
	var err error
	if t, ok := message.UnsupportedCritical(in.Payloads); ok {
		err = refuse(message.UnsupportedCriticalPayload, byte(t))
	} else {
		switch in.Header.Exchange {
		case message.IKEIntermediate:
			out, after, err = m.answerIntermediate(now, s, in)
		case message.IKEAuth:
			out, after, err = m.answerAuth(now, s, in)
			if errors.Is(err, errWait) {
				kept := &Datagram{Local: d.Local, Remote: d.Remote, TCP: d.TCP, Payload: bytes.Clone(d.Payload)}
				m.wait(kept, func(now link.Instant) error { return m.answerRequest(now, s, kept, in) })
				return nil
			}
		case message.IKEFollowupKE:
			out, after, err = m.answerFollowup(now, s, in)
		case message.CreateChildSA:
			if sa, ok := message.Find[message.SA](in.Payloads); ok && len(sa.Proposals) > 0 && sa.Proposals[0].Protocol == message.ProtocolIKE {
				out, after, err = m.answerIKERekey(now, s, in)
			} else {
				out, err = m.answerCreateChild(now, s, in)
			}
		case message.Informational:
			out, after = m.answerInformational(now, s, in)
		default:
			return fmt.Errorf("ike: %w: %v request", ErrUnexpected, in.Header.Exchange)
		}
	}
	var r *refusal
	if errors.As(err, &r) {
		if out = r.payloads; out == nil {
			out = []message.Payload{r.notify}
		}
	} else if err != nil {
		m.close(now, err)
		return err
	}
	if err := m.respond(s, *d, in.Header, out); err != nil {
		m.close(now, err)
		return err
	}
	if r != nil {
		return m.refusedPeer(now, s, in.Header.Exchange, r)
	}
	if after != nil {
		after()
	}
	if m.err == nil {
		m.startNext(now, m.current)
	}
	return nil
}

// refusedPeer follows a refusal: in IKE_AUTH and for INVALID_SYNTAX it ends the machine (RFC 7296 §2.21.2, §2.21.3).
func (m *Machine) refusedPeer(now link.Instant, s *ikeSA, kind message.ExchangeType, r *refusal) error {
	err := error(&NotifyError{Type: r.notify.Message, Exchange: kind, Sent: true, Data: r.notify.Data})
	if r.cause != nil {
		err = fmt.Errorf("%w: %w", err, r.cause)
	}
	err = fmt.Errorf("ike: %w", err)
	if r.fatal || s.state == saAuth {
		m.close(now, err)
	}
	return err
}

// answerAuth answers IKE_AUTH: authentication, configuration, first child SA.
func (m *Machine) answerAuth(now link.Instant, s *ikeSA, in *message.Message) (out []message.Payload, after func(), err error) {
	if m.answering == nil {
		if m.refusesNAT(in) {
			return nil, nil, refuse(message.UnexpectedNATDetected)
		}
		m.answering = &authAnswer{}
	}
	auth, done, err := m.answering.answer(m, s, in)
	if err != nil || !done {
		return auth, nil, err
	}
	in = m.answering.opening
	if elsewhere, err := m.redirectPeer(m.remoteID, nil); err != nil || elsewhere != nil {
		m.letGo(now, s)
		return append(auth, elsewhere...), nil, err
	}
	m.commitPPK(s)
	mobike := mobikeTask{}.answer(m, in)
	s.noteToken(in)
	auth = append(append(auth, crashTask{}.payloads(m, s)...), m.startAuthLifetime(now)...)
	m.establish(now, s, saEstablished)
	m.startKeepalive(now)
	config, err := (&configTask{}).answer(m, in)
	m.reportEstablished(now, s, in)
	defer m.forget()
	var r *refusal
	if errors.As(err, &r) {
		m.emit(ChildFailed{Err: fmt.Errorf("%w: %w", &NotifyError{Type: r.notify.Message, Exchange: message.IKEAuth, Sent: true}, r.cause)})
		return append(auth, r.notify), nil, nil
	}
	child, err := m.answerFirstChild(now, s, in)
	if err != nil {
		return nil, nil, err
	}
	out = append(append(append(auth, config...), child...), m.advertise()...)
	out = append(out, mobike...)
	return append(out, (&ticketTask{}).answer(now, m, s, in)...), nil, nil
}

// answerInformational answers an INFORMATIONAL request: Delete payloads and errors; the rest is ignored.
func (m *Machine) answerInformational(now link.Instant, s *ikeSA, in *message.Message) (out []message.Payload, after func()) {
	m.noteWindow(s, in)
	if s.state == saAuth { // from a peer that is not authenticated: all it may do is to give up
		in = &message.Message{Header: in.Header, Payloads: slices.DeleteFunc(slices.Clone(in.Payloads), func(p message.Payload) bool {
			n, notify := p.(message.Notify)
			d, deletes := p.(message.Delete)
			return !(notify && n.Message.Error() || deletes && d.Protocol == message.ProtocolIKE)
		})}
	}
	out, ended := m.answerDeletes(now, in)
	if ended {
		return nil, func() { m.peerClosed(now, s) }
	}
	for _, p := range in.Payloads {
		n, ok := p.(message.Notify)
		if !ok || s != m.current {
			continue
		}
		switch n.Message {
		// RFC 7296 §2.21.2: in the exchange behind IKE_AUTH these end the IKE SA without a Delete payload.
		case message.AuthenticationFailed, message.InvalidSyntax, message.UnsupportedCriticalPayload:
			return nil, func() { m.close(now, fmt.Errorf("ike: %w", notifyError(message.Informational, n))) }
		default:
		}
	}
	if s == m.current && m.established {
		s.noteToken(in)
		m.noteAuthLifetime(now, in)
		out = append(out, (&configTask{}).answerLater(m, in)...)
	}
	if to, ok := m.redirection(in, nil); ok && s == m.current && m.running() {
		m.emit(Redirected{To: to})
	}
	moved, after := m.answerMOBIKE(now, s, in)
	out = append(out, moved...)
	return append(out, (&ticketTask{}).answer(now, m, s, in)...), after
}
