package agent

import (
	"errors"
	"fmt"
	"net/netip"

	"go.uber.org/zap"

	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// post has a message handled by the machine, or counts it as dropped.
func (a *HomeAgent) post(f func(link.Instant)) { a.postBy(a.loop.post, f) }

func (a *HomeAgent) postBy(post func(func(link.Instant)) bool, f func(link.Instant)) {
	if !post(f) {
		a.drops.Count(packet.DropQueueFull, 1)
	}
}

// handleRequest copies a registration request and has it handled. One from where the mobile node's binding is does not wait behind
// those of strangers, which may be more than the loop can refuse: a flood keeps no mobile node that is registered from renewing.
func (a *HomeAgent) handleRequest(p *packet.Buf) {
	r := homeagent.Request{Source: p.Peer, Payload: append([]byte(nil), p.Bytes()...)}
	post := a.loop.post
	if a.table.Renews(r) {
		post = a.loop.postKnown
	}
	a.postBy(post, func(now link.Instant) {
		if isRevocation(r.Payload) {
			a.handleRevocation(now, r.Source, r.Payload)
			return
		}
		if err := a.machine.HandleRequest(now, r); err != nil {
			a.report(now, r.Source, err)
		}
	})
}

// drain has the RADIUS servers asked, stores the machine's records, sends its replies and logs its events.
func (a *HomeAgent) drain() {
	a.authority.serve(a.host.Now(), a.machine.PollQuestion)
	a.settle()
	for e, ok := a.machine.PollEvent(); ok; e, ok = a.machine.PollEvent() {
		a.followHomeLink(a.host.Now(), e)
		a.followGroups(a.host.Now(), e.HomeAddress)
		level := a.log.Info
		if e.Kind == homeagent.Renewed || e.Kind == homeagent.Restored || e.Kind == homeagent.AtHome {
			level = a.log.Debug
		}
		switched := zap.Skip()
		if e.Tunnel.Switched.IsValid() {
			switched = zap.Stringer("switched_to", e.Tunnel.Switched)
		}
		level("binding "+e.Kind.String(), zap.Stringer("home_address", e.HomeAddress), nai(e.NAI), zap.Stringer("care_of_address", e.CareOfAddress),
			zap.Stringer("encapsulation", e.Tunnel.Encapsulation), zap.Stringer("remote", e.Tunnel.Remote), zap.Uint16("lifetime_s", e.Lifetime), switched)
	}
	a.actOnHomeLink()
	a.actOnGroups()
}

// report logs a request that was denied or dropped, at most one of a kind now and then.
func (a *HomeAgent) report(now link.Instant, source netip.AddrPort, err error) {
	kind, message := a.registrations.discard(err), "registration request dropped"
	about := []zap.Field{zap.Stringer("source", source)}
	var denied *homeagent.Denied
	switch {
	case errors.As(err, &denied):
		kind, message = fmt.Sprintf("denied %d", denied.Code), "registration denied"
		about = append(about, zap.Stringer("home_address", denied.HomeAddress), zap.Uint8("code", uint8(denied.Code)))
	case errors.Is(err, homeagent.ErrUntrustedSource):
		a.strangers.note(Arrival{now.Wall, source})
		message = "registration request from an untrusted network dropped: a firewall lets it in (RFC 5265 §4.3)"
	}
	suppressed, due := a.notices.due(kind, now.Boot)
	if !due {
		return
	}
	a.log.Warn(message, append(about, zap.Error(err), zap.Int("suppressed", suppressed))...)
}

// receiveICMP takes ICMP messages to the agent's address: errors from within its tunnels (RFC 2003 §4).
func (a *HomeAgent) receiveICMP(b *packet.Batch) {
	for _, p := range b.Bufs {
		if e, ok := tunnel.ParseICMPError(p.Bytes(), a.cfg.Address, wire.Port); ok {
			e.Inner = append(packet.IPv4(nil), e.Inner...)
			a.post(func(now link.Instant) { a.handleTunnelError(now, e) })
		} else if e, ok := tunnel.ParseSwitchedError(p.Bytes(), a.cfg.Address); ok && a.cfg.ZeroOverhead.Granted() {
			e.Own()
			a.post(func(now link.Instant) { a.handleSwitchedError(now, e) })
		}
	}
	b.Release()
}

// handleTunnelError learns the soft state of a tunnel and relays the error to the sender of the inner packet.
func (a *HomeAgent) handleTunnelError(now link.Instant, e tunnel.TunnelError) {
	if !a.errors.allow(now.Boot) { // anybody can send them
		return
	}
	state := a.table.State(e.Encapsulation, e.Remote)
	if state == nil {
		return
	}
	state.Reach.Learn(now.Boot, e)
	mtu := 0
	if e.Code == tunnel.CodeFragmentNeeded {
		state.MTU.Learn(now.Boot, e.MTU)
		mtu = state.MTU.Of(now.Boot, a.out[e.Encapsulation].mtu)
	}
	if len(e.Inner) == 0 {
		return
	}
	if answer := e.Answer(a.cfg.Address, mtu); answer != nil {
		a.sendICMP(answer)
	}
}

// sendICMP sends an ICMP message that stands in an IPv4 packet from the agent's address, and releases it. It goes by the
// agent's flow: packets with an address of the host as their source cannot come out of the device.
func (a *HomeAgent) sendICMP(p *packet.Buf) {
	ip := packet.IPv4(p.Bytes())
	if err := a.icmp.Send(netip.AddrPortFrom(ip.Dst(), 0), ip.Payload()); err != nil {
		a.drops.Count(packet.DropSendFailed, 1)
	}
	p.Release()
}

// nai is the field of a mobile node's network access identifier, none for one without.
func nai(s string) zap.Field {
	if s == "" {
		return zap.Skip()
	}
	return zap.String("nai", s)
}
