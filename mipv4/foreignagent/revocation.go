package foreignagent

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

const (
	// revocationInterval is the time to the first retransmission of a revocation, and the least time between two messages
	// about one registration (RFC 3543 §3.3, §4.2.3.1). It doubles up to maxRevocationInterval.
	revocationInterval    = time.Second
	maxRevocationInterval = 32 * time.Second
	// maxRevocations is how often a revocation is sent.
	maxRevocations = 7
)

// Reasons for which revocation messages are discarded.
var (
	// ErrRevocation: a revocation of a registration that was made without revocation support, or that is none of this agent's
	// (RFC 3543 §4.2.2.2).
	ErrRevocation = errors.New("foreignagent: revocation of no registration that can be revoked")
	// ErrReplay: a revocation that is not later than the registration, or that comes back to who sent it (RFC 3543 §3.5).
	ErrReplay = errors.New("foreignagent: replayed or reflected revocation")
	// ErrNotRevoked: an acknowledgement of no revocation that waits for one (RFC 3543 §3.5).
	ErrNotRevoked = errors.New("foreignagent: acknowledgement of no revocation")
	// ErrSupport: a mobile node says in a request for this agent's care-of address that it supports revocation: only mobile nodes
	// with co-located care-of addresses may (RFC 3543 §4.2.1).
	ErrSupport = errors.New("foreignagent: Revocation Support extension of a mobile node without a co-located care-of address")
)

// revocability is what was agreed about the revocation of a registration (RFC 3543 §4.2.1).
type revocability struct {
	inform         bool   // the home agent says whether the mobile node is told (I bit)
	sent, received uint32 // the timestamps of both Revocation Support extensions
}

// revocation is one that waits for the home agent's acknowledgement.
type revocation struct {
	association *auth.SecurityAssociation
	station     Station
	inform      bool // I bit: the home agent is asked whether the mobile node is to be told
	identifier  uint32
	sent        int           // transmissions
	next        time.Duration // boot time of the next one
	interval    time.Duration
	ends        bool          // the registration would have ended at until
	until       time.Duration // boot time
}

// appendSupport appends the Revocation Support extension to a request that is relayed, where the home agent's and this agent's
// registrations can be revoked (RFC 3543 §3.2), and notes the timestamp in p. It stands in front of the authentication.
func (m *Machine) appendSupport(now link.Instant, payload []byte, p *pending) []byte {
	if !m.cfg.Revocation || p.request.CoLocated() {
		return payload
	}
	p.stamp, p.supported = wire.RevocationTime(wire.IdentificationAt(now.Wall)), true
	e := wire.RevocationSupport{Inform: true, Timestamp: p.stamp}.Extension()
	return append(append(payload, uint8(e.Type), uint8(len(e.Data))), e.Data...)
}

// agree notes what an accepted reply says of revocation. The extension counts in front of the home agent's authentication alone.
func (m *Machine) agree(now link.Instant, r *registration, p *pending, rest wire.Extensions) {
	if r.visitor == nil || p.request.Deregistration() {
		return
	}
	r.revocable, r.revocation, r.answered = nil, nil, now.Boot
	if !p.supported {
		return
	}
	protected := rest[:max(0, rest.Index(wire.ExtForeignHomeAuthentication))]
	i := protected.Index(wire.ExtRevocationSupport)
	if i < 0 {
		return
	}
	s, err := wire.ParseRevocationSupport(protected[i])
	if err != nil {
		return // skipped as if it were not known
	}
	r.revocable = &revocability{inform: s.Inform, sent: p.stamp, received: s.Timestamp}
}

// strike takes a visitor off by this agent's will: the home agent is told where that was agreed, and the mobile node unless the
// home agent is to say so (RFC 3543 §4.2.3.1).
func (m *Machine) strike(now link.Instant, r *registration) {
	station := r.visitor.Station
	m.removeVisitor(r, Dropped)
	association := m.homeAgents[r.key.homeAgent]
	if r.revocable == nil || association == nil {
		m.inform(station)
		return
	}
	if !r.revocable.inform {
		m.inform(station)
	}
	r.revocation = &revocation{
		association: association, station: station, inform: r.revocable.inform, identifier: r.revocable.sent,
		next: max(now.Boot, r.answered+revocationInterval), interval: revocationInterval,
		ends: r.lifetime != wire.LifetimeInfinite, until: r.until,
	}
	m.sendRevocation(now, r)
}

// inform tells a mobile node that it is no longer registered: by an advertisement with the sequence number 0, as after a reboot
// (RFC 3543 §4.1). It reports whether that is possible: a VPN session has no advertisements.
func (m *Machine) inform(s Station) bool {
	if s.Hardware.IsZero() {
		return false
	}
	m.sendAdvertisementNumbered(s.Hardware, 0)
	return true
}

// sendRevocation sends the revocation of a registration when it is due, with a timestamp of its own (RFC 3543 §4.2.3.1), and
// gives up when it was sent often enough or the registration would have ended. The caller tidies.
func (m *Machine) sendRevocation(now link.Instant, r *registration) {
	v := r.revocation
	switch {
	case v.next > now.Boot:
		return
	case v.sent == maxRevocations || v.ends && v.until <= now.Boot:
		r.revocation = nil
		return
	}
	if s := wire.RevocationTime(wire.IdentificationAt(now.Wall)); wire.RevocationAfter(s, v.identifier) {
		v.identifier = s
	} else {
		v.identifier++ // the wall clock was set back
	}
	message, err := (&wire.Revocation{
		Inform: v.inform, HomeAddress: r.key.home, HomeDomain: r.key.homeAgent, ForeignDomain: m.cfg.CareOfAddress, Identifier: v.identifier,
	}).Append(make([]byte, 0, 64))
	if err == nil { // the addresses are IPv4, so that nothing can fail
		message = v.association.AppendExtension(message, wire.ExtForeignHomeAuthentication)
		m.transmits.Push(Transmit{To: ToHomeAgent, Remote: netip.AddrPortFrom(r.key.homeAgent, wire.Port), Payload: message})
	}
	v.sent++
	v.next, v.interval = now.Boot+v.interval, min(2*v.interval, maxRevocationInterval)
}

// HandleRevocation takes a Registration Revocation of a home agent, or the acknowledgement of one of this agent's (RFC 3543
// §4.2.2.2, §3.5), that arrived at the care-of address from source. It returns nil when the message was obeyed; otherwise it was
// discarded: the error wraps one of this package's sentinels, or one of package wire's for what is no well-formed message.
func (m *Machine) HandleRevocation(now link.Instant, source netip.AddrPort, payload []byte) error {
	if !usable(source.Addr()) || source.Port() == 0 {
		return fmt.Errorf("%w: %v", ErrSource, source)
	}
	if t, _ := wire.TypeOf(payload); t == wire.TypeRevocationAcknowledgment {
		return m.acknowledged(source, payload)
	}
	v, err := wire.ParseRevocation(payload)
	if err != nil {
		return err
	}
	association := m.homeAgents[v.HomeDomain]
	switch {
	case !v.ByHomeAgent:
		return fmt.Errorf("%w: home address %v from %v, A bit of a foreign agent", ErrReplay, v.HomeAddress, source)
	case association == nil || v.ForeignDomain != m.cfg.CareOfAddress:
		return fmt.Errorf("%w: home address %v, home domain address %v, foreign domain address %v", ErrRevocation, v.HomeAddress, v.HomeDomain, v.ForeignDomain)
	}
	if err := verifyAlone(association, payload, v.Extensions, v.Offset); err != nil {
		return fmt.Errorf("%w: revocation of %v from %v: %w", ErrAuthentication, v.HomeAddress, source, err)
	}
	informed := false
	// Without a visitor there is nothing to do, but the home agent is told: its revocation may be a retransmission.
	if r := m.registrations[keyOf(v.HomeAddress, v.HomeDomain)]; r != nil && r.visitor != nil {
		switch a := r.revocable; {
		case a == nil:
			return fmt.Errorf("%w: home address %v, home agent %v", ErrRevocation, v.HomeAddress, v.HomeDomain)
		case !wire.RevocationAfter(v.Identifier, a.received):
			return fmt.Errorf("%w: home address %v, identifier %08x, the registration's is %08x", ErrReplay, v.HomeAddress, v.Identifier, a.received)
		case v.Inform || !a.inform: // where it was not agreed that the home agent says, mobile nodes are told
			informed = m.inform(r.visitor.Station)
		}
		m.removeVisitor(r, Revoked)
		m.tidy(r)
	}
	answer, err := (&wire.RevocationAcknowledgment{Inform: informed && v.Inform, HomeAddress: v.HomeAddress, Identifier: v.Identifier}).Append(make([]byte, 0, 64))
	if err != nil {
		return err
	}
	answer = association.AppendExtension(answer, wire.ExtForeignHomeAuthentication)
	m.transmits.Push(Transmit{To: ToHomeAgent, Remote: source, Payload: answer})
	return nil
}

// acknowledged takes the acknowledgement of a revocation: it says whether the mobile node is to be told, if it was asked.
func (m *Machine) acknowledged(source netip.AddrPort, payload []byte) error {
	k, err := wire.ParseRevocationAcknowledgment(payload)
	if err != nil {
		return err
	}
	r := m.registrations[keyOf(k.HomeAddress, source.Addr())]
	if r == nil || r.revocation == nil || r.revocation.identifier != k.Identifier {
		return fmt.Errorf("%w: home address %v, identifier %08x, from %v", ErrNotRevoked, k.HomeAddress, k.Identifier, source)
	}
	v := r.revocation
	if err := verifyAlone(v.association, payload, k.Extensions, k.Offset); err != nil {
		return fmt.Errorf("%w: acknowledgement for %v from %v: %w", ErrAuthentication, k.HomeAddress, source, err)
	}
	if v.inform && k.Inform {
		m.inform(v.station)
	}
	r.revocation = nil
	m.tidy(r)
	return nil
}

// verifyAlone wants exactly one valid Foreign-Home Authentication extension.
func verifyAlone(a *auth.SecurityAssociation, message []byte, x wire.Extensions, offset func(int) int) error {
	const t = wire.ExtForeignHomeAuthentication
	if n := x.Count(t); n != 1 {
		return fmt.Errorf("expected one %v extension, found %d", t, n)
	}
	return a.Verify(message, offset(x.Index(t)), t)
}
