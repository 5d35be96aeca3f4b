package client

import (
	"time"

	"go.uber.org/zap"

	"mipvpn/client/control"
	"mipvpn/stack"
	"mipvpn/tun/link"
)

const (
	// stallAfter is how long user data may go out through the VPN, with nothing coming back, until both home agents are
	// registered with again: an agent that was restarted has lost its bindings and tells nobody.
	stallAfter = 30 * time.Second
	// stallLook is how often that is looked at.
	stallLook = 10 * time.Second
)

// stallWatch compares what the engine has carried. Direct access needs none: there the monitor registers anyway.
type stallWatch struct {
	engine *stack.Engine
	at     time.Duration // of the next look
	since  time.Duration // nothing has come back since
	// waiting is set when something has gone out since then.
	waiting bool
	last    stack.Traffic
}

// stalled looks at the counters and reports, once each stallAfter, whether user data has gone out for that long with nothing
// coming back.
func (w *stallWatch) stalled(now link.Instant) bool {
	t := w.engine.Traffic()
	back, out := t.RxPackets != w.last.RxPackets, t.TxPackets != w.last.TxPackets
	late := now.Boot-w.at >= stallLook // nobody looked meanwhile, since no path was in use
	w.last, w.at = t, now.Boot+stallLook
	if back || late || !out && !w.waiting {
		w.since, w.waiting = now.Boot, false
		return false
	}
	w.waiting = true
	if now.Boot-w.since < stallAfter {
		return false
	}
	w.since, w.waiting = now.Boot, false
	return true
}

// watchStall begins to watch the session.
func (c *Client) watchStall(s *session) (stop func()) {
	w := &stallWatch{engine: s.engine, at: c.now.Boot + stallLook, since: c.now.Boot}
	return c.drive(&driven{
		deadline: func() (time.Duration, bool) {
			_, mode := c.roam.Using()
			return w.at, mode != stack.ModeNone && !mode.Plaintext() && s.engine.Current() != nil
		},
		timeout: func(now link.Instant) {
			if w.stalled(now) {
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
	}
	if r := c.inner(); r != nil && r.bound {
		r.start(c)
	}
	if v := c.session.vpn; v != nil && v.established {
		if err := v.machine.CheckLiveness(c.now); err != nil {
			c.log.Debug("liveness check", zap.Error(err))
		}
	}
}
