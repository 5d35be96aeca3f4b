package homeagent

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

// refusalInterval is the least time between two replies to requests for one mobile node that failed authentication.
const refusalInterval = time.Second

// request is a request on its way through the checks.
type request struct {
	*wire.RegistrationRequest
	source        netip.AddrPort
	raw           []byte
	node          *node
	nai           string // the NAI extension's, "" without one
	covered, rest wire.Extensions
	association   *auth.SecurityAssociation // with the mobile node, for the reply
	foreign       *auth.SecurityAssociation // with the foreign agent; nil without one
	revocable     *Revocability             // what the reply says of revocation, nil for nothing
}

// HandleRequest takes a registration request (RFC 5944 §3.8.2). It returns nil when the registration was accepted, or
// when it waits for the answer to a question (PollQuestion); a *Denied when it was answered with a denial, and another error when the request was discarded without an answer: one
// of this package's sentinels, or one of package wire's for what is no well-formed request.
func (m *Machine) HandleRequest(now link.Instant, r Request) error {
	from := r.Source.Addr()
	if err := m.checkSource(r.Source); err != nil {
		return err
	}
	parsed, err := wire.ParseRegistrationRequest(r.Payload)
	if err != nil {
		return err
	}
	q := &request{RegistrationRequest: parsed, source: r.Source, raw: r.Payload, foreign: m.agents[from]}
	if err := m.identify(q); err != nil {
		return err
	}
	if err := m.authenticate(now, q); err != nil {
		return err
	}
	if answered, err := m.checkReplay(now, q); answered {
		return err
	}
	if err := m.checkRate(now, q); err != nil {
		return err
	}
	if err := m.checkForeignHome(q); err != nil {
		return err
	}
	if err := m.checkHomeAgent(q, r.Destination); err != nil {
		return err
	}
	if q.Flags.Has(wire.FlagReservedX) {
		return m.deny(q, wire.CodePoorlyFormedRequest, errors.New("a reserved bit is set"))
	}
	if err := m.checkVendor(q); err != nil {
		return err
	}
	if q.Deregistration() {
		if q.HomeAddress != q.node.home {
			return m.deny(q, wire.CodeProhibited, fmt.Errorf("home address %v is not that of NAI %q", q.HomeAddress, q.nai))
		}
		m.deregister(now, q)
		return nil
	}
	if done, err := m.ask(q); done {
		return err
	}
	return m.register(now, q)
}

// checkSource returns why messages from the source are discarded, nil when they are not.
func (m *Machine) checkSource(source netip.AddrPort) error {
	from := source.Addr()
	switch {
	case m.cfg.Internal && !contains(m.cfg.TrustedNetworks, from):
		return fmt.Errorf("%w: %v is in none of %v", ErrUntrustedSource, from, m.cfg.TrustedNetworks)
	case contains(m.cfg.RefusedNetworks, from):
		return fmt.Errorf("%w: %v", ErrRefusedSource, from)
	case !usable(from) || source.Port() == 0 || from == m.cfg.Address:
		return fmt.Errorf("%w: %v", ErrSource, source)
	}
	return nil
}

// authenticate checks the authorization-enabling extension (RFC 5944 §3.8.2.1 a and d).
func (m *Machine) authenticate(now link.Instant, q *request) error {
	var ok bool
	if q.covered, q.rest, ok = q.Extensions.Authorized(); !ok {
		return fmt.Errorf("%w: home address %v from %v", ErrNotAuthorized, q.HomeAddress, q.source)
	}
	if q.foreign == nil && q.Extensions.Count(wire.ExtForeignHomeAuthentication) > 0 {
		return fmt.Errorf("%w: no security association with %v", ErrForeignHome, q.source.Addr())
	}
	at := len(q.covered) - 1
	extension, err := wire.ParseAuthentication(q.covered[at])
	if err != nil {
		return err
	}
	q.association = q.node.association(extension.SPI)
	if q.association == nil {
		err = fmt.Errorf("%w %d", auth.ErrSPI, extension.SPI)
		q.association = q.node.associations[0]
	} else {
		err = q.association.Verify(q.raw, q.Offset(at), wire.ExtMobileHomeAuthentication)
	}
	if err == nil {
		return nil
	}
	if q.foreign != nil && m.verifyForeignHome(q) != nil {
		return fmt.Errorf("%w: and %w", ErrForeignHome, err)
	}
	n := q.node
	if n.everRefused && now.Since(n.refused) < refusalInterval {
		return fmt.Errorf("%w: home address %v from %v: %w", ErrRateLimited, q.HomeAddress, q.source, err)
	}
	n.refused, n.everRefused = now.Boot, true
	return m.deny(q, wire.CodeMobileNodeAuthentication, err)
}

// checkForeignHome checks the foreign agent's extension where there is a security association (RFC 5944 §3.8.2.1 c).
func (m *Machine) checkForeignHome(q *request) error {
	if q.foreign == nil || q.Deregistration() {
		return nil
	}
	if err := m.verifyForeignHome(q); err != nil {
		return m.deny(q, wire.CodeForeignAgentAuthentication, err)
	}
	return nil
}

// verifyForeignHome wants exactly one Foreign-Home Authentication extension, behind the mobile node's, that is valid.
func (m *Machine) verifyForeignHome(q *request) error {
	if n := q.Extensions.Count(wire.ExtForeignHomeAuthentication); n != 1 {
		return fmt.Errorf("expected one %v extension, found %d", wire.ExtForeignHomeAuthentication, n)
	}
	at := q.Extensions.Index(wire.ExtForeignHomeAuthentication)
	if at < len(q.covered) {
		return fmt.Errorf("%v stands before %v", wire.ExtForeignHomeAuthentication, wire.ExtMobileHomeAuthentication)
	}
	return q.foreign.Verify(q.raw, q.Offset(at), wire.ExtForeignHomeAuthentication)
}

// deregister takes bindings back (RFC 5944 §3.8.2.2).
func (m *Machine) deregister(now link.Instant, q *request) {
	n := q.node
	m.asking.overtake(n, func(p *pending) bool { return q.DeregistersAll() || p.request.CareOfAddress == q.CareOfAddress })
	for i := len(n.bindings) - 1; i >= 0; i-- {
		if b := n.bindings[i]; q.DeregistersAll() || b.careOf == q.CareOfAddress {
			m.remove(b, Deregistered)
			if b.revocable != nil && b.revocable.SPI == 0 && b.revocable.Peer.Addr() != q.source.Addr() {
				m.revoke(now, b, false) // the foreign agent does not see this deregistration
			}
		}
	}
	m.table.set(n.home, n.tunnels())
	if q.source.Addr() == n.home && len(n.bindings) == 0 {
		m.events.Push(Event{Kind: AtHome, HomeAddress: n.home, CareOfAddress: q.CareOfAddress, Tunnel: &Tunnel{}})
	}
	m.reply(q, m.accepted(n), 0, nil, netip.Addr{})
}

// register makes or renews a binding (RFC 5944 §3.8.2.2), if the request can be accommodated.
func (m *Machine) register(now link.Instant, q *request) error {
	if !usable(q.CareOfAddress) || q.CareOfAddress == m.cfg.Address || q.CareOfAddress == q.HomeAddress {
		return m.deny(q, wire.CodePoorlyFormedRequest, fmt.Errorf("care-of address %v", q.CareOfAddress))
	}
	if contains(m.cfg.HomeNetworks, q.CareOfAddress) {
		// It would be tunnelled again, and in the worst case for ever (RFC 2003 §3.2).
		return m.deny(q, wire.CodeProhibited, fmt.Errorf("care-of address %v is in a home network", q.CareOfAddress))
	}
	t, udp, code, err := m.chooseTunnel(q)
	if code != wire.CodeAccepted {
		return m.deny(q, code, err)
	}
	t.Broadcasts = m.broadcastsTo(q)
	n := q.node
	old := n.binding(q.CareOfAddress)
	others := len(n.bindings)
	if old != nil {
		others--
	}
	keep := q.Flags.Has(wire.FlagSimultaneous) && m.simultaneous(n)
	if most := m.limits(n).Bindings; keep && others+1 > most {
		return m.deny(q, wire.CodeTooManyBindings, fmt.Errorf("%d bindings are allowed", most))
	}
	after := m.count + 1
	if old != nil {
		after--
	}
	if !keep {
		after -= others
	}
	if m.cfg.MaxBindings > 0 && after > m.cfg.MaxBindings {
		return m.deny(q, wire.CodeInsufficientResources, fmt.Errorf("%d bindings are held", m.count))
	}
	if code, err := m.assign(now, q); code != wire.CodeAccepted {
		return m.deny(q, code, err)
	}
	m.homes.wake(n)
	changed := false
	if !keep {
		for i := len(n.bindings) - 1; i >= 0; i-- {
			if b := n.bindings[i]; b != old {
				m.remove(b, Replaced)
				if b.revocable != nil && b.revocable.SPI == 0 {
					m.revoke(now, b, false) // the mobile node has left that foreign agent
				}
				changed = true
			}
		}
	}
	kind := Renewed
	b := old
	if b == nil {
		b = &binding{node: n, careOf: q.CareOfAddress}
		b.ending.Of = b
		n.bindings = append(n.bindings, b)
		m.count++
		kind, changed = Registered, true
	}
	if b.tunnel == nil || !b.tunnel.same(t) && !t.continues(b.tunnel) {
		b.tunnel, changed = t, true
	}
	b.identification, b.udpReply = q.Identification, udp
	q.revocable = m.revocable(now, q)
	b.revocable, b.answered = q.revocable, now.Boot
	m.revocations.cancel(n.home, b.careOf)
	m.schedule(b, now.Boot, m.grant(n, q.Lifetime))
	if changed {
		m.table.set(n.home, n.tunnels())
	}
	m.touch(n)
	m.event(b, kind)
	m.reply(q, m.accepted(n), b.granted, udp, b.tunnel.Switched)
	return nil
}

// continues reports whether t, a tunnel that is half bound, asks for what old has already learnt the port of.
func (t *Tunnel) continues(old *Tunnel) bool {
	return t.HalfBound() && old.Encapsulation == tunnel.UDP && old.Remote.Addr() == t.Remote.Addr() && old.ReverseTunnel == t.ReverseTunnel && old.Broadcasts == t.Broadcasts
}
