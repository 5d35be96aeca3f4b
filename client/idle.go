package client

import (
	"time"

	"mipvpn/client/control"
	"mipvpn/client/roam"
	"mipvpn/detect/location"
	"mipvpn/stack"
)

// activity is what is known of user data, for the idle pause (DET-13): the engine's counters are compared when a detector's
// deadline has come, so that a packet costs nothing.
type activity struct {
	last stack.Traffic
	at   time.Duration // of the look that saw user data last
}

// noteActivity tells a detector when user data was last seen.
func (c *Client) noteActivity(det *location.Machine) {
	if c.session == nil {
		return
	}
	if t := c.session.engine.Traffic(); t != c.activity.last {
		c.activity.last, c.activity.at = t, c.now.Boot
	}
	det.HandleActivity(c.activity.at)
}

// rest stops plaintext on an interface whose detector pauses. Where that carries the traffic, the first packet wakes it: one
// that applications send waits for the answer as after any change, one that arrives is lost.
func (c *Client) rest(a *attempt, e location.Paused) {
	c.gate.Close(a.iface.Index, e.Reason)
	a.internal.stopKeepalive() // it would tell the home address wherever the network is now
	c.event(control.Event{Kind: "idle", Interface: a.iface.Name, Message: e.Reason})
	if c.inUse() != a || c.session == nil {
		c.roam.HandleVerdict(c.now, a.iface.Index, a.epoch, roam.Unknown, e.Reason) // nothing would wake it
		return
	}
	s := c.session
	s.engine.Await(func() {
		c.post(func() {
			if c.session == s && c.inUse() == a {
				a.det.Wake(c.now, "user data wants to pass")
			}
		})
	})
}

// woken composes the path in the clear again that a pause took away, now that there is a proof.
func (c *Client) woken(a *attempt) {
	c.learn(a, true)
	if _, mode := c.roam.Using(); c.inUse() == a && mode.Plaintext() && c.session.engine.Current() == nil {
		c.compose(mode)
	}
}

// resting reports whether nothing but the idle pause keeps user data from passing.
func (c *Client) resting() bool {
	a := c.inUse()
	return a != nil && a.det != nil && a.det.State() == location.StatePaused
}
