package ike

import (
	"errors"
	"fmt"
	"slices"

	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
	"mipvpn/tun/link"
)

// firstExchange is what AUTH and the first child SA need of IKE_SA_INIT (RFC 7296 §2.15, §2.17).
type firstExchange struct {
	// request and response are the messages as sent, without a non-ESP marker.
	request, response []byte
	ni, nr            []byte
	intermediates
	ppk ppkUse
	// resumed is set when the IKE SA is resumed (RFC 5723): own and peer are IDi and IDr by the ticket, authenticated
	// what a responder goes by, ticket the responder's copy of that.
	resumed                  bool
	own, peer, authenticated Identity
	ticket                   []byte
}

func (f *firstExchange) wipe() {
	clear(f.ticket)
	clear(f.ni)
	clear(f.nr)
	f.ppk.wipe()
}

// nonceLen suits all PRFs: half the key of PRF_HMAC_SHA2_512 (RFC 7296 §2.10).
const nonceLen = 32

// maxCookies bounds the COOKIE retries that a forger can cause (RFC 7296 §2.6).
const maxCookies = 8

// initTask is the initiator's side of IKE_SA_INIT (RFC 7296 §1.2): algorithms, key exchange and nonces, with the retries
// for COOKIE and INVALID_KE_PAYLOAD.
type initTask struct {
	ke      *suite.KeyExchange
	nonce   []byte
	cookie  []byte
	cookies int
	// puzzle is what came with the cookie (RFC 8019), nil for none, and its solution once it is there.
	puzzle   *Puzzle
	solution []byte
	// tried are the groups used so far: each is used once.
	tried []suite.Group
	// accepted is the response that handleInitResponse has found good.
	accepted *acceptedInit
}

type acceptedInit struct {
	keys  *keys
	spiR  uint64
	first *firstExchange
}

func newInitTask(m *Machine) (*initTask, error) {
	nonce, err := m.random(nonceLen)
	if err != nil {
		return nil, err
	}
	t := &initTask{nonce: nonce}
	return t, t.useGroup(m, m.cfg.Proposals.Groups[0])
}

// useGroup makes a key pair of group g.
func (t *initTask) useGroup(m *Machine, g suite.Group) error {
	ke, err := suite.NewKeyExchange(g, m.rand)
	if err != nil {
		return fmt.Errorf("ike: %w", err)
	}
	if t.ke != nil {
		t.ke.Wipe()
	}
	t.ke = ke
	t.tried = append(t.tried, g)
	return nil
}

func (t *initTask) needed(*Machine) bool { return true }

func (t *initTask) request(_ link.Instant, m *Machine, x *exchange) error {
	solution, err := t.solve(m)
	if err != nil {
		return err
	}
	if t.cookie != nil {
		x.add(message.Notify{Message: message.Cookie, Data: t.cookie})
	}
	x.add(solution...)
	x.add(
		m.cfg.Proposals.offerIKE(nil),
		message.KE{Group: uint16(t.ke.Group()), Data: t.ke.Public()},
		message.Nonce{Data: t.nonce},
	)
	x.add(m.additionalPayloads()...)
	if m.initiator.PPK != nil {
		x.add(usePPK)
	}
	return nil
}

// response takes over what accept has found.
func (t *initTask) response(_ link.Instant, m *Machine, x *exchange, _ *message.Message) error {
	x.sa.keys, x.sa.spiR = t.accepted.keys, t.accepted.spiR
	x.sa.state = saAuth
	m.first = t.accepted.first
	m.first.request = x.wires[0]
	t.ke.Wipe()
	return nil
}

func (t *initTask) abandon(link.Instant, *Machine) { t.ke.Wipe() }

// handleInitResponse takes a response to IKE_SA_INIT. Nothing of it is authentic: what does not lead on is remembered and
// the wait for another response goes on (RFC 7296 §2.21.1).
func (m *Machine) handleInitResponse(now link.Instant, s *ikeSA, d Datagram) error {
	if t, resuming := s.exchange.tasks[0].(*resumeTask); resuming {
		return m.handleResumeResponse(now, s, t, d)
	}
	in, err := message.Parse(d.Payload)
	if err != nil {
		return fmt.Errorf("ike: %w", err)
	}
	x := s.exchange
	t := x.tasks[0].(*initTask)
	if n, ok := message.FindNotify(in.Payloads, message.Cookie); ok {
		if len(n.Data) == 0 || len(n.Data) > 64 || t.cookies == maxCookies {
			return fmt.Errorf("ike: %w: COOKIE of %d octets, the %d. one", ErrUnexpected, len(n.Data), t.cookies+1)
		}
		t.cookie, t.puzzle, t.solution = n.Data, m.readPuzzle(in, n.Data), nil
		t.cookies++
		if t.puzzle != nil {
			x.wires, x.resendAt = nil, 0 // nothing is outstanding until it is solved
		}
		return m.send(now, x)
	}
	if to, ok := m.redirection(in, t.nonce); ok {
		m.close(now, fmt.Errorf("ike: %w", &RedirectError{To: to}))
		return nil
	}
	if n, ok := message.ErrorNotify(in.Payloads); ok {
		return m.initRefused(now, x, t, n)
	}
	t.accepted, err = t.accept(m, s, in, d)
	if err != nil {
		return m.refuseLater(now, err)
	}
	m.arrived = Datagram{Local: d.Local, Remote: d.Remote, TCP: d.TCP}
	if err := m.handleResponse(now, s, in); err != nil || m.err != nil {
		return err
	}
	m.proceed(now, s)
	return nil
}

// authenticate goes on with IKE_AUTH.
func (m *Machine) authenticate(now link.Instant, s *ikeSA) {
	tasks := []task{&authTask{}, crashTask{}}
	c := m.initiator
	if c.RequestAddress || c.RequestDNS || c.RequestSubnets {
		tasks = append(tasks, &configTask{})
	}
	if c.RequestTicket {
		tasks = append(tasks, &ticketTask{})
	}
	if m.cfg.MOBIKE != nil {
		tasks = append(tasks, mobikeTask{})
	}
	m.enqueue(now, s, newExchange(message.IKEAuth, append(tasks, m.firstChild())...))
}

// initRefused handles an error notify in an IKE_SA_INIT response.
func (m *Machine) initRefused(now link.Instant, x *exchange, t *initTask, n message.Notify) error {
	refused := notifyError(message.IKESAInit, n)
	if n.Message == message.InvalidKEPayload && len(n.Data) == 2 {
		g := suite.Group(uint16(n.Data[0])<<8 | uint16(n.Data[1]))
		if slices.Contains(m.cfg.Proposals.Groups, g) && !slices.Contains(t.tried, g) {
			if err := t.useGroup(m, g); err != nil {
				return err
			}
			return m.send(now, x)
		}
	}
	return m.refuseLater(now, refused)
}

// refuseLater remembers an unauthenticated refusal as the reason, should nothing better come.
func (m *Machine) refuseLater(now link.Instant, err error) error {
	if m.tcp { // nothing better can come in the same connection (RFC 9329 §6.4)
		err = fmt.Errorf("ike: %w", err)
		m.close(now, err)
		return err
	}
	var old, next *NotifyError
	repeated := errors.As(m.refused, &old) && errors.As(err, &next) && old.Type == next.Type
	m.refused = err
	if !repeated {
		m.emit(Refused{Err: err})
	}
	return fmt.Errorf("ike: %w", err)
}

// accept checks a response and derives the keys, changing nothing.
func (t *initTask) accept(m *Machine, s *ikeSA, in *message.Message, d Datagram) (*acceptedInit, error) {
	sa, okSA := message.Find[message.SA](in.Payloads)
	ke, okKE := message.Find[message.KE](in.Payloads)
	nr, okN := message.Find[message.Nonce](in.Payloads)
	if !okSA || !okKE || !okN || in.Header.ResponderSPI == 0 {
		return nil, fmt.Errorf("%w: want SPI, SA, KE and Nonce in the IKE_SA_INIT response", ErrInvalidAnswer)
	}
	chosen, _, err := m.cfg.Proposals.acceptIKE(sa, 0)
	if err != nil {
		return nil, err
	}
	if chosen.additional.any() && !canIntermediate(in) {
		return nil, fmt.Errorf("%w: %v without INTERMEDIATE_EXCHANGE_SUPPORTED (RFC 9370 §2.2.2)", ErrInvalidAnswer, chosen)
	}
	_, ppk := message.FindNotify(in.Payloads, message.UsePPK)
	if m.initiator.RequirePPK && !ppk {
		return nil, fmt.Errorf("%w: the gateway cannot use any", ErrPPK)
	}
	if chosen.group != t.ke.Group() || suite.Group(ke.Group) != t.ke.Group() {
		return nil, fmt.Errorf("%w: want %v, found %v and a KE payload of group %d", ErrInvalidAnswer, t.ke.Group(), chosen.group, ke.Group)
	}
	if len(nr.Data) < chosen.prf.Size()/2 {
		return nil, fmt.Errorf("%w: a nonce of %d octets is too short for %v", ErrInvalidAnswer, len(nr.Data), chosen.prf)
	}
	shared, err := t.ke.SharedSecret(ke.Data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidAnswer, err)
	}
	defer clear(shared)
	spiR := in.Header.ResponderSPI
	k, err := deriveKeys(chosen, skeyseed(chosen.prf, t.nonce, nr.Data, shared), t.nonce, nr.Data, s.spiI, spiR)
	if err != nil {
		return nil, err
	}
	first := &firstExchange{
		response: append([]byte(nil), d.Payload...), ni: t.nonce, nr: nr.Data, intermediates: intermediates{pending: chosen.additional.list()},
		ppk: ppkUse{agreed: ppk && m.initiator.PPK != nil},
	}
	return &acceptedInit{keys: k, spiR: spiR, first: first}, nil
}

// handleFirst is the responder's side of IKE_SA_INIT and IKE_SESSION_RESUME.
func (m *Machine) handleFirst(now link.Instant, h message.Header, d Datagram) error {
	if m.responder == nil || m.err != nil {
		return fmt.Errorf("ike: %w", ErrClosed)
	}
	resume := h.Exchange == message.IKESessionResume && m.responder.Tickets != nil
	if h.Exchange != message.IKESAInit && !resume || h.Response() || !h.FromInitiator() || h.MessageID != 0 ||
		h.ResponderSPI != 0 || h.InitiatorSPI == 0 {
		return fmt.Errorf("ike: %w: want an IKE_SA_INIT request, found %v", ErrUnexpected, h.Exchange)
	}
	in, err := message.Parse(d.Payload)
	if err != nil {
		err = fmt.Errorf("ike: %w", err)
		m.close(now, err)
		return err
	}
	s, err := m.newSA(false)
	if err != nil {
		return err
	}
	s.spiI = h.InitiatorSPI
	s.state = saInit
	var out []message.Payload
	if resume {
		out, err = m.answerResume(now, s, in, d)
	} else {
		out, err = m.answerInit(s, in, d)
	}
	var r *refusal
	switch {
	case errors.As(err, &r):
		return m.refuseInit(now, h, d, r)
	case err != nil:
		m.close(now, err)
		return err
	}
	m.current = s
	m.use(d.path())
	m.lastHeard = now.Boot
	m.addSA(s)
	if err := m.respond(s, d, h, out); err != nil {
		m.close(now, err)
		return err
	}
	m.first.response = s.lastResponse[0]
	s.state = saAuth
	m.halfOpenAt = now.Boot + m.responder.HalfOpen
	return nil
}

// answerInit chooses the algorithms, derives the keys and returns the response's payloads. A *refusal says what to answer
// instead.
func (m *Machine) answerInit(s *ikeSA, in *message.Message, d Datagram) ([]message.Payload, error) {
	if t, ok := message.UnsupportedCritical(in.Payloads); ok {
		return nil, refuse(message.UnsupportedCriticalPayload, byte(t))
	}
	sa, okSA := message.Find[message.SA](in.Payloads)
	ke, okKE := message.Find[message.KE](in.Payloads)
	ni, okN := message.Find[message.Nonce](in.Payloads)
	if !okSA || !okKE || !okN {
		return nil, refuse(message.InvalidSyntax)
	}
	m.arrived = Datagram{Local: d.Local, Remote: d.Remote, TCP: d.TCP}
	m.noteRedirects(in)
	if elsewhere, err := m.redirectPeer(Identity{}, ni.Data); err != nil {
		return nil, err
	} else if elsewhere != nil {
		return nil, &refusal{payloads: elsewhere, notify: message.Notify{Message: message.Redirect}, cause: ErrRedirected}
	}
	chosen, _, answer, ok := m.cfg.Proposals.selectIKE(sa, suite.Group(ke.Group), 0, canIntermediate(in))
	switch {
	case !ok:
		return nil, refuse(message.NoProposalChosen)
	case chosen.group != suite.Group(ke.Group):
		return nil, refuseGroup(uint16(chosen.group))
	case len(ni.Data) < chosen.prf.Size()/2:
		return nil, refuse(message.InvalidSyntax)
	}
	nr, public, shared, err := m.exchangeKeys(chosen.group, ke.Data)
	if err != nil {
		return nil, err
	}
	defer clear(shared)
	if s.keys, err = deriveKeys(chosen, skeyseed(chosen.prf, ni.Data, nr, shared), ni.Data, nr, s.spiI, s.spiR); err != nil {
		return nil, err
	}
	m.first = &firstExchange{
		request: append([]byte(nil), d.Payload...), ni: ni.Data, nr: nr, intermediates: intermediates{pending: chosen.additional.list()},
	}
	out := []message.Payload{
		message.SA{Proposals: []message.Proposal{answer}},
		message.KE{Group: uint16(chosen.group), Data: public},
		message.Nonce{Data: nr},
	}
	out = append(append(out, (&natTask{}).answer(m, s, in)...), fragmentTask{}.answer(m, in)...)
	if canIntermediate(in) {
		out = append(out, m.additionalPayloads()...)
	}
	if _, asked := message.FindNotify(in.Payloads, message.UsePPK); asked && m.responder.PPK {
		m.first.ppk.agreed = true
		out = append(out, usePPK)
	}
	return append(append(out, announceTask{}.answer(m, in)...), agentTask{}.answer(m, in)...), nil
}

// exchangeKeys does the responder's half of a key exchange and makes its nonce. A bad public value is refused with
// INVALID_SYNTAX.
func (m *Machine) exchangeKeys(g suite.Group, peer []byte) (nonce, public, shared []byte, err error) {
	if nonce, err = m.random(nonceLen); err != nil {
		return nil, nil, nil, err
	}
	if g == 0 {
		return nonce, nil, nil, nil
	}
	public, shared, err = m.answerKE(message.KE{Group: uint16(g), Data: peer})
	return nonce, public, shared, err
}

// refuseInit answers IKE_SA_INIT with an error, keeping no state but the answer (RFC 7296 §2.6: the responder SPI is
// zero). The machine is dead then.
func (m *Machine) refuseInit(now link.Instant, h message.Header, d Datagram, r *refusal) error {
	s := &ikeSA{spiI: h.InitiatorSPI}
	out := r.payloads
	if out == nil {
		out = []message.Payload{r.notify}
	}
	if err := m.respond(s, d, h, out); err != nil {
		return err
	}
	err := fmt.Errorf("ike: %w", &NotifyError{Type: r.notify.Message, Exchange: h.Exchange, Sent: true, Data: r.notify.Data})
	m.close(now, err)
	return err
}

// refuseVersion answers a higher major version (RFC 7296 §2.5).
func (m *Machine) refuseVersion(h message.Header, d Datagram) {
	h.Flags = h.Flags&^message.FlagInitiator | message.FlagResponse
	h.Minor = 0
	out := message.Message{Header: h, Payloads: []message.Payload{message.Notify{Message: message.InvalidMajorVersion}}}
	if wire, err := out.Append(nil); err == nil {
		m.transmit(d.path(), wire)
	}
}
