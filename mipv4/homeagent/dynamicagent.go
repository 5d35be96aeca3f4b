package homeagent

import (
	"fmt"
	"net/netip"

	"mipvpn/mipv4/wire"
)

// checkHomeAgent checks which home agent a request is for, and denies it when it is another one. A request that was broadcast is to
// find out this agent's address (RFC 5944 §3.6.1.2, §3.8.2.1); one that names no home agent at all but came here leaves it to this
// agent to serve it or to send the mobile node to another one (RFC 4433 §5.3).
func (m *Machine) checkHomeAgent(q *request, destination netip.Addr) error {
	if destination.IsValid() && destination != m.cfg.Address {
		return m.deny(q, wire.CodeUnknownHomeAgent, fmt.Errorf("home agent field %v, sent to %v", q.HomeAgent, destination))
	}
	if !wire.AnyHomeAgent(q.HomeAgent) {
		if q.HomeAgent != m.cfg.Address {
			return m.deny(q, wire.CodeUnknownHomeAgent, fmt.Errorf("home agent field %v", q.HomeAgent))
		}
		return nil
	}
	if q.nai == "" {
		return m.deny(q, wire.CodeUnknownHomeAgent, fmt.Errorf("home agent field %v without a NAI (RFC 4433 §3.3)", q.HomeAgent))
	}
	if asked, ok := q.covered.DynamicHomeAgentOf(wire.RequestedHomeAgent); ok && asked != m.cfg.Address {
		return m.deny(q, wire.CodeUnknownHomeAgent, fmt.Errorf("the requested home agent is %v", asked))
	}
	if m.cfg.RedirectTo.IsValid() && !q.Deregistration() && len(q.node.bindings) == 0 && m.count >= m.cfg.RedirectFrom {
		return m.deny(q, wire.CodeRedirectHomeAgent, fmt.Errorf("%d bindings are held, %v is to serve it", m.count, m.cfg.RedirectTo))
	}
	return nil
}
