package gateway

import (
	"errors"
	"fmt"
	"io"
	"net/netip"

	"mipvpn/ipsec/eap"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/radius"
	"mipvpn/tun/link"
)

// ErrUnknownUser tells that a user's name is not configured.
var ErrUnknownUser = errors.New("gateway: no such user")

// eapServer is the configuration of a method's server here.
func (c *Config) eapServer(s *session) eap.ServerConfig {
	out := eap.ServerConfig{
		Common:      eap.Common{Methods: c.EAP.Methods, Inner: c.EAP.Inner, Certificate: c.EAP.Certificate, Rand: noRandom{}},
		AskIdentity: c.EAP.AskIdentity, Retries: c.EAP.Retries, Name: "mipagent",
	}
	if s != nil {
		out.Identity = s.claimed.Data
		out.AskIdentity = out.AskIdentity || !named(s.claimed)
	}
	return out
}

// noRandom stands where nothing is read yet.
type noRandom struct{}

func (noRandom) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// named tells whether an IDi is a user's name, or an address of the machine's, as some clients send it.
func named(id ike.Identity) bool {
	return id.Type == message.IDRFC822Addr || id.Type == message.IDFQDN || id.Type == message.IDKeyID
}

// handleEAP takes a peer's EAP message, or has the method begin.
func (g *Gateway) handleEAP(now link.Instant, s *session, e ike.EAPReceived) {
	if e.Message == nil {
		g.endEAP(s) // of an earlier round
		s.claimed = e.ID
	}
	var err error
	switch {
	case g.radius != nil:
		err = g.passOn(now, s, e.Message)
	case e.Message == nil:
		c := g.cfg.eapServer(s)
		c.Rand = g.rand
		if s.method, err = eap.NewServer(c); err == nil {
			err = s.method.HandleMessage(nil)
		}
	case s.method == nil:
		err = eap.ErrClosed
	default:
		err = s.method.HandleMessage(e.Message)
	}
	if err != nil {
		g.answerEAP(now, s, ike.EAPAnswer{Err: err})
		return
	}
	g.driveEAP(now, s)
}

// driveEAP takes what the session's method says: questions are answered here or passed on to the driver.
func (g *Gateway) driveEAP(now link.Instant, s *session) {
	for s.method != nil {
		e, ok := s.method.PollEvent()
		if !ok {
			return
		}
		switch e := e.(type) {
		case eap.PasswordWanted:
			secret, err := eap.Secret{}, error(ErrUnknownUser)
			if u, ok := g.users[e.User]; ok && (u.Hash != nil || len(u.Password) > 0) {
				secret, err = eap.Secret{Password: u.Password, Hash: u.Hash}, nil
			}
			// It waits for nothing else, so that the answer is taken.
			_ = s.method.AnswerPassword(secret, err)
		case eap.SignatureWanted, eap.TrustWanted:
			g.events.Push(Event{Session: s.id, Remote: s.remote, EAP: e})
		case eap.Finished:
			a, _ := eap.Answer(e)
			if e.Err == nil {
				a = g.proven(s, a, e.Identity, g.users[e.Identity].Policy, netip.Addr{})
			}
			g.endEAP(s)
			g.answerEAP(now, s, a)
		default:
			if a, ok := eap.Answer(e); ok {
				g.answerEAP(now, s, a)
			}
		}
	}
}

// answerEAP gives the machine an answer. Whatever it says of it is told by the session's end.
func (g *Gateway) answerEAP(now link.Instant, s *session, a ike.EAPAnswer) {
	_ = s.machine.AnswerEAP(now, a)
	clear(a.MSK)
}

// proven completes the answer for a user that a method has authenticated: who that is, and what it gets. Who came by a rule
// for another identity is refused, lest a claimed IDi choose the policy.
func (g *Gateway) proven(s *session, a ike.EAPAnswer, name, policy string, address netip.Addr) ike.EAPAnswer {
	refuse := func(err error) ike.EAPAnswer {
		out := ike.EAPAnswer{Err: fmt.Errorf("user %q: %w", name, err)}
		if len(a.Message) > 1 {
			out.Message = []byte{byte(eap.Failure), a.Message[1], 0, 4}
		}
		clear(a.MSK)
		return out
	}
	id, err := message.NewIdentity(name)
	if err != nil {
		return refuse(err)
	}
	if _, ok := g.peers[id]; ok {
		return refuse(fmt.Errorf("%w: a peer with a key of its own has this identity", ErrRule))
	}
	if len(s.rule.Rounds) == 1 && !g.cfg.rule(id).same(s.rule) {
		return refuse(fmt.Errorf("%w: it claimed to be %v, whose rule is another", ErrRule, s.claimed))
	}
	v := g.provisions[s.rule.Policy]
	if policy != "" {
		if v = g.provisions[policy]; v == nil {
			return refuse(fmt.Errorf("%w: there is no policy %q", ErrConfig, policy))
		}
	}
	if address.IsValid() && !v.Pool.Contains(address) {
		return refuse(fmt.Errorf("%w: the address %v that RADIUS assigns is not of the pool %v", ErrConfig, address, v.Pool))
	}
	s.provision, s.fixed, a.ID = v, address, id
	return a
}

// endEAP ends the session's method, if there is one.
func (g *Gateway) endEAP(s *session) {
	if s.method != nil {
		s.method.Close()
		s.method = nil
	}
	if s.talk != 0 {
		g.radius.Close(s.talk)
		delete(g.talks, s.talk)
		s.talk = 0
	}
}

// EAPSigned answers an eap.SignatureWanted in Event.EAP. Errors: ErrUnknownSPI for a session that is gone or past that, and
// eap.ErrNotAsked.
func (g *Gateway) EAPSigned(now link.Instant, id SessionID, signature []byte, err error) error {
	return g.answered(now, id, func(m *eap.Machine) error { return m.AnswerSignature(signature, err) })
}

// EAPTrusted answers an eap.TrustWanted in Event.EAP. Errors: as EAPSigned.
func (g *Gateway) EAPTrusted(now link.Instant, id SessionID, err error) error {
	return g.answered(now, id, func(m *eap.Machine) error { return m.AnswerTrust(err) })
}

func (g *Gateway) answered(now link.Instant, id SessionID, f func(*eap.Machine) error) error {
	s := g.sessions[id]
	if s == nil || s.method == nil {
		return ErrUnknownSPI
	}
	err := f(s.method)
	g.driveEAP(now, s)
	g.pump(now, s)
	return err
}

// passOn sends a peer's message to a RADIUS server. The first is made here of IDi, since the server expects an identity.
func (g *Gateway) passOn(now link.Instant, s *session, m []byte) error {
	if m == nil {
		name := s.claimed.Data
		if !named(s.claimed) {
			name = s.claimed.String()
		}
		var err error
		if s.talk, err = g.radius.Open(name, s.remote.Addr().String()); err != nil {
			return err
		}
		g.talks[s.talk] = s
		if m, err = (eap.Packet{Code: eap.Response, Type: eap.TypeIdentity, Data: []byte(name)}).Marshal(); err != nil {
			return err
		}
	}
	return g.radius.Send(now, s.talk, m)
}

// handleRADIUS takes what the RADIUS client says.
func (g *Gateway) handleRADIUS(now link.Instant) {
	if g.radius == nil {
		return
	}
	for e, ok := g.radius.PollEvent(); ok; e, ok = g.radius.PollEvent() {
		switch e := e.(type) {
		case radius.Challenge:
			if s := g.talks[e.ID]; s != nil {
				g.answerEAP(now, s, ike.EAPAnswer{Message: e.Message})
				g.pump(now, s)
			}
		case radius.Accepted:
			s := g.talks[e.ID]
			if s == nil {
				clear(e.MSK)
				continue
			}
			name := e.User.Name
			if name == "" {
				name = s.claimed.Data
			}
			g.endEAP(s)
			s.user = e.User
			g.answerEAP(now, s, g.proven(s, ike.EAPAnswer{Message: e.Message, Done: true, MSK: e.MSK}, name, e.User.Filter, e.User.Address))
			g.pump(now, s)
		case radius.Failed:
			if s := g.talks[e.ID]; s != nil {
				g.endEAP(s)
				g.answerEAP(now, s, ike.EAPAnswer{Message: e.Message, Err: e.Err})
				g.pump(now, s)
			}
		case radius.Accounted:
			if e.Err != nil {
				g.lostRecords++
			}
		}
	}
}

// HandleRADIUS takes a datagram from a RADIUS server. An error says why it was rejected.
func (g *Gateway) HandleRADIUS(now link.Instant, from netip.AddrPort, payload []byte) error {
	if g.radius == nil {
		return radius.ErrUnknown
	}
	err := g.radius.HandleDatagram(now, from, payload)
	g.handleRADIUS(now)
	return err
}

// PollRADIUS returns the next datagram for a RADIUS server.
func (g *Gateway) PollRADIUS() (radius.Transmit, bool) {
	if g.radius == nil {
		return radius.Transmit{}, false
	}
	return g.radius.PollTransmit()
}

// Account sends a record to the RADIUS servers, with what they said of the session's user: Class, and the name to account
// under. Without servers that take records nothing is done.
func (g *Gateway) Account(now link.Instant, id SessionID, r radius.Record) {
	if g.radius == nil {
		return
	}
	if u, ok := g.accounted[id]; ok {
		r.Class = u.Class
		if u.Name != "" {
			r.User = u.Name
		}
		if r.Status == radius.Stop {
			delete(g.accounted, id)
		}
	}
	if _, err := g.radius.Account(now, r); err != nil && !errors.Is(err, radius.ErrUnknown) {
		g.lostRecords++
	}
}

// LostRecords returns how many accounting records no RADIUS server has taken.
func (g *Gateway) LostRecords() uint64 { return g.lostRecords }
