package ike

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
	"mipvpn/tun/link"
)

// childTask makes a child SA: the first one in IKE_AUTH (RFC 7296 §1.2), or a further one or the successor of one in
// CREATE_CHILD_SA (§1.3.1, §1.3.3).
type childTask struct {
	first         bool
	old           *child // the one that is rekeyed, nil otherwise
	local, remote []esp.Selector
	// agent asks that it goes through the foreign agent in the gateway.
	agent bool

	in    uint32
	nonce []byte
	ke    *suite.KeyExchange
	// group is the one that INVALID_KE_PAYLOAD asked for, 0 for our first.
	group suite.Group
	// collision is what the peer's rekeying of the same child SA made while ours was outstanding (§2.8.1).
	collision *collision
	// made is the child SA to be, while additional key exchanges follow.
	made *agreed
}

// agreed is a child SA that was agreed on, and what its keys are made of.
type agreed struct {
	child          *child
	shared, ni, nr []byte
}

// collision is the outcome of the peer's exchange in a simultaneous rekeying. child or sa is nil while additional key exchanges
// of the peer's follow.
type collision struct {
	child *child // of a child SA rekeying
	sa    *ikeSA // of an IKE SA rekeying
	// lowest is the lower one of that exchange's two nonces.
	lowest []byte
}

// lowestNonce compares octet by octet, the shorter one of two with the same beginning being lower (§2.8.1).
func lowestNonce(a, b []byte) []byte {
	if bytes.Compare(a, b) < 0 {
		return a
	}
	return b
}

// firstChild is the task for IKE_AUTH.
func (m *Machine) firstChild() *childTask {
	c := m.initiator
	var all []esp.Selector
	if c.RequestAddress || !c.RequestAddress6 {
		all = append(all, esp.AnySelector())
	}
	if c.RequestAddress6 {
		all = append(all, esp.AnySelector6())
	}
	return &childTask{first: true, local: listOr(c.LocalSelectors, all), remote: listOr(c.RemoteSelectors, all),
		agent: c.UseGatewayAgent && m.agent.supported}
}

func (t *childTask) needed(*Machine) bool {
	ok := t.old == nil || t.old.state == childInstalled && t.old.replacedBy == nil
	if !ok {
		t.old.rekey = nil
	}
	return ok
}

// groups returns those for an own key exchange. IKE_AUTH has none (§1.2).
func (t *childTask) groups(m *Machine) []suite.Group {
	if t.first {
		return nil
	}
	return m.cfg.Proposals.ChildGroups
}

func (t *childTask) request(_ link.Instant, m *Machine, x *exchange) error {
	var err error
	if t.in, err = m.randomSPI32(); err != nil {
		return err
	}
	if t.old != nil {
		x.add(message.Notify{
			Protocol: message.ProtocolESP, Message: message.RekeySA, SPI: binary.BigEndian.AppendUint32(nil, t.old.in),
		})
	}
	groups := t.groups(m)
	x.add(m.cfg.Proposals.offerChild(t.in, groups))
	if !t.first {
		if t.nonce, err = m.random(nonceLen); err != nil {
			return err
		}
		x.add(message.Nonce{Data: t.nonce})
	}
	if len(groups) != 0 {
		g := groups[0]
		if t.group != 0 {
			g = t.group
		}
		if t.ke, err = suite.NewKeyExchange(g, m.rand); err != nil {
			return fmt.Errorf("ike: %w", err)
		}
		x.add(message.KE{Group: uint16(g), Data: t.ke.Public()})
	}
	x.add(message.TSi{Selectors: wireSelectors(t.local)}, message.TSr{Selectors: wireSelectors(t.remote)})
	if t.agent {
		x.add(useAgent)
	}
	return nil
}

func (t *childTask) abandon(now link.Instant, m *Machine) { t.end(now, m, m.err == nil) }

// end frees what the exchange held. again lets a rekeying be tried once more later.
func (t *childTask) end(now link.Instant, m *Machine, again bool) {
	if t.ke != nil {
		t.ke.Wipe()
		t.ke = nil
	}
	if t.made != nil {
		clear(t.made.shared)
		t.made = nil
	}
	if t.old == nil {
		return
	}
	t.old.rekey = nil
	if again && t.old.state == childInstalled && t.old.replacedBy == nil {
		t.old.rekeyAt = m.retryTime(now)
	}
}

func (t *childTask) response(now link.Instant, m *Machine, x *exchange, in *message.Message) error {
	if t.first {
		m.reportEstablished(now, x.sa, in)
		defer m.forget()
	}
	if n, ok := message.ErrorNotify(in.Payloads); ok {
		return t.refused(now, m, x, n)
	}
	x.sa.busySince = 0
	c, shared, nr, err := t.accept(m, x.sa, in)
	if err != nil {
		return t.invalid(now, m, in, err)
	}
	if t.first && c.agent {
		m.agent.home = m.initiator.WantedAddress
	}
	ni := t.nonce
	if t.first {
		ni, nr = m.first.ni, m.first.nr
	}
	t.made = &agreed{c, shared, ni, nr}
	if !c.suite.additional.any() {
		return t.followedUp(now, m, x, nil)
	}
	next, err := linkOf(in)
	if err != nil {
		return t.invalid(now, m, in, err)
	}
	if t.collision != nil && bytes.Compare(lowestNonce(ni, nr), t.collision.lowest) < 0 {
		t.end(now, m, true) // ours is to go, and nothing has been made yet: the peer's goes on (RFC 9370 §2.2.4)
		return nil
	}
	m.followUp(now, x.sa, t, c.suite.additional, next)
	return nil
}

// followedUp makes the child SA.
func (t *childTask) followedUp(now link.Instant, m *Machine, x *exchange, secrets [][]byte) error {
	a := t.made
	keyI, keyR := x.sa.keys.childKeys(a.child.suite.encryption, a.shared, a.ni, a.nr, secrets...)
	t.install(now, m, a.child, keyI, keyR, lowestNonce(a.ni, a.nr))
	return nil
}

func (t *childTask) spoilt(now link.Instant, m *Machine, err error, finished bool) error {
	return t.fail(now, m, err, finished)
}

// install takes the new child SA in and settles a collision (§2.8.1).
func (t *childTask) install(now link.Instant, m *Machine, c *child, keyI, keyR, lowest []byte) {
	old := t.old
	t.end(now, m, false)
	if old == nil {
		m.install(now, c, keyI, keyR, true, nil)
		return
	}
	if old.state == childDeleting { // closed on command meanwhile, which means its successor too
		c.standby = true
		m.install(now, c, keyI, keyR, true, old)
		m.deleteChild(now, c, old.reason)
		return
	}
	// The peer may have settled the collision and closed the old one long since.
	if t.collision != nil && bytes.Compare(lowest, t.collision.lowest) < 0 {
		// Ours has the lowest nonce: we made it, we close it. The peer closes the old one.
		c.standby = true
		m.install(now, c, keyI, keyR, true, old)
		m.deleteChild(now, c, ErrReplaced)
		return
	}
	m.install(now, c, keyI, keyR, true, old)
	if old.state == childInstalled {
		old.replacedBy = c
		m.deleteChild(now, old, ErrReplaced)
	}
}

// accept checks a response and returns the child SA to be, the shared secret and the responder's nonce.
func (t *childTask) accept(m *Machine, s *ikeSA, in *message.Message) (c *child, shared, nr []byte, err error) {
	sa, okSA := message.Find[message.SA](in.Payloads)
	tsi, okI := message.Find[message.TSi](in.Payloads)
	tsr, okR := message.Find[message.TSr](in.Payloads)
	nonce, okN := message.Find[message.Nonce](in.Payloads)
	if !okSA || !okI || !okR || !okN && !t.first {
		return nil, nil, nil, fmt.Errorf("%w: want SA, TSi, TSr and, in CREATE_CHILD_SA, Nonce", ErrInvalidAnswer)
	}
	chosen, proposal, err := m.cfg.Proposals.acceptChild(sa, t.groups(m))
	if err != nil {
		return nil, nil, nil, err
	}
	c = &child{
		in: t.in, out: binary.BigEndian.Uint32(proposal.SPI), suite: chosen, noTFC: refusesTFC(in),
		local: readSelectors(tsi.Selectors), remote: readSelectors(tsr.Selectors),
	}
	switch {
	case c.out < esp.MinSPI:
		return nil, nil, nil, fmt.Errorf("%w: SPI %d is reserved", ErrInvalidAnswer, c.out)
	case len(c.local) == 0 || len(c.remote) == 0 || !covers(t.local, c.local) || !covers(t.remote, c.remote):
		return nil, nil, nil, fmt.Errorf("%w: selectors %v to %v are not part of %v to %v", ErrInvalidAnswer, c.local, c.remote, t.local, t.remote)
	case t.old != nil && (!covers(c.local, t.old.local) || !covers(c.remote, t.old.remote)):
		return nil, nil, nil, fmt.Errorf("%w: selectors %v to %v are narrower than those of the rekeyed SA (RFC 7296 §2.9.2)", ErrInvalidAnswer, c.local, c.remote)
	case !t.first && len(nonce.Data) < s.keys.suite.prf.Size()/2:
		return nil, nil, nil, fmt.Errorf("%w: a nonce of %d octets is too short for %v", ErrInvalidAnswer, len(nonce.Data), s.keys.suite.prf)
	}
	if err := t.agreeAgent(m, c, in); err != nil {
		return nil, nil, nil, err
	}
	if chosen.group != 0 {
		ke, ok := message.Find[message.KE](in.Payloads)
		if !ok || suite.Group(ke.Group) != chosen.group || t.ke.Group() != chosen.group {
			return nil, nil, nil, fmt.Errorf("%w: want a KE payload of %v", ErrInvalidAnswer, chosen.group)
		}
		if shared, err = t.ke.SharedSecret(ke.Data); err != nil {
			return nil, nil, nil, fmt.Errorf("%w: %w", ErrInvalidAnswer, err)
		}
	}
	return c, shared, nonce.Data, nil
}

// invalid handles a response that no correct peer sends: what the peer may have installed is deleted.
func (t *childTask) invalid(now link.Instant, m *Machine, in *message.Message, err error) error {
	if t.first && !m.initiator.KeepChildless {
		return fatal(err, deleteIKE)
	}
	_, made := message.Find[message.SA](in.Payloads)
	return t.fail(now, m, err, made)
}

// fail gives up. made tells that the peer may have installed the child SA, which is deleted then.
func (t *childTask) fail(now link.Instant, m *Machine, err error, made bool) error {
	t.end(now, m, true)
	replaces := ChildID(0)
	if t.old != nil {
		replaces = t.old.id
	}
	m.emit(ChildFailed{Replaces: replaces, Err: err})
	if made {
		m.enqueue(now, m.current, newExchange(message.Informational, &deleteChildTask{child: &child{in: t.in, state: childDeleting}}))
	}
	return err
}

// refused handles an error notify.
func (t *childTask) refused(now link.Instant, m *Machine, x *exchange, n message.Notify) error {
	err := notifyError(x.kind, n)
	if t.first {
		if !m.initiator.KeepChildless {
			return fatal(err, deleteIKE)
		}
		m.emit(ChildFailed{Err: err})
		return nil
	}
	switch n.Message {
	case message.StateNotFound:
		t.end(now, m, true)
		if t.old == nil {
			m.emit(ChildFailed{Err: err})
		}
		return m.noteLost(x)
	case message.InvalidKEPayload:
		if len(n.Data) == 2 && t.made == nil {
			g := suite.Group(binary.BigEndian.Uint16(n.Data))
			if t.group == 0 && t.ke != nil && g != t.ke.Group() && slices.Contains(t.groups(m), g) {
				t.ke.Wipe()
				t.group = g
				m.enqueue(now, m.current, newExchange(message.CreateChildSA, t))
				return nil
			}
		}
	case message.TemporaryFailure:
		t.end(now, m, true)
		if t.old == nil {
			m.emit(ChildFailed{Err: err})
		}
		return m.noteBusy(now, x.sa)
	case message.ChildSANotFound:
		return t.notFound(now, m)
	default:
	}
	t.end(now, m, true)
	failed := ChildFailed{Err: err}
	if t.old != nil {
		failed.Replaces = t.old.id
		if t.old.rekeyAt != 0 {
			t.old.rekeyAt += refusedPause // the peer's mind will not change soon
		}
	}
	m.emit(failed)
	return nil
}

// refusedPause is added to the time until a refused rekeying is tried again.
const refusedPause = 30 * time.Second

// notFound handles CHILD_SA_NOT_FOUND: after a collision, or when the peer has closed the child SA meanwhile, there is
// nothing to do; else the peer has lost it, so that it is made anew (§2.25).
func (t *childTask) notFound(now link.Instant, m *Machine) error {
	old := t.old
	t.end(now, m, false)
	if old == nil || old.state != childInstalled || old.replacedBy != nil {
		return nil
	}
	fresh := &childTask{local: old.local, remote: old.remote, agent: old.agent}
	m.removeChild(old, &NotifyError{Type: message.ChildSANotFound, Exchange: message.CreateChildSA})
	m.enqueue(now, m.current, newExchange(message.CreateChildSA, fresh))
	return nil
}

// answerChild is the responder's side of all three. old is the child SA that the peer rekeys.
func (m *Machine) answerChild(now link.Instant, s *ikeSA, in *message.Message, first bool, old *child) ([]message.Payload, error) {
	sa, okSA := message.Find[message.SA](in.Payloads)
	tsi, okI := message.Find[message.TSi](in.Payloads)
	tsr, okR := message.Find[message.TSr](in.Payloads)
	nonce, okN := message.Find[message.Nonce](in.Payloads)
	if !okSA || !okI || !okR || !okN && !first {
		return nil, &refusal{notify: message.Notify{Message: message.InvalidSyntax}, fatal: true,
			cause: fmt.Errorf("%w: no SA, TSi, TSr or Nonce", ErrUnexpected)}
	}
	var groups []suite.Group
	if !first {
		groups = m.cfg.Proposals.ChildGroups
	}
	ke, _ := message.Find[message.KE](in.Payloads)
	chosen, offer, answer, ok := m.cfg.Proposals.selectChild(sa, suite.Group(ke.Group), groups)
	switch {
	case !ok:
		return nil, refuse(message.NoProposalChosen)
	case chosen.group != 0 && chosen.group != suite.Group(ke.Group):
		return nil, refuseGroup(uint16(chosen.group))
	}
	c := &child{out: binary.BigEndian.Uint32(offer.SPI), suite: chosen, noTFC: refusesTFC(in)}
	c.local, c.remote = m.allowedSelectors(readSelectors(tsr.Selectors), readSelectors(tsi.Selectors), old)
	if len(c.local) == 0 || len(c.remote) == 0 {
		return nil, refuse(message.TSUnacceptable)
	}
	if home := m.agent.home; home.IsValid() {
		// The home address is for SAs through the agent alone.
		if c.agent = true; !m.usesAgent(in.Payloads) || !m.throughAgent(c, home) {
			return nil, refuse(message.TSUnacceptable)
		}
	}
	if c.out < esp.MinSPI || !first && len(nonce.Data) < s.keys.suite.prf.Size()/2 {
		return nil, refuse(message.NoProposalChosen)
	}
	ni := nonce.Data
	nr, public, shared, err := m.exchangeKeys(chosen.group, ke.Data)
	if err != nil {
		return nil, err
	}
	if c.in, err = m.randomSPI32(); err != nil {
		return nil, err
	}
	if first {
		ni, nr = m.first.ni, m.first.nr
	}
	made := func(now link.Instant, secrets [][]byte) {
		keyI, keyR := s.keys.childKeys(chosen.encryption, shared, ni, nr, secrets...)
		clear(shared)
		c.standby = old != nil
		m.install(now, c, keyI, keyR, false, old)
		if old != nil {
			m.replacedByPeer(now, old, c, lowestNonce(ni, nr))
		}
	}
	var more []message.Payload
	if chosen.additional.any() {
		n, err := m.awaitChild(now, s, old, chosen.additional, lowestNonce(ni, nr), made, shared)
		if err != nil {
			return nil, err
		}
		more = append(more, n)
	} else {
		made(now, nil)
	}
	answer.SPI = binary.BigEndian.AppendUint32(nil, c.in)
	out := []message.Payload{message.SA{Proposals: []message.Proposal{answer}}}
	if !first {
		out = append(out, message.Nonce{Data: nr})
	}
	if chosen.group != 0 {
		out = append(out, message.KE{Group: uint16(chosen.group), Data: public})
	}
	out = append(out, message.TSi{Selectors: wireSelectors(c.remote)}, message.TSr{Selectors: wireSelectors(c.local)})
	if c.agent {
		out = append(out, useAgent)
	}
	return append(out, more...), nil
}

// awaitChild waits for the peer's additional key exchanges before a child SA is made.
func (m *Machine) awaitChild(now link.Instant, s *ikeSA, old *child, a additional, lowest []byte, made func(link.Instant, [][]byte), shared []byte) (message.Notify, error) {
	if old != nil {
		if t := old.rekey; t != nil && m.outstanding(t) {
			t.collision = &collision{lowest: lowest}
		}
	}
	return m.awaitFollowups(now, s, &series{
		groups: a.list(),
		wiped:  func() { clear(shared) },
		done: func(now link.Instant, secrets [][]byte) (func(), error) {
			if old != nil && old.state != childInstalled {
				return nil, refuse(message.TemporaryFailure) // it is being closed
			}
			made(now, secrets)
			return nil, nil
		},
	})
}

// allowedSelectors narrows the proposed selectors. A responder goes by its policy, an initiator by what it has asked for
// itself; a rekeying must not end narrower than what it replaces (§2.9.2).
func (m *Machine) allowedSelectors(local, remote []esp.Selector, old *child) (okLocal, okRemote []esp.Selector) {
	var allowedLocal, allowedRemote []esp.Selector
	switch {
	case m.responder != nil:
		allowedLocal, allowedRemote = m.responder.Policy.Selectors(m.remoteID, m.assigned.Addresses)
	case old != nil:
		allowedLocal, allowedRemote = old.local, old.remote
	}
	local, remote = narrow(local, allowedLocal), narrow(remote, allowedRemote)
	if old != nil && (!covers(local, old.local) || !covers(remote, old.remote)) {
		return nil, nil
	}
	return local, remote
}

// replacedByPeer notes that the peer has rekeyed old. When we are doing the same, it is a collision, which our response
// will settle; else the peer is to delete old.
func (m *Machine) replacedByPeer(now link.Instant, old, c *child, lowest []byte) {
	if t := old.rekey; t != nil && m.outstanding(t) {
		t.collision = &collision{child: c, lowest: lowest}
	}
	old.replacedBy = c
	old.rekeyAt, old.expireAt, old.removeAt = 0, 0, now.Boot+guardTime
}

// outstanding tells whether the request of this task has been sent and not answered.
func (m *Machine) outstanding(t task) bool {
	for _, s := range m.sas {
		if s.exchange != nil && slices.Contains(s.exchange.tasks, t) {
			return true
		}
	}
	return false
}

// answerCreateChild answers a CREATE_CHILD_SA request that is not about the IKE SA (§2.25.1, §2.25.2).
func (m *Machine) answerCreateChild(now link.Instant, s *ikeSA, in *message.Message) ([]message.Payload, error) {
	if m.deleting || s.state == saReplaced || s.state == saDeleting || m.rekeyOutstanding(s) {
		return nil, refuse(message.TemporaryFailure)
	}
	n, rekey := message.FindNotify(in.Payloads, message.RekeySA)
	switch live := m.liveChildren(); {
	case !rekey && live >= m.cfg.MaxChildren:
		return nil, refuse(message.NoAdditionalSAs)
	case len(m.children) >= 4*m.cfg.MaxChildren: // rekeyed faster than the old ones end
		return nil, refuse(message.TemporaryFailure)
	}
	if !rekey {
		if m.responder == nil {
			// A client has no policy for child SAs that the gateway thinks of.
			return nil, refuse(message.NoAdditionalSAs)
		}
		return m.answerChild(now, s, in, false, nil)
	}
	var old *child
	if n.Protocol == message.ProtocolESP && len(n.SPI) == 4 {
		old = m.childByOut(binary.BigEndian.Uint32(n.SPI))
	}
	switch {
	case old == nil:
		return nil, &refusal{notify: message.Notify{Protocol: n.Protocol, Message: message.ChildSANotFound, SPI: n.SPI}}
	case old.state == childDeleting || old.replacedBy != nil || old.rekey != nil && m.following(old.rekey):
		return nil, refuse(message.TemporaryFailure)
	}
	return m.answerChild(now, s, in, false, old)
}

// answerFirstChild answers the child SA part of IKE_AUTH. What goes wrong is notified beside IDr and AUTH (§1.2).
func (m *Machine) answerFirstChild(now link.Instant, s *ikeSA, in *message.Message) ([]message.Payload, error) {
	if _, ok := message.Find[message.SA](in.Payloads); !ok {
		return nil, nil
	}
	out, err := m.answerChild(now, s, in, true, nil)
	var r *refusal
	if errors.As(err, &r) {
		m.emit(ChildFailed{Err: &NotifyError{Type: r.notify.Message, Exchange: message.IKEAuth, Sent: true, Data: r.notify.Data}})
		return []message.Payload{r.notify}, nil
	}
	return out, err
}
