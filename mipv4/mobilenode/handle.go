package mobilenode

import (
	"errors"
	"fmt"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

var (
	// ErrNotOutstanding means that a reply answers no request that is outstanding: it is late, a duplicate, a replay or for
	// somebody else.
	ErrNotOutstanding = errors.New("mipv4/mobilenode: reply answers no outstanding request")
	// ErrSuperseded means that a denial answers an older request than the newest, which has its own answer to come.
	ErrSuperseded = errors.New("mipv4/mobilenode: denial answers a superseded request")
	// ErrMismatch means that a reply's fields do not fit the request with its Identification.
	ErrMismatch = errors.New("mipv4/mobilenode: reply does not fit its request")
	// ErrNotAuthenticated means that an authentication extension is missing, there twice, or not valid.
	ErrNotAuthenticated = errors.New("mipv4/mobilenode: reply is not authenticated")
	// ErrDead means that the machine is dead; Err has the cause.
	ErrDead = errors.New("mipv4/mobilenode: machine is dead")
)

// HandleReply takes the payload of a datagram that came from port 434 of the agent: a reply, or a revocation. An error means that the reply was
// rejected and the machine is as it was; it wraps one of this package's or of package wire's sentinels.
func (m *Machine) HandleReply(now link.Instant, payload []byte) error {
	if m.err != nil {
		return fmt.Errorf("%w: %w", ErrDead, m.err)
	}
	if t, _ := wire.TypeOf(payload); t == wire.TypeRevocation {
		return m.handleRevocation(now, payload)
	}
	reply, err := wire.ParseRegistrationReply(payload)
	if err != nil {
		return err
	}
	i := m.match(reply)
	if i < 0 {
		return fmt.Errorf("%w: code %v, Identification %v, home address %v", ErrNotOutstanding, reply.Code, reply.Identification, reply.HomeAddress)
	}
	if err := m.verifyForeign(payload, reply); err != nil {
		m.suspect(i, reply.Code, err)
		return err
	}
	challenged := m.learnChallenge(reply)
	if reply.Code.ByForeignAgent() {
		return m.foreignDenial(now, i, reply, challenged)
	}
	at, err := m.verifyHome(payload, reply)
	if err != nil {
		m.suspect(i, reply.Code, err)
		return err
	}
	covered := reply.Extensions[:at]
	m.cfg.Association.Learn(m.outstanding[i].stamp, reply.Identification)
	if !reply.Code.Accepted() {
		return m.homeDenial(now, i, reply, covered)
	}
	if err := m.outstanding[i].expects(reply); err != nil {
		return err
	}
	// With timestamps the whole field comes back, unless it was refused (RFC 5944 §5.7.1); with nonces the high half is the next one.
	if sent := m.outstanding[i].stamp.Identification; reply.Identification != sent && m.cfg.Association.ReplayProtection() == auth.Timestamps {
		return fmt.Errorf("%w: expected Identification %v, found %v", ErrMismatch, sent, reply.Identification)
	}
	if j := reply.Extensions.Index(wire.ExtForeignAgentError); j >= 0 && m.throughForeignAgent() {
		status, err := wire.ParseForeignAgentError(reply.Extensions[j])
		if err != nil {
			return err
		}
		return m.notHonoured(now, i, status)
	}
	return m.accept(now, i, reply, covered)
}

// suspect reports a denial of request i that is not authenticated, once a request.
func (m *Machine) suspect(i int, code wire.Code, err error) {
	if !code.Accepted() && !m.outstanding[i].suspected {
		m.outstanding[i].suspected = true
		m.events.Push(Unverified{Code: code, Err: err})
	}
}

// match returns the place of the outstanding request that reply answers by the lower half of its Identification (RFC
// 5944 §3.6.2.1) and its home address, or -1.
func (m *Machine) match(reply *wire.RegistrationReply) int {
	for i := len(m.outstanding) - 1; i >= 0; i-- {
		r := &m.outstanding[i]
		if r.stamp.Identification.Low() == reply.Identification.Low() && (r.home == reply.HomeAddress || r.home.IsUnspecified()) {
			return i
		}
	}
	return -1
}

// verifyForeign checks the Mobile-Foreign Authentication extension where there is an association for it (RFC 5944
// §3.6.2.1 a).
func (m *Machine) verifyForeign(payload []byte, reply *wire.RegistrationReply) error {
	if m.cfg.ForeignAssociation == nil {
		return nil
	}
	const t = wire.ExtMobileForeignAuthentication
	if n := reply.Extensions.Count(t); n != 1 {
		return fmt.Errorf("%w: expected one %v extension, found %d", ErrNotAuthenticated, t, n)
	}
	if err := m.cfg.ForeignAssociation.Verify(payload, reply.Offset(reply.Extensions.Index(t)), t); err != nil {
		return fmt.Errorf("%w: code %v from foreign agent %v: %w", ErrNotAuthenticated, reply.Code, m.cfg.ForeignAgent, err)
	}
	return nil
}

// verifyHome checks the Mobile-Home Authentication extension (RFC 5944 §3.6.2.1 b) and returns its place.
func (m *Machine) verifyHome(payload []byte, reply *wire.RegistrationReply) (int, error) {
	const t = wire.ExtMobileHomeAuthentication
	if n := reply.Extensions.Count(t); n != 1 {
		return 0, fmt.Errorf("%w: code %v: expected one %v extension, found %d", ErrNotAuthenticated, reply.Code, t, n)
	}
	i := reply.Extensions.Index(t)
	if err := m.cfg.Association.Verify(payload, reply.Offset(i), t); err != nil {
		return 0, fmt.Errorf("%w: code %v from home agent %v: %w", ErrNotAuthenticated, reply.Code, reply.HomeAgent, err)
	}
	return i, nil
}

// answered forgets request i and those before it: the home agent has got past them.
func (m *Machine) answered(i int) request {
	r := m.outstanding[i]
	m.outstanding = append(m.outstanding[:0], m.outstanding[i+1:]...)
	return r
}
