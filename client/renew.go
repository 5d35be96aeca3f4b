package client

import (
	"time"

	"mipvpn/client/control"
)

// A tunnel whose gateway wants the authentication repeated is renewed make-before-break (RFC 7296 §2.8.3): a rival is set up beside
// it (park.go), with the same address it takes over the registration with the i-HA as it is, and the old one, through which nothing
// leaves any more, receives what is on its way before it is closed.

// leaveAfter is how long a tunnel that has been renewed still receives.
const leaveAfter = 2 * time.Second

// replaceVPN sets up a tunnel beside one whose place it is to take; at rest it waits until that is used again.
func (c *Client) replaceVPN(v *vpnLayer, why string) {
	v.renew = why
	if v == c.session.vpn && !v.parked && !v.resting && c.outside() {
		c.openRival(why)
	}
}

// takeOver has the rival v carry what old carried, which has the same address. An agent in the gateway wants a registration through
// the new tunnel first; until its reply, data waits.
func (c *Client) takeOver(v, old *vpnLayer) {
	c.session.vpn, c.session.rival = v, nil
	v.link, v.inner, v.drained = old.link, old.inner, old.drained
	old.inner, old.drained = nil, nil
	if !c.meetAgent(v) {
		c.closeLayer(old, true)
		return
	}
	if v.agent != nil {
		c.letDrain(v)
		c.session.engine.Hold()
		c.story.broke(c.now, "a registration through the new IKE SA")
	}
	moved := v.tunnel.Describe().Encapsulation != old.tunnel.Describe().Encapsulation || v.tunnel.Bearer() != old.tunnel.Bearer()
	c.session.access.Use(v.tunnel)
	c.retry.delay = 0
	c.closeLeaving(true)
	c.session.leaving = old
	c.session.leave = c.after(leaveAfter, func() { c.closeLeaving(true) })
	c.event(control.Event{Kind: "vpn", Message: "a new IKE SA carries the traffic, with the same address: the old one is closed"})
	if _, mode := c.roam.Using(); moved && v.agent == nil && !mode.Plaintext() {
		c.compose(mode)
	}
	c.registerInner(v) // if it was not
	c.tellMechanisms()
	c.stood(v)
	c.restVPN()
}

// closeLeaving ends a tunnel that has been renewed.
func (c *Client) closeLeaving(tell bool) {
	if v := c.session.leaving; v != nil {
		c.session.leave()
		c.session.leaving, c.session.leave = nil, nil
		c.closeLayer(v, tell)
	}
}
