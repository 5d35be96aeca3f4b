package ike

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
	"mipvpn/tun/link"
)

// ikeRekeyTask replaces the IKE SA (RFC 7296 §1.3.2, §2.8, §2.18).
type ikeRekeyTask struct {
	spi       uint64
	nonce     []byte
	ke        *suite.KeyExchange
	group     suite.Group // that INVALID_KE_PAYLOAD asked for, 0 for our first
	collision *collision
	// made is the new IKE SA without its keys, suite and the others what those are made of, while additional key exchanges
	// follow.
	made       *ikeSA
	suite      ikeSuite
	shared, nr []byte
}

func (t *ikeRekeyTask) needed(m *Machine) bool {
	return m.current.state == saEstablished && !m.deleting
}

func (t *ikeRekeyTask) request(_ link.Instant, m *Machine, x *exchange) error {
	var err error
	if t.spi, err = m.randomSPI64(); err != nil {
		return err
	}
	if t.nonce, err = m.random(nonceLen); err != nil {
		return err
	}
	g := m.cfg.Proposals.Groups[0]
	if t.group != 0 {
		g = t.group
	} else if used := x.sa.keys.suite.group; slices.Contains(m.cfg.Proposals.Groups, used) {
		g = used // the peer is known to take it
	}
	if t.ke, err = suite.NewKeyExchange(g, m.rand); err != nil {
		return fmt.Errorf("ike: %w", err)
	}
	x.add(
		m.cfg.Proposals.offerIKE(binary.BigEndian.AppendUint64(nil, t.spi)),
		message.Nonce{Data: t.nonce},
		message.KE{Group: uint16(g), Data: t.ke.Public()},
	)
	return nil
}

func (t *ikeRekeyTask) wipe() {
	t.ke.Wipe()
	clear(t.shared)
}

// abandon: the old IKE SA is gone. If the peer rekeyed it too, its successor carries on.
func (t *ikeRekeyTask) abandon(now link.Instant, m *Machine) {
	t.wipe()
	if m.err == nil {
		t.settle(now, m)
	}
}

// settle lets the peer's successor carry on when ours has failed, and tells whether there is one.
func (t *ikeRekeyTask) settle(now link.Instant, m *Machine) bool {
	if t.collision == nil || t.collision.sa == nil || t.collision.sa.state != saCandidate {
		return false
	}
	m.adopt(now, t.collision.sa)
	return true
}

func (t *ikeRekeyTask) response(now link.Instant, m *Machine, x *exchange, in *message.Message) error {
	old := x.sa
	if n, ok := message.ErrorNotify(in.Payloads); ok {
		return t.refused(now, m, x, n)
	}
	old.busySince = 0
	if err := t.accept(m, in); err != nil {
		// The peer has an SA that we cannot use: state is lost, so that only a fresh start helps (§2.21.3).
		return fatal(err, deleteIKE)
	}
	t.ke.Wipe()
	t.made.noteToken(in)
	if !t.suite.additional.any() {
		return t.followedUp(now, m, x, nil)
	}
	next, err := linkOf(in)
	if err != nil {
		return fatal(err, deleteIKE)
	}
	if t.collision != nil && bytes.Compare(lowestNonce(t.nonce, t.nr), t.collision.lowest) < 0 {
		// Ours is to go, and nothing has been made yet: the peer's goes on (RFC 9370 §2.2.4).
		t.wipe()
		if !t.settle(now, m) {
			old.rekeyAt = m.retryTime(now)
		}
		return nil
	}
	m.followUp(now, old, t, t.suite.additional, next)
	return nil
}

func (t *ikeRekeyTask) spoilt(_ link.Instant, _ *Machine, err error, _ bool) error {
	t.wipe()
	return fatal(err, deleteIKE)
}

// followedUp makes the new IKE SA and settles a collision (§2.8.2).
func (t *ikeRekeyTask) followedUp(now link.Instant, m *Machine, x *exchange, secrets [][]byte) error {
	defer t.wipe()
	old, s, lowest := x.sa, t.made, lowestNonce(t.nonce, t.nr)
	var err error
	seed := old.keys.successorSeed(t.shared, t.nonce, t.nr, secrets...)
	if s.keys, err = deriveKeys(t.suite, seed, t.nonce, t.nr, s.spiI, s.spiR); err != nil {
		return fatal(err, deleteIKE)
	}
	m.addSA(s)
	m.establish(now, s, saCandidate)
	peer := t.collision
	if peer != nil && peer.sa != nil && peer.sa.state != saCandidate {
		peer = nil
	}
	if peer != nil && bytes.Compare(lowest, peer.lowest) < 0 {
		// Ours has the lowest nonce: we made it, we close it, and the peer closes the old one (§2.8.2), once it has its own.
		if peer.sa != nil {
			m.adopt(now, peer.sa)
		} else {
			old.rekeyAt = m.retryTime(now)
		}
		s.state, s.rekeyAt, s.expireAt = saDeleting, 0, 0
		m.enqueue(now, s, newExchange(message.Informational, &deleteIKETask{}))
		return nil
	}
	m.adopt(now, s)
	if peer != nil && peer.sa != nil {
		// The peer closes what it made.
		peer.sa.rekeyAt, peer.sa.expireAt, peer.sa.guardAt = 0, 0, now.Boot+guardTime
	}
	old.state, old.guardAt = saDeleting, 0
	m.enqueue(now, old, newExchange(message.Informational, &deleteIKETask{}))
	return nil
}

// accept checks a response and makes the new SA, without its keys.
func (t *ikeRekeyTask) accept(m *Machine, in *message.Message) error {
	sa, okSA := message.Find[message.SA](in.Payloads)
	ke, okKE := message.Find[message.KE](in.Payloads)
	nr, okN := message.Find[message.Nonce](in.Payloads)
	if !okSA || !okKE || !okN {
		return fmt.Errorf("%w: want SA, KE and Nonce in the CREATE_CHILD_SA response", ErrInvalidAnswer)
	}
	chosen, proposal, err := m.cfg.Proposals.acceptIKE(sa, 8)
	if err != nil {
		return err
	}
	spiR := binary.BigEndian.Uint64(proposal.SPI)
	if g := t.ke.Group(); chosen.group != g || suite.Group(ke.Group) != g || spiR == 0 || len(nr.Data) < chosen.prf.Size()/2 {
		return fmt.Errorf("%w: want %v and an SPI, found %v, a KE payload of group %d, SPI %x, a nonce of %d octets",
			ErrInvalidAnswer, g, chosen.group, ke.Group, spiR, len(nr.Data))
	}
	if t.shared, err = t.ke.SharedSecret(ke.Data); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidAnswer, err)
	}
	t.made = &ikeSA{initiator: true, spiI: t.spi, spiR: spiR, peerWindow: 1}
	t.suite, t.nr = chosen, nr.Data
	return nil
}

func (t *ikeRekeyTask) refused(now link.Instant, m *Machine, x *exchange, n message.Notify) error {
	if n.Message == message.InvalidKEPayload && len(n.Data) == 2 && t.group == 0 && t.collision == nil && t.made == nil {
		g := suite.Group(binary.BigEndian.Uint16(n.Data))
		if g != t.ke.Group() && slices.Contains(m.cfg.Proposals.Groups, g) {
			t.ke.Wipe()
			t.group = g
			m.enqueue(now, x.sa, newExchange(message.CreateChildSA, t))
			return nil
		}
	}
	t.wipe()
	if t.settle(now, m) {
		return nil
	}
	x.sa.rekeyAt = m.retryTime(now)
	if n.Message == message.StateNotFound {
		return m.noteLost(x)
	}
	if n.Message == message.TemporaryFailure {
		return m.noteBusy(now, x.sa)
	}
	x.sa.rekeyAt += refusedPause
	return notifyError(x.kind, n)
}

// settleTimeout is settle for a rekeying that nobody answers.
func (m *Machine) settleTimeout(now link.Instant, x *exchange) bool {
	t, ok := x.rekeyTask()
	return ok && !m.deleting && t.settle(now, m)
}

// rekeyOutstanding tells whether our request to rekey this IKE SA is outstanding.
func (m *Machine) rekeyOutstanding(s *ikeSA) bool {
	_, ok := s.exchange.rekeyTask()
	return ok
}

// rekeying tells whether it is outstanding or queued.
func (m *Machine) rekeying(s *ikeSA) bool {
	return m.rekeyOutstanding(s) || slices.ContainsFunc(s.queue, func(x *exchange) bool {
		_, ok := x.rekeyTask()
		return ok
	})
}

// maxSAs bounds the IKE SAs of one machine: the peer may rekey faster than it deletes, or than closed ones are forgotten.
const maxSAs = 16

// answerIKERekey answers the peer's request to rekey the IKE SA (§2.25.2). after is to be called when the response is on
// its way.
func (m *Machine) answerIKERekey(now link.Instant, s *ikeSA, in *message.Message) (out []message.Payload, after func(), err error) {
	_, following := s.outstandingFollowup()
	if m.deleting || s != m.current || s.state != saEstablished || s.exchange.childBusy() || following || len(m.sas) >= maxSAs {
		return nil, nil, refuse(message.TemporaryFailure)
	}
	sa, okSA := message.Find[message.SA](in.Payloads)
	ke, okKE := message.Find[message.KE](in.Payloads)
	ni, okN := message.Find[message.Nonce](in.Payloads)
	if !okSA || !okKE || !okN {
		return nil, nil, &refusal{notify: message.Notify{Message: message.InvalidSyntax}, fatal: true,
			cause: fmt.Errorf("%w: no SA, KE or Nonce", ErrUnexpected)}
	}
	chosen, offer, answer, ok := m.cfg.Proposals.selectIKE(sa, suite.Group(ke.Group), 8, true)
	switch {
	case !ok:
		return nil, nil, refuse(message.NoProposalChosen)
	case chosen.group != suite.Group(ke.Group):
		return nil, nil, refuseGroup(uint16(chosen.group))
	case len(ni.Data) < chosen.prf.Size()/2, binary.BigEndian.Uint64(offer.SPI) == 0:
		return nil, nil, refuse(message.NoProposalChosen)
	}
	n, err := m.newSA(false)
	if err != nil {
		return nil, nil, err
	}
	n.spiI = binary.BigEndian.Uint64(offer.SPI)
	nr, public, shared, err := m.exchangeKeys(chosen.group, ke.Data)
	if err != nil {
		return nil, nil, err
	}
	made := func(now link.Instant, secrets [][]byte) (func(), error) {
		defer clear(shared)
		var err error
		seed := s.keys.successorSeed(shared, ni.Data, nr, secrets...)
		if n.keys, err = deriveKeys(chosen, seed, ni.Data, nr, n.spiI, n.spiR); err != nil {
			return nil, err
		}
		m.addSA(n)
		m.establish(now, n, saCandidate)
		if t, ours := s.exchange.rekeyTask(); ours {
			t.collision = &collision{sa: n, lowest: lowestNonce(ni.Data, nr)}
			return nil, nil
		}
		return func() {
			n.heldUntil = now.Boot + holdTime
			m.adopt(now, n)
		}, nil
	}
	var more []message.Payload
	if chosen.additional.any() {
		notify, err := m.awaitRekey(now, s, chosen.additional, lowestNonce(ni.Data, nr), made, shared)
		if err != nil {
			return nil, nil, err
		}
		more = append(more, notify)
	} else if after, err = made(now, nil); err != nil {
		return nil, nil, err
	}
	answer.SPI = binary.BigEndian.AppendUint64(nil, n.spiR)
	out = append([]message.Payload{
		message.SA{Proposals: []message.Proposal{answer}},
		message.Nonce{Data: nr},
		message.KE{Group: uint16(chosen.group), Data: public},
	}, crashTask{}.payloads(m, n)...)
	return append(out, more...), after, nil
}

// awaitRekey waits for the peer's additional key exchanges before the successor of an IKE SA is made.
func (m *Machine) awaitRekey(now link.Instant, s *ikeSA, a additional, lowest []byte, made func(link.Instant, [][]byte) (func(), error), shared []byte) (message.Notify, error) {
	if t, ours := s.exchange.rekeyTask(); ours {
		t.collision = &collision{lowest: lowest}
	}
	return m.awaitFollowups(now, s, &series{
		groups: a.list(),
		wiped:  func() { clear(shared) },
		done: func(now link.Instant, secrets [][]byte) (func(), error) {
			if _, following := s.outstandingFollowup(); following || s.exchange.childBusy() {
				return nil, refuse(message.TemporaryFailure)
			}
			return made(now, secrets)
		},
	})
}
