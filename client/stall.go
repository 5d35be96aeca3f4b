package client

import (
	"time"

	"mipvpn/client/control"
	"mipvpn/stack"
	"mipvpn/tun/link"
)

// stallAfter is how long user data may go out through the VPN, with nothing coming back, until both home agents are registered
// with again: an agent that was restarted has lost its bindings and tells nobody. The gateway is asked before that
// ([gateway] check_after).
const stallAfter = 30 * time.Second

// stallWatch compares what the engine has carried. Direct access needs none: there the monitor registers anyway.
type stallWatch struct {
	engine *stack.Engine
	// look is how often it looks. checkAfter is the gateway's patience, 0 for none.
	look, checkAfter time.Duration
	at               time.Duration // of the next look
	since            time.Duration // nothing has come back since something went out at about this time
	waiting          bool          // since is set
	checked          bool          // the gateway was asked since
	last             stack.Traffic
}

// stall is what a look at the counters has found.
type stall uint8

const (
	noStall    stall = iota
	shortStall       // the gateway is to be asked
	longStall        // everything is to be registered again
)

// looked looks at the counters and reports, once each time, for how long user data has gone out with nothing coming back.
func (w *stallWatch) looked(now link.Instant) stall {
	t := w.engine.Traffic()
	back, out := t.RxPackets != w.last.RxPackets, t.TxPackets != w.last.TxPackets
	late := now.Boot-w.at >= w.look // nobody looked meanwhile, since no path was in use
	w.last, w.at = t, now.Boot+w.look
	if back || late || !out && !w.waiting {
		w.waiting, w.checked = false, false
		return noStall
	}
	if !w.waiting {
		w.waiting, w.since = true, now.Boot
	}
	switch quiet := now.Boot - w.since; {
	case quiet >= stallAfter:
		w.waiting, w.checked = false, false
		return longStall
	case w.checkAfter > 0 && quiet >= w.checkAfter && !w.checked:
		w.checked = true
		return shortStall
	}
	return noStall
}

// watchStall begins to watch the session.
func (c *Client) watchStall(s *session) (stop func()) {
	w := &stallWatch{engine: s.engine, look: stallAfter / 3, checkAfter: c.cfg.Gateway.CheckAfter}
	if w.checkAfter > 0 {
		w.look = min(w.look, w.checkAfter/2)
	}
	w.at = c.now.Boot + w.look
	return c.drive(&driven{
		deadline: func() (time.Duration, bool) { return w.at, c.outside() && s.engine.Current() != nil },
		timeout: func(now link.Instant) {
			switch w.looked(now) {
			case shortStall:
				if s.vpn != nil {
					c.askGateway(s.vpn)
				}
			case longStall:
				c.registerAgain()
			}
		},
		drain: func() bool { return false },
	})
}

// registerAgain repeats the registrations that the mode in use stands on.
func (c *Client) registerAgain() {
	c.event(control.Event{Kind: "stall", Message: "user data goes out and nothing comes back: registering with the home agents again"})
	if a := c.inUse(); a != nil && a.external.bound {
		a.external.start(c)
		if a.external.ways.switching != nil {
			c.trySwitching(a.external, 1)
		}
	}
	if r := c.inner(); r != nil && r.bound {
		r.start(c)
	}
	if v := c.session.vpn; v != nil {
		c.askGateway(v)
	}
}
