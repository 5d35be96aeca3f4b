package client

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/control"
	"mipvpn/client/vpn"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/stack"
	"mipvpn/tun/link"
)

const (
	// vpnRetryFirst and vpnRetryMost bound the time between attempts to reach a gateway that refused or did not answer.
	vpnRetryFirst = time.Second
	vpnRetryMost  = 30 * time.Second
)

// vpnLayer is the VPN: a tunnel to the gateway, and the registration with the i-HA through it. A session has one, and while that
// is asked whether it lives perhaps a second one that is being set up: its rival (park.go). The way to the gateway,
// session.access, serves both.
type vpnLayer struct {
	tunnel vpn.Tunnel
	agency
	remove      func()
	began       time.Duration // boot time
	stands      netip.Addr    // where people have been told that it stands, once it is established
	established bool
	parked      bool   // inside: kept, not used (MOD-park)
	check       *check // the gateway is being asked whether it still has this tunnel
	// resting is set while no path is in use: the tunnel is parked since the boot time restedAt.
	resting  bool
	restedAt time.Duration
	// doubt is why the gateway has to be asked for the tunnel when that is used the next time; empty when it need not.
	doubt string
	// renew is why a new tunnel is to take this one's place (renew.go); empty when none is.
	renew   string
	address netip.Addr
	told    vpn.Up // what the gateway has told when the tunnel came up
	link    *stack.PacketLink
	inner   *registration
	// drained closes what an earlier inner still receives from; nil when there is nothing.
	drained func()
}

// vpnRetry paces attempts; it belongs to the client, not to one attempt.
type vpnRetry struct {
	delay  time.Duration
	remove func()
}

// openVPN begins to set up a tunnel from the preferred bearer, as the session's VPN.
func (c *Client) openVPN() {
	if !c.prepare() || !c.pointGateway() {
		return
	}
	v, err := c.dial(true)
	if errors.Is(err, errNoBearer) {
		c.noBearer(err)
		return
	}
	if v == nil {
		c.problem(control.Problem{Peer: c.gatewayName(), Message: "the VPN cannot start: " + err.Error(), Advice: "check [gateway] with `mipvpn config check`"})
		return
	}
	c.session.vpn = v
	c.event(control.Event{Kind: "vpn", Message: fmt.Sprintf("setting up the VPN with gateway %v from %v", c.gatewayInUse(), v.tunnel.Bearer())})
	c.watchStraight(v)
	c.watchSlow(v)
}

// watchSlow tells people of a tunnel that takes its time, since IKE asks a gateway that is silent for minutes (RFC 7296 §2.4). The gateway
// may be about it all the same, asking a RADIUS server or a person's telephone, so that nothing else follows from it.
func (c *Client) watchSlow(v *vpnLayer) {
	patience := c.cfg.Gateway.GiveUp
	c.after(patience, func() {
		if !c.serves(v) || v != c.session.vpn || v.established || v.resting || !c.outside() {
			return
		}
		c.silence(control.Problem{Peer: c.gatewayName(), Message: fmt.Sprintf("has not set up the VPN within %v and is still being asked", patience),
			Advice: "if it stays so, check that the gateway runs, that its address in [gateway] is right, and that its UDP ports 500 and 4500 are reached from here"})
		c.story.slow = c.story.silent[c.gatewayName()]
	})
}

// dial begins to set up a tunnel; first says that there is no other one that may live.
func (c *Client) dial(first bool) (*vpnLayer, error) {
	if err := c.openAccess(); err != nil {
		return nil, err
	}
	c.stand()
	agency := c.offerAgent()
	ticket := c.ticket
	c.ticket = nil
	tunnel, err := c.session.access.Dial(c.now, first, ticket)
	if err != nil {
		return nil, err
	}
	v := &vpnLayer{tunnel: tunnel, agency: agency, began: c.now.Boot}
	v.remove = c.drive(&driven{timeout: tunnel.HandleTimeout, deadline: tunnel.Deadline, drain: func() bool { return c.drainVPN(v) }})
	return v, nil
}

// openAccess opens the flows to the gateway, which stay until the session ends.
func (c *Client) openAccess() error {
	s := c.session
	if s.access != nil {
		return nil
	}
	bearers := c.bearers()
	if len(bearers) == 0 {
		return errNoBearer
	}
	var err error
	s.access, err = c.protocol.Open(vpn.Ground{
		Bearers: bearers, Gateway: c.cfg.Gateway.Address, Drops: c.drops, Random: c.rand, Log: c.log,
		Run: func(f func(link.Instant)) { c.post(func() { f(c.now) }) }, Hand: c.hand, Connect: c.pastVPN(),
	})
	c.spare()
	return err
}

// closeAccess closes the flows to the gateway.
func (c *Client) closeAccess() {
	if s := c.session; s.access != nil {
		if err := s.access.Close(); err != nil {
			c.log.Debug("closing the VPN's flows", zap.Error(err))
		}
		s.access = nil
	}
}

// serves reports whether v is one of the session's layers.
func (c *Client) serves(v *vpnLayer) bool {
	return c.session != nil && (c.session.vpn == v || c.session.rival == v || c.session.leaving == v)
}

func (c *Client) gatewayName() string { return fmt.Sprintf("VPN gateway %v", c.cfg.Gateway.Address) }

// drainVPN handles what the tunnel has to say, and then has it send: a path is there before the message that announces it.
func (c *Client) drainVPN(v *vpnLayer) bool {
	busy := false
	for c.serves(v) {
		e, ok := v.tunnel.PollEvent(c.now)
		if !ok {
			break
		}
		busy = true
		c.vpnEvent(v, e)
	}
	return c.serves(v) && v.tunnel.Flush() || busy
}

// retryVPN opens the VPN again after a while if it is in use: at first soon, then less often.
func (c *Client) retryVPN() {
	var pause time.Duration
	if !c.ends.gateways.Another() { // else the next attempt is with another gateway
		c.retry.delay = min(max(2*c.retry.delay, vpnRetryFirst), vpnRetryMost)
		pause = c.retry.delay
	}
	c.retryVPNAfter(pause)
}

// retryVPNAfter opens the VPN again after the pause if it is in use.
func (c *Client) retryVPNAfter(pause time.Duration) {
	c.stopRetry()
	c.retry.remove = c.after(pause, func() {
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
	c.closeLeaving(tell)
	v := c.session.vpn
	if v == nil {
		return
	}
	c.session.vpn = nil
	c.closeLayer(v, tell)
	c.vpnLive(false)
	c.groundLost()
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
	v.tunnel.Close(c.now, tell)
}

// vpnLive tells the roam policy whether a tunnel lives, as far as is known (DET-7).
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

// wipeTicket forgets the ticket of a suspended tunnel.
func (c *Client) wipeTicket() {
	if c.ticket != nil {
		c.ticket.Wipe()
		c.ticket = nil
	}
}

// vpnStatus describes the tunnel for people, nil while there is none.
func (c *Client) vpnStatus() *control.VPN {
	v := c.session.vpn
	if v == nil {
		return nil
	}
	s := &control.VPN{Protocol: c.protocol.Name(), Established: v.established}
	if !v.established {
		return s
	}
	d := v.tunnel.Describe()
	s.GatewayIdentity, s.GatewayProof, s.OwnProof, s.Suite, s.PacketSuite = d.GatewayIdentity, d.Gateway, d.Own, d.Suite, d.ESP
	s.Address, s.Domains, s.Selectors, s.Narrowed = v.address.String(), v.told.Domains, d.Selectors, d.Narrowed
	s.KeyExchanges, s.Downgraded, s.PPK = d.KeyExchanges, d.Downgraded, d.PresharedToo
	s.Agent, s.NoAgent = v.describe()
	for _, a := range v.told.DNS {
		s.DNS = append(s.DNS, a.String())
	}
	return s
}
