package mobilenode

import (
	"fmt"
	"net/netip"
	"slices"

	"mipvpn/mipv4/wire"
)

// DynamicHomeAgent says how the home agent is found.
type DynamicHomeAgent uint8

const (
	// HomeAgentGiven: Config.HomeAgent is the home agent.
	HomeAgentGiven DynamicHomeAgent = iota
	// HomeAgentAny leaves it to the network (RFC 4433): requests go to Config.HomeAgent, or through the foreign agent, with the home agent
	// 0.0.0.0, and who answers serves or names another one. An agent that does not know that is named.
	HomeAgentAny
	// HomeAgentAtHome is HomeAgentAny with 255.255.255.255, which asks for one in the home domain.
	HomeAgentAtHome
	// HomeAgentResolved: Config.HomeAgent is the subnet-directed broadcast address of the home network, and the home agents there tell
	// their addresses (RFC 5944 §3.6.1.2). It needs routers that forward such broadcasts.
	HomeAgentResolved
)

// maxRedirects is how many home agents are remembered that have sent the mobile node elsewhere.
const maxRedirects = 8

// findAnew forgets what has become known of the home agent.
func (m *Machine) findAnew() {
	m.requested, m.redirects = m.cfg.HomeAgent, nil
	m.homeAgent = m.unnamed()
}

// unnamed returns what the field Home Agent holds while no home agent is known.
func (m *Machine) unnamed() netip.Addr {
	switch {
	case m.legacy || m.cfg.DynamicHomeAgent == HomeAgentGiven || m.cfg.DynamicHomeAgent == HomeAgentResolved:
		return m.requested
	case m.cfg.DynamicHomeAgent == HomeAgentAtHome:
		return netip.AddrFrom4([4]byte{255, 255, 255, 255})
	}
	return netip.IPv4Unspecified()
}

// nameHomeAgent names the home agent in requests from now on, after an agent that knows nothing of RFC 4433, and reports whether that
// is another question (§10).
func (m *Machine) nameHomeAgent() bool {
	if !wire.AnyHomeAgent(m.homeAgent) {
		return false
	}
	m.legacy = true
	m.homeAgent = m.requested
	return true
}

// tryOtherwise begins anew after a series that was not answered: an agent that does not know RFC 4433 discards requests for any home
// agent (§10), so that each other series names it.
func (m *Machine) tryOtherwise() {
	if !m.bound && m.cfg.DynamicHomeAgent != HomeAgentGiven && m.cfg.DynamicHomeAgent != HomeAgentResolved {
		m.legacy = !m.legacy
	}
	if !m.bound || m.cfg.DynamicHomeAgent == HomeAgentGiven {
		m.findAnew()
	}
}

// redirect takes a denial with code 143, and reports whether there is another home agent to ask, and what is to be said
// (RFC 4433 §4.2).
func (m *Machine) redirect(r request, covered wire.Extensions) (bool, string) {
	to, ok := covered.DynamicHomeAgentOf(wire.RedirectedHomeAgent)
	switch {
	case !ok || !usable(to):
		return false, "it names no other home agent"
	case !wire.AnyHomeAgent(r.homeAgent):
		return false, fmt.Sprintf("it names %v, and was not asked for another one", to)
	case to == m.requested || slices.Contains(m.redirects, to) || len(m.redirects) == maxRedirects:
		return false, fmt.Sprintf("it names %v, and home agents send this mobile node round in a circle", to)
	}
	m.redirects = append(m.redirects, m.requested)
	m.requested = to
	return true, fmt.Sprintf("home agent %v is asked now", to)
}

// assigned reports whether the home address is one that a home agent assigns.
func (m *Machine) assigned() bool { return m.cfg.Assigned || !m.cfg.HomeAddress.IsValid() }

// anyHome has requests ask for any home address, after a home agent that denied the one asked for, and reports whether that is another
// question.
func (m *Machine) anyHome(r request) bool {
	if !m.assigned() || r.purpose != register || !r.home.IsValid() || r.home.IsUnspecified() || m.home != r.home {
		return false
	}
	m.home = netip.IPv4Unspecified()
	return true
}

// expects reports whether the reply's home address and home agent are what the request asked for.
func (r *request) expects(reply *wire.RegistrationReply) error {
	if wire.AnyHomeAgent(r.homeAgent) && !usable(reply.HomeAgent) || !wire.AnyHomeAgent(r.homeAgent) && reply.HomeAgent != r.homeAgent {
		return fmt.Errorf("%w: expected home agent %v, found %v", ErrMismatch, r.homeAgent, reply.HomeAgent)
	}
	if r.home.IsUnspecified() && r.purpose == register && !usable(reply.HomeAddress) {
		return fmt.Errorf("%w: expected an assigned home address, found %v", ErrMismatch, reply.HomeAddress)
	}
	return nil
}

// settle keeps the addresses that an accepted registration has.
func (m *Machine) settle(r request, reply *wire.RegistrationReply) {
	if r.home.IsUnspecified() {
		m.home = reply.HomeAddress
	}
	if wire.AnyHomeAgent(r.homeAgent) {
		m.homeAgent = reply.HomeAgent // for the rest of the session (RFC 4433 §5.1.2)
	}
}

// identification returns the extensions that say who asks, and for which home agent: the first ones of a request.
func (m *Machine) identification(r request) (wire.Extensions, error) {
	var x wire.Extensions
	if m.cfg.NAI != "" {
		nai, err := wire.NAI(m.cfg.NAI)
		if err != nil {
			return nil, err
		}
		x = append(x, nai)
	}
	if wire.AnyHomeAgent(r.homeAgent) {
		e, err := wire.DynamicHomeAgent(wire.RequestedHomeAgent, m.requested)
		if err != nil {
			return nil, err
		}
		x = append(x, e)
	}
	return x, nil
}
