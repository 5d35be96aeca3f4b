package agent

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// read takes what the host routes to the home networks out of the device until that is closed.
func (a *HomeAgent) read() {
	for {
		b := packet.GetBatch()
		if err := a.device.Read(b); err != nil {
			b.Release()
			if !errors.Is(err, net.ErrClosed) {
				a.fail(fmt.Errorf("agent: home agent %v reads device %s: %w", a.cfg.Address, a.device.Name(), err))
			}
			return
		}
		a.forward(b)
	}
}

// forward tunnels packets for home addresses to the care-of addresses (RFC 5944 §4.2.3). The host's IP layer has taken
// one off their time to live. Superpackets stay whole.
func (a *HomeAgent) forward(b *packet.Batch) {
	now := a.host.Now().Boot
	var out exits
	a.prepare(&out)
	at := binding{table: a.table}
	for _, p := range b.Bufs {
		if r := a.route(now, p, &at, &out); r != packet.NotDropped {
			a.drops.Count(r, p.Segments())
			p.Release()
		}
	}
	b.Forget()
	a.sendAll(&out)
}

// exits are the packets that are to leave, by exit.
type exits [numExits]*packet.Batch

// prepare puts empty batches into out for the exits that there are.
func (a *HomeAgent) prepare(out *exits) {
	for e := range out {
		if a.out[e].path.Out != nil {
			out[e] = packet.GetBatch()
		}
	}
}

// sendAll sends what is to leave. It takes ownership.
func (a *HomeAgent) sendAll(out *exits) {
	for e, o := range out {
		if o != nil {
			a.send(exit(e), o)
		}
	}
}

// binding looks up the bindings of the packets of one batch: those of one home address follow each other.
type binding struct {
	table *homeagent.Table
	home  netip.Addr
	route *homeagent.Route
}

// of returns the tunnels of a home address, nil when it has no binding.
func (b *binding) of(home netip.Addr) *homeagent.Route {
	if home != b.home {
		b.home, b.route = home, b.table.Route(home)
	}
	return b.route
}

// route puts one packet into the tunnels of its destination, or returns why not; then it is still the caller's.
func (a *HomeAgent) route(now time.Duration, p *packet.Buf, at *binding, out *exits) packet.DropReason {
	ip := packet.IPv4(p.Bytes())
	if !ip.Valid() {
		return packet.DropMalformed
	}
	route := at.of(ip.Dst())
	if route == nil {
		if a.takeDiscovery(ip[:ip.TotalLen()]) {
			return packet.Delivered
		}
		return packet.DropNoBinding
	}
	if !a.policy.Load().allows(ip, ip.Src(), 0) {
		return packet.DropPolicy
	}
	last := len(route.Tunnels) - 1
	for _, t := range route.Tunnels[:last] { // simultaneous bindings: a copy for each (RFC 5944 §4.2.3)
		c := packet.From(ip[:ip.TotalLen()])
		if p.Super() {
			_ = c.MakeSuper(p.SegmentSize()) // as p has been made one
		}
		if r := a.enter(now, t, c, out); r != packet.NotDropped {
			a.drops.Count(r, c.Segments())
			c.Release()
		}
	}
	return a.enter(now, route.Tunnels[last], p, out)
}

// enter puts one packet into one tunnel.
func (a *HomeAgent) enter(now time.Duration, t *homeagent.Tunnel, p *packet.Buf, out *exits) packet.DropReason {
	ip := packet.IPv4(p.Bytes())
	if t.HalfBound() {
		return packet.DropNoBinding
	}
	if ip.Src() == t.Remote.Addr() {
		return packet.DropPolicy // a loop (RFC 2003 §3.2, RFC 5944 §4.2.3)
	}
	if t.Switched.IsValid() {
		if r := a.enterSwitched(now, t, p, out); r == packet.Delivered {
			return packet.NotDropped
		} else if r != packet.NotDropped {
			return r
		}
	}
	p.Peer = t.Remote
	mtu := t.State.MTU.Of(now, a.out[t.Encapsulation].mtu)
	if p.Super() && p.SegmentLen() > mtu {
		return a.enterCut(now, t, p, out)
	}
	if p.SegmentLen() > mtu && ip.DontFragment() {
		if a.errors.allow(now) {
			if e := tunnel.ICMPError(a.cfg.Address, tunnel.ICMPUnreachable, tunnel.CodeFragmentNeeded, uint16(mtu), ip); e != nil {
				a.sendICMP(e)
			}
		}
		return packet.DropTooBig
	}
	// RFC 2003 §3.1 has DF copied. Where nobody has told what the path carries, a packet that is too long for a router that says
	// nothing would be lost again and again: it may be fragmented there.
	p.DontFragment = ip.DontFragment() && t.State.MTU.Known(now)
	p.TTL = t.State.Reach.TTL(now)
	if code, gone := t.State.Reach.Unreachable(now); gone && !p.Super() && a.errors.allow(now) {
		if e := tunnel.ICMPError(a.cfg.Address, tunnel.ICMPUnreachable, code, 0, ip); e != nil { // and it is sent all the same (RFC 2003 §5)
			a.sendICMP(e)
		}
	}
	return fit(a.encapsulator(t.Encapsulation), mtu, p, out[:exitForms])
}

// encapsulator returns the step into the tunnels of a form.
func (a *HomeAgent) encapsulator(e tunnel.Encapsulation) tunnel.Encapsulator {
	return tunnel.Encapsulator{Encapsulation: e, GRE: a.cfg.Encapsulations.Options, Drops: &a.drops}
}

// enterCut puts the segments of a superpacket that are too long for a tunnel into it one by one. Where they must not be
// fragmented, the sender hears of the first.
func (a *HomeAgent) enterCut(now time.Duration, t *homeagent.Tunnel, p *packet.Buf, out *exits) packet.DropReason {
	segments := packet.GetBatch()
	p.CutTo(segments)
	for i, s := range segments.Bufs {
		r := packet.DropTooBig
		if i == 0 || !packet.IPv4(s.Bytes()).DontFragment() {
			r = a.enter(now, t, s, out)
		}
		if r != packet.NotDropped {
			a.drops.Count(r, 1)
			s.Release()
		}
	}
	segments.Forget()
	return packet.Delivered
}

// send sends payloads by one exit to their peers. It takes ownership.
func (a *HomeAgent) send(e exit, b *packet.Batch) {
	n := b.Segments()
	if n == 0 {
		b.Release()
		return
	}
	a.traffic.sent(b)
	if err := a.out[e].path.Send(b); err != nil {
		a.drops.Count(packet.DropSendFailed, n)
	}
}

// receiveUDP tells tunnelled data from registration requests (RFC 3519 §3.3).
func (a *HomeAgent) receiveUDP(b *packet.Batch) {
	b.Keep(&a.drops, func(p *packet.Buf) packet.DropReason {
		if tunnel.IsData(p.Bytes()) {
			return packet.NotDropped
		}
		a.handleRequest(p)
		return packet.Delivered
	})
	a.receiveData(b, tunnel.UDP)
}

func (a *HomeAgent) receiveIPIP(b *packet.Batch) { a.receiveData(b, tunnel.IPIP) }

// receiveData takes reverse-tunnelled packets out of their tunnels and gives them to the host to forward.
func (a *HomeAgent) receiveData(b *packet.Batch, e tunnel.Encapsulation) {
	echoes := packet.GetBatch()
	at := binding{table: a.table}
	var packets, octets uint64
	b.Keep(&a.drops, func(p *packet.Buf) packet.DropReason {
		n, o := sizeOf(p)
		r := a.leave(p, e, &at, echoes)
		if r == packet.NotDropped || r == packet.Delivered {
			packets, octets = packets+n, octets+o
		}
		return r
	})
	a.traffic.received(packets, octets)
	a.send(exit(e), echoes)
	if b.Len() == 0 {
		b.Release()
		return
	}
	n := b.Len()
	if err := a.device.Write(b); err != nil {
		a.drops.Count(packet.DropSendFailed, n)
	}
}

// leave takes one packet out of its tunnel. It is passed on only when its outer and inner sources and the encapsulation
// are those of one binding (RFC 3024 §4.3.2). Keepalives go into echoes, answered.
func (a *HomeAgent) leave(p *packet.Buf, e tunnel.Encapsulation, at *binding, echoes *packet.Batch) packet.DropReason {
	if r := a.cfg.Encapsulations.Options.Open(p, e); r != packet.NotDropped {
		return r
	}
	ip := packet.IPv4(p.Bytes())
	route := at.of(ip.Src())
	if route == nil {
		return packet.DropNoBinding
	}
	t := route.Admits(e, p.Peer)
	if t == nil {
		return packet.DropWrongTunnelPeer
	}
	t.State.Reach.Heard()
	if ip.Dst() == a.cfg.Address && t.Broadcasts != homeagent.NoBroadcasts && tunnel.Unnest(p) {
		if !a.leaveToAll(p) {
			return packet.DropPolicy // nothing else is to be nested
		}
		return packet.Delivered
	}
	if ip.Dst() == a.cfg.Address {
		return a.leaveForAgent(p, e, t, echoes)
	}
	if !a.policy.Load().allows(ip, ip.Dst(), 2) {
		return packet.DropPolicy
	}
	if a.leaveToAll(p) {
		return packet.Delivered
	}
	return packet.NotDropped
}

// leaveForAgent takes one packet for the agent itself. Echo requests are answered here, into the tunnel that they came
// from: the mobile node's keepalives (RFC 3519 §4.9). Tunnels in tunnels and signalling in them are dropped (RFC 3519 §4.7,
// REQUIREMENTS MIP-12). The rest is for the host, unless the policy is for gateways alone.
func (a *HomeAgent) leaveForAgent(p *packet.Buf, e tunnel.Encapsulation, t *homeagent.Tunnel, echoes *packet.Batch) packet.DropReason {
	home, remote := packet.IPv4(p.Bytes()).Src(), p.Peer
	if !tunnel.AnswerEcho(p, a.cfg.Address) {
		if *a.policy.Load() != nil || nested(packet.IPv4(p.Bytes())) {
			return packet.DropPolicy
		}
		return packet.NotDropped
	}
	if t.HalfBound() {
		a.post(func(now link.Instant) { a.machine.HandleKeepalive(now, home, remote) })
	}
	answer := packet.From(p.Bytes())
	answer.Peer = remote
	if r := a.encapsulator(e).Encapsulate(answer); r != packet.NotDropped {
		answer.Release()
		return r
	}
	echoes.Append(answer)
	return packet.Delivered
}

// nested reports whether a packet is a tunnel packet or a Mobile IP message.
func nested(ip packet.IPv4) bool {
	switch ip.Protocol() {
	case packet.ProtocolIPIP, packet.ProtocolMinimal, packet.ProtocolGRE:
		return true
	case packet.ProtocolUDP:
		u := packet.UDP(ip.Payload())
		return ip.FragmentOffset() != 0 || len(u) < packet.UDPLen || u.DstPort() == wire.Port
	}
	return false
}
