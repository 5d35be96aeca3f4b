package foreignagent

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

const (
	// requestTTL is the time to live that a request with the T bit must arrive with (RFC 3024 §4.2.1).
	requestTTL = 255
	// denialInterval is the least time between two denials of one registration (RFC 5944 §3.7.2, RFC 3024 §4.2.1).
	denialInterval = time.Second
	// maxDenials bounds what is remembered for that.
	maxDenials = 1024
)

var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// Request is a registration request as it arrived from a mobile node.
type Request struct {
	// Station is where it came from.
	Station Station
	// HomeAddress is the only home address that the station may register, the zero Addr for any: others are denied with code 65.
	HomeAddress netip.Addr
	// Source is where the datagram came from, Destination where it was sent to: this agent's address or a group.
	Source      netip.AddrPort
	Destination netip.Addr
	// TTL is the IPv4 header's time to live as it arrived.
	TTL uint8
	// Payload is that of the UDP datagram.
	Payload []byte
}

// HandleRequest takes a registration request of a mobile node (RFC 5944 §3.7.2). It returns nil when the request was
// relayed, a *Denied when it was denied, and another error when it was discarded.
func (m *Machine) HandleRequest(now link.Instant, q Request) error {
	if !q.Station.answerable() || q.Source.Port() == 0 {
		return fmt.Errorf("%w: %v at %v", ErrSource, q.Source, q.Station)
	}
	r, err := wire.ParseRegistrationRequest(q.Payload)
	if err != nil {
		return err
	}
	s := station{at: q.Station, source: q.Source, agent: q.Destination}
	if !usable(s.agent) {
		s.agent = m.cfg.Address
	}
	if !r.CoLocated() && r.Extensions.Index(wire.ExtRevocationSupport) >= 0 {
		return fmt.Errorf("%w: home address %v at %v", ErrSupport, r.HomeAddress, q.Station)
	}
	covered, rest, ok := r.Extensions.Authorized()
	if !ok {
		return m.deny(now, r, s, wire.CodeFAPoorlyFormedRequest, errors.New("no Mobile-Home Authentication extension"))
	}
	delivery := rest.Index(wire.ExtEncapsulatingDelivery) >= 0
	if code, err := m.judge(q, r, rest, delivery); code != wire.CodeAccepted {
		return m.deny(now, r, s, code, err)
	}
	key := requestKey(r)
	challenge, code, err := m.checkChallenge(key, r, rest)
	switch {
	case code != wire.CodeAccepted:
		return m.deny(now, r, s, code, err)
	case err != nil:
		return err
	}
	n, ok := forwarded(r, covered, rest)
	if !ok {
		return m.deny(now, r, s, wire.CodeFAPoorlyFormedRequest, errors.New("an extension for somebody else in front of the Mobile-AAA Authentication extension"))
	}
	entry := m.registrations[key]
	if (entry == nil || entry.visitor == nil) && !r.Deregistration() && m.visiting >= m.cfg.MaxVisitors {
		return m.deny(now, r, s, wire.CodeFAInsufficientResources, fmt.Errorf("%d visitors", m.visiting))
	}
	if err := m.room(now, key, s.at); err != nil {
		return m.deny(now, r, s, wire.CodeFAInsufficientResources, err)
	}
	if entry = m.registrations[key]; entry == nil {
		entry = newRegistration(key)
		m.registrations[key] = entry
	}
	wait := PendingTime
	if l := time.Duration(r.Lifetime) * time.Second; l > 0 && l < wait {
		wait = l // RFC 5944 §3.7.2.2
	}
	p := &pending{request: r, station: s, delivery: delivery, until: now.Boot + wait, challenge: challenge, message: bytes.Clone(q.Payload[:r.Offset(n)])}
	m.use(key, challenge)
	entry.pending = append(entry.pending, p)
	m.await(p)
	m.tidy(entry)
	asked, err := m.ask(entry, p, q.Payload)
	switch {
	case err != nil:
		m.removePending(entry, len(entry.pending)-1)
		m.tidy(entry)
		return m.deny(now, r, s, wire.CodeFABadAAAAuthentication, err)
	case !asked:
		m.relay(now, p)
	}
	return nil
}

// room makes room for another pending request of the station, and returns why there is none: the station has as many as one may have.
// Where it has as many for this registration, its oldest of these gives way; where there are as many as there may be of all, the one
// that has waited longest, and is denied. A home agent that is there has answered by then: what waits long in a flood are requests
// that nobody answers.
func (m *Machine) room(now link.Instant, key registrationKey, at Station) error {
	entry, oldest, own := m.registrations[key], 0, 0
	if entry != nil {
		for i, p := range slices.Backward(entry.pending) {
			if p.station.at == at {
				oldest, own = i, own+1
			}
		}
	}
	switch {
	case own == PendingPerRegistration:
		m.removePending(entry, oldest)
	case m.stations[at] >= PendingPerStation:
		return fmt.Errorf("%d pending requests of %v", m.stations[at], at)
	case m.pendings >= m.cfg.MaxPending:
		longest, _ := m.waits.First()
		p := longest.pending[0]
		m.removePending(longest, 0)
		m.tidy(longest)
		_ = m.deny(now, p.request, p.station, wire.CodeFAInsufficientResources, nil)
	}
	return nil
}

// relay sends the part of a request that the mobile node vouches for to the home agent (RFC 5944 §3.7.2.2).
func (m *Machine) relay(now link.Instant, p *pending) {
	r, homeAgent := p.request, requestedHomeAgent(p.request)
	payload := append(make([]byte, 0, len(p.message)+64), p.message...)
	p.message = nil
	payload = m.appendUDPTunnel(payload, r)
	if a := m.homeAgents[homeAgent]; a != nil && !r.Deregistration() {
		payload = m.appendSupport(now, payload, p)
		payload = a.AppendExtension(payload, wire.ExtForeignHomeAuthentication)
	}
	m.transmits.Push(Transmit{
		To: ToHomeAgent, Remote: netip.AddrPortFrom(homeAgent, wire.Port), Payload: payload,
	})
}

// judge returns the code that a request must be denied with and why, CodeAccepted for none (RFC 5944 §3.7.2.1, RFC 3024
// §4.2.1).
func (m *Machine) judge(q Request, r *wire.RegistrationRequest, rest wire.Extensions, delivery bool) (wire.Code, error) {
	if a := m.mobileNodes[r.HomeAddress]; a != nil {
		if n := r.Extensions.Count(wire.ExtMobileForeignAuthentication); n != 1 {
			return wire.CodeFAMobileNodeAuthentication, fmt.Errorf("%w: expected one %v, found %d", ErrAuthentication, wire.ExtMobileForeignAuthentication, n)
		}
		at := r.Extensions.Index(wire.ExtMobileForeignAuthentication)
		if at < len(r.Extensions)-len(rest) {
			return wire.CodeFAMobileNodeAuthentication, fmt.Errorf("%w: %v stands before %v", ErrAuthentication, wire.ExtMobileForeignAuthentication, wire.ExtMobileHomeAuthentication)
		}
		if err := a.Verify(q.Payload, r.Offset(at), wire.ExtMobileForeignAuthentication); err != nil {
			return wire.CodeFAMobileNodeAuthentication, fmt.Errorf("%w: %w", ErrAuthentication, err)
		}
	}
	reverse, homeAgent := r.Flags.Has(wire.FlagReverseTunnel), requestedHomeAgent(r)
	addresses, why := m.judgeAddresses(q, r)
	switch {
	case rest.Index(wire.ExtVendorCritical) >= 0: // this agent knows none (RFC 3115 §2.3)
		return wire.CodeFAVendorFromMobileNode, fmt.Errorf("a %v extension for the foreign agent", wire.ExtVendorCritical)
	case r.Flags.Has(wire.FlagReservedX):
		return wire.CodeFAPoorlyFormedRequest, errors.New("a reserved bit is set")
	case delivery && !reverse:
		return wire.CodeFAPoorlyFormedRequest, errors.New("a delivery style without the T bit (RFC 3024 §3.3)")
	case m.cfg.Revocation && r.CoLocated():
		return wire.CodeFAProhibited, errors.New("a co-located care-of address cannot be revoked (RFC 3543 §4.3.1)")
	case addresses != wire.CodeAccepted:
		return addresses, why
	case !usable(homeAgent) || slices.Contains(m.cfg.OwnAddresses, homeAgent):
		return wire.CodeInvalidHomeAgentAddress, nil
	case !m.permitted(homeAgent):
		return wire.CodeFAProhibited, fmt.Errorf("home agent %v is not permitted", homeAgent)
	case reverse && q.TTL != requestTTL:
		return wire.CodeFATooDistant, fmt.Errorf("time to live %d, expected %d (RFC 3024 §4.2.1)", q.TTL, requestTTL)
	}
	if r.Deregistration() {
		return wire.CodeAccepted, nil
	}
	limit := uint16(m.cfg.MaxLifetime / time.Second)
	switch {
	case r.Lifetime > limit:
		return wire.CodeRequestedLifetimeTooLong, fmt.Errorf("%d s asked for, %d s at most", r.Lifetime, limit)
	case r.CoLocated() && !m.cfg.NoCoLocated:
		return wire.CodeAccepted, nil
	case r.CoLocated() || r.CareOfAddress != m.cfg.CareOfAddress:
		return wire.CodeFAInvalidCareOfAddress, fmt.Errorf("care-of address %v, offered is %v", r.CareOfAddress, m.cfg.CareOfAddress)
	case !m.serves(r.Flags):
		return wire.CodeFAEncapsulationUnavailable, fmt.Errorf("flags %v", r.Flags)
	case delivery && m.cfg.NoEncapsulatingDelivery:
		return wire.CodeFADeliveryStyle, nil
	case !reverse:
		return wire.CodeFAReverseTunnelMandatory, nil
	}
	return wire.CodeAccepted, nil
}

// formOf returns the form of tunnel that the M and G bits ask for.
func formOf(f wire.Flags) tunnel.Encapsulation {
	switch {
	case f.Has(wire.FlagMinimal):
		return tunnel.Minimal
	case f.Has(wire.FlagGRE):
		return tunnel.GRE
	}
	return tunnel.IPIP
}

// serves reports whether the form that the M and G bits ask for is served. Who sets both leaves the choice to the home agent, whose
// reply does not say what it has chosen: that cannot be served.
func (m *Machine) serves(f wire.Flags) bool {
	return !f.Has(wire.FlagMinimal|wire.FlagGRE) && m.cfg.Encapsulations.Has(formOf(f))
}

func (m *Machine) permitted(homeAgent netip.Addr) bool {
	return len(m.cfg.PermittedHomeAgents) == 0 ||
		slices.ContainsFunc(m.cfg.PermittedHomeAgents, func(p netip.Prefix) bool { return p.Contains(homeAgent) })
}

// deny sends a denial to the mobile node (RFC 5944 §3.7.2.3), at most one a second for a registration, and returns it as
// an error.
func (m *Machine) deny(now link.Instant, r *wire.RegistrationRequest, s station, code wire.Code, why error) error {
	d := &Denied{Code: code, HomeAddress: r.HomeAddress, HomeAgent: r.HomeAgent, Err: why}
	if !m.mayDeny(now.Boot, denialKey{requestKey(r), s.at, code}) {
		d.Suppressed = true
		return d
	}
	lifetime := r.Lifetime
	if code == wire.CodeRequestedLifetimeTooLong {
		lifetime = uint16(m.cfg.MaxLifetime / time.Second)
	}
	payload, err := r.Reply(code, lifetime).Append(nil)
	if err != nil {
		return err
	}
	payload = m.appendChallenge(payload, requestKey(r))
	m.toMobileNode(r.HomeAddress, s, payload)
	return d
}

// mayDeny reports whether a denial may be sent now, and remembers it.
func (m *Machine) mayDeny(now time.Duration, key denialKey) bool {
	if last, ok := m.denials[key]; ok && now-last < denialInterval {
		return false
	}
	if len(m.denials) >= maxDenials {
		if now-m.denialsSwept < denialInterval {
			return false // nothing to speak of has become old meanwhile, and a flood shall not have them looked through each time
		}
		m.denialsSwept = now
		maps.DeleteFunc(m.denials, func(_ denialKey, last time.Duration) bool { return now-last >= denialInterval })
		if len(m.denials) >= maxDenials {
			return false
		}
	}
	m.denials[key] = now
	return true
}

// toMobileNode queues a reply with the addresses of RFC 5944 §3.7.2.3. A Mobile-Foreign Authentication extension is added
// where there is a security association.
func (m *Machine) toMobileNode(home netip.Addr, s station, payload []byte) {
	if a := m.mobileNodes[home]; a != nil {
		payload = a.AppendExtension(payload, wire.ExtMobileForeignAuthentication)
	}
	to := home
	if home.IsUnspecified() {
		to = limitedBroadcast
	} else if s.source.Addr() != home && usable(s.source.Addr()) {
		to = s.source.Addr() // a co-located care-of address, which the mobile node has on this link
	}
	m.transmits.Push(Transmit{
		To: ToMobileNode, Station: s.at,
		Local: netip.AddrPortFrom(s.agent, wire.Port), Remote: netip.AddrPortFrom(to, s.source.Port()), Payload: payload,
	})
}
