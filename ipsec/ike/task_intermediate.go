package ike

import (
	"encoding/binary"
	"fmt"
	"slices"

	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
	"mipvpn/tun/link"
)

// intermediates are the IKE_INTERMEDIATE exchanges between IKE_SA_INIT and IKE_AUTH (RFC 9242): one for each additional key
// exchange that was agreed on (RFC 9370 §2.2.2). They are part of firstExchange.
type intermediates struct {
	// pending are the additional key exchanges still to be made, in their order.
	pending []suite.Group
	// done counts the exchanges; authI and authR are IntAuth_i and IntAuth_r so far (RFC 9242 §3.3.2).
	done         uint32
	authI, authR []byte
}

// octets returns IntAuth, the last part of what both ends sign, which is nothing without such exchanges (RFC 9242 §3.3.2). The
// message ID of the first IKE_AUTH request is the one behind theirs.
func (i *intermediates) octets() []byte {
	if i.done == 0 {
		return nil
	}
	return binary.BigEndian.AppendUint32(slices.Concat(i.authI, i.authR), i.done+1)
}

// expects returns the exchange type of the peer's next request behind IKE_SA_INIT.
func (i *intermediates) expects() message.ExchangeType {
	if len(i.pending) != 0 {
		return message.IKEIntermediate
	}
	return message.IKEAuth
}

// intermediateSupported says that an end can do IKE_INTERMEDIATE (RFC 9242 §3.1).
var intermediateSupported = message.Notify{Message: message.IntermediateExchangeSupport}

// additionalPayloads are those that an IKE_SA_INIT request or response carries for the sake of additional key exchanges.
func (m *Machine) additionalPayloads() []message.Payload {
	if len(m.cfg.Proposals.Additional) == 0 {
		return nil
	}
	return []message.Payload{intermediateSupported}
}

// canIntermediate tells whether the peer's IKE_SA_INIT message says that it can do IKE_INTERMEDIATE.
func canIntermediate(in *message.Message) bool {
	_, ok := message.FindNotify(in.Payloads, message.IntermediateExchangeSupport)
	return ok
}

// intermediateTask is one additional key exchange (RFC 9370 §2.2.2), the initiator's side.
type intermediateTask struct{ ke *suite.KeyExchange }

// proceed goes on behind IKE_SA_INIT, IKE_SESSION_RESUME or IKE_INTERMEDIATE: with the next additional key exchange, or else
// with IKE_AUTH.
func (m *Machine) proceed(now link.Instant, s *ikeSA) {
	if len(m.first.pending) == 0 {
		m.authenticate(now, s)
		return
	}
	m.enqueue(now, s, newExchange(message.IKEIntermediate, &intermediateTask{}))
}

func (t *intermediateTask) needed(*Machine) bool { return true }

func (t *intermediateTask) request(_ link.Instant, m *Machine, x *exchange) error {
	ke, err := suite.NewKeyExchange(m.first.pending[0], m.rand)
	if err != nil {
		return fmt.Errorf("ike: %w", err)
	}
	t.ke = ke
	x.add(message.KE{Group: uint16(ke.Group()), Data: ke.Public()})
	return nil
}

func (t *intermediateTask) abandon(link.Instant, *Machine) { t.ke.Wipe() }

func (t *intermediateTask) response(now link.Instant, m *Machine, x *exchange, in *message.Message) error {
	defer t.ke.Wipe()
	ke, ok := message.Find[message.KE](in.Payloads)
	if n, refused := message.ErrorNotify(in.Payloads); refused && !ok {
		return fatal(notifyError(x.kind, n)) // as in IKE_AUTH (RFC 9242 §3.4)
	}
	if !ok || suite.Group(ke.Group) != t.ke.Group() {
		return fatal(fmt.Errorf("%w: want a KE payload of %v, found one of group %d", ErrInvalidAnswer, t.ke.Group(), ke.Group), deleteIKE)
	}
	shared, err := t.ke.SharedSecret(ke.Data)
	if err != nil {
		return fatal(fmt.Errorf("%w: %w", ErrInvalidAnswer, err), deleteIKE)
	}
	request, err := message.IntermediateOctets(x.sa.header(x.kind, x.id, false), x.payloads)
	if err != nil {
		return fatal(err, deleteIKE)
	}
	if err := m.intermediateDone(x.sa, request, in.Intermediate, shared); err != nil {
		return fatal(err, deleteIKE)
	}
	m.proceed(now, x.sa)
	return nil
}

// intermediateDone notes an IKE_INTERMEDIATE exchange for AUTH and takes the next generation of keys. It wipes shared.
func (m *Machine) intermediateDone(s *ikeSA, request, response, shared []byte) error {
	defer clear(shared)
	f, old := m.first, s.keys
	f.authI = old.suite.prf.Sum(old.pi, f.authI, request)
	f.authR = old.suite.prf.Sum(old.pr, f.authR, response)
	f.pending = f.pending[1:]
	f.done++
	next, err := deriveKeys(old.suite, old.successorSeed(shared, f.ni, f.nr), f.ni, f.nr, s.spiI, s.spiR)
	if err != nil {
		return fmt.Errorf("ike: %w", err)
	}
	old.wipe()
	s.keys = next
	return nil
}

// answerIntermediate answers the request of one additional key exchange. after is to be called when the response is on its way: it
// is protected by the keys before (RFC 9242 §3.3.1).
func (m *Machine) answerIntermediate(now link.Instant, s *ikeSA, in *message.Message) (out []message.Payload, after func(), err error) {
	ke, ok := message.Find[message.KE](in.Payloads)
	if group := m.first.pending[0]; !ok || suite.Group(ke.Group) != group {
		return nil, nil, &refusal{notify: message.Notify{Message: message.InvalidSyntax}, fatal: true,
			cause: fmt.Errorf("%w: want a KE payload of %v, found one of group %d", ErrUnexpected, group, ke.Group)}
	}
	public, shared, err := m.answerKE(ke)
	if err != nil {
		return nil, nil, err
	}
	out = []message.Payload{message.KE{Group: ke.Group, Data: public}}
	response, err := message.IntermediateOctets(s.header(in.Header.Exchange, in.Header.MessageID, true), out)
	if err != nil {
		return nil, nil, err
	}
	return out, func() {
		if err := m.intermediateDone(s, in.Intermediate, response, shared); err != nil {
			m.close(now, err)
		}
	}, nil
}

// answerKE does the responder's half of a key exchange. A bad public value is refused with INVALID_SYNTAX.
func (m *Machine) answerKE(ke message.KE) (public, shared []byte, err error) {
	public, shared, err = suite.Answer(suite.Group(ke.Group), m.rand, ke.Data)
	if err != nil {
		return nil, nil, &refusal{notify: message.Notify{Message: message.InvalidSyntax}, fatal: true, cause: err}
	}
	return public, shared, nil
}
