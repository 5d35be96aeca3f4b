package client

import (
	"time"

	"mipvpn/client/roam"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/wire"
	"mipvpn/stack"
)

// Simultaneous bindings (RFC 5944 §3.6.1.2) live only while an interface is probed or switched to. Once it is decided which
// path carries the traffic, that path claims the home address: it registers without the S bit, and the home agent forgets
// every other care-of address.

// keepOthers has the attempt's registrations keep the bindings of other paths, as far as the i-HA is known to do that.
func (c *Client) keepOthers(a *attempt, e roam.Attempt) {
	if !e.Simultaneous {
		return
	}
	for _, r := range []*registration{a.internal, a.external} {
		r.keepOthers(true)
	}
	c.deduplicate()
}

func (r *registration) keepOthers(on bool) {
	if r != nil && r.machine != nil && !r.machine.Config().AtHome { // there every binding is taken back
		r.simultaneous = on
		r.machine.SetSimultaneous(on)
	}
}

// claim makes the registration's care-of address the only one, if others may be bound since the boot time given.
func (c *Client) claim(r *registration, since time.Duration) {
	if r == nil || r.machine == nil || !r.simultaneous && r.asked > since {
		return
	}
	r.keepOthers(false)
	r.start(c)
	c.deduplicate()
}

// reclaim makes the path in use the only one again behind an attempt on another interface that has ended and was bound.
func (c *Client) reclaim(ended *attempt) {
	a := c.inUse()
	if a == nil || a == ended {
		return
	}
	_, mode := c.roam.Using()
	if r := ended.internal; r != nil && r.bound {
		if mode.Plaintext() {
			c.claim(a.internal, r.asked)
		} else if inner := c.inner(); inner != nil {
			c.claim(inner, r.asked)
		}
	}
	if r := ended.external; r != nil && r.bound {
		if mode.Plaintext() {
			ended.leaving = true // nothing goes through the x-HA now (DET-8)
		} else {
			c.claim(a.external, r.asked)
		}
	}
}

// leaveTime is how long after the traffic has gone over to direct access the x-HA still forwards what was on its way through
// the VPN.
const leaveTime = time.Second

// leaveLater deregisters an ended attempt with the x-HA once what was on its way has arrived, unless its interface or the
// x-HA is needed again by then.
func (c *Client) leaveLater(i *iface, a *attempt) {
	c.after(leaveTime, func() {
		if _, mode := c.roam.Using(); mode.Plaintext() && i.attempt == nil {
			c.leave(a.external)
		}
		a.external.quiet()
	})
}

// replaced takes account of a direct registration that the i-HA has accepted: unless it keeps other bindings, the one through
// the VPN is gone.
func (c *Client) replaced(r *registration, reply mobilenode.VerifiedReply) {
	if r.simultaneous {
		c.roam.HandleSimultaneous(reply.Code() == wire.CodeAccepted)
		if reply.Code() == wire.CodeAccepted {
			return
		}
	}
	c.innerReplaced()
}

// tooMany takes account of a home agent that has no room for another binding: what would be switched to registers alone, what
// is only probed does not.
func (c *Client) tooMany(a *attempt, r *registration, e mobilenode.Refused) {
	if e.Code != wire.CodeTooManyBindings || !r.simultaneous || a.probe {
		return
	}
	r.keepOthers(false)
	r.start(c)
}

// deduplicate has the engine drop second copies while, and a little after, several bindings may be held.
func (c *Client) deduplicate() {
	several := false
	for _, i := range c.ifaces {
		if a := i.attempt; a != nil {
			several = several || a.internal != nil && a.internal.simultaneous || a.external != nil && a.external.simultaneous
		}
	}
	if several {
		if c.copies != nil {
			c.copies()
			c.copies = nil
		}
		c.session.engine.Deduplicate(true)
		return
	}
	if c.copies == nil {
		s := c.session
		c.copies = c.after(drainTime, func() {
			c.copies = nil
			s.engine.Deduplicate(false)
		})
	}
}

// settleBindings makes the path that is taken into use the only one, where it was tried beside others, and reports whether
// that takes another registration.
func (c *Client) settleBindings(a *attempt, mode stack.Mode) bool {
	a.probe = false
	a.det.AskExternal()
	r := a.external
	if mode.Plaintext() {
		r = a.internal
	}
	if r == nil || !r.simultaneous {
		return false
	}
	c.claim(r, r.asked)
	return true
}
