package ike

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"mipvpn/ipsec/ike/message"
	"mipvpn/tun/link"
)

// Reauthentication (RFC 7296 §2.8.3, RFC 4478): the machine cannot do it, for it is a new IKE SA of a new machine. It says when,
// and the driver makes the new IKE SA with its child SA beside this one, moves the traffic, and deletes this one. A rekeying
// does not put it off.

// ReauthenticationDue tells an initiator to authenticate anew, beside this IKE SA, which the gateway closes at the boot time By; 0
// when only this end's configuration wants it.
type ReauthenticationDue struct{ By time.Duration }

func (ReauthenticationDue) event() {}

// reauthentication is when an end wants the peer's authentication repeated. Boot times, 0 for never.
type reauthentication struct {
	at time.Duration // an initiator is told then
	by time.Duration // a responder closes the IKE SA then
}

const (
	// reauthTime is how much of a gateway's AUTH_LIFETIME is left for the reauthentication, a tenth where that is less.
	reauthTime = 5 * time.Minute
	// leastAuthLifetime is what a shorter AUTH_LIFETIME is taken for, so that a gateway cannot keep its client busy (RFC 4478 §5).
	leastAuthLifetime = 30 * time.Second
	// reauthGrace is how much longer than what it has said a responder waits (§2).
	reauthGrace = 30 * time.Second
)

// startAuthLifetime begins the time until the next authentication: it returns what a responder tells the peer in its answer.
func (m *Machine) startAuthLifetime(now link.Instant) []message.Payload {
	life := m.cfg.Lifetimes.Authentication
	if life <= 0 {
		return nil
	}
	if m.initiator != nil {
		m.reauth.at = m.jittered(now, life)
		return nil
	}
	m.reauth.by = now.Boot + life + reauthGrace
	return []message.Payload{authLifetime(life)}
}

func authLifetime(life time.Duration) message.Notify {
	seconds := uint32(min(life/time.Second, math.MaxUint32))
	return message.Notify{Message: message.AuthLifetime, Data: binary.BigEndian.AppendUint32(nil, seconds)}
}

// noteAuthLifetime takes the gateway's AUTH_LIFETIME, the latest being valid.
func (m *Machine) noteAuthLifetime(now link.Instant, in *message.Message) {
	n, ok := message.FindNotify(in.Payloads, message.AuthLifetime)
	if !ok || len(n.Data) != 4 || m.initiator == nil {
		return
	}
	life := max(time.Duration(binary.BigEndian.Uint32(n.Data))*time.Second, leastAuthLifetime)
	m.reauth.by = now.Boot + life
	at := m.reauth.by - min(reauthTime, life/10) - m.randomUpTo(life/10)
	if own := m.reauth.at; own == 0 || at < own {
		m.reauth.at = at
	}
}

// reauthAt returns when reauthTimeout has something to do, 0 for never.
func (m *Machine) reauthAt() time.Duration {
	switch {
	case !m.running():
		return 0
	case m.initiator != nil:
		return m.reauth.at
	}
	return m.reauth.by
}

func (m *Machine) reauthTimeout(now link.Instant) {
	switch {
	case !due(now, m.reauthAt()):
	case m.initiator != nil:
		m.reauth.at = 0
		m.emit(ReauthenticationDue{By: m.reauth.by})
	default:
		m.reauth.by = 0
		m.Delete(now)
	}
}

// lifetimeTask tells the peer that it has to authenticate anew within a time (RFC 4478 §2).
type lifetimeTask struct{ life time.Duration }

func (lifetimeTask) needed(m *Machine) bool { return m.running() }

func (t lifetimeTask) request(_ link.Instant, _ *Machine, x *exchange) error {
	x.add(authLifetime(t.life))
	return nil
}

func (lifetimeTask) response(link.Instant, *Machine, *exchange, *message.Message) error { return nil }
func (lifetimeTask) abandon(link.Instant, *Machine)                                     {}

// RequireAuthentication tells the peer of a responder to authenticate anew within life (0 for at once), for instance because its
// account has changed; when it has not and half a minute more has passed, the IKE SA is closed. Errors: ErrClosed, and
// ErrUnexpected for an initiator.
func (m *Machine) RequireAuthentication(now link.Instant, life time.Duration) error {
	switch {
	case !m.running():
		return fmt.Errorf("ike: require authentication: %w", ErrClosed)
	case m.responder == nil:
		return fmt.Errorf("ike: require authentication: %w", ErrUnexpected)
	}
	m.reauth.by = now.Boot + max(life, leastAuthLifetime) + reauthGrace
	m.enqueue(now, m.current, newExchange(message.Informational, lifetimeTask{life: max(life, 0)}))
	return m.err
}
