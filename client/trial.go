package client

import (
	"time"

	"mipvpn/mipv4/tunnel"
)

// trialDelay is how long after a registration its new tunnel is tried.
const trialDelay = time.Second

// trial is what is known of whether the tunnels that a home agent grants end here. Somebody on the way who rewrites a
// registration, as a NAT does, has the tunnel end elsewhere, and no more than one registration is needed for that (draft
// §7.2); the reply is authentic all the same.
type trial struct {
	delay time.Duration // of the next one; it doubles while tunnels turn out not to work
	lost  bool          // the last tunnel did not work
}

// tryTunnel has a tunnel of the x-HA tried soon after it has been granted. With the i-HA straight through the interface
// the monitor makes tunnels anew all the time.
func (c *Client) tryTunnel(r *registration, k *tunnel.Keepalive) {
	if r.name != nameExternal {
		return
	}
	if r.trial.delay == 0 {
		r.trial.delay = trialDelay
	}
	k.Check(c.now.Boot + r.trial.delay)
}

// tunnelTried takes account of what a keepalive has found out. When tunnels work again, whatever waited for answers
// through them need not wait any longer.
func (c *Client) tunnelTried(r *registration, e tunnel.KeepaliveEvent) {
	if r.name != nameExternal {
		return
	}
	if e == tunnel.KeepaliveLost {
		r.trial.lost, r.trial.delay = true, min(2*r.trial.delay, r.keepalive.Interval())
		return
	}
	before := r.trial
	r.trial = trial{delay: trialDelay}
	_, mode := c.roam.Using()
	if comp, _ := mode.Composition(); !before.lost || !comp.ExternalMIP {
		return
	}
	if a := c.inUse(); a == nil || a.external != r || !c.outside() {
		return
	}
	if v := c.session.vpn; v != nil && !v.established {
		c.closeVPN(false)
	}
	if c.session.vpn == nil {
		c.stopRetry()
		c.needVPN(true)
	}
}
