package client

import (
	"errors"
	"fmt"
	"net/netip"

	"go.uber.org/zap"

	"mipvpn/client/control"
	"mipvpn/client/vpn"
)

func (c *Client) vpnEvent(v *vpnLayer, e vpn.Event) {
	c.countVPN(e)
	if v == c.session.leaving {
		if _, ok := e.(vpn.Closed); ok {
			c.closeLeaving(false)
		}
		return
	}
	switch e := e.(type) {
	case vpn.Up:
		c.dnsTold(e.DNS)
		c.dnsNamed(e.Domains)
		c.ends.gateways.Up()
		v.established, v.address, v.told = true, e.Address, e
		c.event(control.Event{Kind: "vpn", Message: fmt.Sprintf("%s, address %v", e.How, v.address)})
		c.tellMechanisms()
		if c.abandonStraight(v) {
			return
		}
		c.vpnUp(v)
	case vpn.Ready:
		c.vpnReady(v, e.Moved)
	case vpn.Trouble:
		code, advice := c.protocol.Explain(e.Err)
		c.problem(control.Problem{Peer: c.gatewayName(), Code: code, Message: e.What + ": " + e.Err.Error(), Advice: advice})
	case vpn.Renew:
		why := e.Why
		if why == "" {
			why = "the authentication is to be repeated"
		}
		c.replaceVPN(v, why)
	case vpn.Rekeyed:
		what := "the IKE SA has fresh keys"
		if e.Child {
			what = "ESP has fresh keys"
		}
		c.event(control.Event{Kind: "rekey", Message: what})
	case vpn.Probe:
		if r := c.inner(); r != nil && r.bound && v == c.session.vpn {
			c.refreshInner("the VPN gateway is to show where it sends packets")
		}
	case vpn.Elsewhere:
		c.vpnElsewhere(v, e)
	case vpn.Alive:
		c.gatewayLives(v)
		c.confirmed(v)
		c.agentSilent(v)
	case vpn.Closed:
		c.vpnClosed(v, e.Err)
	}
}

// vpnElsewhere goes to another gateway, since the one in use says so. That a tunnel which is being set up has ended follows.
func (c *Client) vpnElsewhere(v *vpnLayer, e vpn.Elsewhere) {
	to := e.Name
	if e.Address.IsValid() {
		to = e.Address.String()
	}
	c.event(control.Event{Kind: "vpn", Message: fmt.Sprintf("gateway %v sends its clients to %s", c.cfg.Gateway.Address, to)})
	leave := func(a netip.Addr) {
		c.ends.gateways.Redirected(a)
		if c.session == nil || c.session.vpn != v || !v.established {
			return
		}
		c.closeVPN(true)
		if c.outside() {
			c.session.engine.Hold()
			c.story.broke(c.now, "the VPN gateway has sent us to another one")
			c.retryVPN()
		}
	}
	if e.Address.Is4() {
		leave(e.Address)
		return
	}
	a := c.inUse()
	if e.Name == "" || a == nil {
		return
	}
	c.resolve(a.iface, e.Name, func(addresses []netip.Addr, err error) {
		if err != nil {
			c.unnamed("VPN gateway "+e.Name, err, true)
			return
		}
		leave(addresses[0])
	})
}

// vpnProblem tells people why a tunnel has ended or not come up.
func (c *Client) vpnProblem(err error) {
	if errors.Is(err, vpn.ErrBearerGone) { // the laptop has moved on, and so does the VPN
		c.log.Info("a tunnel was left behind", zap.Error(err))
		return
	}
	code, advice := c.protocol.Explain(err)
	c.problem(control.Problem{Peer: c.gatewayName(), Code: code, Message: err.Error(), Advice: advice})
}

// vpnUp takes a layer into service whose tunnel is set up: at once where it is the session's, when packets can leave through it
// where it is a rival.
func (c *Client) vpnUp(v *vpnLayer) {
	if v == c.session.rival {
		c.promote()
		return
	}
	if old := c.session.leaving; old != nil && old.address == v.address { // the link that it is attached to is v's from now on
		c.closeLeaving(true)
	}
	v.link = c.vpnLink(v.address)
	c.session.access.Use(v.tunnel)
	c.retry.delay = 0
	c.solved(c.gatewayName())
	c.vpnLive(true)
	if !c.meetAgent(v) {
		return
	}
	c.tellMechanisms()
	if !c.serves(v) {
		return
	}
	c.stood(v)
	c.unmute(v)
	c.registerInner(v)
	c.restVPN()
}

// vpnReady goes on when packets can leave through a tunnel, or leave in another way.
func (c *Client) vpnReady(v *vpnLayer, moved bool) {
	defer c.tellVPN()
	if v == c.session.rival {
		c.promote()
		return
	}
	if !c.meetAgent(v) {
		return
	}
	c.tellMechanisms() // the mode may be another now
	if !c.serves(v) || c.abandonStraight(v) {
		return
	}
	c.stood(v)
	if _, mode := c.roam.Using(); moved && !mode.Plaintext() {
		c.compose(mode)
	}
	c.registerInner(v)
}

// vpnClosed tells people why an IKE SA has ended, and tries again if the VPN is in use.
func (c *Client) vpnClosed(v *vpnLayer, err error) {
	if v == c.session.rival {
		c.rivalClosed(err)
		return
	}
	if c.fallBack(v) {
		return
	}
	if v.parked || v.resting {
		c.closeVPN(false)
		c.event(control.Event{Kind: "vpn", Message: "the tunnel that was kept has ended" + because(err) + ": a new one is set up when it is needed"})
		return
	}
	if c.session.rival != nil {
		c.succeed(err)
		return
	}
	if !v.established && errors.Is(err, vpn.ErrNoAnswer) {
		if c.mute(v); !c.serves(v) { // something else is being tried
			return
		}
	}
	c.closeVPN(false)
	gone := errors.Is(err, vpn.ErrBearerGone)
	if err != nil && !gone && (c.outside() || !errors.Is(err, vpn.ErrNoAnswer)) { // without a path nobody can answer
		c.vpnProblem(err)
	}
	if !c.outside() {
		return
	}
	c.session.engine.Hold()
	c.story.broke(c.now, "the VPN has ended"+because(err))
	if gone { // the way there is another, and nobody has refused
		c.openVPN()
		return
	}
	c.retryVPN()
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return " (" + err.Error() + ")"
}
