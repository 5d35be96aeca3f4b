package ike

import (
	"net/netip"
	"slices"

	"mipvpn/ipsec/esp"
	"mipvpn/tun/link"
)

// EndpointUpdate says which outer endpoints certain child SAs have. It is the only thing that whoever holds child SAs takes to
// change their endpoints: an address that stands in a packet, a name or a configuration is not one, so that nothing but a
// Machine can move an SA. A Machine makes one when an authentic message of the peer, fresh in its IKE SA, or an authentic ESP
// packet with a new highest sequence number (esp.Source) has come from elsewhere, or when this end has decided to move, which
// the peer is being told under the IKE SA. Peers and keys are not found by what stands in it: those belong to identities.
//
// It names the child SAs that it concerns, those of the one IKE association, and is to be applied to no others. Updates of one
// Machine are numbered, and of two the one with the greater number counts. The zero EndpointUpdate concerns no child SA.
type EndpointUpdate struct {
	number        uint64
	local, remote netip.AddrPort
	udp, tcp      bool
	proven        bool
	children      []ChildID
}

// Number returns the update's place in the order of its Machine's, from 1; 0 for the zero EndpointUpdate.
func (u EndpointUpdate) Number() uint64 { return u.number }

// Local returns our endpoint. Its port and that of Remote are those of ESP in UDP; ESP as protocol 50 goes without.
func (u EndpointUpdate) Local() netip.AddrPort { return u.local }

// Remote returns the peer's endpoint.
func (u EndpointUpdate) Remote() netip.AddrPort { return u.remote }

// UDPEncapsulation tells whether ESP is to be sent in UDP (RFC 3948) from now on. Either form is still to be received.
func (u EndpointUpdate) UDPEncapsulation() bool { return u.udp }

// TCP tells whether ESP is to be sent in the TCP connection between Local and Remote (RFC 9329) from now on. Any form is still
// to be received.
func (u EndpointUpdate) TCP() bool { return u.tcp }

// Proven tells whether the peer is known to receive at Remote (return routability, RFC 4555 §3.7). Until an update says so, the
// holder of the child SAs must send there no more than three times the octets that have come from there, since the endpoint
// could be a victim's: another update follows when the peer has answered from there.
func (u EndpointUpdate) Proven() bool { return u.proven }

// Concerns tells whether the child SA is one that the update is for.
func (u EndpointUpdate) Concerns(id ChildID) bool { return slices.Contains(u.children, id) }

// follow has an end that is not behind a NAT itself use the endpoints that an authentic and fresh packet of a peer behind a NAT
// has come by (RFC 7296 §2.23), and has the peer answer from there. In TCP a responder does so whatever stands between: the
// originator makes a new connection when the old one has broken (RFC 9329 §6.1). Only MOBIKE changes between UDP and TCP.
func (m *Machine) follow(now link.Instant, at path) {
	if m.initiator != nil && !at.tcp {
		at.local = m.local // where this end is it says itself
	}
	if at == m.path() || at.tcp != m.tcp {
		return
	}
	if at.tcp {
		if m.responder != nil {
			m.use(at)
			m.updateEndpoints(true)
			m.retransmitAll()
		}
		return
	}
	if !m.nat.Remote || m.nat.Local || m.cfg.NoFollowing {
		return
	}
	switch {
	case m.isProven(at.remote):
		m.mobike.formerly = path{}
	case m.isProven(m.remote):
		m.mobike.formerly = m.path()
	}
	m.use(at)
	m.updateEndpoints(m.isProven(m.remote))
	m.proveRemote(now)
}

// HandleSource tells the machine where the newest ESP packet of a child SA has come from, to the endpoint local of ours, when
// that is not where the SA's packets go. An end that is not behind a NAT itself follows its peer by it, as far as that is in
// UDP and a NAT may have changed its mapping (RFC 7296 §2.23; RFC 4555 §3.8 allows it with MOBIKE too, where an endpoint that
// the peer has left is not gone back to). EndpointChanged follows, unproven at first. An initiator that has called ProveFollowing is
// told of all newest packets, those that go where they should too: while something is to be found out, before each HandleTimeout.
func (m *Machine) HandleSource(now link.Instant, local netip.AddrPort, s esp.Source) {
	m.noteESP(now, local, s)
	c := m.childByIn(s.SPI())
	if !m.running() || c == nil || c.state != childInstalled || c.replacedBy != nil || s.Sequence() <= c.source || !m.encapsulate || m.tcp {
		return
	}
	if m.path() == m.mobike.updated && slices.Contains(m.mobike.proven, s.From()) {
		return // late from where the peer was before it has said where it is
	}
	c.source = s.Sequence()
	m.follow(now, path{local: local, remote: s.From()})
}

// updateEndpoints tells the driver that the child SAs have the endpoints of the IKE SA.
func (m *Machine) updateEndpoints(proven bool) {
	m.updates++
	u := EndpointUpdate{number: m.updates, local: m.local, remote: m.remote, udp: m.encapsulate, tcp: m.tcp, proven: proven}
	for _, c := range m.children {
		u.children = append(u.children, c.id)
	}
	m.emit(EndpointChanged{Update: u})
}
