package ike

import (
	"fmt"
	"net/netip"

	"mipvpn/ipsec/ike/message"
	"mipvpn/tun/link"
)

// retransmitAll sends outstanding requests again at once (RFC 9329 §6.2).
func (m *Machine) retransmitAll() {
	for _, s := range m.sas {
		if s.exchange == nil {
			continue
		}
		for _, wire := range s.exchange.wires {
			m.transmit(m.path(), wire)
		}
	}
}

// UseTCP has the machine of a client use the TCP connection from local to remote that its driver has opened: in the place of
// one that has broken (RFC 9329 §6.1), or, with MOBIKE, in the place of UDP, which does not pass (§7.1). What was outstanding is
// sent in it, and if nothing was, the gateway is asked whether it lives, which also tells it of the connection. Errors:
// ErrClosed when there is no IKE SA yet or any more, ErrUnexpected for a change from UDP without MOBIKE.
func (m *Machine) UseTCP(now link.Instant, local, remote netip.AddrPort) error {
	to := path{local, remote, true}
	switch {
	case m.err != nil || m.current == nil:
		return fmt.Errorf("ike: use TCP: %w", ErrClosed)
	case m.initiator != nil && m.mobike.on && m.running():
		m.moveTo(now, to)
		return m.err
	case m.initiator == nil || !m.tcp:
		return fmt.Errorf("ike: use TCP: %w: not in TCP before, without MOBIKE", ErrUnexpected)
	}
	m.use(to)
	if m.established {
		m.updateEndpoints(true)
	}
	m.retransmitAll()
	if m.running() && m.current.exchange == nil {
		m.current.heldUntil = 0
		m.enqueue(now, m.current, newExchange(message.Informational, m.liveness()))
	}
	return m.err
}

// TryUDP has a client in TCP test whether UDP passes (RFC 4555 §3.10), and go over to it when it does: EndpointChanged says so.
// Errors: ErrUnexpected when it is not in TCP or has no MOBIKE, without which an IKE SA stays in TCP until its end.
func (m *Machine) TryUDP(now link.Instant) error {
	if !m.running() || !m.tcp || m.initiator == nil || !m.mobike.on {
		return fmt.Errorf("ike: try UDP: %w: want an IKE SA in TCP with MOBIKE", ErrUnexpected)
	}
	m.mobike.tests = m.preferredPaths()
	m.testNext(now)
	return m.err
}
