package client

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"mipvpn/client/control"
	"mipvpn/mipv4/discovery"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/wire"
	"mipvpn/stack"
)

// Where the VPN gateway is the foreign agent of i-MIP (draft appendix B), the VPN's address is the i-HoA and packets cross the VPN as
// they are: modes vf, cvf and fvf. A tunnel is dialed for that or for an address of the gateway's (Access.Offer), and is the one
// or the other until it ends; a gateway that does not agree makes an ordinary tunnel of the first kind. An agent that agrees and
// then does not serve is not asked for agentRetry: an ordinary tunnel is set up beside the one through it, and takes its place.

const (
	// agentRetry is how long an agent that did not serve is not asked for.
	agentRetry = 10 * time.Minute
	// agentRetryMost bounds that time for an agent that fails again and again.
	agentRetryMost = 8 * time.Hour
	// agentTrial is how long an agent may take to serve that a working tunnel has been left for: three requests, which leave 0, 1 and 3 s
	// after the first one (RFC 5944 §3.6.3), so that the loss of one does not count against it.
	agentTrial = 3500 * time.Millisecond
	// agentTries is how many requests through an agent go unanswered, at most, before the gateway is asked whether it lives.
	agentTries = 4
)

// errOwnAddress means that an advertisement gives the home address as the agent's.
var errOwnAddress = errors.New("it gives the home address as the agent's")

// gatewayAgents is what is known of agents that did not serve. It outlives tunnels and sessions.
type gatewayAgents struct {
	failed map[netip.Addr]failedAgent // by gateway
	// lacking is the name of the last gateway that was turned away from because it has none.
	lacking string
}

// failedAgent says until which boot time an agent is not asked for, for how long in all, and why.
type failedAgent struct {
	until, pause time.Duration
	why          string
}

// agency is what is known of the gateway's agent for one tunnel.
type agency struct {
	offered bool             // the tunnel was dialed for it
	agent   *discovery.Agent // nil where the tunnel does not go through it, or is not known to
	why     string           // why not, for people
	failed  bool             // the tunnel is useless, and another one is to take its place
	silent  bool             // the agent has not answered, and the gateway is being asked whether it lives
	// trial is set while a tunnel through the agent has taken the place of an ordinary one, which goes on receiving as the session's
	// leaving one, and the agent has not shown yet that it serves.
	trial bool
}

// wantsAgent reports whether a tunnel that is dialed now is to go through the gateway's agent, and why not.
func (c *Client) wantsAgent() (wanted bool, why string) {
	m, pin := c.cfg.Mechanisms.GatewayAgent, c.roam.Pin()
	comp, pinned := pin.Composition()
	switch f := c.agents.failed[c.cfg.Gateway.Address]; {
	case c.homeless(): // an ordinary tunnel comes first (draft appendix B.6)
		return false, "the home address is not known yet: the i-HA assigns it through an ordinary tunnel"
	case m.Off():
		return false, `[mechanisms] gateway_agent is "off"`
	case pinned && comp.VPN && !comp.GatewayAgent:
		return false, fmt.Sprintf("mode %s is pinned", pin)
	case !m.Always() && c.now.Boot < f.until:
		return false, f.why
	}
	return true, ""
}

// offerAgent has the next tunnel ask for the gateway's agent, or not.
func (c *Client) offerAgent() (a agency) {
	home := netip.Addr{}
	if a.offered, a.why = c.wantsAgent(); a.offered {
		home = c.cfg.Internal.HomeAddress
	}
	c.session.access.Offer(home)
	return a
}

// viaAgent reports whether the session's tunnel goes through the gateway's agent.
func (c *Client) viaAgent() bool {
	return c.session != nil && c.session.vpn != nil && c.session.vpn.agent != nil
}

// meetAgent takes account of what has been agreed for the session's tunnel, once packets can leave through it. It reports false
// when that cannot be used: another tunnel is to take its place then.
func (c *Client) meetAgent(v *vpnLayer) bool {
	if !v.established || !v.tunnel.Carries() {
		return true
	}
	home, through := c.cfg.Internal.HomeAddress, v.tunnel.ThroughAgent()
	if v.failed {
		return false
	}
	before := v.agent
	v.agent = nil
	switch {
	case through && v.address == home:
		a, err := discovery.HandedOver(c.now, v.told.Agent)
		if err == nil && (a.Address == home || a.Offers(home)) {
			err = errOwnAddress
		}
		if err != nil {
			c.agentFails(v, "its advertisement cannot be used: "+err.Error())
			return false
		}
		if before == nil {
			c.event(control.Event{Kind: "vpn", Message: fmt.Sprintf("gateway %v is the foreign agent of the home address, with the care-of address %v%s",
				c.cfg.Gateway.Address, a.CareOfAddresses[0], agentName(a))})
		}
		v.agent, v.why = &a, ""
		c.solved(c.agents.lacking)
	case !v.offered && v.address == home:
		v.failed = true
		c.problem(control.Problem{Peer: c.gatewayName(), Message: fmt.Sprintf("it gives the VPN the home address %v, which is no care-of address", home),
			Advice: "have the gateway's administrator take the home address out of its address pool"})
		c.closeVPN(true)
		c.outOfUse("the gateway gives the home address")
		return false
	case through || v.address == home:
		c.agentFails(v, fmt.Sprintf("the gateway gives the address %v without its foreign agent, or the agent without the home address", v.address))
		return false
	case v.offered && len(v.told.Agent) == 0:
		v.why = "the gateway has no foreign agent for this laptop"
	case v.offered:
		v.why = "the gateway does not agree that its foreign agent is used"
	}
	return v.agent != nil || c.goWithout(v)
}

// agentName is what an agent calls itself, for people.
func agentName(a discovery.Agent) string {
	if a.NAI == "" {
		return ""
	}
	return fmt.Sprintf(" (it calls itself %q)", a.NAI)
}

// goWithout reports whether user data may go without the gateway's agent; if not, it says why nothing is carried and has the
// gateway asked again.
func (c *Client) goWithout(v *vpnLayer) bool {
	if !c.cfg.Mechanisms.GatewayAgent.Always() || c.homeless() {
		return true
	}
	v.failed = true
	c.agents.lacking = c.gatewayName()
	c.problem(control.Problem{Peer: c.agents.lacking, Message: fmt.Sprintf("nothing is carried: %s, and [mechanisms] gateway_agent is \"always\"", v.why),
		Advice: "have the gateway's administrator allow it for this laptop, or set gateway_agent to \"auto\""})
	if v == c.session.vpn && v.agent == nil {
		c.closeVPN(true)
		c.outOfUse(v.why)
	}
	return false
}

// outOfUse has the next gateway of the list, or the same one, tried in a while after one that works and will not do.
func (c *Client) outOfUse(why string) {
	if !c.outside() {
		return
	}
	c.session.engine.Hold()
	c.story.broke(c.now, why)
	c.ends.gateways.Rejected()
	c.retryVPNAfter(vpnRetryMost)
}

// agentFails gives the gateway's agent up for a while, and has an ordinary tunnel take the place of the one through it.
func (c *Client) agentFails(v *vpnLayer, why string) {
	if v.failed {
		return
	}
	v.failed, v.silent, v.why = true, false, why
	gateway := c.cfg.Gateway.Address
	if c.agents.failed == nil {
		c.agents.failed = make(map[netip.Addr]failedAgent)
	}
	if len(c.agents.failed) >= maxRefusals {
		clear(c.agents.failed)
	}
	pause := min(max(2*c.agents.failed[gateway].pause, agentRetry), agentRetryMost)
	c.agents.failed[gateway] = failedAgent{until: c.now.Boot + pause, pause: pause, why: why}
	c.after(pause, c.reconsiderAgent)
	c.event(control.Event{Kind: "vpn", Message: fmt.Sprintf("the foreign agent in gateway %v is not used for %v: %s", gateway, pause, why)})
	if v != c.session.vpn || c.fallBack(v) {
		return
	}
	if c.cfg.Mechanisms.GatewayAgent.Always() {
		v.agent = nil
		c.goWithout(v)
		return
	}
	if v.inner != nil {
		c.replaceVPN(v, why)
		return
	}
	c.closeVPN(true) // nothing has gone through it
	if c.outside() {
		c.session.engine.Hold()
		c.story.broke(c.now, why)
		c.openVPN()
	}
}

// tryAgent has a tunnel through the agent take the place of an ordinary one that works, for good when the agent serves.
func (c *Client) tryAgent(v, old *vpnLayer) {
	c.closeLeaving(true)
	v.trial = true
	c.session.leaving, c.session.leave = old, c.after(agentTrial, func() {
		if v.trial {
			c.agentFails(v, fmt.Sprintf("the foreign agent has not answered within %v", agentTrial))
		}
	})
}

// served notes that the agent serves: what was left for it is closed after a while.
func (c *Client) served(v *vpnLayer) {
	if !v.trial {
		return
	}
	if v.trial = false; c.session.leaving == nil {
		return
	}
	c.session.leave()
	c.session.leave = c.after(leaveAfter, func() { c.closeLeaving(true) })
}

// fallBack returns to the tunnel that was left for one through the agent, and reports whether there was one.
func (c *Client) fallBack(v *vpnLayer) bool {
	old := c.session.leaving
	if !v.trial || old == nil {
		return false
	}
	c.session.leave()
	c.session.vpn, c.session.leaving, c.session.leave = old, nil, nil
	old.renew = ""
	c.closeLayer(v, true)
	old.link = c.vpnLink(old.address)
	c.session.access.Use(old.tunnel)
	c.event(control.Event{Kind: "vpn", Message: "the tunnel before is used again"})
	if old.agency.why, old.offered = v.why, false; old.inner != nil && !old.inner.bound {
		old.inner.start(c)
	}
	c.tellMechanisms()
	if _, mode := c.roam.Using(); c.outside() {
		c.compose(mode)
	}
	return true
}

// reconsiderAgent has another tunnel take the place of the one in use when whether to go through the gateway's agent is to be
// decided otherwise now.
func (c *Client) reconsiderAgent() {
	if c.session == nil {
		return
	}
	v := c.session.vpn
	if v == nil || !v.established || v.failed {
		return
	}
	wanted, why := c.wantsAgent()
	switch {
	case wanted == v.offered:
		return
	case wanted:
		why = "the foreign agent in the gateway is asked for again"
	}
	c.replaceVPN(v, why)
}

// attachInner attaches the i-HoA through the VPN: through the gateway's agent, or with the VPN's address as a co-located
// care-of address.
func (c *Client) attachInner(v *vpnLayer) (mobilenode.Config, attach) {
	index, _ := c.roam.Using()
	cfg := mobilenode.Config{CareOfAddress: v.address, Origin: mobilenode.Origin{Interface: index}}
	home, inbound := c.cfg.Internal.HomeAddress, c.session.engine.Inbound()
	if v.agent == nil {
		return cfg, func(replies func([]byte)) (stack.Attachment, error) {
			return stack.AttachCoLocated(v.link, home, c.cfg.Internal.Address, c.drops, replies, inbound)
		}
	}
	cfg.CareOfAddress, cfg.ForeignAgent, cfg.Challenge = v.agent.CareOfAddresses[0], v.agent.Address, v.agent.Challenge
	cfg.Lifetime = time.Duration(v.agent.RegistrationLifetime) * time.Second
	cfg.AgentMinimal, cfg.AgentGRE = v.agent.Flags&discovery.FlagMinimal != 0, v.agent.Flags&discovery.FlagGRE != 0
	cfg.Retransmission.Count = agentTries
	agent := v.agent.Address
	return cfg, func(replies func([]byte)) (stack.Attachment, error) {
		return stack.AttachViaGateway(v.link, agent, replies, inbound)
	}
}

// agencyEvent takes an event of the registration through the gateway's agent, and reports whether that is all there is to do.
func (c *Client) agencyEvent(v *vpnLayer, e mobilenode.Event) (done bool) {
	switch e := e.(type) {
	case mobilenode.Accepted:
		v.silent = false
		c.served(v)
		delete(c.agents.failed, c.cfg.Gateway.Address)
	case mobilenode.Refused:
		if e.Code == wire.CodeIdentificationMismatch {
			return false
		}
		mended := e.Code == wire.CodeRequestedLifetimeTooLong || e.Code == wire.CodeFAReverseTunnelMandatory
		if !e.Retrying || e.ByForeignAgent && !mended { // its reasons may pass, but not while a person waits
			c.agentFails(v, e.Err.Error())
			return true
		}
	case mobilenode.Unanswered:
		if !e.Deregistration && c.outside() {
			v.silent = true
			v.inner.start(c)
			c.askGateway(v)
			return true
		}
	}
	return false
}

// agentSilent gives the agent up when it has not answered and its gateway does.
func (c *Client) agentSilent(v *vpnLayer) {
	if v.silent && v == c.session.vpn {
		c.agentFails(v, fmt.Sprintf("the foreign agent %v does not answer, and the gateway does", v.agent.Address))
	}
}

// describe says for status which agent the tunnel goes through, or why through none.
func (a *agency) describe() (agent, none string) {
	if a.agent == nil {
		return "", a.why
	}
	return fmt.Sprintf("%v, care-of address %v%s", a.agent.Address, a.agent.CareOfAddresses[0], agentName(*a.agent)), ""
}
