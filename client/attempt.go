package client

import (
	"fmt"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/control"
	"mipvpn/client/roam"
	"mipvpn/client/vpn"
	"mipvpn/detect/location"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/stack"
	"mipvpn/tun/link"
)

// drainTime is how long a path that has been left still receives what was on its way (DESIGN §1).
const drainTime = 5 * time.Second

// attempt is what roam has begun on one interface in one epoch: the detector, and the registrations with both home agents
// straight through the interface.
type attempt struct {
	iface  link.Interface
	epoch  uint64
	agent  *agentInUse // the foreign agent, nil with a co-located care-of address
	home   *atHome     // the place on the home link, nil elsewhere
	det    *location.Machine
	remove func()
	proof  location.Proof

	own, own6 vpn.Bearer // the interface by itself over IPv4 and IPv6, with a Link once it was asked for
	first6    bool       // IPv6 is preferred for the VPN: nobody answers over IPv4
	tried     bool       // the gateway has not answered over the version that was preferred at first

	probe bool // beside another path: the i-HA alone is asked, until the interface is used
	// leaving is set when the attempt has ended and the x-HA is to forget its binding in a while.
	leaving bool

	internal *registration // nil when a mode with a VPN is pinned
	external *registration
	aside    *aside          // the way of external through an agent that asks for it, tried or in use; nil without one
	former   []*registration // that external was before; quiet
	search   *registration   // asks for home agents of the x-HA's home network, nil for none
	began    roam.Attempt
	doubted  netip.Addr // an agent that aside went through and whose tunnel did not seem to work
}

// begin starts detection and registration on an interface (DET-6).
func (c *Client) begin(e roam.Attempt) {
	i := c.ifaces[e.Interface.Index]
	if i == nil {
		return
	}
	if c.awaitRouter(i, e) {
		return
	}
	c.abandon(i, e.Reason)
	a := &attempt{iface: e.Interface, epoch: e.Epoch, probe: e.Probe, began: e}
	if e.ForeignAgent {
		if a.agent = i.choose(); a.agent == nil {
			return
		}
	}
	i.attempt = a
	on := location.Attachment{Epoch: e.Epoch, Usable: true, Address: a.careOf()}
	if a.over6() {
		on = location.Attachment{Epoch: e.Epoch, Why: "the interface " + over6}
		a.external, a.first6 = &registration{name: nameExternal}, true
	} else if err := c.attachBoth(a, e.ExternalOnly); err != nil {
		c.cannotUse(i, e, err)
		return
	}
	c.keepOthers(a, e)
	det, err := location.New(c.locationConfig(a, e.ExternalOnly))
	if err == nil {
		err = det.HandleEpoch(c.now, on)
	}
	if err != nil {
		c.cannotUse(i, e, err)
		return
	}
	c.solved(e.Interface.Name)
	a.det = det
	c.hintAttempt(i)
	a.remove = c.drive(&driven{timeout: func(now link.Instant) { c.noteActivity(det); det.HandleTimeout(now) }, deadline: det.Deadline, drain: func() bool { return c.drainDetection(a) }})
	whom := "with both home agents"
	switch {
	case a.over6():
		whom = "with nobody, since it " + over6
	case a.probe:
		whom = "with the i-HA alone, beside the path in use"
	case !c.cfg.HasExternal() && a.internal == nil:
		whom = "with nobody, since the mode is pinned and there is no x-HA"
	case !c.cfg.HasExternal():
		whom = "with the i-HA, since there is no x-HA"
	case a.internal == nil:
		whom = "with the x-HA alone, since the mode is pinned"
	}
	c.event(control.Event{Kind: "detecting", Interface: a.iface.Name,
		Message: fmt.Sprintf("registering %s %s (%s)", a.attachedBy(), whom, e.Reason)})
	if !c.cfg.External.Address.IsValid() {
		c.searchExternal(a)
	}
	if a.over6() {
		c.after(patience4, func() { c.roam.HandleVerdict(c.now, a.iface.Index, a.epoch, roam.Unreachable, on.Why) })
	}
}

// attemptRetry is how long after an interface could not be used it is tried again, unless something changes before.
const attemptRetry = 5 * time.Second

// cannotUse gives an attempt up that could not even begin: another interface gets its chance, and this one again later.
func (c *Client) cannotUse(i *iface, e roam.Attempt, err error) {
	c.problem(control.Problem{Peer: e.Interface.Name, Message: "cannot be used: " + err.Error(), Advice: "it is tried again by itself"})
	c.abandon(i, err.Error())
	c.roam.HandleVerdict(c.now, e.Interface.Index, e.Epoch, roam.Unreachable, err.Error())
	c.after(attemptRetry, func() { c.roam.HandleRetry(c.now, e.Interface.Index, e.Epoch) })
}

// careOf returns the care-of address that the attempt registers.
func (a *attempt) careOf() netip.Addr {
	if a.agent != nil {
		return a.agent.careOf
	}
	return a.iface.Address.Addr()
}

// attachedBy says how the interface is attached, for people.
func (a *attempt) attachedBy() string {
	if a.agent != nil {
		return fmt.Sprintf("through foreign agent %v", a.agent.address)
	}
	if a.home != nil {
		return fmt.Sprintf("at home as %v", a.home.home)
	}
	if a.over6() {
		return fmt.Sprintf("from %v", a.iface.Address6.Addr())
	}
	return fmt.Sprintf("from %v", a.iface.Address.Addr())
}

// locationConfig returns the detector's configuration for the attempt. With a pinned VPN mode the i-HA is not asked: the
// whole Internet counts as outside and requests to it are suppressed there.
func (c *Client) locationConfig(a *attempt, externalOnly bool) location.Config {
	cfg := c.cfg.Location(a.iface.Index)
	cfg.InternalOnly = a.probe
	if externalOnly {
		cfg.OutsideNetworks, cfg.SuppressOutside = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0)}, true
	}
	return cfg
}

// attachBoth makes the registrations with both home agents. Nothing is sent yet.
func (c *Client) attachBoth(a *attempt, externalOnly bool) error {
	origin := mobilenode.Origin{Interface: a.iface.Index, Epoch: a.epoch, Direct: true}
	c.gate.Enter(a.iface.Index, a.epoch)
	var err error
	if !externalOnly {
		inner := c.session.engine.PlaintextInbound(c.gate, a.iface.Index, a.epoch)
		mn := a.mobileNode(origin)
		if a.agent == nil && isHome(c.cfg.Internal, a.iface.Address) {
			if err := c.enterHome(a, c.ifaces[a.iface.Index]); err != nil {
				return err
			}
			mn.AtHome, mn.CareOfAddress = true, a.home.home
		}
		a.internal, err = c.register(nameInternal, c.cfg.Internal, mn,
			c.attachment(a, c.cfg.Internal.HomeAddress, c.cfg.Internal.Address, inner),
			func(e mobilenode.Event) { c.internalEvent(a, e) })
		if err != nil {
			return err
		}
		a.internal.lenient = a.agent != nil
	}
	if !c.cfg.External.Address.IsValid() { // its name, or its network, has led to none yet: there is no x-HA
		a.external = &registration{name: nameExternal}
		return nil
	}
	a.external, err = c.register(nameExternal, c.cfg.External, a.mobileNode(origin),
		c.attachment(a, c.cfg.External.HomeAddress, c.cfg.External.Address, c.session.external.link.Deliver),
		func(e mobilenode.Event) { c.externalEvent(a, e) })
	return err
}

// mobileNode returns what the attempt's registrations have in common.
func (a *attempt) mobileNode(origin mobilenode.Origin) mobilenode.Config {
	cfg := mobilenode.Config{CareOfAddress: a.careOf(), Origin: origin}
	if a.agent != nil {
		cfg.ForeignAgent, cfg.Lifetime, cfg.Challenge = a.agent.address, a.agent.lifetime, a.agent.challenge
		cfg.AgentMinimal, cfg.AgentGRE = a.agent.minimal, a.agent.gre
	}
	return cfg
}

// attachment returns how a home address is attached straight through the attempt's interface.
func (c *Client) attachment(a *attempt, home, agent netip.Addr, inner link.Receiver) attach {
	return func(replies func([]byte)) (stack.Attachment, error) {
		if a.agent != nil && !home.IsValid() {
			return nil, errNoHome
		}
		if a.agent != nil {
			return stack.AttachViaForeignAgent(a.agent.segment, home, a.agent.address, a.agent.hardware, a.iface.MTU, replies, inner)
		}
		if h := a.home; h != nil && home == h.home {
			return stack.AttachAtHome(h.segment, home, agent, h.router, a.iface.MTU, replies, inner)
		}
		below, err := c.underlay(a.iface.Index, a.iface.Address.Addr())
		if err != nil {
			return nil, fmt.Errorf("client: underlay %s: %w", a.iface.Name, err)
		}
		return stack.AttachCoLocated(below, home, agent, c.drops, replies, inner)
	}
}

// internalEvent is an event of the registration with the i-HA straight through the interface.
func (c *Client) internalEvent(a *attempt, e mobilenode.Event) {
	var err error
	switch e := e.(type) {
	case mobilenode.Accepted:
		c.replaced(a.internal, e.Reply) // the i-HA now sends to this care-of address, whether that proves anything or not
		if err = a.det.HandleInternalReply(c.now, e.Reply); err != nil && a.det.State() != location.StateInside {
			a.internal.stopKeepalive() // it would tell the home address in the clear
		}
	case mobilenode.Refused:
		c.tooMany(a, a.internal, e)
		c.denied(a, e)
		if !e.Retrying {
			err = a.det.HandleInternalRefusal(c.now, a.epoch, e.Err.Error())
		}
	case mobilenode.Unanswered:
		if !e.Deregistration {
			err = a.det.HandleInternalUnanswered(c.now, a.epoch)
		}
	}
	if err != nil {
		c.event(control.Event{Kind: "detection", Interface: a.iface.Name, Message: err.Error()})
	}
	c.rerouteIfUsed(a, e)
}

// externalEvent is an event of the registration with the x-HA straight through the interface.
func (c *Client) externalEvent(a *attempt, e mobilenode.Event) {
	var err error
	switch e := e.(type) {
	case mobilenode.Accepted:
		c.externalHeard(a, a.external.bound)
		if a.aside == nil {
			a.doubted = netip.Addr{}
		}
		err = a.det.HandleExternalReply(c.now, e.Reply)
	case mobilenode.Refused:
		c.tooMany(a, a.external, e)
		if !e.Retrying {
			err = a.det.HandleExternalRefusal(c.now, a.epoch, e.Err.Error())
		}
	case mobilenode.Unanswered:
		if !e.Deregistration {
			err = a.det.HandleExternalUnanswered(c.now, a.epoch)
			c.insistAside(a)
			c.externalUnanswered(a)
		}
	case mobilenode.Expired:
		c.externalUnanswered(a)
	}
	if err != nil {
		c.event(control.Event{Kind: "detection", Interface: a.iface.Name, Message: err.Error()})
	}
	c.rerouteIfUsed(a, e)
}

// externalUnanswered begins detection anew when the x-HA stops answering for the interface in use: it may have moved
// without a local sign.
func (c *Client) externalUnanswered(a *attempt) {
	if c.needless(a) {
		return
	}
	if using, mode := c.roam.Using(); using == a.iface.Index && !mode.Plaintext() {
		a.det.Restart(c.now, "the x-HA has stopped answering")
	}
}

// rerouteIfUsed compiles the pipeline anew after a renewal that may have granted another tunnel.
func (c *Client) rerouteIfUsed(a *attempt, e mobilenode.Event) {
	if _, ok := e.(mobilenode.Accepted); !ok {
		return
	}
	c.drainRoam() // it may have decided about this very reply
	if using, mode := c.roam.Using(); using == a.iface.Index && c.session != nil && c.ifaces[using].attempt == a {
		c.compose(mode)
	}
}

// drainDetection carries out what the detector wants.
func (c *Client) drainDetection(a *attempt) bool {
	busy := false
	for {
		e, ok := a.det.PollEvent()
		if !ok {
			return busy
		}
		busy = true
		c.detected(a, e)
	}
}

func (c *Client) detected(a *attempt, e location.Event) {
	index, name := a.iface.Index, a.iface.Name
	verdict := func(v roam.Verdict) {
		c.event(control.Event{Kind: "verdict", Interface: name, Verdict: control.Verdict(a.det.State().Verdict().String()),
			Message: fmt.Sprintf("%s: %s", v, a.det.Reason())})
		c.roam.HandleVerdict(c.now, index, a.epoch, v, a.det.Reason())
	}
	switch e := e.(type) {
	case location.StartRegistrations:
		if used := c.inUse(); used == nil && a.alone(c) || used == a {
			a.internal.keepOthers(false)
			a.external.keepOthers(false)
		}
		if e.Internal && a.internal != nil {
			c.appear(a)
			a.internal.start(c)
		}
		if e.External {
			a.external.start(c)
			if i := c.ifaces[index]; i != nil && i.attempt == a {
				c.registerAside(i)
			}
		}
	case location.Reregister, location.ProbeInternal:
		if a.internal != nil {
			c.appear(a)
			a.internal.start(c)
		}
	case location.Inside:
		c.portalReachable(index, a.det.Reason())
		c.silenceOver(c.externalName())
		c.alarmOver()
		a.proof = e.Proof
		if x := a.aside; x != nil && !x.stands {
			c.endAside(a)
		}
		if err := c.gate.Open(e.Proof); err != nil {
			c.log.Warn("the gate refused a proof", zap.String("interface", name), zap.Error(err))
			return
		}
		if !e.Renewed {
			if !a.external.bound {
				a.external.stop(c)
			}
			verdict(roam.Inside)
		}
		c.woken(a)
	case location.DeregisterExternal:
		if a.external.machine != nil {
			a.external.machine.Deregister(c.now)
		}
	case location.TentativelyOutside:
		c.portalReachable(index, a.det.Reason())
		verdict(roam.TentativelyOutside)
	case location.Outside:
		c.portalReachable(index, a.det.Reason())
		if a.internal != nil && !e.Trying {
			a.internal.stop(c)
			c.disappear(a)
		}
		c.learn(a, false)
		verdict(roam.Outside)
	case location.Unreachable:
		a.first6 = true
		c.portalUnreachable(a.iface)
		if a.probe {
			verdict(roam.Unreachable)
			return
		}
		if c.cfg.HasExternal() {
			c.silence(control.Problem{Peer: c.externalName(),
				Message: fmt.Sprintf("neither it nor the %s answers through %s: %s", c.internalName(), name, outcomes(a.det.Report())),
				Advice:  "check that this network lets UDP 434 through, and that the addresses of the home agents are right"})
		}
		verdict(roam.Unreachable)
		c.nextExternal(a)
	case location.ProofLost:
		c.gate.Close(index, e.Reason)
		a.internal.stopKeepalive() // it would name the home address in the clear, wherever this is now
		c.event(control.Event{Kind: "proof_lost", Interface: name, Message: e.Reason})
		c.roam.HandleVerdict(c.now, index, a.epoch, roam.Unknown, e.Reason)
	case location.Alarm:
		c.problem(control.Problem{Peer: c.internalName(), Code: e.Kind.String(), Message: e.Message,
			Advice: "tell the administrator of the firewall and of the i-HA"})
		c.refreshInner("a direct registration that proves nothing replaced the binding")
	default:
		c.detectedRarely(a, e)
	}
}

// alone reports whether nothing else is under way.
func (a *attempt) alone(c *Client) bool {
	for _, i := range c.ifaces {
		if i.attempt != nil && i.attempt != a {
			return false
		}
	}
	return true
}

// outcomes says what became of both registrations, for people.
func outcomes(r location.Report) string {
	of := func(name string, e location.Exchange) string {
		if e.Outcome == "" {
			return name + " no answer"
		}
		return name + " " + e.Outcome
	}
	return of(nameExternal, r.External) + ", " + of(nameInternal, r.Internal)
}

// start begins a series of requests.
func (r *registration) start(c *Client) {
	if r.machine != nil {
		r.machine.Register(c.now)
	}
}

// stop gives up unanswered requests.
func (r *registration) stop(c *Client) {
	if r.machine != nil {
		r.machine.Stop(c.now)
	}
}

// abandon ends the attempt on an interface. Its flows still receive for drainTime what was on its way; the gate decides
// about what comes in the clear.
func (c *Client) abandon(i *iface, reason string) {
	delete(c.ends.waiting, i.Index)
	a := i.attempt
	if a == nil {
		return
	}
	c.reclaim(a)
	i.attempt = nil
	if a.remove != nil {
		a.remove()
	}
	c.disappear(a)
	c.endAside(a)
	c.endSearch(a)
	c.log.Debug("attempt abandoned", zap.String("interface", a.iface.Name), zap.String("reason", reason))
	a.internal.quiet()
	if a.leaving {
		c.leaveLater(i, a)
	} else {
		a.external.quiet()
	}
	a.remove = c.after(drainTime, func() { c.closeAttachments(a) })
	i.draining = append(i.draining, a)
}

// closeAttachments closes what an abandoned attempt still received from.
func (c *Client) closeAttachments(a *attempt) {
	for _, r := range append([]*registration{a.internal, a.external}, a.former...) {
		if r != nil {
			r.quiet()
			r.detach(c.log)
		}
	}
	a.former = nil
	c.leaveHome(a)
	if i := c.ifaces[a.iface.Index]; i != nil {
		i.drained(a)
		if i.attempt == nil {
			c.gate.Close(a.iface.Index, "the path has drained")
		}
	}
}
