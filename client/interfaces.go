package client

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/control"
	"mipvpn/client/roam"
	"mipvpn/mipv4/discovery"
	"mipvpn/stack"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// iface is one network interface as the actor knows it.
type iface struct {
	link.Interface
	epoch    uint64
	attempt  *attempt
	draining []*attempt
	warmed   netip.Addr // the gateway whose link-layer address has been asked for
	hinted   hinted
	six      six

	// The link layer, open while foreign agents are looked for or used there.
	segment   *stack.Segment
	ears      ears
	discovery *discovery.Machine
	solicited int // how often agents were asked for beside an address
	remove    func()
	// shunned are agents that were registered through in vain, and until when they are left out.
	shunned map[netip.Addr]time.Duration
}

// agentInUse is a foreign agent that an attempt goes through.
type agentInUse struct {
	segment  *stack.Segment
	address  netip.Addr
	careOf   netip.Addr
	hardware packet.HardwareAddr
	lifetime time.Duration // the longest registration that it takes
	// minimal and gre say which encapsulations it has besides IP in IP.
	minimal, gre bool
	// udp says that it does UDP tunnelling (the U bit).
	udp bool
	// challenge is the last one that it has advertised, nil for none (RFC 4721 §2).
	challenge []byte
}

// readInterfaces reads the interfaces anew and lets roam see what has changed.
func (c *Client) readInterfaces() {
	if c.session == nil {
		return
	}
	all, err := c.host.Interfaces()
	if err != nil {
		c.log.Error("reading the interfaces", zap.Error(err))
		return
	}
	used := slices.DeleteFunc(all, func(i link.Interface) bool { return !c.cfg.Interfaces.Allows(i.Name) })
	for _, now := range used {
		i := c.ifaces[now.Index]
		if i == nil {
			i = &iface{}
			c.ifaces[now.Index] = i
		}
		i.Interface = now
	}
	c.roam.HandleSnapshot(c.now, used)
	c.standAgain()
	c.dnsAgain()
	c.warm(used)
	for _, now := range used {
		c.rehint(c.ifaces[now.Index])
	}
}

// warm has the gateway of each interface found out, of those too that carry nothing now: address, neighbour and keys are there
// when one of them is switched to, and that costs one registration.
func (c *Client) warm(used []link.Interface) {
	resolver, able := c.host.(link.NeighbourResolver)
	if !able {
		return
	}
	for _, now := range used {
		i := c.ifaces[now.Index]
		if !now.Up || !now.Address.IsValid() || !now.Gateway.IsValid() || !now.GatewayHardware.IsZero() || i.warmed == now.Gateway {
			continue
		}
		i.warmed = now.Gateway
		if err := resolver.ResolveNeighbour(now.Index, now.Gateway); err != nil {
			c.log.Debug("the gateway cannot be looked up ahead", zap.String("interface", now.Name), zap.Error(err))
		}
	}
}

// drainRoam carries out what roam has decided.
func (c *Client) drainRoam() bool {
	busy := false
	for {
		e, ok := c.roam.PollEvent()
		if !ok {
			return busy
		}
		busy = true
		if c.session == nil {
			continue
		}
		switch e := e.(type) {
		case roam.Epoch:
			c.epoch(e)
		case roam.Attempt:
			c.story.unblock()
			c.beginNamed(e)
		case roam.Abandon:
			if i := c.ifaces[e.Index]; i != nil {
				c.abandon(i, e.Reason)
			}
		case roam.Use:
			c.story.unblock()
			c.use(e)
		case roam.Keep:
			c.event(control.Event{Kind: "keep", Interface: c.nameOf(e.Index), Message: e.Reason})
		case roam.Damped:
			c.event(control.Event{Kind: "damped", Interface: c.nameOf(e.Index), Message: e.Reason})
		case roam.Hold:
			c.session.engine.Hold()
			c.story.broke(c.now, e.Reason)
			c.restVPN()
			c.event(control.Event{Kind: "hold", Message: e.Reason})
		case roam.Blocked:
			c.session.engine.Swap(nil)
			c.story.block(e.Reason)
			c.event(control.Event{Kind: "blocked", Message: e.Reason})
		}
	}
}

// nameOf returns the name of an interface.
func (c *Client) nameOf(index int) string {
	if i := c.ifaces[index]; i != nil {
		return i.Name
	}
	return ""
}

// epoch voids what was known of an interface (DET-2).
func (c *Client) epoch(e roam.Epoch) {
	c.gate.Enter(e.Interface.Index, e.Epoch)
	i := c.ifaces[e.Interface.Index]
	if i == nil {
		return
	}
	i.epoch = e.Epoch
	c.names.forget(i.Index)
	i.six.forget()
	c.event(control.Event{Kind: "interface", Interface: e.Interface.Name, Message: e.Reason})
	if e.Gone {
		c.forget(i)
		delete(c.ifaces, e.Interface.Index)
		c.portalChanged(e.Interface.Index, e.Reason)
		return
	}
	c.portalChanged(e.Interface.Index, e.Reason)
	i.shunned = nil
	if e.Relinked {
		c.closeSegment(i) // and look for foreign agents anew
	}
	c.listen(i)
	c.seek(i)
}

// listen opens or closes the link layer of an interface, as earsFor says.
func (c *Client) listen(i *iface) {
	wanted := c.earsFor(i)
	if wanted == i.ears {
		return
	}
	c.closeSegment(i)
	if wanted != noEars {
		c.openSegment(i, wanted)
	}
}

// openSegment begins to look for foreign agents.
func (c *Client) openSegment(i *iface, e ears) {
	open := stack.OpenSegment
	if e == advertisements {
		open = stack.ListenSegment
	}
	segment, err := open(c.host, i.Index, c.drops, func(a stack.Advertisement) {
		c.post(func() { c.advertised(i, a) })
	})
	if errors.Is(err, stack.ErrNoEars) {
		return
	}
	if err != nil {
		c.log.Warn("no foreign agent can be looked for", zap.String("interface", i.Name), zap.Error(err))
		return
	}
	segment.Meter(&c.meters.underlay)
	m, err := discovery.NewMachine(discovery.Config{}, c.rand)
	if err != nil {
		c.log.Error("no foreign agent can be looked for", zap.String("interface", i.Name), zap.Error(errors.Join(err, segment.Close())))
		return
	}
	i.segment, i.ears, i.discovery, i.solicited = segment, e, m, 0
	i.remove = c.drive(&driven{timeout: m.HandleTimeout, deadline: m.Deadline, drain: func() bool { return c.drainDiscovery(i, m) }})
	m.Start(c.now)
}

// closeSegment forgets the foreign agents of an interface. Attempts through them have been abandoned.
func (c *Client) closeSegment(i *iface) {
	if i.segment == nil {
		return
	}
	i.remove()
	if a := i.attempt; a != nil && a.aside != nil {
		c.straighten(i, a)
	}
	for _, a := range slices.Clone(i.draining) {
		if a.agent != nil {
			a.remove()
			c.closeAttachments(a)
		}
	}
	if err := i.segment.Close(); err != nil {
		c.log.Debug("closing a link layer", zap.Error(err))
	}
	i.segment, i.ears, i.discovery = nil, noEars, nil
	c.roam.HandleAgent(c.now, i.Index, false)
}

func (c *Client) advertised(i *iface, a stack.Advertisement) {
	if i.discovery == nil {
		return
	}
	if err := i.discovery.HandleAdvertisement(c.now, a.Message, a.Source, a.Hardware); err != nil {
		c.log.Debug("agent advertisement rejected", zap.String("interface", i.Name), zap.Error(err))
		return
	}
	i.challenged(a.Source)
}

// challenged gives the challenge that an agent has just advertised to the registrations through it (RFC 4721 §2).
func (i *iface) challenged(agent netip.Addr) {
	var through []*registration
	switch a := i.attempt; {
	case a == nil:
		return
	case a.agent != nil && a.agent.address == agent:
		through = []*registration{a.internal, a.external}
	case a.aside != nil && a.aside.agent.address == agent:
		through = []*registration{a.aside.reg}
	default:
		return
	}
	for _, a := range i.discovery.Agents() {
		if a.Address != agent {
			continue
		}
		for _, r := range through {
			if r != nil && r.machine != nil {
				r.machine.SetChallenge(a.Challenge)
			}
		}
	}
}

// drainDiscovery sends solicitations and takes account of agents.
func (c *Client) drainDiscovery(i *iface, m *discovery.Machine) bool {
	busy := false
	for i.discovery == m {
		t, ok := m.PollTransmit()
		if !ok {
			break
		}
		busy = true
		// From no address (RFC 1256 §3.2): nobody on the link is to learn the home address before a registration tells it.
		if err := i.segment.Solicit(netip.Addr{}, t.Payload); err != nil {
			c.log.Debug("agent solicitation not sent", zap.String("interface", i.Name), zap.Error(err))
		}
		if i.solicited++; i.ears == advertisements && i.solicited >= mostSolicitations {
			m.Stop() // there is an address: who asks for more advertises itself (RFC 5944 §2.4)
		}
	}
	for i.discovery == m {
		e, ok := m.PollEvent()
		if !ok {
			break
		}
		busy = true
		c.agentEvent(i, e)
	}
	return busy
}

// mostSolicitations is how often agents are asked for on a link where there is an address without any.
const mostSolicitations = 3

// agentEvent takes account of what was heard of foreign agents.
func (c *Client) agentEvent(i *iface, e discovery.Event) {
	inUse := func(a discovery.Agent) bool {
		return i.attempt != nil && i.attempt.agent != nil && i.attempt.agent.address == a.Address
	}
	tell := func(a discovery.Agent, what string) {
		c.event(control.Event{Kind: "agent", Interface: i.Name, Message: fmt.Sprintf("foreign agent %v %s", a.Address, what)})
	}
	switch e := e.(type) {
	case discovery.AgentFound:
		tell(e.Agent, fmt.Sprintf("offers care-of address %v", e.Agent.CareOfAddresses))
	case discovery.AgentChanged:
		tell(e.Agent, fmt.Sprintf("offers care-of address %v now", e.Agent.CareOfAddresses))
		if inUse(e.Agent) && (!e.Agent.Offers(i.attempt.agent.careOf) || e.Agent.Hardware != i.attempt.agent.hardware) {
			c.roam.HandleAgent(c.now, i.Index, false) // what the attempt stands on is gone
		}
		c.asideHeard(i, e.Agent.Address, e.Agent.RegistrationRequired() && e.Agent.UDPTunnel() == e.Before.UDPTunnel() && e.Agent.Hardware == e.Before.Hardware, false)
	case discovery.AgentRebooted:
		tell(e.Agent, "has rebooted: registering again (RFC 5944 section 2.4.4)")
		if inUse(e.Agent) {
			c.roam.HandleAgent(c.now, i.Index, false)
		}
		c.asideHeard(i, e.Agent.Address, true, true)
	case discovery.AgentLost:
		tell(e.Agent, "is not heard any more")
		if inUse(e.Agent) {
			c.roam.HandleAgent(c.now, i.Index, false)
		}
		c.asideHeard(i, e.Agent.Address, false, false)
	}
	if i.ears == advertisements { // nothing that can be attached through: the interface has an address
		c.registerAside(i)
	} else {
		c.roam.HandleAgent(c.now, i.Index, i.choose() != nil)
	}
	c.rehint(i)
}

// choose returns the foreign agent to go through, nil when none will do.
func (i *iface) choose() *agentInUse {
	if i.discovery == nil {
		return nil
	}
	for _, a := range i.discovery.Agents() {
		if a.Busy() || !a.ForeignAgent() {
			continue
		}
		return i.agentInUse(a)
	}
	return nil
}

// agentInUse returns the agent as an attempt goes by it.
func (i *iface) agentInUse(a discovery.Agent) *agentInUse {
	return &agentInUse{
		segment: i.segment, address: a.Address, careOf: a.CareOfAddresses[0], hardware: a.Hardware,
		lifetime: max(time.Duration(a.RegistrationLifetime)*time.Second, time.Second), challenge: a.Challenge,
		minimal: a.Flags&discovery.FlagMinimal != 0, gre: a.Flags&discovery.FlagGRE != 0,
	}
}

// drained forgets an attempt that has drained.
func (i *iface) drained(a *attempt) {
	i.draining = slices.DeleteFunc(i.draining, func(d *attempt) bool { return d == a })
}

// forget ends everything on an interface at once.
func (c *Client) forget(i *iface) {
	i.six.forget()
	c.abandon(i, "the interface is not used any more")
	for _, a := range slices.Clone(i.draining) {
		a.remove()
		c.closeAttachments(a)
	}
	c.closeSegment(i)
}
