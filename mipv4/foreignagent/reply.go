package foreignagent

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

// HandleReply takes a registration reply that arrived at the care-of address from source (RFC 5944 §3.7.3). It returns
// nil when the reply was relayed; otherwise it was discarded, and with a *Denied the mobile node was told.
func (m *Machine) HandleReply(now link.Instant, source netip.AddrPort, payload []byte) error {
	reply, err := wire.ParseRegistrationReply(payload)
	if err != nil {
		return err
	}
	entry, at := m.find(reply, source)
	if entry == nil {
		return fmt.Errorf("%w: home address %v, Identification %v, from %v", ErrNoPending, reply.HomeAddress, reply.Identification, source)
	}
	p := entry.pending[at]
	covered, rest, ok := reply.Extensions.Authorized()
	if !ok {
		m.answerPending(entry, at)
		m.tidy(entry)
		return m.deny(now, p.request, p.station, wire.CodeFAPoorlyFormedReply, errors.New("no Mobile-Home Authentication extension"))
	}
	if err := m.verifyHomeAgent(entry.key.homeAgent, reply, rest, payload); err != nil {
		m.answerPending(entry, at)
		m.tidy(entry)
		return m.deny(now, p.request, p.station, wire.CodeFAHomeAgentAuthentication, err)
	}
	if reply.Extensions.Index(wire.ExtVendorCritical) >= 0 { // none is known here, and who passes replies on must know (RFC 3115 §2.3)
		m.answerPending(entry, at)
		m.tidy(entry)
		return m.deny(now, p.request, p.station, wire.CodeFAVendorFromHomeAgent, fmt.Errorf("a %v extension in the reply", wire.ExtVendorCritical))
	}
	if code := checkAssigned(p.request, reply); code != wire.CodeAccepted {
		m.answerPending(entry, at)
		m.tidy(entry)
		return m.deny(now, p.request, p.station, code, nil)
	}
	m.answerPending(entry, at)
	wrong := wrongChallenge(p, rest)
	if reply.Code.Accepted() && !wrong {
		named := m.named(entry, reply.HomeAddress)
		m.accept(now, named, p, reply, rest)
		m.agree(now, named, p, rest)
		m.tidy(named)
	}
	m.tidy(entry)
	relayed := append(make([]byte, 0, len(payload)+64), payload[:reply.Offset(len(covered))]...)
	if wrong {
		e := wire.ForeignAgentError(wire.CodeFAWrongChallenge)
		relayed = append(append(relayed, uint8(e.Type), uint8(len(e.Data))), e.Data...)
	}
	relayed = m.appendChallenge(relayed, entry.key)
	m.toMobileNode(reply.HomeAddress, p.station, relayed)
	return nil
}

// find returns the registration and the index of the pending request that the reply answers: that of the same home
// address to the home agent that it came from, with the same low half of the Identification (RFC 5944 §3.7.3.1).
func (m *Machine) find(reply *wire.RegistrationReply, source netip.AddrPort) (*registration, int) {
	if source.Port() != wire.Port {
		return nil, 0
	}
	for _, entry := range []*registration{m.registrations[keyOf(reply.HomeAddress, source.Addr())], m.findUnnamed(reply, source.Addr())} {
		if entry == nil {
			continue
		}
		for i := len(entry.pending) - 1; i >= 0; i-- {
			if entry.pending[i].question == 0 && entry.pending[i].request.Identification.Low() == reply.Identification.Low() {
				return entry, i
			}
		}
	}
	return nil, 0
}

// verifyHomeAgent wants exactly one valid Foreign-Home Authentication extension, behind the home agent's, where there is
// a security association and the reply has a lifetime (RFC 5944 §3.7.1, §3.7.3.1).
func (m *Machine) verifyHomeAgent(homeAgent netip.Addr, reply *wire.RegistrationReply, rest wire.Extensions, payload []byte) error {
	a := m.homeAgents[homeAgent]
	if a == nil || reply.Lifetime == 0 {
		return nil
	}
	if n := reply.Extensions.Count(wire.ExtForeignHomeAuthentication); n != 1 {
		return fmt.Errorf("%w: expected one %v, found %d", ErrAuthentication, wire.ExtForeignHomeAuthentication, n)
	}
	at := reply.Extensions.Index(wire.ExtForeignHomeAuthentication)
	if at < len(reply.Extensions)-len(rest) {
		return fmt.Errorf("%w: %v stands before %v", ErrAuthentication, wire.ExtForeignHomeAuthentication, wire.ExtMobileHomeAuthentication)
	}
	if err := a.Verify(payload, reply.Offset(at), wire.ExtForeignHomeAuthentication); err != nil {
		return fmt.Errorf("%w: %w", ErrAuthentication, err)
	}
	return nil
}

// handoverTime is how long after a registration through another interface of the mobile node packets from the former one are
// taken: the mobile node learns of the registration only from the reply, and sends there until then.
const handoverTime = time.Second

// accept brings the visitor list up to date after a registration was accepted (RFC 5944 §3.7.3.2).
func (m *Machine) accept(now link.Instant, r *registration, p *pending, reply *wire.RegistrationReply, rest wire.Extensions) {
	if p.request.Deregistration() || reply.Lifetime == 0 {
		mine := p.request.CareOfAddress == m.cfg.CareOfAddress || p.request.DeregistersAll() || p.request.CoLocated()
		if r.visitor != nil && mine {
			m.removeVisitor(r, Departed)
		}
		return
	}
	r.lifetime = min(reply.Lifetime, p.request.Lifetime, uint16(m.cfg.MaxLifetime/time.Second))
	r.until = now.Boot + time.Duration(r.lifetime)*time.Second
	kind := Renewed
	if r.visitor == nil {
		kind = Arrived
		m.visiting++
	}
	form, keepAlive := m.tunnelOf(p.request, rest)
	r.keepAlive, r.keepAt = keepAlive, now.Boot+keepAlive
	v := r.visitor
	if v == nil || v.Station != p.station.at || v.Encapsulating != p.delivery || v.CoLocated != p.request.CoLocated() ||
		v.Encapsulation != form {
		v = &Visitor{
			Home: r.key.home, HomeAgent: r.key.homeAgent, Station: p.station.at,
			Encapsulating: p.delivery, CoLocated: p.request.CoLocated(), Encapsulation: form,
		}
		if former := r.visitor; former != nil && former.Station != v.Station {
			v.Former, v.FormerUntil = former.Station, now.Boot+handoverTime
		}
		r.visitor = v
		m.table.set(r.key.home, r.key.homeAgent, v)
	}
	m.events.Push(Event{Kind: kind, Visitor: v, Lifetime: r.lifetime})
}

// HandleUnreachable takes what an ICMP destination unreachable said about a datagram sent to the home agent's port 434,
// with the ICMP code, and tells the mobile nodes whose requests are pending there with codes 80 to 88 (RFC 5944 §3.7.3).
func (m *Machine) HandleUnreachable(now link.Instant, homeAgent netip.Addr, icmpCode uint8) {
	code := wire.CodeFAHomeAgentUnreachable
	switch icmpCode {
	case tunnel.CodeNetUnreachable:
		code = wire.CodeFAHomeNetworkUnreachable
	case tunnel.CodeHostUnreachable:
		code = wire.CodeFAHomeAgentHostUnreachable
	case tunnel.CodePort:
		code = wire.CodeFAHomeAgentPortUnreachable
	}
	for _, r := range m.waits.All() {
		if r.key.homeAgent != homeAgent {
			continue
		}
		told := r.pending
		m.removeAllPending(r)
		m.tidy(r)
		for _, p := range slices.Backward(told) { // of a station's the newest is denied: the others are too close to that (mayDeny)
			_ = m.deny(now, p.request, p.station, code, nil)
		}
	}
}
