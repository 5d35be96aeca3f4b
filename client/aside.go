package client

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/control"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/tunnel"
	"mipvpn/stack"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// A foreign agent may ask every visitor to register through it, those with an address of their own too (the R bit, RFC 5944 §2.4.1). The
// registration of such an address with the x-HA begins straight through the interface, as any, and goes over to the agent once it
// is heard; data never go through it. Where the agent does not answer, refuses, or packets do not pass that way, it is the straight
// registration again. The i-HA is asked straight through the interface all the same: only so does its answer say that the way that
// data take is inside (DET-3), which an answer through the agent never does (mobilenode.VerifiedReply.TrustedNetwork).

const (
	// asideTries is how many requests an agent may leave unanswered.
	asideTries = 3
	// asideEchoes is how many echo requests through a tunnel that was registered through an agent may stay unanswered, one each
	// asideEcho, until it counts as broken: the agent and this laptop may be behind different NATs (RFC 3519 §4.11), or it tells
	// nobody of the one that it is behind.
	asideEchoes = 3
	asideEcho   = time.Second
	// shunTime is how long an agent that did not serve is not tried again on the same link, and maxShunned how many such agents one link may have
	// until none is.
	shunTime   = 10 * time.Minute
	maxShunned = 4
	// portTries is how often another port is drawn where one is in use.
	portTries = 8
)

// aside is a registration of an interface's own address with the x-HA through a foreign agent.
type aside struct {
	agent  agentInUse
	reg    *registration
	stands bool   // the agent has served
	echo   func() // takes the next echo request back, nil when none is to come
}

// ears says what of an interface's link layer is listened to.
type ears uint8

const (
	noEars         ears = iota
	advertisements      // agents alone, beside an address of one's own
	allFrames
)

// earsFor returns what is to be listened to on an interface: all of it where there is no address, or where a pinned mode wants a foreign agent;
// otherwise agents, for those that ask to be registered through.
func (c *Client) earsFor(i *iface) ears {
	comp, pinned := c.roam.Pin().Composition()
	switch {
	case !i.Up:
		return noEars
	case (!i.Address.IsValid() || pinned && comp.ForeignAgent) && !(pinned && !comp.ForeignAgent):
		return allFrames
	case i.Has4() && c.cfg.Interfaces.HearAgents && c.cfg.HasExternal() && !c.cfg.Mechanisms.ZeroOverhead.Always():
		return advertisements
	}
	return noEars
}

// requiring returns the foreign agent that asks to be registered through, nil without one that may be tried.
func (c *Client) requiring(i *iface) *agentInUse {
	if i.ears != advertisements {
		return nil
	}
	for _, a := range i.discovery.Agents() {
		if !a.ForeignAgent() || !a.RegistrationRequired() || a.Busy() || c.now.Boot < i.shunned[a.Address] {
			continue
		}
		u := i.agentInUse(a)
		u.udp = a.UDPTunnel()
		return u
	}
	return nil
}

// registerAside registers the attempt's address with the x-HA through the foreign agent on its link that asks for that, if there is one.
func (c *Client) registerAside(i *iface) {
	a := i.attempt
	if a == nil || a.agent != nil || a.home != nil || a.over6() || a.probe || a.aside != nil || a.external == nil || a.external.machine == nil || a.proof.Live(c.now.Boot) {
		return
	}
	agent := c.requiring(i)
	if agent == nil {
		return
	}
	x := &aside{agent: *agent}
	mn := a.mobileNode(mobilenode.Origin{Interface: a.iface.Index, Epoch: a.epoch, Direct: true})
	mn.ForeignAgent, mn.Lifetime, mn.Challenge = agent.address, agent.lifetime, agent.challenge
	mn.CoLocated, mn.AgentUDPTunnel, mn.Retransmission.Count = true, agent.udp, asideTries
	var err error
	x.reg, err = c.register(nameExternal, c.cfg.External, mn, c.attachmentAside(a, agent), func(e mobilenode.Event) { c.asideEvent(a, x, e) })
	if err != nil {
		c.shun(i, agent.address, err.Error())
		return
	}
	a.aside = x
	x.reg.lenient = true
	x.reg.keepOthers(a.external.simultaneous)
	c.log.Info("the foreign agent asks to be registered through", zap.String("interface", i.Name), zap.Stringer("agent", agent.address))
	x.reg.start(c)
}

// attachmentAside returns how the x-HoA is attached with registrations through the agent.
func (c *Client) attachmentAside(a *attempt, agent *agentInUse) attach {
	return func(replies func([]byte)) (stack.Attachment, error) {
		below, err := c.underlay(a.iface.Index, a.iface.Address.Addr())
		if err != nil {
			return nil, fmt.Errorf("client: underlay %s: %w", a.iface.Name, err)
		}
		through := stack.AgentOnLink{Address: agent.address, Hardware: agent.hardware}
		var errs []error
		for range portTries {
			var b [2]byte
			if _, err := io.ReadFull(c.rand, b[:]); err != nil {
				return nil, fmt.Errorf("client: random port: %w", err)
			}
			port := 49152 | binary.BigEndian.Uint16(b[:]) // of the dynamic range (RFC 6335 §6)
			at, err := stack.AttachCoLocatedThrough(agent.segment, through, below, c.cfg.External.HomeAddress, c.cfg.External.Address, port, c.drops,
				replies, c.session.external.link.Deliver)
			if err == nil {
				return at, nil
			}
			errs = append(errs, err)
		}
		return nil, errors.Join(errs...)
	}
}

// asideEvent is an event of a registration through an agent that asks for that.
func (c *Client) asideEvent(a *attempt, x *aside, e mobilenode.Event) {
	if a.aside != x {
		return
	}
	i := c.ifaces[a.iface.Index]
	switch e := e.(type) {
	case mobilenode.Accepted:
		x.reg.why = fmt.Sprintf("registered through foreign agent %v, which asks for that: %s", x.agent.address, x.reg.why)
		if !x.stands {
			x.stands = true
			c.event(control.Event{Kind: "agent", Interface: a.iface.Name,
				Message: fmt.Sprintf("registered %v with the x-HA through foreign agent %v, which asks for that (R bit, RFC 5944 section 2.4.1)", a.careOf(), x.agent.address)})
			c.exchangeExternal(a, x.reg)
			c.tryAside(a, x)
		}
	case mobilenode.Refused:
		if !e.Retrying {
			c.leaveAgent(i, a, "it refuses: "+e.Err.Error())
			return
		}
	case mobilenode.Unanswered:
		if !e.Deregistration {
			c.leaveAgent(i, a, "it does not answer")
			return
		}
	case mobilenode.Expired, mobilenode.Revoked:
		c.leaveAgent(i, a, "the registration through it has ended")
		return
	}
	if x.stands {
		c.externalEvent(a, e)
	}
}

// exchangeExternal puts another registration with the x-HA in the place of the attempt's. What was on its way through the former one's
// tunnel still arrives for a while.
func (c *Client) exchangeExternal(a *attempt, r *registration) {
	former := a.external
	if former == r {
		return
	}
	former.quiet()
	a.external = r
	a.former = append(a.former, former)
	c.after(drainTime, func() { former.detach(c.log) })
}

// detach closes the attachment of a registration that is quiet.
func (r *registration) detach(log *zap.Logger) {
	if r.attachment == nil {
		return
	}
	if err := r.attachment.Close(); err != nil {
		log.Debug("closing an attachment", zap.Error(err))
	}
	r.attachment = nil
}

// tryAside finds out whether packets pass in the tunnel that was registered through the agent: the x-HA must answer an echo request. A UDP
// tunnel has its keepalive for that, which also tells the x-HA where it ends (RFC 3519 §4.4).
func (c *Client) tryAside(a *attempt, x *aside) {
	at, ends := x.reg.attachment.(*stack.CoLocated)
	if !ends || x.reg.granted.UDP() || x.reg.carrier == nil || a.doubted == x.agent.address {
		return
	}
	var id [2]byte
	if _, err := io.ReadFull(c.rand, id[:]); err != nil {
		c.log.Error("no random numbers", zap.Error(err))
		return
	}
	home, agent := c.cfg.External.HomeAddress, c.cfg.External.Address
	left := asideEchoes
	var ask func()
	ask = func() {
		x.echo = nil
		if a.aside != x {
			return
		}
		if left == 0 {
			a.doubted = x.agent.address
			c.leaveAgent(c.ifaces[a.iface.Index], a, "nothing comes back in the tunnel that was registered through it")
			return
		}
		left--
		const header = 4 // of UDP tunnelling
		request := tunnel.AppendEchoRequest(nil, home, agent, binary.BigEndian.Uint16(id[:]), uint16(left))[header:]
		if err := x.reg.carrier(link.Protected).Send(packet.One(packet.From(request))); err != nil {
			c.log.Debug("echo request not sent", zap.Error(err))
		}
		x.echo = c.after(asideEcho, ask)
	}
	at.HandleAnswers(binary.BigEndian.Uint16(id[:]), func(packet.IPv4) { c.post(x.endEcho) })
	ask()
}

// asideLost goes by an agent no more when the x-HA answers no keepalive in a tunnel that was registered through it, and reports whether r
// was that registration.
func (c *Client) asideLost(r *registration) bool {
	i := c.ifaces[r.machine.Config().Origin.Interface]
	if i == nil || i.attempt == nil || i.attempt.aside == nil || i.attempt.aside.reg != r {
		return false
	}
	c.leaveAgent(i, i.attempt, "the x-HA answers no keepalive in the tunnel that was registered through it")
	return true
}

// endEcho takes the next echo request back.
func (x *aside) endEcho() {
	if x.echo != nil {
		x.echo()
		x.echo = nil
	}
}

// leaveAgent registers with the x-HA straight through the interface again, and goes by the agent no more for a while.
func (c *Client) leaveAgent(i *iface, a *attempt, why string) {
	agent := a.aside.agent.address
	c.straighten(i, a)
	if i != nil && c.session != nil {
		c.shun(i, agent, why)
	}
}

// straighten registers with the x-HA straight through the interface again, whatever the agent may have told it.
func (c *Client) straighten(i *iface, a *attempt) {
	x := a.aside
	c.endAside(a)
	if i == nil || i.attempt != a || c.session == nil {
		return
	}
	if x.stands {
		r, err := c.register(nameExternal, c.cfg.External, a.mobileNode(mobilenode.Origin{Interface: a.iface.Index, Epoch: a.epoch, Direct: true}),
			c.attachment(a, c.cfg.External.HomeAddress, c.cfg.External.Address, c.session.external.link.Deliver),
			func(e mobilenode.Event) { c.externalEvent(a, e) })
		if err != nil {
			c.log.Warn("registering straight through the interface again", zap.String("interface", i.Name), zap.Error(err))
			return
		}
		r.keepOthers(a.external.simultaneous)
		c.exchangeExternal(a, r)
	}
	if !a.proof.Live(c.now.Boot) {
		a.external.start(c)
	}
}

// insistAside registers through an agent again that was left because its tunnel did not seem to work, where the x-HA does not answer straight
// through the interface either: it may be one that answers no echo requests.
func (c *Client) insistAside(a *attempt) {
	i := c.ifaces[a.iface.Index]
	if i == nil || i.attempt != a || a.aside != nil || !a.doubted.IsValid() {
		return
	}
	delete(i.shunned, a.doubted)
	c.registerAside(i)
}

// shun has an agent left out on the interface for a while.
func (c *Client) shun(i *iface, agent netip.Addr, why string) {
	c.event(control.Event{Kind: "agent", Interface: i.Name,
		Message: fmt.Sprintf("not registered through foreign agent %v, which asks for that: %s; it is registered straight through the interface", agent, why)})
	if i.shunned == nil {
		i.shunned = make(map[netip.Addr]time.Duration)
	}
	if len(i.shunned) >= maxShunned {
		c.closeSegment(i)
		return
	}
	i.shunned[agent] = c.now.Boot + shunTime
	c.after(shunTime, func() {
		if c.session != nil && c.ifaces[i.Index] == i {
			c.registerAside(i)
		}
	})
}

// endAside ends what an attempt has begun through an agent that asks for registrations. The x-HA may go on with what it was told.
func (c *Client) endAside(a *attempt) {
	x := a.aside
	if x == nil {
		return
	}
	a.aside = nil
	x.endEcho()
	if !x.stands {
		x.reg.quiet()
		x.reg.detach(c.log)
	}
}

// asideHeard takes account of what was heard of an agent that an attempt's registration goes through, present when it still asks for that
// at the same link-layer address.
func (c *Client) asideHeard(i *iface, agent netip.Addr, present, rebooted bool) {
	a := i.attempt
	if a == nil || a.aside == nil || a.aside.agent.address != agent {
		return
	}
	switch {
	case !present:
		c.straighten(i, a)
	case rebooted && a.aside.stands:
		a.external.start(c)
	}
}
