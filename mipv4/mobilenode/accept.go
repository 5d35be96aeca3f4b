package mobilenode

import (
	"fmt"
	"time"

	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

// accept takes a verified reply with code 0 or 1 to request i. covered are the extensions that the home agent vouches
// for.
func (m *Machine) accept(now link.Instant, i int, reply *wire.RegistrationReply, covered wire.Extensions) error {
	r := m.outstanding[i]
	switched, err := r.zero.confirmed(reply.Extensions, covered)
	if err != nil {
		return m.notUnderstood(now, i, reply, err)
	}
	granted := min(r.lifetime, reply.Lifetime) // RFC 5944 §3.4
	v := VerifiedReply{
		origin:    m.cfg.Origin,
		homeAgent: reply.HomeAgent, homeAddress: reply.HomeAddress, careOfAddress: r.careOf,
		code: reply.Code, sentAt: r.sentAt, receivedAt: now.Boot,
		trustedNetwork: trusted(covered) && !m.cfg.aside(), strongKey: m.cfg.Association.Strong(),
		lifetime: time.Duration(granted) * time.Second,
		tunnel:   m.grantedTunnel(r, covered),
		nat:      throughNAT(r, covered) && !m.cfg.aside(),
	}
	ends := granted != wire.LifetimeInfinite
	if r.purpose == register && granted > 0 && ends && now.Since(r.sentAt) >= v.lifetime {
		return fmt.Errorf("%w: its lifetime of %v has passed since it was asked for", ErrNotOutstanding, v.lifetime)
	}
	m.answered(i)
	m.cfg.Association.Accepted(r.stamp)
	m.settle(r, reply)
	if r.series == m.series.number {
		m.endSeries()
	}
	if m.cfg.AtHome && r.purpose == register {
		m.unbind()
		m.bound, m.binding = true, v
		m.events.Push(Accepted{Reply: v})
		return nil
	}
	if r.purpose != register || granted == 0 {
		m.unbind()
		m.events.Push(Deregistered{Reply: v})
		return nil
	}
	if !v.tunnel.UDP() && m.cfg.Encapsulation == EncapsulationUDP {
		m.unbind()
		m.events.Push(refusal(reply.Code, m.homeAgent, false, false, "it grants no UDP tunnelling (RFC 3519), which the configuration demands"))
		m.start(now, deregister)
		return nil
	}
	if v.tunnel.UDP() && switched.IsValid() {
		return m.contradicts(now, r, reply)
	}
	v.tunnel.Switched = switched
	if m.withoutSwitching(now, r, v.tunnel) {
		return nil
	}
	m.remember(now, r)
	m.agree(covered)
	v.switchReason = m.whySwitched(r, v.tunnel)
	if v.tunnelReason = m.whyTunnel(r, covered); switched.IsValid() {
		v.tunnelReason = v.switchReason
	}
	m.bound, m.binding = true, v
	m.disarm(timerRenew)
	m.disarm(timerExpire)
	if ends {
		// Counted from sending, so that the home agent's own count never ends first (RFC 5944 §3.6.2.2).
		m.arm(timerExpire, r.sentAt+v.lifetime)
	}
	m.armRenewal(0)
	m.events.Push(Accepted{Reply: v})
	return nil
}

// trusted reports whether the TNC extension is among those that the authenticator covers (RFC 5265 §3.4).
func trusted(covered wire.Extensions) bool {
	for _, e := range covered {
		if wire.IsTrustedNetworksConfigured(e) {
			return true
		}
	}
	return false
}

// grantedTunnel returns the tunnel for the data of a registration that has been accepted. UDP tunnelling takes both our
// request and the home agent's assent, which it must vouch for (RFC 3519 §4.4).
func (m *Machine) grantedTunnel(r request, covered wire.Extensions) Tunnel {
	switch r.offer {
	case offerMinimal:
		return Tunnel{Encapsulation: tunnel.Minimal}
	case offerGRE:
		return Tunnel{Encapsulation: tunnel.GRE, GRE: m.cfg.GRE}
	}
	reply, ok := tunnelReply(covered)
	if !r.offer.udp() || !ok || !reply.Assents() {
		return Tunnel{}
	}
	if reply.KeepAlive == 0 {
		reply.KeepAlive = DefaultKeepAlive
	}
	return Tunnel{Encapsulation: tunnel.UDP, KeepAlive: reply.KeepAlive, HalfBound: m.cfg.halfBinds()}
}

// throughNAT reports whether the home agent vouches for a NAT on the way.
func throughNAT(r request, covered wire.Extensions) bool {
	reply, ok := tunnelReply(covered)
	return r.offer.udp() && ok && reply.Assents() && !reply.Forced
}

func tunnelReply(covered wire.Extensions) (wire.UDPTunnelReply, bool) {
	i := covered.Index(wire.ExtUDPTunnelReply)
	if i < 0 {
		return wire.UDPTunnelReply{}, false
	}
	reply, err := wire.ParseUDPTunnelReply(covered[i])
	return reply, err == nil
}
