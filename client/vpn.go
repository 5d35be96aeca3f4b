package client

import (
	"fmt"
	"net/netip"
	"time"

	"go.uber.org/zap"

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

// vpnLayer is the VPN: the IKE machine with the flows and security associations that it fills, and the registration with
// the i-HA through it.
type vpnLayer struct {
	data        *stack.VPN
	machine     *ike.Machine
	remove      func()
	established bool
	parked      bool // inside: kept, not used (MOD-park)
	address     netip.Addr
	suite       string
	udp         bool
	children    map[ike.ChildID]*child
	current     ike.ChildID // the one that packets leave through
	link        *stack.PacketLink
	inner       *registration
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

// needVPN makes sure that there is a VPN, or that one is being set up.
func (c *Client) needVPN() {
	v := c.session.vpn
	if v == nil {
		if c.retry.remove == nil {
			c.openVPN()
		}
		return
	}
	if v.parked {
		v.parked = false
		if v.established {
			if err := v.machine.CheckLiveness(c.now); err != nil {
				c.log.Debug("liveness check", zap.Error(err))
			}
		}
	}
	c.registerInner(v)
}

// parkVPN keeps the VPN's SA while direct access is in use; the registration through it ends, for the i-HA has only one
// binding.
func (c *Client) parkVPN() {
	c.stopRetry()
	c.retry.delay = 0
	v := c.session.vpn
	if v == nil {
		return
	}
	v.parked = true
	v.inner.close(c.log)
	v.inner = nil
	if !v.established {
		c.closeVPN(true)
	}
}

// openVPN starts IKE from the x-HoA.
func (c *Client) openVPN() {
	g := c.cfg.Gateway
	peer := c.gatewayName()
	v := &vpnLayer{children: make(map[ike.ChildID]*child)}
	data, err := stack.OpenVPN(c.session.external.link, g.Address, c.drops, func(m stack.Message) { c.post(func() { c.ikeMessage(v, m) }) })
	if err != nil {
		c.problem(control.Problem{Peer: peer, Message: err.Error()})
		return
	}
	v.data = data
	cfg, err := c.ikeConfig()
	if err == nil {
		v.machine, err = ike.NewInitiator(cfg, c.rand)
	}
	if err != nil {
		c.problem(control.Problem{Peer: peer, Message: "IKE cannot start: " + err.Error(), Advice: "check [gateway] with `mipvpn config check`"})
		_ = data.Close()
		return
	}
	c.session.vpn = v
	timeout := func(now link.Instant) {
		c.noteTraffic(v)
		v.machine.HandleTimeout(now)
	}
	v.remove = c.drive(&driven{timeout: timeout, deadline: v.machine.Deadline, drain: func() bool { return c.drainVPN(v) }})
	c.event(control.Event{Kind: "vpn", Message: fmt.Sprintf("setting up IKE with gateway %v from %v", g.Address, c.cfg.External.HomeAddress)})
	if err := v.machine.Start(c.now); err != nil {
		c.problem(control.Problem{Peer: peer, Message: "IKE cannot start: " + err.Error()})
		c.closeVPN(false)
	}
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
		},
		Local: netip.AddrPortFrom(c.cfg.External.HomeAddress, esp.PortIKE), Remote: netip.AddrPortFrom(g.Address, esp.PortIKE),
		RemoteID: remote, PSK: g.PSK, RequestAddress: true, RequestDNS: g.RequestDNS, RequestSubnets: true,
		RemoteSelectors: selectors, ForceUDPEncapsulation: g.ForceUDPEncapsulation, InitialContact: true,
	}, nil
}

func (c *Client) ikeMessage(v *vpnLayer, m stack.Message) {
	if v.machine == nil || c.session == nil || c.session.vpn != v {
		return
	}
	if err := v.machine.HandleDatagram(c.now, ike.Datagram{Local: m.Local, Remote: m.Remote, Payload: m.Payload}); err != nil {
		c.log.Debug("IKE message rejected", zap.Error(err))
	}
}

// drainVPN handles and sends what the IKE machine has to say; security associations come before the message that
// announces them (RFC 7296 §2.8).
func (c *Client) drainVPN(v *vpnLayer) bool {
	busy := false
	for c.session != nil && c.session.vpn == v {
		e, ok := v.machine.PollEvent()
		if !ok {
			break
		}
		busy = true
		c.vpnEvent(v, e)
	}
	for c.session != nil && c.session.vpn == v {
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
		err = v.data.SendKeepalive()
	} else {
		err = v.data.Send(t.Local.Port(), t.Payload)
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

func (c *Client) vpnEvent(v *vpnLayer, e ike.Event) {
	switch e := e.(type) {
	case ike.Established:
		if len(e.Configuration.Addresses) == 0 {
			c.problem(control.Problem{Peer: c.gatewayName(), Message: "assigned no address", Advice: "give the gateway an address pool for this identity"})
			v.machine.Delete(c.now)
			return
		}
		v.established, v.suite, v.udp = true, e.Suite, e.UDPEncapsulation
		v.address = e.Configuration.Addresses[0]
		v.link = v.data.Link(v.address)
		c.retry.delay = 0
		c.solved(c.gatewayName())
		c.event(control.Event{Kind: "vpn", Message: fmt.Sprintf("IKE SA with gateway %v up (%s), address %v", e.RemoteID, e.Suite, v.address)})
		c.roam.HandleVPN(c.now, true)
		c.registerInner(v)
	case ike.ChildInstalled:
		c.childInstalled(v, e)
	case ike.ChildActivated:
		c.useChild(v, e.ID)
	case ike.ChildRemoved:
		if ch := v.children[e.ID]; ch != nil {
			v.data.Remove(ch.open.SPI())
			delete(v.children, e.ID)
			c.retireChild(v, e.ID)
			if len(v.children) == 0 {
				v.machine.Delete(c.now) // an IKE SA without a child SA carries nothing: begin anew
			}
		}
	case ike.ChildFailed:
		c.problem(control.Problem{Peer: c.gatewayName(), Code: ikeCode(e.Err), Message: "no child SA: " + e.Err.Error(), Advice: ikeAdvice(e.Err)})
	case ike.Refused:
		c.problem(control.Problem{Peer: c.gatewayName(), Code: ikeCode(e.Err), Message: "refuses: " + e.Err.Error(), Advice: ikeAdvice(e.Err)})
	case ike.Closed:
		c.vpnClosed(e.Err)
	}
}

// childInstalled takes a new child SA pair into the data path.
func (c *Client) childInstalled(v *vpnLayer, e ike.ChildInstalled) {
	inbound, err := esp.NewInbound(e.Inbound)
	if err == nil {
		var outbound *esp.Outbound
		if outbound, err = esp.NewOutbound(e.Outbound, c.drops); err == nil {
			v.children[e.ID] = &child{
				open: inbound, seal: outbound, overhead: esp.Overhead(e.Outbound.Encryption), udp: e.UDPEncapsulation,
			}
			v.data.Install(inbound)
		}
	}
	e.Inbound.Wipe()
	e.Outbound.Wipe()
	if err != nil {
		c.problem(control.Problem{Peer: c.gatewayName(), Message: "the child SA cannot be used: " + err.Error()})
		return
	}
	if !e.Standby {
		c.useChild(v, e.ID)
	}
	c.registerInner(v)
}

// useChild sends through the child SA from now on.
func (c *Client) useChild(v *vpnLayer, id ike.ChildID) {
	ch := v.children[id]
	if ch == nil {
		return
	}
	v.current = id
	moved := v.udp != ch.udp
	v.udp = ch.udp
	v.data.Use(ch.seal, ch.overhead, ch.udp)
	if _, mode := c.roam.Using(); moved && !mode.Plaintext() {
		c.compose(mode, c.story.cause)
	}
}

// retireChild sends nothing through the child SA any more; another one takes its place if there is one.
func (c *Client) retireChild(v *vpnLayer, id ike.ChildID) {
	if v.current != id {
		return
	}
	v.data.Use(nil, 0, false)
	v.current = 0
	for other := range v.children {
		if other != id && other > v.current {
			v.current = other
		}
	}
	if v.current != 0 {
		c.useChild(v, v.current)
	}
}

// vpnClosed tells people why the IKE SA has ended, and tries again if the VPN is in use.
func (c *Client) vpnClosed(err error) {
	parked := c.session.vpn.parked
	c.closeVPN(false)
	if parked {
		c.log.Info("the parked IKE SA has ended", zap.Error(err))
		return
	}
	if err != nil {
		c.problem(control.Problem{Peer: c.gatewayName(), Code: ikeCode(err), Message: err.Error(), Advice: ikeAdvice(err)})
	}
	if _, mode := c.roam.Using(); mode == stack.ModeNone || mode.Plaintext() {
		return
	}
	c.session.engine.Hold()
	c.story.broke(c.now, "the VPN has ended")
	c.retry.delay = min(max(2*c.retry.delay, vpnRetryFirst), vpnRetryMost)
	c.stopRetry()
	c.retry.remove = c.after(c.retry.delay, func() {
		c.retry.remove = nil
		if _, mode := c.roam.Using(); c.session != nil && c.session.vpn == nil && mode != stack.ModeNone && !mode.Plaintext() {
			c.openVPN()
		}
	})
}

func (c *Client) stopRetry() {
	if c.retry.remove != nil {
		c.retry.remove()
		c.retry.remove = nil
	}
}

// closeVPN ends the VPN; with tell set the gateway is told, as far as one message can.
func (c *Client) closeVPN(tell bool) {
	v := c.session.vpn
	if v == nil {
		return
	}
	c.session.vpn = nil
	if v.remove != nil {
		v.remove()
	}
	v.inner.close(c.log)
	if tell && v.machine.Err() == nil {
		v.machine.Delete(c.now)
		for {
			t, ok := v.machine.PollTransmit()
			if !ok {
				break
			}
			c.sendIKE(v, t)
		}
	}
	if err := v.data.Close(); err != nil {
		c.log.Debug("closing the VPN's flows", zap.Error(err))
	}
	c.roam.HandleVPN(c.now, false)
}

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
