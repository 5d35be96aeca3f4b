package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"mipvpn/mipv4/foreignagent"
	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// homeward is the side of a foreign agent toward home agents: it relays registration messages and holds the tunnels. How mobile
// nodes are reached is for the agent that it is a part of.
type homeward struct {
	log     *zap.Logger
	clock   link.Clock
	drops   *packet.Drops
	machine *foreignagent.Machine
	table   *foreignagent.Table
	errors  *limiter
	notices notices // of the loop
	loop    *loop
	careOf  netip.Addr
	// address is where ICMP errors to mobile nodes come from, tell sends one to a visitor and takes ownership.
	address netip.Addr
	tell    func(*foreignagent.Visitor, *packet.Buf)

	udp, ipip, icmp link.Flow
	offered         tunnel.Offered
	alternatives    []link.Flow // of the forms of tunnels but IP-in-IP
	out             [tunnel.NumEncapsulations]tunnelPath

	registrations registrations
	traffic       tunnelTraffic
}

// openHome opens the flows of the care-of address. tunnelled takes what comes out of the tunnels' flows.
func (h *homeward) openHome(under link.Link, ready <-chan struct{}, tunnelled func(*packet.Batch, tunnel.Encapsulation)) error {
	for _, f := range []struct {
		flow *link.Flow
		spec link.FlowSpec
		recv link.Receiver
	}{
		{&h.icmp, link.FlowSpec{Protocol: packet.ProtocolICMP}, h.receiveICMP},
		{&h.ipip, link.FlowSpec{Protocol: packet.ProtocolIPIP}, func(b *packet.Batch) { tunnelled(b, tunnel.IPIP) }},
		{&h.udp, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: wire.Port, Signalling: link.SignallingMobileIP}, func(b *packet.Batch) { h.receiveUDP(b, tunnelled) }},
	} {
		var err error
		if *f.flow, err = under.Open(f.spec, whenReady(ready, h.drops, f.recv)); err != nil {
			return err
		}
	}
	h.out[tunnel.IPIP], h.out[tunnel.UDP] = pathOf(h.ipip, tunnel.IPIP), pathOf(h.udp, tunnel.UDP)
	var err error
	h.alternatives, err = openAlternatives(under, h.offered, h.out[:], func(r link.Receiver) link.Receiver { return whenReady(ready, h.drops, r) }, tunnelled)
	return err
}

// closeHome closes what openHome has opened.
func (h *homeward) closeHome() error {
	var errs []error
	for _, f := range append([]link.Flow{h.udp, h.ipip, h.icmp}, h.alternatives...) {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// post has a message handled by the machine, or counts it as dropped.
func (h *homeward) post(f func(link.Instant)) {
	if !h.loop.post(f) {
		h.drops.Count(packet.DropQueueFull, 1)
	}
}

// enter forwards one packet of a visitor into the tunnel to its home agent: RFC 3024 §5.1, RFC 5944 §4.2.2.
func (h *homeward) enter(now time.Duration, v *foreignagent.Visitor, p *packet.Buf, out *homeExits) packet.DropReason {
	ip := packet.IPv4(p.Bytes())
	if ip.TTL() <= 1 {
		h.answer(now, v, tunnel.ICMPTimeExceeded, tunnel.CodeTTL, 0, ip)
		return packet.DropTTL
	}
	mtu := h.mtuOf(now, v)
	if p.Len() > mtu && ip.DontFragment() {
		h.answer(now, v, tunnel.ICMPUnreachable, tunnel.CodeFragmentNeeded, uint16(mtu), ip)
		return packet.DropTooBig
	}
	if code, gone := v.State.Reach.Unreachable(now); gone && !p.Super() {
		h.answer(now, v, tunnel.ICMPUnreachable, code, 0, ip) // and it is sent all the same (RFC 2003 §5)
	}
	p.Peer, p.TTL, p.DontFragment = peerOf(v), v.State.Reach.TTL(now), ip.DontFragment() // RFC 2003 §3.1
	if !ip.DecrementTTL() {
		return packet.DropTTL
	}
	return fit(h.encapsulator(v.Encapsulation), mtu, p, out[:])
}

// peerOf returns the far end of a visitor's tunnel.
func peerOf(v *foreignagent.Visitor) netip.AddrPort {
	if v.Encapsulation == tunnel.UDP {
		return netip.AddrPortFrom(v.HomeAgent, wire.Port)
	}
	return netip.AddrPortFrom(v.HomeAgent, 0)
}

// homeExits are the packets that are to leave for home agents, by form of tunnel.
type homeExits [tunnel.NumEncapsulations]*packet.Batch

// prepare puts empty batches into out for the forms that are offered.
func (h *homeward) prepare(out *homeExits) {
	for e := range out {
		if h.out[e].path.Out != nil {
			out[e] = packet.GetBatch()
		}
	}
}

// encapsulator returns the step into the tunnels of a form.
func (h *homeward) encapsulator(e tunnel.Encapsulation) tunnel.Encapsulator {
	return tunnel.Encapsulator{Encapsulation: e, GRE: h.offered.Options, Drops: h.drops}
}

// mtuOf returns the longest packet in octets that the visitor's tunnel carries. What has been learnt is the MTU of IP-in-IP.
func (h *homeward) mtuOf(now time.Duration, v *foreignagent.Visitor) int {
	return v.State.MTU.Of(now, h.out[tunnel.IPIP].mtu) - h.more(v.Encapsulation)
}

// more returns the octets that a form adds to a packet more than IP-in-IP.
func (h *homeward) more(e tunnel.Encapsulation) int {
	return h.encapsulator(e).TotalOverhead() - tunnel.IPIP.TotalOverhead()
}

// send sends what enter has put into tunnels. It takes ownership.
func (h *homeward) send(out *homeExits) {
	for e, b := range out {
		if b != nil {
			h.sendAs(tunnel.Encapsulation(e), b)
		}
	}
}

// sendAs sends packets in tunnels of one form.
func (h *homeward) sendAs(e tunnel.Encapsulation, out *packet.Batch) {
	n := out.Len()
	if n == 0 {
		out.Release()
		return
	}
	h.traffic.sent(out)
	if err := h.out[e].path.Send(out); err != nil {
		h.drops.Count(packet.DropSendFailed, n)
	}
}

// answer sends an ICMP error to a visitor about its packet.
func (h *homeward) answer(now time.Duration, v *foreignagent.Visitor, typ, code uint8, mtu uint16, about packet.IPv4) {
	if !h.errors.allow(now) {
		return
	}
	if e := tunnel.ICMPError(h.address, typ, code, mtu, about); e != nil {
		h.tell(v, e)
	}
}

// leave takes one packet out of its tunnel, of form e, and returns the visitor that it is for (RFC 5944 §4.2.2).
func (h *homeward) leave(p *packet.Buf, e tunnel.Encapsulation) (*foreignagent.Visitor, packet.DropReason) {
	packets, octets := sizeOf(p)
	if r := h.offered.Options.Open(p, e); r != packet.NotDropped {
		return nil, r
	}
	ip := packet.IPv4(p.Bytes())
	v := h.table.Deliver(ip.Dst(), p.Peer.Addr())
	if v == nil {
		return nil, packet.DropNoBinding
	}
	if v.Encapsulation != e && !(v.Encapsulation == tunnel.Minimal && e == tunnel.IPIP) { // RFC 2004 §3: fragments
		return nil, packet.DropWrongTunnelPeer
	}
	if p.Peer != peerOf(v) {
		return nil, packet.DropWrongTunnelPeer
	}
	v.State.Reach.Heard()
	if typ, id, _, ok := tunnel.ParseEcho(ip); ok && v.Encapsulation == tunnel.UDP && typ == tunnel.ICMPEchoReply &&
		id == foreignagent.KeepaliveID && ip.Src() == v.HomeAgent {
		return nil, packet.Delivered // the answer to a keepalive, whose work is done
	}
	if !ip.DecrementTTL() {
		return nil, packet.DropTTL
	}
	h.traffic.received(packets, octets)
	return v, packet.NotDropped
}

// deliver puts a packet that has left its tunnel into out, in fragments where it is longer than mtu. About one that must not be
// fragmented its sender is told (RFC 1812 §5.2.7.1).
func (h *homeward) deliver(p *packet.Buf, mtu int, out *packet.Batch) packet.DropReason {
	ip := packet.IPv4(p.Bytes())
	r := tunnel.Fragment(p, mtu, out)
	if r == packet.DropTooBig && h.errors.allow(h.clock.Now().Boot) {
		if e := tunnel.ICMPError(h.careOf, tunnel.ICMPUnreachable, tunnel.CodeFragmentNeeded, uint16(mtu), ip); e != nil {
			if err := h.icmp.Send(netip.AddrPortFrom(ip.Src(), 0), packet.IPv4(e.Bytes()).Payload()); err != nil {
				h.drops.Count(packet.DropSendFailed, 1)
			}
			e.Release()
		}
	}
	return r
}

// receiveUDP takes registration replies of home agents. Requests do not come here: they are taken from where mobile nodes are.
// Data of UDP tunnels goes to tunnelled (RFC 3519 §3.3).
func (h *homeward) receiveUDP(b *packet.Batch, tunnelled func(*packet.Batch, tunnel.Encapsulation)) {
	data, kept := packet.GetBatch(), b.Bufs[:0]
	for _, p := range b.Bufs {
		if tunnel.IsData(p.Bytes()) {
			data.Append(p)
		} else {
			kept = append(kept, p)
		}
	}
	clear(b.Bufs[len(kept):])
	b.Bufs = kept
	if data.Len() > 0 {
		tunnelled(data, tunnel.UDP)
	} else {
		data.Release()
	}
	for _, p := range b.Bufs {
		if typ, _ := wire.TypeOf(p.Bytes()); typ == wire.TypeRegistrationRequest {
			continue
		}
		source, payload := p.Peer, append([]byte(nil), p.Bytes()...)
		h.post(func(now link.Instant) {
			if isRevocation(payload) {
				if err := h.machine.HandleRevocation(now, source, payload); err != nil {
					h.reportMessage(now, "revocation message", source, err)
				}
				return
			}
			if err := h.machine.HandleReply(now, source, payload); err != nil {
				h.reportMessage(now, "registration reply", source, err)
			}
		})
	}
	b.Release()
}

// receiveICMP takes ICMP messages to the care-of address: errors about relayed requests (RFC 5944 §3.7.3) and from within
// the tunnels (RFC 2003 §4).
func (h *homeward) receiveICMP(b *packet.Batch) {
	for _, p := range b.Bufs {
		if remote, code, ok := tunnel.ParseUnreachable(p.Bytes(), h.careOf, wire.Port); ok && remote.Port() == wire.Port {
			h.post(func(now link.Instant) { h.machine.HandleUnreachable(now, remote.Addr(), code) })
			continue
		}
		if e, ok := tunnel.ParseICMPError(p.Bytes(), h.careOf, wire.Port); ok {
			e.Inner = append(packet.IPv4(nil), e.Inner...)
			h.post(func(now link.Instant) { h.handleTunnelError(now, e) })
		}
	}
	b.Release()
}

// handleTunnelError learns the soft state of a tunnel and relays the error to the visitor whose packet it is about.
func (h *homeward) handleTunnelError(now link.Instant, e tunnel.TunnelError) {
	if !h.errors.allow(now.Boot) { // anybody can send them
		return
	}
	state := h.table.State(e.Remote.Addr())
	if state == nil {
		return
	}
	state.Reach.Learn(now.Boot, e)
	mtu := 0
	if e.Code == tunnel.CodeFragmentNeeded {
		state.MTU.Learn(now.Boot, e.MTU+h.more(e.Encapsulation))
		mtu = state.MTU.Of(now.Boot, h.out[tunnel.IPIP].mtu) - h.more(e.Encapsulation)
	}
	if len(e.Inner) == 0 {
		return
	}
	v := h.table.Deliver(e.Inner.Src(), e.Remote.Addr())
	if v == nil {
		return
	}
	if answer := e.Answer(h.address, mtu); answer != nil {
		h.tell(v, answer)
	}
}

// logEvents logs what has become of visitors.
func (h *homeward) logEvents() {
	for e, ok := h.machine.PollEvent(); ok; e, ok = h.machine.PollEvent() {
		level := h.log.Info
		if e.Kind == foreignagent.Renewed {
			level = h.log.Debug
		}
		level("visitor "+e.Kind.String(), zap.Stringer("home_address", e.Visitor.Home), zap.Stringer("home_agent", e.Visitor.HomeAgent),
			zap.Stringer("station", e.Visitor.Station), zap.Stringer("encapsulation", e.Visitor.Encapsulation), zap.Bool("co_located", e.Visitor.CoLocated), zap.Uint16("lifetime_s", e.Lifetime))
	}
}

// report logs a message that was denied or dropped, at most one of a kind now and then.
func (h *homeward) report(kind string, now link.Instant, message string, peer netip.AddrPort, err error, about ...zap.Field) {
	if suppressed, due := h.notices.due(kind, now.Boot); due {
		h.log.Warn(message, append(about, zap.Stringer("peer", peer), zap.Error(err), zap.Int("suppressed", suppressed))...)
	}
}

// reportMessage logs what became of a registration message that was not relayed.
func (h *homeward) reportMessage(now link.Instant, what string, peer netip.AddrPort, err error) {
	why := h.registrations.discard(err)
	var denied *foreignagent.Denied
	if errors.As(err, &denied) {
		h.report(fmt.Sprintf("denied %d", denied.Code), now, "registration denied", peer, err,
			zap.Stringer("home_address", denied.HomeAddress), zap.Stringer("home_agent", denied.HomeAgent), zap.Uint8("code", uint8(denied.Code)))
		return
	}
	h.report(what+" "+why, now, what+" dropped", peer, err)
}
