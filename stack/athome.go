package stack

import (
	"net/netip"
	"slices"

	"mipvpn/mipv4/igmp"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/tunnel"
	"mipvpn/tun/link"
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
	a := &AtHome{}
	a.segment = s
	a.visit = s.visit(home, visit{agent: router, open: true, group: func(ip packet.IPv4) { a.hear(ip, inner) }}, mtu, inner)
	if err := a.open(agent, replies); err != nil {
		return nil, err
	}
	return a, nil
}

// Listen has what is sent to groups, and to all on the home link, sent there as any host does (RFC 5944 §4.4), and takes from the
// link what is for the listener's groups, and the questions which of them there are members of (IGMP). Broadcasts of the link are
// for the host's own address on the interface to hear. Nil ends that. Carriers that Carrier returns from then on know of it.
func (a *AtHome) Listen(l *tunnel.Listener) { a.listener.Store(l) }

// Carrier implements Attachment.
func (a *AtHome) Carrier(mobilenode.Tunnel) (Carrier, error) {
	l := a.listener.Load()
	return func(c link.Class) link.Path {
		p, up := a.visit.Path(c)
		if !up {
			return link.Path{Out: discard{a.segment.drops}}
		}
		if l != nil {
			p.Steps = append(slices.Clone(p.Steps), toAll{l.Networks}) // behind that which names the router
		}
		return p
	}, nil
}

// hear hands a copy of what the link brings for a group to inner.
func (a *AtHome) hear(ip packet.IPv4, inner func(*packet.Batch)) {
	l := a.listener.Load()
	if l != nil && (l.InGroups(ip.Dst()) || ip.Protocol() == igmp.Protocol) {
		inner(packet.One(packet.From(ip[:ip.TotalLen()])))
	}
}

// toAll is the step that names the link-layer destination of what is for a group, or for all on a link that has these networks.
type toAll struct{ networks []netip.Prefix }

// Apply implements link.Step.
func (s toAll) Apply(b *packet.Batch) {
	for _, p := range b.Bufs {
		if dst := packet.IPv4(p.Bytes()).Dst(); dst.IsMulticast() || tunnel.Broadcast(dst, s.networks) {
			p.Hardware = packet.GroupHardware(dst)
		}
	}
}
