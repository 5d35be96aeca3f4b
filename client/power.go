package client

import (
	"fmt"

	"mipvpn/client/control"
	"mipvpn/client/vpn"
	"mipvpn/detect/power"
)

// powerState is what the client knows of power and of what octets cost.
type powerState struct {
	source power.Source // nil: neither is known
	stop   func()       // ends the watch, nil without one
	now    power.State
}

// WithPower has the client be told by s when power or octets are dear: then it sends less for the sake of the tunnel alone. Nothing else
// follows from it.
func WithPower(s power.Source) Option { return func(c *Client) { c.power.source = s } }

// watchPower begins to listen.
func (c *Client) watchPower() {
	if c.power.source != nil {
		c.power.stop = c.power.source.Watch(func(s power.State) { c.tell(func() { c.powered(s) }) })
	}
}

// unwatchPower ends watchPower.
func (c *Client) unwatchPower() {
	if c.power.stop != nil {
		c.power.stop()
	}
}

// powered takes what has changed.
func (c *Client) powered(s power.State) {
	if c.power.now == s {
		return
	}
	c.power.now = s
	message := s.String()
	if f := c.sparing(); f > 1 {
		message += fmt.Sprintf(": keepalives and liveness checks of the VPN are up to %d times rarer", f)
	}
	c.event(control.Event{Kind: "power", Message: message})
	c.spare()
}

// sparing is how many times rarer the VPN sends of its own accord.
func (c *Client) sparing() int {
	if !c.power.now.Dear() {
		return 1
	}
	return max(c.cfg.Gateway.Sparing, 1)
}

// spare has the VPN go by that. What proves where the laptop is, and registrations, keep their intervals: the bound of what may be
// exposed rests on them.
func (c *Client) spare() {
	if c.session == nil {
		return
	}
	if s, able := c.session.access.(vpn.Sparer); able {
		s.Spare(c.now, c.sparing())
	}
}
