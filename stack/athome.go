package stack

import (
	"net/netip"

	"mipvpn/tun/packet"
)

// AtHome attaches on the home link itself, where there is no tunnel (RFC 5944 §3.6.1.1, §4.4): packets go from the home address
// to the link's router as they are, and those for the home address are taken from every station on the link. ARP for the home
// address is for others to answer (link.HomeLink).
type AtHome struct {
	ViaForeignAgent
}

// AttachAtHome attaches the home address on the segment of its home link, whose router has the link-layer address given. mtu is the
// interface's. Registration messages go to the home agent by way of the router, with the home address as their source. replies is
// called with each message from the home agent and owns it; what else comes for the home address goes to inner.
func AttachAtHome(s *Segment, home, agent netip.Addr, router packet.HardwareAddr, mtu int, replies func([]byte), inner func(*packet.Batch)) (*AtHome, error) {
	a := &AtHome{ViaForeignAgent{segment: s, visit: s.visit(home, visit{agent: router, open: true}, mtu, inner)}}
	if err := a.open(agent, replies); err != nil {
		return nil, err
	}
	return a, nil
}
