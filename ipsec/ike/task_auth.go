package ike

import (
	"fmt"

	"crypto/hmac"

	"mipvpn/ipsec/ike/message"
	"mipvpn/tun/link"
)

// authTask is the authentication in IKE_AUTH by shared keys, both roles (RFC 7296 §2.15).
type authTask struct{}

func (t *authTask) needed(*Machine) bool { return true }

func (t *authTask) request(_ link.Instant, m *Machine, x *exchange) error {
	k, f, c := x.sa.keys, m.first, m.initiator
	if len(c.Rounds) != 1 || len(c.Rounds[0].PSK) == 0 || len(c.Accept.PSK) == 0 {
		return fmt.Errorf("%w: want one round with a PSK", ErrAuthentication)
	}
	x.add(message.IDi{Identity: m.localID})
	if c.InitialContact {
		x.add(message.Notify{Message: message.InitialContact})
	}
	if !c.RemoteID.IsZero() {
		x.add(message.IDr{Identity: c.RemoteID})
	}
	x.add(message.Auth{
		Method: message.AuthSharedKeyMIC,
		Data:   f.authOf(k, c.Rounds[0].PSK, f.request, f.nr, k.pi, m.localID),
	})
	return nil
}

func (t *authTask) response(now link.Instant, m *Machine, x *exchange, in *message.Message) error {
	authFailed := message.Notify{Message: message.AuthenticationFailed}
	id, okID := message.Find[message.IDr](in.Payloads)
	auth, okAuth := message.Find[message.Auth](in.Payloads)
	if !okID || !okAuth {
		// The sender holds the keys of IKE_SA_INIT, so that no better answer can come on this SA (RFC 7296 §2.21.2).
		if n, ok := message.ErrorNotify(in.Payloads); ok {
			return fatal(notifyError(message.IKEAuth, n))
		}
		return fatal(fmt.Errorf("%w: want IDr and AUTH in the IKE_AUTH response", ErrInvalidAnswer), deleteIKE)
	}
	c, k, f := m.initiator, x.sa.keys, m.first
	if !c.RemoteID.IsZero() && id.Identity != c.RemoteID {
		return fatal(fmt.Errorf("%w: want %v, found %v", ErrIdentity, c.RemoteID, id.Identity), authFailed)
	}
	if err := f.checkResumed(id.Identity); err != nil {
		return fatal(err, authFailed)
	}
	if auth.Method != message.AuthSharedKeyMIC {
		return fatal(fmt.Errorf("%w: want method %d (shared key), found %d", ErrAuthentication, message.AuthSharedKeyMIC, auth.Method), authFailed)
	}
	if !hmac.Equal(auth.Data, f.authOf(k, c.Accept.PSK, f.response, f.ni, k.pr, id.Identity)) {
		return fatal(fmt.Errorf("%w (%v): the pre-shared keys differ", ErrAuthentication, id.Identity), authFailed)
	}
	m.remoteID = id.Identity
	m.noteWindow(x.sa, in)
	m.establish(now, x.sa, saEstablished)
	return nil
}

func (t *authTask) abandon(link.Instant, *Machine) {}

// answer verifies the initiator and returns the responder's IDr and AUTH.
func (t *authTask) answer(m *Machine, s *ikeSA, in *message.Message) ([]message.Payload, error) {
	id, okID := message.Find[message.IDi](in.Payloads)
	if !okID {
		return nil, &refusal{notify: message.Notify{Message: message.InvalidSyntax}, cause: fmt.Errorf("%w: no IDi", ErrUnexpected)}
	}
	wrong := func(err error) error {
		return &refusal{notify: message.Notify{Message: message.AuthenticationFailed}, cause: err}
	}
	auth, okAuth := message.Find[message.Auth](in.Payloads)
	if !okAuth || auth.Method != message.AuthSharedKeyMIC {
		return nil, wrong(fmt.Errorf("%w (%v): want AUTH with a shared key, found method %d", ErrAuthentication, id.Identity, auth.Method))
	}
	wanted, _ := message.Find[message.IDr](in.Payloads)
	if err := m.first.checkResumed(id.Identity); err != nil {
		return nil, wrong(err)
	}
	// Of a resumed peer too: who has been struck off gets no further with a ticket.
	required, err := m.responder.Policy.Authentication(wanted.Identity, id.Identity)
	if err == nil {
		err = required.complete(m.localID)
	}
	if err != nil {
		return nil, wrong(fmt.Errorf("%w (%v): %w", ErrAuthentication, id.Identity, err))
	}
	f, k := m.first, s.keys
	f.required = required
	if len(required.Rounds) != 1 || len(required.Rounds[0].PSK) == 0 || len(required.Own.PSK) == 0 {
		return nil, wrong(fmt.Errorf("%w (%v): want one round with a PSK", ErrAuthentication, id.Identity))
	}
	if !hmac.Equal(auth.Data, f.authOf(k, required.Rounds[0].PSK, f.request, f.nr, k.pi, id.Identity)) {
		return nil, wrong(fmt.Errorf("%w (%v): the pre-shared keys differ", ErrAuthentication, id.Identity))
	}
	if f.resumed {
		if err := m.responder.Tickets.Spend(f.ticket); err != nil {
			return nil, wrong(fmt.Errorf("%w: %w", errSpent, err))
		}
	}
	m.remoteID = id.Identity
	m.noteWindow(s, in)
	return []message.Payload{
		message.IDr{Identity: m.localID},
		message.Auth{
			Method: message.AuthSharedKeyMIC,
			Data:   f.authOf(k, required.Own.PSK, f.response, f.ni, k.pr, m.localID),
		},
	}, nil
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
	m.emit(Established{
		LocalID: m.localID, RemoteID: m.remoteID, Configuration: m.assigned, NAT: m.nat, UDPEncapsulation: m.encapsulate,
		Local: m.local, Remote: m.remote, InitialContact: initial, Resumed: m.first != nil && m.first.resumed, MOBIKE: m.mobike.on, Suite: s.keys.suite.String(),
	})
}
