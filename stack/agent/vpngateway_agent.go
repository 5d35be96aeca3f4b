package agent

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"

	"mipvpn/ipsec/gateway"
	"mipvpn/mipv4/foreignagent"
	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// visiting is what the data path knows of a child SA through the agent: the session that it belongs to, and its home address.
type visiting struct {
	session gateway.SessionID
	home    netip.Addr
}

func (v *visiting) station() foreignagent.Station {
	return foreignagent.Station{Session: uint64(v.session)}
}

// gatewayAgent is the foreign agent in a VPN gateway (draft-ietf-mobileip-vpn-problem-solution-01 appendix B): mobile nodes are
// reached through their child SAs in the place of a visited link. All that comes out of such an SA goes to the home agent, also
// what is for another mobile node of this gateway (B.5), and only while the home agent has accepted a registration that came
// through an SA of the same session. It never goes by the gateway's TUN device.
type gatewayAgent struct {
	homeward
	// seal protects packets for a session's mobile node and sends them. It takes ownership.
	seal  func(route *clientRoute, b *packet.Batch)
	mtu   int                           // of inner packets to mobile nodes
	sends routeTable[gateway.SessionID] // how sessions' packets leave
}

// agentLifetime is how long the advertisement that is handed over counts; it has no meaning but must not be 0 (RFC 1256 §4.1 has
// 9000 s as the longest).
const agentLifetime = 9000 * time.Second

// inGateway returns the configuration of the foreign agent as one in this gateway, or why it cannot be.
func (c *GatewayConfig) inGateway() (foreignagent.Config, error) {
	f := *c.ForeignAgent
	fail := func(format string, a ...any) (foreignagent.Config, error) {
		return f, fmt.Errorf("%w: foreign agent: %s", gateway.ErrConfig, fmt.Sprintf(format, a...))
	}
	switch {
	case c.Agent == nil:
		return fail("Agent says who may use it, found none")
	case len(f.PermittedHomeAgents) == 0:
		return fail("want the home agents that are permitted: the gateway would send packets anywhere")
	case f.CareOfAddress == c.Address || slices.Contains(c.Additional, f.CareOfAddress):
		return fail("want a care-of address other than the outer ones, found %v", f.CareOfAddress)
	case len(c.Agent.Networks) != 0 && !slices.ContainsFunc(c.Agent.Networks, func(p netip.Prefix) bool { return p.Contains(f.CareOfAddress) }):
		return fail("want networks that the care-of address %v is in, for requests are sent to it, found %v", f.CareOfAddress, c.Agent.Networks)
	}
	f.Address, f.Interval, f.AdvertisementLifetime = f.CareOfAddress, -1, agentLifetime
	f.NoCoLocated, f.NoEncapsulatingDelivery, f.RegistrationRequired = true, true, false
	f.OwnAddresses = append(append(slices.Clone(f.OwnAddresses), c.Address), c.Additional...)
	return f, nil
}

// CheckForeignAgent says what of ForeignAgent is wrong. Errors wrap gateway.ErrConfig or foreignagent.ErrConfig.
func (c *GatewayConfig) CheckForeignAgent() error {
	if c.ForeignAgent == nil {
		return nil
	}
	f, err := c.inGateway()
	if err != nil {
		return err
	}
	_, err = foreignagent.New(f, link.Instant{}, nil)
	return err
}

// newGatewayAgent makes the agent that the configuration asks for, and has the gateway hand over its advertisement; nil for none.
func newGatewayAgent(host link.Clock, cfg *GatewayConfig, log *zap.Logger, random io.Reader) (*gatewayAgent, error) {
	if cfg.ForeignAgent == nil {
		return nil, nil
	}
	f, err := cfg.inGateway()
	if err != nil {
		return nil, err
	}
	m, err := foreignagent.New(f, host.Now(), random)
	if err != nil {
		return nil, err
	}
	a := &gatewayAgent{homeward: homeward{log: log, clock: host, machine: m, table: m.Table(), careOf: f.CareOfAddress, address: f.CareOfAddress, offered: f.Encapsulations,
		errors: newLimiter(errorsPerSecond, errorBurst, host.Now().Boot), notices: make(notices)}}
	a.tell = a.toVisitor
	cfg.advertise(a)
	return a, nil
}

// advertise has the gateway hand over the agent's advertisement.
func (c *GatewayConfig) advertise(a *gatewayAgent) {
	if a != nil && c.Agent != nil {
		own := *c.Agent
		own.Advertise = a.machine.Advertisement
		c.Agent = &own
	}
}

// open opens the agent's flows.
func (a *gatewayAgent) open(host link.Host, ready <-chan struct{}) error {
	under, err := host.Underlay(0, a.careOf)
	if err != nil {
		return err
	}
	return a.openHome(under, ready, a.receiveTunnelled)
}

// take takes out of a batch that has come out of SAs what is of those through the agent.
func (a *gatewayAgent) take(b *packet.Batch, noted *traffic) {
	var (
		at   *visiting
		spi  uint32
		out  homeExits
		some bool
		now  = a.clock.Now().Boot
		kept = b.Bufs[:0]
	)
	for i, p := range b.Bufs {
		if i == 0 || p.SA != spi {
			spi, at = p.SA, nil
			if h := noted.of(spi); h != nil {
				at = h.visiting
			}
		}
		if at == nil {
			kept = append(kept, p)
			continue
		}
		if !some {
			some = true
			a.prepare(&out)
		}
		if r := a.fromVisitor(now, at, p, &out); r != packet.NotDropped {
			a.drops.Count(r, 1)
			p.Release()
		}
	}
	clear(b.Bufs[len(kept):])
	b.Bufs = kept
	if some {
		a.send(&out)
	}
}

// fromVisitor puts one packet that has come out of an SA into the tunnel to the home agent, or returns what else became of it;
// then it is still the caller's. Multicast and broadcast go the same way (B.5).
func (a *gatewayAgent) fromVisitor(now time.Duration, at *visiting, p *packet.Buf, out *homeExits) packet.DropReason {
	ip := packet.IPv4(p.Bytes())
	if !ip.Valid() || !ip.ChecksumOK() {
		return packet.DropMalformed
	}
	p.Trim(ip.TotalLen())
	ip = packet.IPv4(p.Bytes())
	switch {
	case ip.Src() != at.home:
		return packet.DropNotHomeAddress
	case ip.Dst() == a.address:
		return a.forAgent(at, ip)
	}
	v := a.table.Reverse(now, at.home, at.station())
	if v == nil {
		return packet.DropNoBinding
	}
	return a.enter(now, v, p, out)
}

// forAgent takes a packet for the agent itself: registration requests. There is nothing else that a mobile node could want of it:
// the advertisement was handed over by IKE.
func (a *gatewayAgent) forAgent(at *visiting, ip packet.IPv4) packet.DropReason {
	u := packet.UDP(ip.Payload())
	if ip.Protocol() != packet.ProtocolUDP || ip.MoreFragments() || ip.FragmentOffset() != 0 || !u.Valid() || u.DstPort() != wire.Port {
		return packet.DropPolicy
	}
	if !u.ChecksumOK(ip.Src(), ip.Dst()) {
		return packet.DropMalformed
	}
	if typ, _ := wire.TypeOf(u.Payload()); typ != wire.TypeRegistrationRequest {
		return packet.DropUnsupported
	}
	r := foreignagent.Request{
		Station: at.station(), HomeAddress: at.home, Source: netip.AddrPortFrom(ip.Src(), u.SrcPort()), Destination: ip.Dst(), TTL: ip.TTL(),
		Payload: append([]byte(nil), u.Payload()...),
	}
	a.post(func(now link.Instant) {
		if err := a.machine.HandleRequest(now, r); err != nil {
			a.reportMessage(now, "registration request", r.Source, err)
		}
	})
	return packet.Delivered
}

// receiveTunnelled sends what home agents tunnel to visitors through their SAs (B.5): only with a registration with the home agent that
// it comes from, and an SA of the session that the registration came through. Broadcast and multicast come in a second tunnel
// to the home address (RFC 5944 §4.3), which is the mobile node's to open.
func (a *gatewayAgent) receiveTunnelled(b *packet.Batch, e tunnel.Encapsulation) {
	var (
		to  gateway.SessionID
		run *packet.Batch
	)
	for _, p := range b.Bufs {
		v, r := a.leave(p, e)
		if r == packet.NotDropped {
			if session := gateway.SessionID(v.Station.Session); run == nil || session != to {
				a.toSession(to, run)
				to, run = session, packet.GetBatch()
			}
			r = a.deliver(p, a.mtu, run)
		}
		if r != packet.NotDropped {
			a.drops.Count(r, p.Segments())
			p.Release()
		}
	}
	a.toSession(to, run)
	b.Forget()
}

// toSession sends packets to a session's mobile node. It takes ownership; nil for none.
func (a *gatewayAgent) toSession(session gateway.SessionID, b *packet.Batch) {
	if b == nil {
		return
	}
	r := a.sends.of(session)
	if r == nil {
		b.Drop(a.drops, packet.DropNoBinding)
		return
	}
	a.seal(r, b)
}

// toVisitor sends an ICMP error. It takes ownership.
func (a *gatewayAgent) toVisitor(v *foreignagent.Visitor, e *packet.Buf) {
	a.toSession(gateway.SessionID(v.Station.Session), packet.One(e))
}

// drain sends what the machine has to send and logs its events.
func (a *gatewayAgent) drain() {
	for t, ok := a.machine.PollTransmit(); ok; t, ok = a.machine.PollTransmit() {
		switch t.To {
		case foreignagent.ToHomeAgent:
			if err := a.udp.Send(t.Remote, t.Payload); err != nil {
				a.report("send", a.clock.Now(), "message could not be sent", t.Remote, err)
			}
		case foreignagent.ToMobileNode:
			a.registrations.sent(t.Payload)
			p := packet.From(t.Payload)
			packet.PushUDP(p, t.Local, t.Remote)
			packet.PushIPv4(p, packet.IPv4Fields{DontFragment: true, TTL: replyTTL, Protocol: packet.ProtocolUDP, Src: t.Local.Addr(), Dst: t.Remote.Addr()})
			a.toSession(gateway.SessionID(t.Station.Session), packet.One(p))
		case foreignagent.Advertise: // not without a visited link
		}
	}
	a.logEvents()
}

// sameAgent reports whether the foreign agent of another configuration is this one's but for security associations, who may use it
// and what they may reach.
func (c *GatewayConfig) sameAgent(o *GatewayConfig) bool {
	if c.ForeignAgent == nil || o.ForeignAgent == nil {
		return c.ForeignAgent == o.ForeignAgent
	}
	a, b := *c.ForeignAgent, *o.ForeignAgent
	return a.CareOfAddress == b.CareOfAddress && a.Prefix == b.Prefix && a.MaxLifetime == b.MaxLifetime && a.MaxVisitors == b.MaxVisitors &&
		a.MaxPending == b.MaxPending && a.NAI == b.NAI && slices.Equal(a.Extensions, b.Extensions) && slices.Equal(a.PermittedHomeAgents, b.PermittedHomeAgents) &&
		a.Encapsulations == b.Encapsulations && a.UDPTunnel == b.UDPTunnel
}

// Visitors returns the number of registrations that the foreign agent in the gateway has relayed and that are in force.
func (g *Gateway) Visitors() int {
	if g.agent == nil {
		return 0
	}
	return g.agent.table.Len()
}

// openAgent opens the flows of the foreign agent, if there is one.
func (g *Gateway) openAgent() error {
	if g.agent == nil {
		return nil
	}
	a := g.agent
	a.drops, a.loop, a.seal, a.mtu = &g.drops, g.loop, g.sealAndSend, g.mtu()
	return a.open(g.host, g.ready)
}

// rechoose chooses anew what packets for the mobile node or client of a child SA are sent through.
func (g *Gateway) rechoose(c *child) {
	if c.visiting == nil {
		g.choose(c.address)
		return
	}
	g.agent.sends.set(c.key.session, g.routeThrough(newest(g.children.bySession[c.key.session])))
}
