package agent

import (
	"errors"
	"net/netip"

	"go.uber.org/zap"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// post has a message handled by the machine, or counts it as dropped.
func (g *Gateway) post(f func(link.Instant)) {
	if !g.loop.post(f) {
		g.drops.Count(packet.DropQueueFull, 1)
	}
}

// handleMessage copies an IKE message that arrived and has it handled.
func (g *Gateway) handleMessage(local, remote netip.AddrPort, payload []byte) {
	g.handleDatagram(ike.Datagram{Local: local, Remote: remote, Payload: append([]byte(nil), payload...)})
}

// handleMessageTCP is handleMessage for one that arrived in a TCP connection.
func (g *Gateway) handleMessageTCP(local, remote netip.AddrPort, payload []byte) {
	g.handleDatagram(ike.Datagram{Local: local, Remote: remote, TCP: true, Payload: append([]byte(nil), payload...)})
}

func (g *Gateway) handleDatagram(d ike.Datagram) {
	g.post(func(now link.Instant) {
		if !d.TCP {
			g.unproven.handling(d.Remote, len(d.Payload))
		}
		if err := g.machine.HandleDatagram(now, d); err != nil {
			g.report(now, d.Remote, err)
		}
	})
}

// drain handles the machine's events and then sends its messages, so that an SA is installed before its peer hears of it.
func (g *Gateway) drain() {
	now := g.host.Now()
	for e, ok := g.machine.PollEvent(); ok; e, ok = g.machine.PollEvent() {
		if !g.prove(now, e) {
			g.handleEvent(now, e)
		}
	}
	g.unproven.from = netip.AddrPort{}
	g.sendRADIUS()
	if g.agent != nil {
		g.agent.drain()
	}
	for t, ok := g.machine.PollTransmit(); ok; t, ok = g.machine.PollTransmit() {
		if !g.unproven.may(t) {
			g.drops.Count(packet.DropUnproven, 1)
			continue
		}
		if t.TCP {
			if err := g.sendStream(t.Remote, t.Payload); err != nil {
				g.log.Debug("IKE message could not be sent", zap.Stringer("to", t.Remote), zap.Error(err))
			}
			continue
		}
		from, payload := g.from(t.Local.Addr()), t.Payload
		flow := from.ike
		if t.Local.Port() == esp.PortNATT {
			flow = from.natt
			if !t.Keepalive {
				payload = append(make([]byte, esp.MarkerLen, esp.MarkerLen+len(t.Payload)), t.Payload...)
			}
		}
		if err := flow.Send(t.Remote, payload); err != nil {
			g.log.Warn("IKE message could not be sent", zap.Stringer("to", t.Remote), zap.Error(err))
		}
	}
}

func (g *Gateway) handleEvent(now link.Instant, e gateway.Event) {
	log := g.log.With(zap.Stringer("peer", e.Identity), zap.Stringer("address", e.Address), zap.Stringer("remote", e.Remote))
	switch v := e.Event.(type) {
	case ike.Established:
		g.accounts.begin(now, e, v.Suite)
		g.streams.claim(e.Session, v.Remote, v.TCP)
		log.Info("client connected", zap.String("suite", v.Suite), zap.Bool("udp_encapsulation", v.UDPEncapsulation), zap.Bool("tcp", v.TCP))
	case ike.ChildInstalled:
		g.install(now, e, v, log)
	case ike.ChildActivated:
		g.activate(childKey{e.Session, v.ID})
	case ike.ChildRemoved:
		g.remove(childKey{e.Session, v.ID})
		log.Debug("child SA removed", zap.Uint32("spi_in", v.Inbound), zap.Uint32("spi_out", v.Outbound), zap.NamedError("reason", v.Reason))
	case ike.ChildFailed:
		log.Warn("child SA failed", zap.Error(v.Err))
	case ike.EndpointChanged:
		g.streams.claim(e.Session, v.Update.Remote(), v.Update.TCP())
		g.move(e.Session, v.Update, log)
	case ike.IKERekeyed:
		log.Debug("IKE SA rekeyed")
	case ike.Closed:
		g.streams.claim(e.Session, netip.AddrPort{}, false)
		if e.Identity.IsZero() {
			return // nobody was there yet; what went wrong is told by report
		}
		g.accounts.end(now, e.Session, g.children.bySession[e.Session], v.Err)
		log.Info("client disconnected", zap.NamedError("reason", v.Err))
	}
}

// install makes a child SA pair known, and sends through it unless it is on standby.
func (g *Gateway) install(now link.Instant, e gateway.Event, v ike.ChildInstalled, log *zap.Logger) {
	defer v.Inbound.Wipe()
	defer v.Outbound.Wipe()
	in, err := esp.NewInbound(v.Inbound)
	if err != nil {
		log.Error("child SA cannot be installed", zap.Error(err))
		return
	}
	out, err := esp.NewOutbound(v.Outbound, &g.drops)
	if err != nil {
		log.Error("child SA cannot be installed", zap.Error(err))
		return
	}
	end := &endpoint{local: v.Local.Addr(), remote: v.Remote, encapsulated: v.UDPEncapsulation, tcp: v.TCP, proven: true}
	for _, o := range g.children.bySession[e.Session] {
		if o.end.remote == end.remote && o.end.local == end.local {
			end = o.end // which may not be proven yet
		}
	}
	g.noted.begin(in.SPI(), end)
	var through *visiting
	if v.GatewayAgent && g.agent != nil {
		through = &visiting{session: e.Session, home: e.HomeAddress}
		g.noted.visit(in.SPI(), through)
	}
	if !g.inbound.Add(in) {
		log.Error("child SA cannot be installed: its SPI is in use", zap.Uint32("spi", in.SPI()))
		return
	}
	c := &child{key: childKey{e.Session, v.ID}, in: in, out: out, address: e.Address, end: end, usable: !v.Standby, visiting: through}
	g.beside(now, c)
	g.children.add(c)
	g.rechoose(c)
	log.Debug("child SA installed", zap.Uint32("spi_in", in.SPI()), zap.Uint32("spi_out", out.SPI()), zap.String("suite", v.Suite),
		zap.Bool("udp_encapsulation", v.UDPEncapsulation))
}

// activate lets packets be sent through a child SA that was on standby.
func (g *Gateway) activate(key childKey) {
	if c := g.children.byKey[key]; c != nil {
		c.usable = true
		g.rechoose(c)
	}
}

func (g *Gateway) remove(key childKey) {
	c := g.children.remove(key)
	if c == nil {
		return
	}
	g.accounts.childGone(c)
	if len(g.children.bySession[c.key.session]) == 0 {
		g.unproven.moved(c.end, nil)
	}
	g.inbound.Remove(c.in.SPI())
	g.noted.forget(c.in.SPI())
	g.rechoose(c)
}

// move gives those child SAs of a session that the update concerns its endpoints. Nothing else changes the endpoint of a child
// SA that is installed.
func (g *Gateway) move(session gateway.SessionID, u ike.EndpointUpdate, log *zap.Logger) {
	var end *endpoint
	for _, c := range g.children.bySession[session] {
		if !u.Concerns(c.key.id) || u.Number() <= c.update {
			continue
		}
		if end == nil {
			end = c.end.updated(u)
			g.unproven.moved(c.end, end)
		}
		c.update, c.end = u.Number(), end
		g.noted.begin(c.in.SPI(), end)
		g.rechoose(c)
	}
	g.accounts.moved(session, u.Remote())
	log.Info("client's endpoint changed", zap.Stringer("to", u.Remote()), zap.Bool("udp_encapsulation", u.UDPEncapsulation()), zap.Bool("tcp", u.TCP()), zap.Bool("proven", u.Proven()))
}

// choose sends packets for the inner address through the newest usable child SA of its newest session.
func (g *Gateway) choose(address netip.Addr) {
	g.routes.set(address, g.routeThrough(newest(g.children.byAddress[address])))
}

// newest returns the newest usable child SA of the newest session, one that waits beside an older one only where there is no
// other; nil for none.
func newest(list []*child) *child {
	var best *child
	for _, c := range list {
		if c.usable && (best == nil || c.newer(best)) {
			best = c
		}
	}
	return best
}

// newer tells whether c is preferred to o for sending.
func (c *child) newer(o *child) bool {
	if ahead := c.besideUntil == 0; ahead != (o.besideUntil == 0) {
		return ahead
	}
	return c.key.session > o.key.session || c.key.session == o.key.session && c.key.id > o.key.id
}

// routeThrough returns the route through a child SA, nil without one or where its connection is gone.
func (g *Gateway) routeThrough(c *child) *clientRoute {
	if c == nil {
		return nil
	}
	end, from := c.end, g.from(c.end.local)
	r := &clientRoute{inbound: c.in.SPI(), out: c.out, end: end, remote: netip.AddrPortFrom(end.remote.Addr(), 0), path: from.esp.Path(link.Protected)}
	switch {
	case end.tcp:
		f := g.streams.flow(end.remote)
		if f == nil { // until the client makes another connection
			return nil
		}
		r.remote, r.path = end.remote, f.Path(link.Protected)
	case end.encapsulated:
		r.remote, r.path = end.remote, from.natt.Path(link.Protected)
	}
	return r
}

// report logs a rejected message, at most one of a kind now and then: strangers could send many.
func (g *Gateway) report(now link.Instant, remote netip.AddrPort, err error) {
	kind := "rejected"
	var notify *ike.NotifyError
	switch {
	case errors.Is(err, gateway.ErrCookieAsked), errors.Is(err, ike.ErrMessageID):
		return // part of the protocol
	case errors.Is(err, gateway.ErrUnknownSPI), errors.Is(err, ike.ErrUnknownSPI):
		kind = "unknown SPI"
	case errors.Is(err, gateway.ErrHalfOpen):
		kind = "half-open"
	case errors.Is(err, ike.ErrAuthentication), errors.Is(err, gateway.ErrUnknownPeer), errors.Is(err, gateway.ErrNotMe):
		kind = "authentication"
	case errors.As(err, &notify):
		kind = notify.Type.String()
	}
	g.countRejected(kind)
	suppressed, due := g.notices.due(kind, now.Boot)
	if !due {
		return
	}
	g.log.Warn("IKE message rejected", zap.Stringer("remote", remote), zap.Error(err), zap.Int("suppressed", suppressed))
}
