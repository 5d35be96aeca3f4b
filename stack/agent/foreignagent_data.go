package agent

import (
	"net/netip"
	"slices"
	"time"

	"mipvpn/mipv4/discovery"
	"mipvpn/mipv4/foreignagent"
	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Groups that mobile nodes send to agents under (RFC 5944 §2.3, §3.6.1.1; RFC 1256 §5.1).
var (
	mobileAgents     = netip.AddrFrom4([4]byte{224, 0, 0, 11})
	limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
)

// receiveFrames takes what arrives on the visited link: registration requests and solicitations for the machine, and
// visitors' packets for their tunnels.
func (a *ForeignAgent) receiveFrames(b *packet.Batch) {
	now := a.clock.Now().Boot
	var out homeExits
	a.prepare(&out)
	for _, p := range b.Bufs {
		if r := a.fromVisitor(now, p, &out); r != packet.NotDropped {
			a.drops.Count(r, 1)
			p.Release()
		}
	}
	b.Forget()
	a.send(&out)
}

// fromVisitor puts one packet from the visited link into the tunnel that it belongs to, or returns what else became of
// it; then it is still the caller's.
func (a *ForeignAgent) fromVisitor(now time.Duration, p *packet.Buf, out *homeExits) packet.DropReason {
	ip := packet.IPv4(p.Bytes())
	if !ip.Valid() || !ip.ChecksumOK() {
		return packet.DropMalformed
	}
	p.Trim(ip.TotalLen())
	ip = packet.IPv4(p.Bytes())
	dst := ip.Dst()
	if dst == a.cfg.Address || dst.IsMulticast() || dst == limitedBroadcast {
		return a.forAgent(now, p, out)
	}
	if slices.Contains(a.cfg.OwnAddresses, dst) || dst == a.cfg.CareOfAddress {
		return packet.Delivered // the host has had it too
	}
	v := a.table.Reverse(now, ip.Src(), foreignagent.Station{Hardware: p.Hardware})
	if v == nil {
		return packet.DropNoBinding
	}
	if v.Encapsulating {
		return packet.DropPolicy // must not be reverse tunnelled (RFC 3024 §5.2.1)
	}
	return a.enter(now, v, p, out)
}

// forAgent takes one packet from the visited link for the agent or for a group.
func (a *ForeignAgent) forAgent(now time.Duration, p *packet.Buf, out *homeExits) packet.DropReason {
	ip := packet.IPv4(p.Bytes())
	if ip.MoreFragments() || ip.FragmentOffset() != 0 {
		return packet.Delivered // the host's; none of what follows comes in fragments
	}
	dst := ip.Dst()
	switch ip.Protocol() {
	case packet.ProtocolUDP:
		u := packet.UDP(ip.Payload())
		if !u.Valid() || u.DstPort() != wire.Port || dst.IsMulticast() && dst != mobileAgents {
			return packet.Delivered
		}
		if !u.ChecksumOK(ip.Src(), dst) {
			return packet.DropMalformed
		}
		if typ, _ := wire.TypeOf(u.Payload()); typ != wire.TypeRegistrationRequest {
			return packet.Delivered // a home agent's, where the care-of address is on this link
		}
		r := foreignagent.Request{
			Station: foreignagent.Station{Hardware: p.Hardware}, Source: netip.AddrPortFrom(ip.Src(), u.SrcPort()), Destination: dst, TTL: ip.TTL(),
			Payload: append([]byte(nil), u.Payload()...),
		}
		a.post(func(now link.Instant) {
			if err := a.machine.HandleRequest(now, r); err != nil {
				a.reportMessage(now, "registration request", r.Source, err)
			}
		})
	case packet.ProtocolICMP:
		m := ip.Payload()
		if len(m) == 0 || m[0] != discovery.TypeRouterSolicitation {
			return packet.Delivered
		}
		m, hardware, source := append([]byte(nil), m...), p.Hardware, ip.Src()
		a.post(func(now link.Instant) {
			if err := a.machine.HandleSolicitation(now, hardware, source, m); err != nil {
				a.reportMessage(now, "solicitation", netip.AddrPortFrom(source, 0), err)
			}
		})
	case packet.ProtocolIPIP, packet.ProtocolMinimal, packet.ProtocolGRE:
		return a.encapsulated(now, p, out)
	}
	return packet.Delivered
}

// encapsulated takes one packet of the encapsulating delivery style: outer and inner source are the home address
// (RFC 3024 §5.2).
func (a *ForeignAgent) encapsulated(now time.Duration, p *packet.Buf, out *homeExits) packet.DropReason {
	ip := packet.IPv4(p.Bytes())
	v := a.table.Reverse(now, ip.Src(), foreignagent.Station{Hardware: p.Hardware})
	switch {
	case v == nil && a.cfg.Address == a.cfg.CareOfAddress:
		return packet.Delivered // may be a home agent's, which the tunnel's flow has had too
	case v == nil || ip.Dst() != a.cfg.Address:
		return packet.DropNoBinding
	}
	if !v.Encapsulating {
		return packet.DropPolicy
	}
	form := tunnel.IPIP // the default, and what all know (RFC 3024 §5.2)
	if v.Encapsulation.Protocol() == ip.Protocol() {
		form = v.Encapsulation
	} else if ip.Protocol() != packet.ProtocolIPIP {
		return packet.DropWrongTunnelPeer
	}
	p.Peer, p.TOS = netip.AddrPortFrom(ip.Src(), 0), ip.TOS()
	if form == tunnel.Minimal {
		packet.MinimalHeader(p, ip)
	}
	p.Pull(ip.HeaderLen())
	if r := a.offered.Options.Open(p, form); r != packet.NotDropped {
		return r
	}
	if packet.IPv4(p.Bytes()).Src() != v.Home {
		return packet.DropNotHomeAddress
	}
	return a.enter(now, v, p, out)
}

// receiveTunnelled delivers what home agents tunnel to visitors (RFC 5944 §4.2.2), in tunnels of form e.
func (a *ForeignAgent) receiveTunnelled(b *packet.Batch, e tunnel.Encapsulation) {
	out := packet.GetBatch()
	for _, p := range b.Bufs {
		if r := a.toVisitor(p, e, out); r != packet.NotDropped {
			a.drops.Count(r, 1)
			p.Release()
		}
	}
	b.Forget()
	n := out.Len()
	if n == 0 {
		out.Release()
		return
	}
	if err := a.visited.Send(out); err != nil {
		a.drops.Count(packet.DropSendFailed, n)
	}
}

// toVisitor forwards one decapsulated packet, or returns why not. No ICMP error is sent about those that nobody waits for
// (RFC 5944 §4.2.2), but about those that are too large for the visited link (RFC 1812 §5.2.7.1).
func (a *ForeignAgent) toVisitor(p *packet.Buf, e tunnel.Encapsulation, out *packet.Batch) packet.DropReason {
	v, r := a.leave(p, e)
	if r != packet.NotDropped {
		return r
	}
	if v.FormerUntil != 0 {
		a.toFormer(v, p, out)
	}
	p.Hardware = v.Station.Hardware
	return a.deliver(p, a.visitedMTU, out)
}

// toFormer sends a copy of one packet to the interface that the visitor had before, for as long as what comes from there counts
// too: through the new one it takes nothing in before it has understood the reply.
func (a *ForeignAgent) toFormer(v *foreignagent.Visitor, p *packet.Buf, out *packet.Batch) {
	if a.clock.Now().Boot >= v.FormerUntil {
		return
	}
	ip := packet.IPv4(p.Bytes())
	c := packet.From(ip[:ip.TotalLen()])
	if p.Super() {
		_ = c.MakeSuper(p.SegmentSize()) // as p has been made one
	}
	c.Hardware = v.Former.Hardware
	if r := tunnel.Fragment(c, a.visitedMTU, out); r != packet.NotDropped {
		c.Release() // p is not sent either, and that is told
	}
}
