package mobilenode

import (
	"fmt"
	"time"

	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

// RefusalTime is how long a home agent is believed to refuse what it has refused of UDP tunnelling. The renewal after that
// asks for all of it again.
const RefusalTime = 24 * time.Hour

// Refusals is what one home agent has refused of UDP tunnelling (RFC 3519 §4.6.1). Machines that register with that home
// agent share one, so that only the first of them is refused; it belongs to their goroutine. The zero value knows of
// nothing.
//
// Only a denial is remembered, and only when the home agent then accepted less. A home agent that knows no UDP tunnelling
// skips the question, and one that sees no need of it declines in its reply: asking these again costs nothing.
type Refusals struct {
	offer offer         // the most that was accepted; offerForcedUDP while nothing is known
	code  wire.Code     // of the denial of more
	since time.Duration // boot time of the acceptance
	// unswitched says that zero-overhead tunnelling was asked for in vain where there was no NAT, at the boot time unswitchedAt.
	unswitched   bool
	unswitchedAt time.Duration
}

// open settles what a series that registers asks for first. Only a renewal asks for what may be refused again: the binding
// that it has goes on while the home agent is asked a second time.
func (m *Machine) open(now link.Instant) {
	m.openTunnel(now)
	m.openSwitching(now)
}

func (m *Machine) openTunnel(now link.Instant) {
	m.offer = m.most
	k := m.cfg.Refusals
	if m.cfg.Encapsulation == EncapsulationUDP || k.offer <= m.most || m.bound && now.Since(k.since) >= RefusalTime {
		return
	}
	m.offer = k.offer
}

// offerOther changes the tunnel that is asked for after the denial of request r, and reports whether there was another one
// left and what is asked for now. A home agent that does not allow forced UDP tunnelling, or none at all, says 129 (RFC
// 3519 §3.1.1, §4.6.1); one that reads the extension differently 134, one without the encapsulation 142; a home agent without
// minimal or GRE encapsulation says 139, a foreign agent 72 (RFC 3024 §3.4). IP-in-IP all must have (RFC 5944 §4.1).
func (m *Machine) offerOther(r request, code wire.Code) (string, bool) {
	if m.cfg.Encapsulation == EncapsulationUDP || m.offer != r.offer {
		return "", false
	}
	refused := &m.series.refused
	switch {
	case r.offer == offerMinimal || r.offer == offerGRE:
		m.offer = offerIPIP
		refused.offer, refused.code = r.offer, code
		return "IP-in-IP is asked for now", true
	case r.offer == offerIPIP:
		if refused.code != 0 || m.cfg.Refusals.offer != offerIPIP || m.most >= offerMinimal {
			return "", false
		}
		// It was asked for no UDP tunnel because it had refused one. Behind a NAT that cannot work.
		m.cfg.Refusals.forget()
		m.offer = m.most
		return "UDP tunnelling is asked for again", true
	case r.offer == offerForcedUDP && (code == wire.CodeProhibited || code == wire.CodeReasonUnspecified):
		m.offer = offerUDP
	default:
		m.offer = offerIPIP
	}
	refused.offer, refused.code = r.offer, code
	if m.offer == offerUDP {
		return "UDP tunnelling is not forced any more", true
	}
	return "UDP tunnelling is not asked for any more", true
}

// remember keeps what the acceptance of request r says of later ones.
func (m *Machine) remember(now link.Instant, r request) {
	k, refused := m.cfg.Refusals, m.series.refused
	switch {
	case r.series == m.series.number && refused.code != 0 && r.offer > refused.offer:
		k.offer, k.code, k.since = r.offer, refused.code, now.Boot
	case r.offer < k.offer:
		k.forget()
	}
}

// whyTunnel says in plain words why the tunnel for data is what it is, after what the acceptance of r says has been
// remembered.
func (m *Machine) whyTunnel(r request, covered wire.Extensions) string {
	reply, answered := tunnelReply(covered)
	switch {
	case m.most >= offerMinimal && r.offer == offerIPIP && m.most != offerIPIP:
		return m.whyRefused(fmt.Sprintf("or the foreign agent refuses %v encapsulation", m.cfg.Encapsulation))
	case m.throughForeignAgent() && !m.cfg.halfBinds():
		return "registered through a foreign agent"
	case m.most >= offerMinimal:
		return "asked for by the configuration"
	case !r.offer.udp():
		return m.whyRefused("refuses to be asked for UDP tunnelling")
	case !answered:
		return "the home agent knows no UDP tunnelling (RFC 3519)"
	case reply.Assents() && m.cfg.halfBinds():
		return "registered through a foreign agent that is behind a NAT"
	case !reply.Assents() && (r.offer == offerForcedUDP || m.cfg.halfBinds()):
		return fmt.Sprintf("the home agent declines UDP tunnelling (reply code %d)", reply.Code)
	case !reply.Assents() && m.most == offerUDP:
		return "the home agent sees no NAT"
	case !reply.Assents():
		return m.whyRefused("sees no NAT and refuses UDP tunnelling where there is none")
	case reply.Forced:
		return "asked for, and granted without a NAT"
	case r.offer == offerForcedUDP:
		return "asked for, and granted" // whether the home agent sees a NAT, not all of them tell
	}
	return "the home agent sees a NAT"
}

// forget forgets what was refused of UDP tunnelling.
func (k *Refusals) forget() { k.offer, k.code, k.since = offerForcedUDP, 0, 0 }

func (m *Machine) whyRefused(what string) string {
	code := m.cfg.Refusals.code
	if code == 0 {
		code = m.series.refused.code
	}
	return fmt.Sprintf("the home agent %s (code %v); it is asked again after %v", what, code, RefusalTime)
}
