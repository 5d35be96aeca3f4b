package ike

import (
	"errors"
	"fmt"
	"slices"

	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
	"mipvpn/tun/link"
)

// resumption is the literal in SKEYSEED of a resumed IKE SA (RFC 5723 §5.1), without a terminator.
var resumption = []byte("Resumption")

// resumedSeed returns SKEYSEED of a resumed IKE SA. secret is SK_d of the old one.
func resumedSeed(prf suite.PRF, secret, ni, nr []byte) []byte {
	return prf.Sum(secret, resumption, ni, nr)
}

// initial tells whether an exchange makes an IKE SA, in the clear (RFC 7296 §1.2, RFC 5723 §4.3.2).
func initial(e message.ExchangeType) bool {
	return e == message.IKESAInit || e == message.IKESessionResume
}

// resumeTries is how often IKE_SESSION_RESUME is sent before the IKE SA is made anew: a gateway that does not know the exchange
// may be silent.
const resumeTries = 3

// resumeTask is the initiator's side of IKE_SESSION_RESUME (RFC 5723 §4.3.2).
type resumeTask struct {
	ticket   *Ticket
	nonce    []byte
	cookie   []byte
	cookies  int
	accepted *acceptedInit
}

func (t *resumeTask) needed(*Machine) bool { return true }

func (t *resumeTask) request(_ link.Instant, _ *Machine, x *exchange) error {
	if t.cookie != nil {
		x.add(message.Notify{Message: message.Cookie, Data: t.cookie})
	}
	x.add(message.Nonce{Data: t.nonce}, message.Notify{Message: message.TicketOpaque, Data: t.ticket.opaque})
	return nil
}

// response takes over what accept has found.
func (t *resumeTask) response(_ link.Instant, m *Machine, x *exchange, _ *message.Message) error {
	x.sa.keys, x.sa.spiR = t.accepted.keys, t.accepted.spiR
	x.sa.state = saAuth
	m.first = t.accepted.first
	m.first.request = x.wires[0]
	t.ticket.Wipe()
	return nil
}

func (t *resumeTask) abandon(link.Instant, *Machine) { t.ticket.Wipe() }

// startResume begins with a ticket; false when the configuration has none that fits.
func (m *Machine) startResume(now link.Instant, s *ikeSA) (bool, error) {
	ticket := m.initiator.Ticket
	m.initiator.Ticket = nil
	if !ticket.Usable(now) || ticket.localID != m.initiator.Rounds[len(m.initiator.Rounds)-1].ID || !m.cfg.Proposals.takes(ticket.suite) ||
		!m.initiator.RemoteID.IsZero() && ticket.remoteID != m.initiator.RemoteID {
		ticket.Wipe()
		return false, nil
	}
	nonce, err := m.random(nonceLen)
	if err != nil {
		return false, err
	}
	if !m.initiator.WantedAddress.IsValid() {
		m.initiator.WantedAddress = ticket.address // RFC 5723 §5, note 5
	}
	m.enqueue(now, s, newExchange(message.IKESessionResume, &resumeTask{ticket: ticket, nonce: nonce}, &natTask{}, fragmentTask{}, agentTask{}))
	return true, nil
}

// handleResumeResponse takes a response to IKE_SESSION_RESUME. Nothing of it is authentic: a refusal leads to an ordinary
// IKE_SA_INIT, so that a forged one costs no more than that.
func (m *Machine) handleResumeResponse(now link.Instant, s *ikeSA, t *resumeTask, d Datagram) error {
	in, err := message.Parse(d.Payload)
	if err != nil {
		return fmt.Errorf("ike: %w", err)
	}
	x := s.exchange
	if n, ok := message.FindNotify(in.Payloads, message.Cookie); ok {
		if len(n.Data) == 0 || len(n.Data) > 64 || t.cookies == maxCookies {
			return fmt.Errorf("ike: %w: COOKIE of %d octets, the %d. one", ErrUnexpected, len(n.Data), t.cookies+1)
		}
		t.cookie = n.Data
		t.cookies++
		return m.send(now, x)
	}
	_, refused := message.FindNotify(in.Payloads, message.TicketNack)
	if _, failed := message.ErrorNotify(in.Payloads); failed || refused {
		return m.startAnew(now)
	}
	if t.accepted, err = t.accept(s, in, d); err != nil {
		return fmt.Errorf("ike: %w", err)
	}
	m.arrived = Datagram{Local: d.Local, Remote: d.Remote, TCP: d.TCP}
	if err := m.handleResponse(now, s, in); err != nil || m.err != nil {
		return err
	}
	m.proceed(now, s)
	return nil
}

// accept checks a response and derives the keys, changing nothing.
func (t *resumeTask) accept(s *ikeSA, in *message.Message, d Datagram) (*acceptedInit, error) {
	nr, ok := message.Find[message.Nonce](in.Payloads)
	chosen, spiR := t.ticket.suite, in.Header.ResponderSPI
	if !ok || spiR == 0 || len(nr.Data) < chosen.prf.Size()/2 {
		return nil, fmt.Errorf("%w: want an SPI and a Nonce for %v in the IKE_SESSION_RESUME response", ErrInvalidAnswer, chosen.prf)
	}
	k, err := deriveKeys(chosen, resumedSeed(chosen.prf, t.ticket.secret, t.nonce, nr.Data), t.nonce, nr.Data, s.spiI, spiR)
	if err != nil {
		return nil, err
	}
	first := &firstExchange{
		response: slices.Clone(d.Payload), ni: t.nonce, nr: slices.Clone(nr.Data), resumed: true, own: t.ticket.localID, peer: t.ticket.remoteID,
	}
	return &acceptedInit{keys: k, spiR: spiR, first: first}, nil
}

// startAnew makes the IKE SA by IKE_SA_INIT after all.
func (m *Machine) startAnew(now link.Instant) error {
	old := m.current
	m.shutSA(now, old) // wipes the ticket
	m.dropSA(old)
	s, err := m.newSA(true)
	if err != nil {
		return err
	}
	m.current = s
	m.addSA(s)
	return m.startInit(now, s)
}

// answerResume takes a ticket and returns the response's payloads (RFC 5723 §4.3.2). A *refusal says what to answer instead.
func (m *Machine) answerResume(now link.Instant, s *ikeSA, in *message.Message, d Datagram) ([]message.Payload, error) {
	if t, ok := message.UnsupportedCritical(in.Payloads); ok {
		return nil, refuse(message.UnsupportedCriticalPayload, byte(t))
	}
	ni, okN := message.Find[message.Nonce](in.Payloads)
	ticket, okT := message.FindNotify(in.Payloads, message.TicketOpaque)
	if !okN || !okT {
		return nil, refuse(message.InvalidSyntax)
	}
	state, err := m.responder.Tickets.Redeem(now, ticket.Data)
	if err != nil {
		return nil, &refusal{notify: message.Notify{Message: message.TicketNack}, cause: err}
	}
	defer clear(state.Secret)
	chosen := ikeSuite{encryption: state.Encryption, prf: state.PRF, group: state.Group, additional: additionalOf(state.Additional)}
	if !m.provesAs(state) || !m.cfg.Proposals.takes(chosen) || len(ni.Data) < chosen.prf.Size()/2 {
		return nil, refuse(message.TicketNack)
	}
	m.localID = state.Responder
	nr, err := m.random(nonceLen)
	if err != nil {
		return nil, err
	}
	if s.keys, err = deriveKeys(chosen, resumedSeed(chosen.prf, state.Secret, ni.Data, nr), ni.Data, nr, s.spiI, s.spiR); err != nil {
		return nil, err
	}
	m.first = &firstExchange{
		request: slices.Clone(d.Payload), ni: slices.Clone(ni.Data), nr: nr, resumed: true, peer: state.Initiator, authenticated: state.Authenticated, ticket: slices.Clone(ticket.Data),
	}
	m.arrived = Datagram{Local: d.Local, Remote: d.Remote, TCP: d.TCP}
	out := append([]message.Payload{message.Nonce{Data: nr}}, (&natTask{}).answer(m, s, in)...)
	return append(append(out, fragmentTask{}.answer(m, in)...), agentTask{}.answer(m, in)...), nil
}

// provesAs tells whether this end still is to the peer of a ticket what it was. Whether the peer is still welcome is for
// IKE_AUTH.
func (m *Machine) provesAs(t TicketState) bool {
	own := m.cfg.LocalID
	if r, err := m.responder.Policy.Authentication(t.Responder, t.Initiator); err == nil && !r.Own.ID.IsZero() {
		own = r.Own.ID
	}
	return own == t.Responder
}

// checkResumed makes sure that a resumed peer is the one of the ticket (RFC 5723 §4.3.3).
func (f *firstExchange) checkResumed(id Identity) error {
	if f.resumed && id != f.peer {
		return fmt.Errorf("%w: the ticket is that of %v, found %v", ErrIdentity, f.peer, id)
	}
	return nil
}

// errSpent is the cause of the refusal of a ticket that has been used before.
var errSpent = errors.New("the ticket has been used before")
