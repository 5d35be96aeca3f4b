package ike

import (
	"bytes"
	"crypto/hmac"
	"errors"
	"fmt"

	"mipvpn/ipsec/ike/message"
	"mipvpn/tun/link"
)

// authStage is what the next IKE_AUTH request is about.
type authStage uint8

const (
	authOpen   authStage = iota // a round begins: IDi, and AUTH unless EAP is to follow
	authEAP                     // an EAP message
	authKey                     // AUTH by the key that EAP has made
	authListen                  // nothing more of the initiator's, for the responder has one more round
)

// maxGatewayRounds bounds how often a gateway may prove itself (RFC 4739).
const maxGatewayRounds = 4

// authTask is the initiator's side of IKE_AUTH (RFC 7296 §2.15, §2.16): rounds of authentication (RFC 4739), each by a
// pre-shared key, a signature or an EAP method. It is the first task of its exchange, which it continues as often as need be.
type authTask struct {
	stage authStage
	round int
	// begun is set when the gateway has proved itself, or need not before EAP is done (RFC 5998, eapOnly); another when it has
	// announced one more proof, which its next message has to bring.
	begun, another, eapOnly bool
	// taken is set when the gateway's proof in the response that is being taken has been verified.
	taken bool
	// gateway is the latest IDr.
	gateway Identity
	eap     []byte // the message to send
	count   int
	msk     []byte
}

func (t *authTask) needed(*Machine) bool { return true }

func (t *authTask) abandon(link.Instant, *Machine) { clear(t.msk) }

func (t *authTask) request(_ link.Instant, m *Machine, x *exchange) error {
	t.taken = false
	switch t.stage {
	case authOpen:
		return t.open(m, x)
	case authEAP:
		x.add(message.EAP{Message: t.eap})
	case authKey:
		proof := func() (message.Auth, error) {
			return message.Auth{Method: message.AuthSharedKeyMIC, Data: m.mac(x.sa, true, m.localID, t.msk)}, nil
		}
		ppk, err := m.offerPPK(x.sa, proof)
		if err != nil {
			return err
		}
		auth, err := proof()
		if err != nil {
			return err
		}
		x.add(auth)
		x.add(ppk...)
		t.announce(m, x)
	case authListen:
	}
	return nil
}

// open begins a round. What is not about this round is in the first one only (RFC 7296 appendix C.2).
func (t *authTask) open(m *Machine, x *exchange) error {
	c := m.initiator
	p := &c.Rounds[t.round]
	if m.first.resumed {
		p = &Proof{ID: m.first.own} // by SK_pi
	}
	if len(c.Rounds) > 1 && !m.said.multiple && !m.first.resumed {
		return fmt.Errorf("%w: the gateway does not support RFC 4739", ErrRounds)
	}
	var proof, ppk []message.Payload
	if !p.EAP {
		var err error
		ppk, err = m.offerPPK(x.sa, func() (message.Auth, error) {
			ps, err := m.prove(x.sa, p)
			a, _ := message.Find[message.Auth](ps)
			return a, err
		})
		if err != nil {
			return err
		}
		if proof, err = m.prove(x.sa, p); err != nil {
			return err
		}
	}
	m.localID = p.ID
	x.add(message.IDi{Identity: p.ID})
	var auth []message.Payload
	if n := len(proof); n != 0 {
		x.add(proof[:n-1]...)
		auth = proof[n-1:]
	}
	if t.round == 0 {
		if c.InitialContact {
			x.add(message.Notify{Message: message.InitialContact})
		}
		if !m.first.resumed {
			x.add(c.Accept.requests()...)
		}
		if !c.RemoteID.IsZero() {
			x.add(message.IDr{Identity: c.RemoteID})
		}
	}
	x.add(auth...)
	x.add(ppk...)
	if t.round == 0 && m.said.multiple && !m.first.resumed {
		x.add(message.Notify{Message: message.MultipleAuthSupported})
	}
	if t.offersEAPOnly(m) {
		x.add(message.Notify{Message: message.EAPOnlyAuthentication})
	}
	if len(auth) != 0 {
		t.announce(m, x)
	}
	return nil
}

func (t *authTask) offersEAPOnly(m *Machine) bool {
	return t.round == 0 && m.initiator.Accept.EAP && !m.first.resumed // RFC 5998 §3: not when resuming
}

// announce says that one more round follows, beside AUTH (RFC 4739 §3.2).
func (t *authTask) announce(m *Machine, x *exchange) {
	if !t.last(m) {
		x.add(message.Notify{Message: message.AnotherAuthFollows})
	}
}

// last tells whether this round is our last.
func (t *authTask) last(m *Machine) bool {
	return m.first.resumed || t.round == len(m.initiator.Rounds)-1
}

func (t *authTask) response(now link.Instant, m *Machine, x *exchange, in *message.Message) error {
	if err := t.take(m, x.sa, in); err != nil {
		if errors.Is(err, errMore) || errors.Is(err, errWait) {
			return err
		}
		clear(t.msk)
		var f *fatalError
		if errors.As(err, &f) {
			return err
		}
		return fatal(err, message.Notify{Message: message.AuthenticationFailed})
	}
	clear(t.msk)
	if err := m.redirectedInAuth(in, false); err != nil {
		return err
	}
	m.commitPPK(x.sa)
	m.noteWindow(x.sa, in)
	m.establish(now, x.sa, saEstablished)
	m.startAuthLifetime(now)
	m.noteAuthLifetime(now, in)
	return nil
}

// take does the part of a response that is about authentication. It returns nil when that is complete.
func (t *authTask) take(m *Machine, s *ikeSA, in *message.Message) error {
	if n, ok := message.ErrorNotify(in.Payloads); ok {
		switch n.Message {
		case message.AuthenticationFailed, message.InvalidSyntax, message.UnsupportedCriticalPayload: // not about the child SA
			if _, eap := message.Find[message.EAP](in.Payloads); !eap {
				return fatal(notifyError(message.IKEAuth, n))
			}
		default:
		}
	}
	if err := m.takePPK(in); err != nil {
		return err
	}
	if !t.taken && (!t.begun || t.another) {
		first := !t.begun
		if err := t.takeProof(m, s, in); err != nil {
			return err
		}
		more := m.initiator.Rounds[t.round].EAP || !t.last(m) || t.another
		if err := m.redirectedInAuth(in, true); err != nil && first && more && !t.eapOnly {
			return err
		}
	}
	switch {
	case t.stage == authEAP, t.stage == authOpen && m.initiator.Rounds[t.round].EAP && !m.first.resumed:
		return t.takeEAP(m, in)
	case t.stage == authKey:
		if err := t.takeKey(m, s, in); err != nil {
			return err
		}
	}
	return t.endRound(m, in)
}

// endRound goes on with the next round, if there is one at either end.
func (t *authTask) endRound(m *Machine, in *message.Message) error {
	switch {
	case !t.last(m):
		t.round, t.stage = t.round+1, authOpen
	case t.another:
		t.stage = authListen
	default:
		return nil
	}
	if n, ok := message.ErrorNotify(in.Payloads); ok {
		return fatal(notifyError(message.IKEAuth, n))
	}
	return errMore
}

// absent is the error of a response in which something is missing. The sender holds the keys of IKE_SA_INIT, so that no
// better answer can come on this SA (RFC 7296 §2.21.2).
func absent(in *message.Message, what string) error {
	if n, ok := message.ErrorNotify(in.Payloads); ok {
		return fatal(notifyError(message.IKEAuth, n))
	}
	return fatal(fmt.Errorf("%w: want %s in the IKE_AUTH response", ErrInvalidAnswer, what), deleteIKE)
}

// takeProof verifies how the gateway proves itself.
func (t *authTask) takeProof(m *Machine, s *ikeSA, in *message.Message) error {
	id, okID := message.Find[message.IDr](in.Payloads)
	auth, okAuth := message.Find[message.Auth](in.Payloads)
	_, okEAP := message.Find[message.EAP](in.Payloads)
	if !okID || !okAuth && !(okEAP && t.offersEAPOnly(m) && !t.begun) {
		return absent(in, "IDr and AUTH")
	}
	c := m.initiator
	switch {
	case !t.begun && !c.RemoteID.IsZero() && id.Identity != c.RemoteID:
		return fmt.Errorf("%w: want %v, found %v", ErrIdentity, c.RemoteID, id.Identity)
	case len(m.proved) == maxGatewayRounds:
		return fmt.Errorf("%w: more than %d of the gateway's", ErrRounds, maxGatewayRounds)
	}
	if err := m.first.checkResumed(id.Identity); err != nil {
		return err
	}
	if okAuth {
		if err := m.verify(s, in, auth, id.Identity, &c.Accept); err != nil {
			return err
		}
	}
	if !t.begun {
		m.remoteID = id.Identity
	}
	t.begun, t.taken, t.eapOnly, t.gateway = true, true, t.eapOnly || !okAuth, id.Identity
	m.proved = append(m.proved, id.Identity)
	_, t.another = message.FindNotify(in.Payloads, message.AnotherAuthFollows)
	return nil
}

// takeEAP gives the EAP message of a response to the driver's method and takes what that answers.
func (t *authTask) takeEAP(m *Machine, in *message.Message) error {
	p, ok := message.Find[message.EAP](in.Payloads)
	if !ok {
		return absent(in, "EAP")
	}
	code, err := checkEAP(p.Message)
	switch {
	case err != nil:
		return err
	case code == eapResponse:
		return fmt.Errorf("%w: want a request, found a response", ErrEAP)
	case code == eapSuccess && t.stage == authOpen:
		return fmt.Errorf("%w: %w: it is the first message", ErrEAP, ErrEarlySuccess)
	case t.count == maxEAPMessages:
		return fmt.Errorf("%w: more than %d messages", ErrEAP, maxEAPMessages)
	}
	got, err := m.ask(askEAP, func() Event { return EAPReceived{ID: m.localID, Message: p.Message} })
	if err != nil {
		return err
	}
	a := got.eap
	switch {
	case code == eapFailure:
		if a.Err == nil {
			a.Err = errors.New("the gateway refuses (EAP-Failure)")
		}
		return fatal(fmt.Errorf("%w: %w", ErrEAP, a.Err)) // the gateway has ended it
	case a.Err != nil:
		return fmt.Errorf("%w: %w", ErrEAP, a.Err)
	case code == eapSuccess && !a.Done:
		return fmt.Errorf("%w: %w", ErrEAP, ErrEarlySuccess)
	case code == eapSuccess && len(a.MSK) == 0 && t.eapOnly:
		return fmt.Errorf("%w: %w", ErrEAP, ErrNoKey)
	case code == eapSuccess:
		t.msk, t.stage = bytes.Clone(a.MSK), authKey
		return errMore
	}
	if own, err := checkEAP(a.Message); err != nil || own != eapResponse || a.Done {
		return fmt.Errorf("%w: the own method answers a request with a message of %d octets, done %t: want a response", ErrEAP, len(a.Message), a.Done)
	}
	t.eap, t.stage = bytes.Clone(a.Message), authEAP
	t.count++
	return errMore
}

// takeKey verifies the gateway's AUTH behind EAP, by the method's key.
func (t *authTask) takeKey(m *Machine, s *ikeSA, in *message.Message) error {
	auth, ok := message.Find[message.Auth](in.Payloads)
	if !ok {
		return absent(in, "AUTH")
	}
	if id, ok := message.Find[message.IDr](in.Payloads); ok && id.Identity != t.gateway {
		return fmt.Errorf("%w: it was %v, found %v", ErrIdentity, t.gateway, id.Identity)
	}
	switch {
	case auth.Method != message.AuthSharedKeyMIC:
		return fmt.Errorf("%w (%v): %w: want method %d behind EAP, found %d", ErrAuthentication, t.gateway, ErrMethod, message.AuthSharedKeyMIC, auth.Method)
	case !hmac.Equal(auth.Data, m.mac(s, false, t.gateway, t.msk)):
		return fmt.Errorf("%w (%v): the keys of the EAP method differ", ErrAuthentication, t.gateway)
	}
	clear(t.msk)
	t.msk, t.count, t.eapOnly = nil, 0, false
	_, t.another = message.FindNotify(in.Payloads, message.AnotherAuthFollows)
	return nil
}

// noteWindow remembers the peer's SET_WINDOW_SIZE (RFC 7296 §2.3). We send one request at a time all the same.
func (m *Machine) noteWindow(s *ikeSA, in *message.Message) {
	if n, ok := message.FindNotify(in.Payloads, message.SetWindowSize); ok && len(n.Data) == 4 {
		w := uint32(n.Data[0])<<24 | uint32(n.Data[1])<<16 | uint32(n.Data[2])<<8 | uint32(n.Data[3])
		s.peerWindow = max(s.peerWindow, w)
	}
}

// reportEstablished tells the driver and forgets what only the first exchanges needed.
func (m *Machine) reportEstablished(now link.Instant, s *ikeSA, in *message.Message) {
	_, initial := message.FindNotify(in.Payloads, message.InitialContact)
	m.established = true
	m.halfOpenAt = 0
	m.refused = nil
	m.lastHeard = now.Boot
	m.noteProven(m.remote)
	m.takeAdvertisement(in.Payloads)
	m.emit(Established{
		LocalID: m.localID, RemoteID: m.remoteID, Proved: m.proved, Configuration: m.assigned, NAT: m.nat, UDPEncapsulation: m.encapsulate,
		Local: m.local, Remote: m.remote, TCP: m.tcp, InitialContact: initial, Resumed: m.first != nil && m.first.resumed, MOBIKE: m.mobike.on, Suite: s.keys.suite.String(),
		KeyExchanges: s.keys.suite.exchanges(), Downgraded: m.cfg.Proposals.downgraded(s.keys.suite.additional), PPK: m.ppkUsed,
		GatewayAgent: m.agent.supported, Advertisement: m.agent.advertisement,
	})
}
