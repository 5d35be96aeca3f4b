package client

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/client/vpn"
)

// Inside, the VPN's SA is kept, deleted, or given up for a ticket to resume it with, as [gateway] park says (MOD-park). A kept one is parked: the x-HoA it was made
// from is registered no more, so that nothing could be sent through it. Whoever relies on it again asks the gateway first
// whether it is still there, and does not wait for the answer for long: after rivalAfter a new IKE SA is set up beside it, its
// rival. Whichever is up first carries the traffic, and the other one is closed.

// rivalAfter is how long a gateway may leave the question open whether it still has the SA (MOD-park).
const rivalAfter = time.Second

// startPatience is how long a path that is taken up goes on with an IKE exchange of an earlier path; a later one begins anew.
const startPatience = 2 * time.Second

// check is a question to the gateway whether it still has an SA.
type check struct {
	heard  uint64 // packets that had been received through the SA when it was asked
	gaveUp bool   // nothing is sent through the SA any more
	// next and again take back what is to happen: the next step of waiting, and another attempt at a rival.
	next, again func()
}

// end takes back what a check was still to do.
func (k *check) end() {
	if k == nil {
		return
	}
	for _, cancel := range []func(){k.next, k.again} {
		if cancel != nil {
			cancel()
		}
	}
	k.next, k.again = nil, nil
}

// needVPN makes sure that there is a VPN, or that one is being set up. fresh says that the path is another than before.
func (c *Client) needVPN(fresh bool) {
	v := c.session.vpn
	if v != nil && fresh && !v.established && c.now.Since(v.began) > startPatience {
		c.closeVPN(false) // its next repetition may be far off, and the path is another
		v = nil
	}
	if v != nil && c.stayBehind(v) {
		c.stopRetry()
		v = nil
	}
	if v == nil {
		if c.retry.remove == nil {
			c.openVPN()
		}
		return
	}
	c.wakeVPN(v)
	if v.renew != "" {
		c.replaceVPN(v, v.renew)
	}
	if v.doubt != "" && c.askGateway(v) {
		c.event(control.Event{Kind: "vpn", Message: fmt.Sprintf("the IKE SA with gateway %v is used again, and the gateway asked whether it still has it (%s)",
			c.cfg.Gateway.Address, v.doubt)})
		v.doubt = ""
	}
	if fresh && v.inner != nil && !v.inner.bound {
		v.inner.start(c) // what was asked for on an earlier path has come to nothing
	}
	c.registerInner(v)
}

// restVPN has the IKE machine send nothing while no path is in use, so that silence is not taken for the gateway's death.
func (c *Client) restVPN() {
	v := c.session.vpn
	if v == nil || !v.established || v.parked || v.resting || c.outside() {
		return
	}
	if !v.tunnel.Park() {
		return
	}
	if v.check != nil {
		v.check.end()
		v.check, v.doubt = nil, "it had not answered before"
	}
	v.resting, v.restedAt = true, c.now.Boot
}

// wakeVPN ends the rest of the IKE machine, or its parking. A gateway may have given the client up in a long one.
func (c *Client) wakeVPN(v *vpnLayer) {
	if away := c.now.Since(v.restedAt); v.resting && v.doubt == "" && away >= c.cfg.Gateway.Liveness {
		v.doubt = fmt.Sprintf("there was no path for %v", away.Round(time.Second))
	}
	v.parked, v.resting = false, false
	v.tunnel.Unpark(c.now)
}

// parkVPN keeps the VPN's SA while direct access is in use, or closes it; the registration through it ends, for the i-HA
// has only one binding.
func (c *Client) parkVPN() {
	c.stopRetry()
	c.retry.delay = 0
	c.closeRival(true)
	c.closeLeaving(true)
	c.silenceOver(c.gatewayName())
	v := c.session.vpn
	if v == nil {
		return
	}
	if !v.established || c.cfg.Gateway.Park == config.ParkDelete {
		if v.established {
			c.event(control.Event{Kind: "vpn", Message: "the IKE SA is closed: direct access is in use ([gateway] park = \"delete\")"})
		}
		c.closeVPN(true)
		return
	}
	if c.cfg.Gateway.Park == config.ParkResume {
		if ticket := v.tunnel.Suspend(c.now); ticket != nil {
			c.wipeTicket()
			c.ticket = ticket
			c.event(control.Event{Kind: "vpn", Message: "the VPN is suspended: direct access is in use, and a ticket of the gateway resumes it"})
			c.closeVPN(false)
			return
		}
	}
	v.check.end()
	v.check = nil
	c.letDrain(v)
	if !v.tunnel.Park() { // it is being closed already
		c.closeVPN(true)
		return
	}
	v.parked, v.resting, v.doubt = true, false, "it was parked inside"
}

// letDrain ends the registration through the VPN. What is on its way to it still arrives for drainTime, or until there is
// another one.
func (c *Client) letDrain(v *vpnLayer) {
	v.endDrain()
	r := v.inner
	v.inner = nil
	if r == nil || r.machine == nil {
		return
	}
	r.quiet()
	cancel := c.after(drainTime, v.endDrain)
	v.drained = func() {
		cancel()
		if err := r.attachment.Close(); err != nil {
			c.log.Debug("closing an attachment", zap.Error(err))
		}
	}
}

// endDrain closes what letDrain has left open.
func (v *vpnLayer) endDrain() {
	if v.drained != nil {
		v.drained()
		v.drained = nil
	}
}

// doubtVPN has the gateway asked whether it still has the SA before that is used the next time.
func (c *Client) doubtVPN(why string) {
	if v := c.session.vpn; v != nil && v.established {
		v.doubt = why
	}
}

// askGateway asks the gateway whether it still has the SA of v, and goes on from the answer or its absence. It reports false
// when that is going on already or cannot be asked.
func (c *Client) askGateway(v *vpnLayer) bool {
	if v.check != nil || !v.established {
		return false
	}
	if err := v.tunnel.CheckLiveness(c.now); err != nil {
		c.log.Debug("liveness check", zap.Error(err))
		return false
	}
	k := &check{heard: v.tunnel.Received()}
	v.check = k
	k.next = c.after(rivalAfter, func() { c.overdue(v, k) })
	return true
}

// overdue begins with a new SA when the gateway has not answered in time.
func (c *Client) overdue(v *vpnLayer, k *check) {
	if v.tunnel.Received() != k.heard {
		c.confirmed(v)
		return
	}
	c.openRival(fmt.Sprintf("no answer of the gateway within %v", rivalAfter))
	c.refreshExternal()
	k.next = c.after(max(c.cfg.Gateway.GiveUp-rivalAfter, 0), func() { c.giveUp(v, k) })
}

// giveUp stops sending through an SA whose gateway is silent, and says so. It is used again if the gateway answers after all;
// now and then the way there is renewed.
func (c *Client) giveUp(v *vpnLayer, k *check) {
	if v.tunnel.Received() != k.heard {
		c.confirmed(v)
		return
	}
	if k.next = c.after(c.cfg.Gateway.GiveUp, func() { c.giveUp(v, k) }); k.gaveUp {
		c.refreshExternal()
		return
	}
	k.gaveUp = true
	c.mute(v)
	_, advice := c.protocol.Explain(vpn.ErrNoAnswer)
	c.silence(control.Problem{Peer: c.gatewayName(), Message: fmt.Sprintf("has not answered for %v", c.cfg.Gateway.GiveUp), Advice: advice})
	if c.outside() {
		c.session.engine.Hold()
		c.story.broke(c.now, "the VPN gateway does not answer")
	}
}

// refreshExternal registers with the x-HA again: what does not get through to the gateway may have lost its way there.
func (c *Client) refreshExternal() {
	if a := c.inUse(); a != nil && c.outside() && a.external.bound && c.now.Since(a.external.asked) > rivalAfter {
		a.external.start(c)
	}
}

// askSooner repeats the question to the gateway at once, since the way there may have been mended.
func (c *Client) askSooner() {
	if v := c.session.vpn; v != nil && v.check != nil {
		if err := v.tunnel.CheckLiveness(c.now); err != nil {
			c.log.Debug("liveness check", zap.Error(err))
		}
	}
}

// givenUp reports whether the VPN's SA is not to be sent through.
func (c *Client) givenUp() bool {
	v := c.session.vpn
	return v != nil && v.check != nil && v.check.gaveUp
}

// confirmed goes on with an SA that the gateway still has. Its rival is closed, unless it is to take its place in any case, or the
// gateway may have taken it for established already: then that has perhaps closed the old one, and the rival wins when it is up.
func (c *Client) confirmed(v *vpnLayer) {
	k := v.check
	if k == nil {
		return
	}
	k.end()
	v.check = nil
	if v.renew != "" {
		c.replaceVPN(v, v.renew)
	} else if r := c.session.rival; r != nil && !r.tunnel.Committed() {
		c.closeRival(false)
	}
	if !k.gaveUp {
		c.silenceOver(c.gatewayName()) // from before a change of network
		return
	}
	c.solved(c.gatewayName())
	c.unmute(v)
	c.event(control.Event{Kind: "vpn", Message: fmt.Sprintf("gateway %v answers again", c.cfg.Gateway.Address)})
	if _, mode := c.roam.Using(); c.outside() {
		c.compose(mode)
	}
}

// openRival sets up a new IKE SA beside the one that is being asked for.
func (c *Client) openRival(why string) {
	if c.session.rival != nil || !c.prepare() {
		return
	}
	v, err := c.dial(false)
	if err != nil {
		c.problem(control.Problem{Peer: c.gatewayName(), Message: "the VPN cannot start: " + err.Error(), Advice: "check [gateway] with `mipvpn config check`"})
		return
	}
	c.session.rival = v
	c.event(control.Event{Kind: "vpn", Message: fmt.Sprintf("%s: setting up a new IKE SA beside the old one", why)})
}

// closeRival ends the rival, if there is one.
func (c *Client) closeRival(tell bool) {
	if v := c.session.rival; v != nil {
		c.session.rival = nil
		c.closeLayer(v, tell)
	}
}

// rivalClosed takes account of a rival that has come to nothing. While the old SA is still being asked for, another attempt
// follows.
func (c *Client) rivalClosed(err error) {
	c.closeRival(false)
	k, renew := c.session.vpn.check, c.session.vpn.renew
	if k == nil && renew == "" {
		c.log.Info("the second IKE SA has ended", zap.Error(err))
		return
	}
	v := c.session.vpn
	again := func() {
		if c.serves(v) && v.renew == renew {
			c.replaceVPN(v, renew)
		}
	}
	if renew != "" && errors.Is(err, vpn.ErrBearerGone) { // there is another network by now, or will be
		c.after(0, again)
		return
	}
	if err != nil {
		c.vpnProblem(err)
	}
	if c.retry.delay = min(max(2*c.retry.delay, vpnRetryFirst), vpnRetryMost); k == nil {
		c.after(c.retry.delay, again)
		return
	}
	k.again = c.after(c.retry.delay, func() {
		k.again = nil
		c.openRival("still no answer of the gateway")
	})
}

// promote puts the rival in the place of the SA that it was set up beside, once packets can leave through it. The gateway is
// told of the old one's end: it may still have it.
func (c *Client) promote() {
	v, old := c.session.rival, c.session.vpn
	if !v.established || !v.tunnel.Carries() {
		return
	}
	if old.renew != "" && old.check == nil && old.tunnel.Carries() && old.address == v.address && old.link != nil && v.tunnel.ThroughAgent() == (old.agent != nil) {
		c.takeOver(v, old)
		return
	}
	if c.outside() { // until the i-HA knows the new address
		c.session.engine.Hold()
		c.story.broke(c.now, "a new IKE SA has replaced the old one")
	}
	c.session.vpn, c.session.rival = v, nil
	if old.renew != "" && old.check == nil && old.agent == nil && old.inner != nil && v.tunnel.ThroughAgent() && !c.cfg.Mechanisms.GatewayAgent.Always() {
		c.tryAgent(v, old)
	} else {
		c.closeLayer(old, true)
	}
	c.vpnUp(v)
}

// succeed has the rival take the place of the session's SA, which has ended before the rival was up.
func (c *Client) succeed(err error) {
	v, old := c.session.rival, c.session.vpn
	c.log.Info("the old IKE SA has ended, the new one is being set up", zap.Error(err))
	if c.outside() {
		c.session.engine.Hold()
		c.story.broke(c.now, "the VPN has ended")
	}
	c.session.vpn, c.session.rival = v, nil
	c.closeLayer(old, false)
	c.vpnLive(false)
	c.groundLost()
	if v.established {
		c.vpnUp(v)
	}
}
