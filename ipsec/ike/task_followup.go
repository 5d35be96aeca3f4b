package ike

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
	"mipvpn/tun/link"
)

// followed is a task of CREATE_CHILD_SA behind which additional key exchanges may follow, in IKE_FOLLOWUP_KE exchanges
// (RFC 9370 §2.2.4).
type followed interface {
	task
	// followedUp goes on with the secrets of all additional key exchanges, SK(1), SK(2) and so on. They are wiped afterwards.
	followedUp(now link.Instant, m *Machine, x *exchange, secrets [][]byte) error
	// refused handles an error notify of the peer, which ends the series.
	refused(now link.Instant, m *Machine, x *exchange, n message.Notify) error
	// spoilt handles a response that no correct peer sends. finished tells that the peer has come to the end of the series.
	spoilt(now link.Instant, m *Machine, err error, finished bool) error
}

// followupTask is the initiator's side of the additional key exchanges behind a CREATE_CHILD_SA exchange (RFC 9370 §2.2.4).
type followupTask struct {
	owner followed
	// groups are the key exchanges still to be made, secrets those that have been made.
	groups  []suite.Group
	secrets [][]byte
	// link is what the peer knows the series by.
	link []byte
	ke   *suite.KeyExchange
}

// maxLink bounds the data of ADDITIONAL_KEY_EXCHANGE that we echo.
const maxLink = 256

// linkOf returns the link to the next exchange of a series.
func linkOf(in *message.Message) ([]byte, error) {
	n, ok := message.FindNotify(in.Payloads, message.AdditionalKeyExchange)
	if !ok || len(n.Data) > maxLink {
		return nil, fmt.Errorf("%w: want ADDITIONAL_KEY_EXCHANGE with at most %d octets, found %d", ErrInvalidAnswer, maxLink, len(n.Data))
	}
	return n.Data, nil
}

// followUp begins the additional key exchanges behind the response in, before anything else that waits on the SA.
func (m *Machine) followUp(now link.Instant, s *ikeSA, owner followed, a additional, link []byte) {
	m.enqueueFirst(now, s, &followupTask{owner: owner, groups: a.list(), link: link})
}

func (m *Machine) enqueueFirst(now link.Instant, s *ikeSA, t *followupTask) {
	s.queue = slices.Insert(s.queue, 0, newExchange(message.IKEFollowupKE, t))
	m.startNext(now, s)
}

func (t *followupTask) needed(*Machine) bool { return true }

func (t *followupTask) request(_ link.Instant, m *Machine, x *exchange) error {
	ke, err := suite.NewKeyExchange(t.groups[0], m.rand)
	if err != nil {
		return fmt.Errorf("ike: %w", err)
	}
	t.ke = ke
	x.add(message.KE{Group: uint16(ke.Group()), Data: ke.Public()}, message.Notify{Message: message.AdditionalKeyExchange, Data: t.link})
	return nil
}

func (t *followupTask) wipe() {
	t.ke.Wipe()
	for _, s := range t.secrets {
		clear(s)
	}
}

func (t *followupTask) abandon(now link.Instant, m *Machine) {
	t.wipe()
	t.owner.abandon(now, m)
}

func (t *followupTask) response(now link.Instant, m *Machine, x *exchange, in *message.Message) error {
	if n, ok := message.ErrorNotify(in.Payloads); ok {
		t.wipe()
		return t.owner.refused(now, m, x, n)
	}
	last := len(t.groups) == 1
	err := t.take(in)
	if err == nil && !last {
		t.link, err = linkOf(in)
	}
	switch {
	case err != nil:
		t.wipe()
		return t.owner.spoilt(now, m, err, last)
	case last:
		defer t.wipe()
		m.lostStates = 0
		return t.owner.followedUp(now, m, x, t.secrets)
	}
	t.groups = t.groups[1:]
	m.enqueueFirst(now, x.sa, t)
	return nil
}

// take does our half of a key exchange.
func (t *followupTask) take(in *message.Message) error {
	ke, ok := message.Find[message.KE](in.Payloads)
	if !ok || suite.Group(ke.Group) != t.ke.Group() {
		return fmt.Errorf("%w: want a KE payload of %v, found one of group %d", ErrInvalidAnswer, t.ke.Group(), ke.Group)
	}
	shared, err := t.ke.SharedSecret(ke.Data)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidAnswer, err)
	}
	t.ke.Wipe()
	t.secrets = append(t.secrets, shared)
	return nil
}

// maxLostStates is how often in a row the peer may have forgotten a series of key exchanges, before the IKE SA is closed
// (RFC 9370 §2.2.4: several retries).
const maxLostStates = 4

// noteLost handles STATE_NOT_FOUND, behind which the rekeying is tried again.
func (m *Machine) noteLost(x *exchange) error {
	m.lostStates++
	if m.lostStates >= maxLostStates {
		return fatal(fmt.Errorf("%w: %w, %d times in a row", ErrOutOfSync, &NotifyError{Type: message.StateNotFound, Exchange: x.kind}, m.lostStates), deleteIKE)
	}
	return nil
}

// series is the responder's side of additional key exchanges: what a CREATE_CHILD_SA exchange has begun, until the last of
// them.
type series struct {
	link    []byte
	groups  []suite.Group
	secrets [][]byte
	expires time.Duration
	// done goes on with the secrets. after is to be called when the response is on its way.
	done func(now link.Instant, secrets [][]byte) (after func(), err error)
	// wiped forgets what done would need.
	wiped func()
}

const (
	// seriesTime is how long the peer may take to its next key exchange: longer than most repetitions of a request last.
	seriesTime = 60 * time.Second
	// maxSeries bounds the series of one IKE SA at a time.
	maxSeries = 4
	linkLen   = 16
)

func (q *series) wipe() {
	for _, s := range q.secrets {
		clear(s)
	}
	q.wiped()
}

// awaitFollowups keeps a series and returns the notify that tells the peer of it (RFC 9370 §2.2.4).
func (m *Machine) awaitFollowups(now link.Instant, s *ikeSA, q *series) (message.Notify, error) {
	id, err := m.random(linkLen)
	if err != nil {
		return message.Notify{}, err
	}
	q.link, q.expires = id, now.Boot+seriesTime
	s.series = append(s.series, q)
	if len(s.series) > maxSeries {
		s.dropSeries(s.series[0])
	}
	return message.Notify{Message: message.AdditionalKeyExchange, Data: id}, nil
}

func (s *ikeSA) dropSeries(q *series) {
	q.wipe()
	s.series = slices.DeleteFunc(s.series, func(o *series) bool { return o == q })
}

// expireSeries forgets those that the peer has not gone on with.
func (s *ikeSA) expireSeries(now link.Instant) {
	for _, q := range slices.Clone(s.series) {
		if due(now, q.expires) {
			s.dropSeries(q)
		}
	}
}

// answerFollowup answers an IKE_FOLLOWUP_KE request.
func (m *Machine) answerFollowup(now link.Instant, s *ikeSA, in *message.Message) (out []message.Payload, after func(), err error) {
	n, _ := message.FindNotify(in.Payloads, message.AdditionalKeyExchange)
	at := slices.IndexFunc(s.series, func(q *series) bool { return bytes.Equal(q.link, n.Data) })
	if at < 0 || s != m.current || s.state != saEstablished || m.deleting {
		return nil, nil, refuse(message.StateNotFound)
	}
	q := s.series[at]
	ke, ok := message.Find[message.KE](in.Payloads)
	if !ok || suite.Group(ke.Group) != q.groups[0] {
		s.dropSeries(q)
		return nil, nil, &refusal{notify: message.Notify{Message: message.InvalidSyntax}, fatal: true,
			cause: fmt.Errorf("%w: want a KE payload of %v, found one of group %d", ErrUnexpected, q.groups[0], ke.Group)}
	}
	public, shared, err := m.answerKE(ke)
	if err != nil {
		s.dropSeries(q)
		return nil, nil, err
	}
	q.secrets = append(q.secrets, shared)
	out = []message.Payload{message.KE{Group: ke.Group, Data: public}}
	if q.groups = q.groups[1:]; len(q.groups) != 0 {
		s.series = slices.Delete(s.series, at, at+1)
		more, err := m.awaitFollowups(now, s, q)
		return append(out, more), nil, err
	}
	after, err = q.done(now, q.secrets)
	s.dropSeries(q)
	return out, after, err
}

// rekeyTask returns the rekeying of the IKE SA that an exchange is part of, with its additional key exchanges.
func (x *exchange) rekeyTask() (*ikeRekeyTask, bool) {
	if x == nil {
		return nil, false
	}
	first := x.tasks[0]
	if f, ok := first.(*followupTask); ok {
		first = f.owner
	}
	t, ok := first.(*ikeRekeyTask)
	return t, ok
}

// following tells whether a child SA is being rekeyed by us and we are past CREATE_CHILD_SA: the peer's request to do the
// same comes too late (RFC 9370 §2.2.4).
func (m *Machine) following(t followed) bool {
	f, ok := m.current.outstandingFollowup()
	return ok && f.owner == t
}

func (s *ikeSA) outstandingFollowup() (*followupTask, bool) {
	if s.exchange == nil {
		return nil, false
	}
	f, ok := s.exchange.tasks[0].(*followupTask)
	return f, ok
}
