package ike

import (
	"bytes"
	"crypto/hmac"
	"errors"
	"fmt"
	"slices"

	"mipvpn/ipsec/ike/message"
)

// authAnswer is the responder's side of IKE_AUTH: where it stands, from request to request (RFC 7296 §2.15, §2.16, RFC 4739).
type authAnswer struct {
	stage authStage
	round int
	// opening is the first request, which has all that is not about authentication.
	opening  *message.Message
	required Requirement
	// id is the latest IDi, verified that the AUTH of this round is.
	id       Identity
	verified bool
	// own is the proof of this end, once it is made; eapOnly that EAP alone is to be it (RFC 5998).
	own     []message.Payload
	eapOnly bool
	// auth is the AUTH payload to verify in place of the peer's, ppk what is to be said of a PPK.
	auth  *message.Auth
	ppk   []message.Payload
	count int
	msk   []byte
	// authenticated is the identity that the EAP method has authenticated.
	authenticated Identity
}

func (t *authAnswer) wipe() {
	t.required.wipe()
	clear(t.msk)
}

// refuseAuth is the refusal of an initiator that does not prove what it has to.
func refuseAuth(cause error) error {
	var r *refusal
	if errors.Is(cause, errWait) || errors.As(cause, &r) {
		return cause
	}
	return &refusal{notify: message.Notify{Message: message.AuthenticationFailed}, cause: cause}
}

func refuseSyntax(missing string) error {
	return &refusal{notify: message.Notify{Message: message.InvalidSyntax}, cause: fmt.Errorf("%w: no %s", ErrUnexpected, missing)}
}

// answer takes a request and returns what to answer about authentication; done tells that it is complete.
func (t *authAnswer) answer(m *Machine, s *ikeSA, in *message.Message) (out []message.Payload, done bool, err error) {
	switch t.stage {
	case authEAP:
		out, err = t.takeEAP(m, in)
	case authKey:
		out, done, err = t.takeKey(m, s, in)
	default:
		out, done, err = t.open(m, s, in)
	}
	if err != nil {
		return nil, false, refuseAuth(err)
	}
	return out, done, nil
}

// open takes the request that begins a round.
func (t *authAnswer) open(m *Machine, s *ikeSA, in *message.Message) ([]message.Payload, bool, error) {
	id, ok := message.Find[message.IDi](in.Payloads)
	if !ok {
		return nil, false, refuseSyntax("IDi")
	}
	t.id = id.Identity
	if t.opening == nil {
		if err := t.begin(m, in); err != nil {
			return nil, false, err
		}
	}
	accept := &t.required.Rounds[t.round]
	auth, okAuth := message.Find[message.Auth](in.Payloads)
	if okAuth && t.round == 0 {
		var err error
		if auth, err = t.settlePPK(m, s, in, auth); err != nil {
			return nil, false, err
		}
	}
	switch {
	case okAuth && !t.verified:
		if t.round > 0 && auth.Method == message.AuthSharedKeyMIC && t.id != m.proved[0] {
			// The key is that of the first round's identity, and proves no other.
			return nil, false, fmt.Errorf("%w: the first round was that of %v, found %v with a pre-shared key", ErrIdentity, m.proved[0], t.id)
		}
		if err := m.verify(s, in, auth, t.id, accept); err != nil {
			return nil, false, err
		}
		if m.first.resumed {
			if err := m.responder.Tickets.Spend(m.first.ticket); err != nil {
				return nil, false, fmt.Errorf("%w: %w", errSpent, err)
			}
		}
		t.verified = true
	case !okAuth && (!accept.EAP || m.first.resumed):
		return nil, false, fmt.Errorf("%w (%v): %w: found no AUTH, which asks for EAP", ErrAuthentication, t.id, ErrMethod)
	}
	if err := t.prove(m, s, in, okAuth); err != nil {
		return nil, false, err
	}
	if okAuth {
		who := t.id
		if m.first.resumed {
			who = m.first.authenticated
		}
		return t.endRound(m, in, slices.Concat(t.own, t.ppk), who)
	}
	got, err := m.ask(askEAP, func() Event { return EAPReceived{ID: t.id} })
	if err != nil {
		return nil, false, err
	}
	out, err := t.takeAnswer(t.own, got.eap)
	return out, false, err
}

// begin asks the policy what is required of a peer.
func (t *authAnswer) begin(m *Machine, in *message.Message) error {
	failed := func(err error) error { return fmt.Errorf("%w (%v): %w", ErrAuthentication, t.id, err) }
	if err := m.first.checkResumed(t.id); err != nil {
		return err
	}
	wanted, _ := message.Find[message.IDr](in.Payloads)
	local := wanted.Identity
	if m.first.resumed {
		if !local.IsZero() && local != m.localID { // RFC 5723 §4.3.3
			return failed(fmt.Errorf("%w: the ticket is for %v, found %v", ErrIdentity, m.localID, local))
		}
		local = m.localID
	}
	// Of a resumed peer too: who has been struck off gets no further with a ticket.
	required, err := m.responder.Policy.Authentication(local, t.id)
	if err == nil {
		err = required.complete(m.cfg.LocalID)
	}
	switch {
	case err != nil:
		return failed(err)
	case m.first.resumed && required.Own.ID != m.localID:
		return failed(fmt.Errorf("%w: the ticket is for %v, the policy wants %v", ErrIdentity, m.localID, required.Own.ID))
	case m.first.resumed:
		required.Rounds = required.Rounds[:1]
	}
	m.said.readRequests(in.Payloads)
	m.localID = required.Own.ID
	t.required = required
	// What was for authentication alone, which may be long, is not kept until the last round.
	t.opening = &message.Message{Header: in.Header, Payloads: slices.DeleteFunc(slices.Clone(in.Payloads), func(p message.Payload) bool {
		switch p.Type() {
		case message.TypeCert, message.TypeCertReq, message.TypeAuth, message.TypeVendorID:
			return true
		default:
			return false
		}
	})}
	return nil
}

// prove makes the proof of this end, in the first round. The peer's may be left out of it with EAP (RFC 5998).
func (t *authAnswer) prove(m *Machine, s *ikeSA, in *message.Message, byAUTH bool) error {
	if t.round > 0 || t.own != nil {
		return nil
	}
	own := &t.required.Own
	id := message.IDr{Identity: own.ID}
	_, offered := message.FindNotify(in.Payloads, message.EAPOnlyAuthentication)
	switch {
	case own.EAP && offered && !byAUTH:
		t.own, t.eapOnly = []message.Payload{id}, true
		return nil
	case len(own.PSK) == 0 && own.Certificates == nil && !m.first.resumed:
		return fmt.Errorf("%w (%v): %w: only EAP is to prove who this gateway is, which the peer does not offer", ErrAuthentication, t.id, ErrMethod)
	}
	proof, err := m.prove(s, own)
	if err != nil {
		return err
	}
	t.own = append([]message.Payload{id}, proof...)
	return nil
}

// settlePPK decides once whether a PPK is used, by the first AUTH payload of the peer's, and returns the one to verify.
func (t *authAnswer) settlePPK(m *Machine, s *ikeSA, in *message.Message, auth message.Auth) (message.Auth, error) {
	if t.auth == nil {
		a, say, err := m.answerPPK(s, in, auth, &t.required)
		if err != nil {
			return auth, fmt.Errorf("%w (%v): %w", ErrAuthentication, t.id, err)
		}
		t.auth, t.ppk = &a, say
	}
	return *t.auth, nil
}

// takeEAP takes a request with an EAP message.
func (t *authAnswer) takeEAP(m *Machine, in *message.Message) ([]message.Payload, error) {
	p, ok := message.Find[message.EAP](in.Payloads)
	if !ok {
		return nil, refuseSyntax("EAP")
	}
	if id, ok := message.Find[message.IDi](in.Payloads); ok && id.Identity != t.id {
		return nil, fmt.Errorf("%w: it was %v, found %v amid EAP", ErrIdentity, t.id, id.Identity)
	}
	code, err := checkEAP(p.Message)
	switch {
	case err != nil:
		return nil, err
	case code != eapResponse:
		return nil, fmt.Errorf("%w: want a response, found code %d", ErrEAP, code)
	case t.count == maxEAPMessages:
		return nil, fmt.Errorf("%w: more than %d messages", ErrEAP, maxEAPMessages)
	}
	got, err := m.ask(askEAP, func() Event { return EAPReceived{ID: t.id, Message: p.Message} })
	if err != nil {
		return nil, err
	}
	t.count++
	return t.takeAnswer(nil, got.eap)
}

// takeAnswer sends what the driver's EAP method answers, behind the proof of this end if that is due.
func (t *authAnswer) takeAnswer(own []message.Payload, a EAPAnswer) ([]message.Payload, error) {
	if a.Done && a.Err == nil && len(a.MSK) == 0 && t.eapOnly {
		a.Err, a.Message = ErrNoKey, nil
	}
	if a.Err != nil {
		r := &refusal{notify: message.Notify{Message: message.AuthenticationFailed},
			cause: fmt.Errorf("%w (%v): %w: %w", ErrAuthentication, t.id, ErrEAP, a.Err)}
		if code, err := checkEAP(a.Message); err == nil && code == eapFailure {
			r.payloads = append(slices.Clone(own), message.EAP{Message: a.Message})
		}
		return nil, r
	}
	want := byte(eapRequest)
	if a.Done {
		want = eapSuccess
	}
	if code, err := checkEAP(a.Message); err != nil || code != want || a.Done && t.stage == authOpen {
		return nil, fmt.Errorf("%w (%v): %w: the own method sends a message of %d octets, done %t", ErrAuthentication, t.id, ErrEAP, len(a.Message), a.Done)
	}
	t.stage = authEAP
	if a.Done {
		t.msk, t.authenticated, t.stage = bytes.Clone(a.MSK), a.ID, authKey
		withDefault(&t.authenticated, t.id)
	}
	return append(slices.Clone(own), message.EAP{Message: bytes.Clone(a.Message)}), nil
}

// takeKey takes the request behind EAP-Success, whose AUTH is by the method's key.
func (t *authAnswer) takeKey(m *Machine, s *ikeSA, in *message.Message) ([]message.Payload, bool, error) {
	auth, ok := message.Find[message.Auth](in.Payloads)
	if !ok {
		return nil, false, refuseSyntax("AUTH")
	}
	if t.round == 0 {
		var err error
		if auth, err = t.settlePPK(m, s, in, auth); err != nil {
			return nil, false, err
		}
	}
	switch {
	case auth.Method != message.AuthSharedKeyMIC:
		return nil, false, fmt.Errorf("%w (%v): %w: want method %d behind EAP, found %d", ErrAuthentication, t.id, ErrMethod, message.AuthSharedKeyMIC, auth.Method)
	case !hmac.Equal(auth.Data, m.mac(s, true, t.id, t.msk)):
		return nil, false, fmt.Errorf("%w (%v): the keys of the EAP method differ", ErrAuthentication, t.id)
	}
	out := []message.Payload{message.Auth{Method: message.AuthSharedKeyMIC, Data: m.mac(s, false, m.localID, t.msk)}}
	return t.endRound(m, in, append(out, t.ppk...), t.authenticated)
}

// endRound ends a round, in which the peer has proved to be who.
func (t *authAnswer) endRound(m *Machine, in *message.Message, out []message.Payload, who Identity) ([]message.Payload, bool, error) {
	_, another := message.FindNotify(in.Payloads, message.AnotherAuthFollows)
	last := t.round == len(t.required.Rounds)-1
	if another == last {
		return nil, false, fmt.Errorf("%w (%v): %w: want %d, the peer announces one more after %d: %t", ErrAuthentication, t.id, ErrRounds,
			len(t.required.Rounds), t.round+1, another)
	}
	m.proved, m.remoteID, m.claimed = append(m.proved, who), who, t.id
	clear(t.msk)
	t.own, t.msk, t.count, t.verified, t.eapOnly, t.ppk = nil, nil, 0, false, false, nil
	if last {
		m.noteWindow(m.current, t.opening)
		return out, true, nil
	}
	t.round, t.stage = t.round+1, authOpen
	return out, false, nil
}
