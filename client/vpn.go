package client

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/stack"
	"mipvpn/tun/link"
)

const (
	// vpnRetryFirst and vpnRetryMost bound the time between attempts to reach a gateway that refused or did not answer.
	vpnRetryFirst = time.Second
	vpnRetryMost  = 30 * time.Second
)

// vpnLayer is the VPN: the IKE machine with the security associations that it fills, and the registration with the i-HA
// through it. A session has one, and while that is asked whether it lives perhaps a second one that is being set up: its
// rival (park.go). The flows to the gateway, session.tunnel, serve both.
type vpnLayer struct {
	machine     *ike.Machine
	remove      func()
	began       time.Duration // boot time
	established bool
	parked      bool // inside: kept, not used (MOD-park)
	// committed is set when the gateway may take its IKE SA for established, whatever becomes of the answer.
	committed bool
	check     *check // the gateway is being asked whether it still has this SA
	// resting is set while no path is in use: the IKE machine is parked since the boot time restedAt.
	resting  bool
	restedAt time.Duration
	// doubt is why the gateway has to be asked for the SA when that is used the next time; empty when it need not.
	doubt    string
	address  netip.Addr
	suite    string
	udp      bool
	children map[ike.ChildID]*child
	current  ike.ChildID // the one that packets leave through
	link     *stack.PacketLink
	inner    *registration
	// drained closes what an earlier inner still receives from; nil when there is nothing.
	drained func()
}

// child is a child SA pair.
type child struct {
	open     *esp.Inbound
	seal     *esp.Outbound
	seen     uint64 // packets that had been received when noteTraffic last looked
	overhead int
	udp      bool
}

// vpnRetry paces attempts; it belongs to the client, not to one attempt.
type vpnRetry struct {
	delay  time.Duration
	remove func()
}

// openVPN starts IKE from the x-HoA, as the session's VPN.
func (c *Client) openVPN() {
	if !c.pointGateway() {
		return
	}
	v, err := c.startIKE(true)
	if v == nil {
		c.problem(control.Problem{Peer: c.gatewayName(), Message: "IKE cannot start: " + err.Error(), Advice: "check [gateway] with `mipvpn config check`"})
		return
	}
	c.session.vpn = v
	c.event(control.Event{Kind: "vpn", Message: fmt.Sprintf("setting up IKE with gateway %v from %v", c.cfg.Gateway.Address, c.cfg.External.HomeAddress)})
}

// startIKE starts an IKE machine. Only the first one may tell the gateway to forget all others (RFC 7296 §2.4): beside one
// that may live, a second must not.
func (c *Client) startIKE(first bool) (*vpnLayer, error) {
	if err := c.openTunnel(); err != nil {
		return nil, err
	}
	cfg, err := c.ikeConfig()
	if err != nil {
		return nil, err
	}
	cfg.InitialContact = first
	cfg.RequestTicket = c.cfg.Gateway.Park == config.ParkResume
	cfg.Ticket, c.ticket = c.ticket, nil
	v := &vpnLayer{began: c.now.Boot, children: make(map[ike.ChildID]*child)}
	if v.machine, err = ike.NewInitiator(cfg, c.rand); err != nil {
		return nil, err
	}
	if err := v.machine.Start(c.now); err != nil {
		return nil, err
	}
	v.remove = c.drive(&driven{
		timeout: func(now link.Instant) {
			c.noteTraffic(v)
			v.machine.HandleTimeout(now)
		},
		deadline: v.machine.Deadline,
		drain:    func() bool { return c.drainVPN(v) },
	})
	return v, nil
}

// openTunnel opens the flows to the gateway, which stay until the session ends.
func (c *Client) openTunnel() error {
	s := c.session
	if s.tunnel != nil {
		return nil
	}
	var err error
	s.tunnel, err = stack.OpenVPN(s.external.link, c.cfg.Gateway.Address, c.drops, func(m stack.Message) { c.post(func() { c.ikeMessage(s, m) }) })
	if err == nil {
		s.tunnel.OnLifeOver(func() { c.post(func() { c.noteSpent(s) }) })
	}
	return err
}

// noteSpent tells the IKE machines which child SAs have come to the end of their lifetimes in octets, packets or sequence
// numbers.
func (c *Client) noteSpent(s *session) {
	if s != c.session {
		return
	}
	for _, v := range s.layers() {
		for _, ch := range v.children {
			if ch.open.Spent() || ch.seal.Spent() {
				v.machine.HandleSpent(c.now, ch.open.SPI(), ch.open.Exhausted() || ch.seal.Exhausted())
			}
		}
	}
}

// closeTunnel closes the flows to the gateway.
func (c *Client) closeTunnel() {
	if s := c.session; s.tunnel != nil {
		if err := s.tunnel.Close(); err != nil {
			c.log.Debug("closing the VPN's flows", zap.Error(err))
		}
		s.tunnel = nil
	}
}

// layers returns the session's VPN and its rival, as far as there are any.
func (s *session) layers() []*vpnLayer {
	var all []*vpnLayer
	for _, v := range []*vpnLayer{s.vpn, s.rival} {
		if v != nil {
			all = append(all, v)
		}
	}
	return all
}

// serves reports whether v is one of the session's layers.
func (c *Client) serves(v *vpnLayer) bool {
	return c.session != nil && (c.session.vpn == v || c.session.rival == v)
}

func (c *Client) gatewayName() string { return fmt.Sprintf("VPN gateway %v", c.cfg.Gateway.Address) }

// ikeConfig returns the IKE machine's configuration.
func (c *Client) ikeConfig() (ike.InitiatorConfig, error) {
	g := c.cfg.Gateway
	local, err := message.NewIdentity(g.LocalIdentity)
	if err != nil {
		return ike.InitiatorConfig{}, err
	}
	remote, err := message.NewIdentity(g.RemoteIdentity)
	if err != nil {
		return ike.InitiatorConfig{}, err
	}
	subnets := g.RemoteSubnets
	if len(subnets) == 0 {
		subnets = c.cfg.Enterprise.Prefixes
	}
	selectors := make([]esp.Selector, 0, len(subnets))
	for _, p := range subnets {
		selectors = append(selectors, esp.PrefixSelector(p))
	}
	return ike.InitiatorConfig{
		Config: ike.Config{
			LocalID:  local,
			Liveness: g.Liveness, Keepalive: g.KeepAlive,
			Lifetimes: ike.Lifetimes{IKE: g.IKELifetime, Child: g.ChildLifetime},
			SPIInUse:  c.spiInUse,
		},
		Local: netip.AddrPortFrom(c.cfg.External.HomeAddress, esp.PortIKE), Remote: netip.AddrPortFrom(g.Address, esp.PortIKE),
		RemoteID: remote, PSK: g.PSK, RequestAddress: true, RequestDNS: g.RequestDNS, RequestSubnets: true,
		RequestDomains:  g.RequestDNS && c.cfg.DNS.Used() && c.cfg.DNS.GatewayDomains,
		RemoteSelectors: selectors, ForceUDPEncapsulation: g.ForceUDPEncapsulation,
	}, nil
}

// spiInUse reports whether a child SA of any layer receives under the SPI.
func (c *Client) spiInUse(spi uint32) bool {
	for _, v := range c.session.layers() {
		for _, ch := range v.children {
			if ch.open.SPI() == spi {
				return true
			}
		}
	}
	return false
}

// ikeMessage hands a message to the layer that it is for: each knows its IKE SAs by their SPIs.
func (c *Client) ikeMessage(s *session, m stack.Message) {
	if c.session != s {
		return
	}
	for _, v := range s.layers() {
		err := v.machine.HandleDatagram(c.now, ike.Datagram{Local: m.Local, Remote: m.Remote, Payload: m.Payload})
		if errors.Is(err, ike.ErrUnknownSPI) {
			continue
		}
		if err != nil {
			c.log.Debug("IKE message rejected", zap.Error(err))
		}
		return
	}
	c.log.Debug("IKE message for no IKE SA of ours")
}

// drainVPN handles and sends what the IKE machine has to say; security associations come before the message that
// announces them (RFC 7296 §2.8).
func (c *Client) drainVPN(v *vpnLayer) bool {
	busy := false
	for c.serves(v) {
		e, ok := v.machine.PollEvent()
		if !ok {
			break
		}
		busy = true
		c.vpnEvent(v, e)
	}
	for c.serves(v) {
		t, ok := v.machine.PollTransmit()
		if !ok {
			break
		}
		busy = true
		c.sendIKE(v, t)
	}
	return busy
}

func (c *Client) sendIKE(v *vpnLayer, t ike.Transmit) {
	var err error
	if t.Keepalive {
		err = c.session.tunnel.SendKeepalive()
	} else {
		if h, herr := message.ParseHeader(t.Payload); herr == nil && h.Exchange == message.IKEAuth {
			v.committed = true
		}
		err = c.session.tunnel.Send(t.Local.Port(), t.Payload)
	}
	if err != nil {
		c.log.Debug("IKE message not sent", zap.Error(err))
	}
}

// noteTraffic tells the IKE machine which child SAs have received since it was last asked: the peer lives, and a child SA
// that waited for it may be used.
func (c *Client) noteTraffic(v *vpnLayer) {
	for _, ch := range v.children {
		if n := ch.open.Usage().Packets; n != ch.seen {
			ch.seen = n
			v.machine.HandleTraffic(c.now, ch.open.SPI())
		}
	}
}

// retryVPN opens the VPN again after a while if it is in use: at first soon, then less often.
func (c *Client) retryVPN() {
	c.retry.delay = min(max(2*c.retry.delay, vpnRetryFirst), vpnRetryMost)
	c.stopRetry()
	c.retry.remove = c.after(c.retry.delay, func() {
		c.retry.remove = nil
		if c.session != nil && c.session.vpn == nil && c.outside() {
			c.refreshExternal()
			c.openVPN()
		}
	})
}

// outside reports whether a mode with the VPN is in use.
func (c *Client) outside() bool {
	_, mode := c.roam.Using()
	return mode != stack.ModeNone && !mode.Plaintext()
}

func (c *Client) stopRetry() {
	if c.retry.remove != nil {
		c.retry.remove()
		c.retry.remove = nil
	}
}

// closeVPN ends the VPN and its rival; with tell set the gateway is told, as far as one message can.
func (c *Client) closeVPN(tell bool) {
	c.closeRival(tell)
	v := c.session.vpn
	if v == nil {
		return
	}
	c.session.vpn = nil
	c.closeLayer(v, tell)
	c.session.tunnel.Use(nil, 0, false)
	c.vpnLive(false)
}

// closeLayer ends one layer, which must not be the session's any more.
func (c *Client) closeLayer(v *vpnLayer, tell bool) {
	v.check.end()
	v.check = nil
	if v.remove != nil {
		v.remove()
	}
	v.endDrain()
	v.inner.close(c.log)
	if tell && v.machine.Err() == nil {
		v.machine.Unpark(c.now)
		v.machine.Delete(c.now)
		for {
			t, ok := v.machine.PollTransmit()
			if !ok {
				break
			}
			c.sendIKE(v, t)
		}
	}
	for _, ch := range v.children {
		c.session.tunnel.Remove(ch.open.SPI())
	}
}

// vpnLive tells the roam policy whether an IKE SA lives, as far as is known (DET-7).
func (c *Client) vpnLive(live bool) { c.roam.HandleVPN(c.now, live) }

// leaveHomeAgents deregisters with the home agents that hold a binding, as far as one message can.
func (c *Client) leaveHomeAgents() {
	for _, i := range c.ifaces {
		if i.attempt == nil {
			continue
		}
		for _, r := range []*registration{i.attempt.internal, i.attempt.external} {
			c.leave(r)
		}
	}
}

// leave sends one deregistration.
func (c *Client) leave(r *registration) {
	if r == nil || r.machine == nil || !r.bound {
		return
	}
	r.machine.Deregister(c.now)
	c.drainRegistration(r, func(mobilenode.Event) {})
}
