package foreignagent

import (
	"net/netip"
	"time"

	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
	"mipvpn/tun/queue"
)

// UDPTunnel says when this agent asks home agents for UDP tunnelling (RFC 3519 §4.5).
type UDPTunnel uint8

const (
	// UDPTunnelNever asks for none.
	UDPTunnelNever UDPTunnel = iota
	// UDPTunnelNAT asks for it where the home agent sees a NAT between it and this agent.
	UDPTunnelNAT
	// UDPTunnelForced asks for it everywhere (the F flag): packets in UDP are cheaper to send and receive than those of protocol 4.
	UDPTunnelForced
)

// keeper sends the keepalives of UDP tunnels (RFC 3519 §4.9), for each registration its own. What a home agent answers shows
// that the way is open; when it does not, nothing that this agent could do would help: the mobile node registers anew.
type keeper struct {
	sequence uint16
	at       queue.Agenda[*registration] // of registrations with a UDP tunnel
}

// KeepaliveID is the identifier of the ICMP echo requests that keep UDP tunnels open. Answers to them, from a home agent to a visitor's
// home address, are for this agent.
const KeepaliveID = 434

// appendUDPTunnel appends the request for UDP tunnelling behind what the mobile node vouches for and before the Foreign-Home
// Authentication extension. A co-located care-of address is not this agent's to tunnel to.
func (m *Machine) appendUDPTunnel(payload []byte, r *wire.RegistrationRequest) []byte {
	if m.cfg.UDPTunnel == UDPTunnelNever || r.CoLocated() || r.Deregistration() {
		return payload
	}
	e := wire.UDPTunnelRequest{Force: m.cfg.UDPTunnel == UDPTunnelForced, Encapsulation: packet.ProtocolIPIP}.Extension()
	return append(append(payload, uint8(e.Type), uint8(len(e.Data))), e.Data...)
}

// tunnelOf returns the form of the tunnel that an accepted registration has, and the interval of keepalives where that is UDP. rest
// are the extensions of the reply that are for this agent.
func (m *Machine) tunnelOf(r *wire.RegistrationRequest, rest wire.Extensions) (tunnel.Encapsulation, time.Duration) {
	i := rest.Index(wire.ExtUDPTunnelReply)
	if m.cfg.UDPTunnel == UDPTunnelNever || r.CoLocated() || i < 0 {
		return formOf(r.Flags), 0
	}
	reply, err := wire.ParseUDPTunnelReply(rest[i])
	switch {
	case err != nil || !reply.Assents():
		return formOf(r.Flags), 0
	case reply.KeepAlive == 0:
		return tunnel.UDP, tunnel.DefaultKeepaliveInterval
	}
	return tunnel.UDP, max(reply.KeepAlive, tunnel.MinKeepaliveInterval)
}

// keepAlive sends the keepalives that are due.
func (m *Machine) keepAlive(now link.Instant) {
	for r, due := m.keeper.at.Due(now.Boot); due; r, due = m.keeper.at.Due(now.Boot) {
		m.keeper.sequence++
		m.transmits.Push(Transmit{
			To: ToHomeAgent, Remote: netip.AddrPortFrom(r.key.homeAgent, wire.Port),
			Payload: tunnel.AppendEchoRequest(nil, r.key.home, r.key.homeAgent, KeepaliveID, m.keeper.sequence),
		})
		r.keepAt = now.Boot + r.keepAlive
		m.tidy(r)
	}
}
