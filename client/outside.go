package client

import (
	"fmt"

	"go.uber.org/zap"

	"mipvpn/client/control"
	"mipvpn/client/roam"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/stack"
	"mipvpn/tun/link"
)

// externalLayer is x-MIP: a link whose address is the x-HoA. What carries it changes with each move; the link and the
// flows on it stay.
type externalLayer struct {
	link *stack.PacketLink
}

func newExternalLayer(c *Client) *externalLayer {
	l := &externalLayer{link: stack.NewPacketLink(c.cfg.External.HomeAddress, c.drops, c.externalRest())}
	l.link.Meter(&c.meters.external)
	return l
}

// use takes an interface and mode into use, as roam has decided.
func (c *Client) use(e roam.Use) {
	c.story.cause = e.Reason
	path := usedPath{e.Index, e.Epoch, e.Mode.Plaintext()}
	defer func() { c.story.path = path }()
	a := c.inUse()
	settling := a != nil && c.settleBindings(a, e.Mode)
	if e.Mode.Plaintext() {
		if !settling {
			c.overrule()
		}
		c.parkVPN()
	} else {
		c.bindExternal()
		c.freshen()
		c.stand()
		c.needVPN(path != c.story.path)
	}
	c.compose(e.Mode)
}

// overrule registers with the i-HA straight through the interface again when the registration through the VPN has asked for
// the binding since: a proof that comes late is of a request that the i-HA may have had before that one.
func (c *Client) overrule() {
	a, inner := c.inUse(), c.inner()
	if a == nil || a.internal == nil || inner == nil || inner.asked < a.proof.SentAt() {
		return
	}
	a.internal.start(c)
}

// bindExternal puts x-MIP on the interface in use.
func (c *Client) bindExternal() {
	if a := c.inUse(); a != nil && a.external.bound {
		if c.mustSwitch(a.external) {
			c.session.external.link.SetCarrier(nil)
			return
		}
		c.session.external.link.SetCarrier(a.external.carrier)
		c.session.external.link.SetSwitching(a.external.ways.switching)
		if w := &a.external.ways; w.switching != nil && !w.tried && w.trial == nil {
			c.trySwitching(a.external, switchTrials)
		}
		c.askSooner()
	}
}

// inUse returns the attempt that carries traffic, nil without one.
func (c *Client) inUse() *attempt {
	index, _ := c.roam.Using()
	if i := c.ifaces[index]; i != nil {
		return i.attempt
	}
	return nil
}

// compose compiles the pipeline of a mode from the layers as they stand, if all of them do, and swaps it in.
func (c *Client) compose(mode stack.Mode) {
	a := c.inUse()
	if a == nil || c.session == nil {
		return
	}
	var p *stack.Pipeline
	var err error
	if mode.Plaintext() {
		if a.internal == nil || !a.internal.bound || !c.gate.Allows(a.iface.Index, a.epoch) {
			return
		}
		p, err = stack.CompilePlaintext(mode, a.internal.carrier(link.Plaintext), a.proof, c.gate, c.drops)
	} else {
		c.bindExternal()
		inner := c.inner()
		if inner == nil || !inner.bound || c.givenUp() || c.barred() {
			return
		}
		p, err = stack.CompileProtected(mode, inner.carrier(link.Protected))
	}
	if err != nil {
		c.problem(control.Problem{Message: fmt.Sprintf("mode %s cannot be composed: %v", mode, err), Advice: "report this as a bug with `mipvpn bugreport`"})
		return
	}
	c.measure(p, a)
	c.session.engine.Swap(p)
	if h, changed := c.story.connected(c.now, c.where(a, mode)); changed {
		c.countHandoff(h)
		c.event(control.Event{Kind: "handoff", Interface: a.iface.Name, Handoff: &h,
			Message: handoffText(h)})
	}
}

// handoffText is a handoff in words.
func handoffText(h control.Handoff) string {
	text := fmt.Sprintf("%s, was %s, outage %.0f ms", h.To, orNone(h.From), h.Outage)
	if h.Reason != "" {
		text += " (" + h.Reason + ")"
	}
	return text
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// where names a mode and its interface.
func (c *Client) where(a *attempt, mode stack.Mode) string { return string(mode) + " " + a.iface.Name }

// inner returns the registration with the i-HA through the VPN, nil without one.
func (c *Client) inner() *registration {
	if c.session == nil || c.session.vpn == nil {
		return nil
	}
	return c.session.vpn.inner
}

// innerReplaced says that the i-HA's binding is not through the VPN any more: a direct registration has replaced it.
func (c *Client) innerReplaced() {
	if r := c.inner(); r != nil {
		r.bound = false
	}
}

// refreshInner registers with the i-HA through the VPN again when something may have replaced that binding.
func (c *Client) refreshInner(reason string) {
	if _, mode := c.roam.Using(); mode == stack.ModeNone || mode.Plaintext() {
		return
	}
	if r := c.inner(); r != nil {
		c.log.Info("registering with the i-HA through the VPN again", zap.String("reason", reason))
		r.start(c)
	}
}

// registerInner registers with the i-HA through the VPN: the VPN's address as a co-located care-of address (draft §3.5), or that of
// the foreign agent in the gateway (§3.6).
func (c *Client) registerInner(v *vpnLayer) {
	if v.inner != nil || v.parked || !v.established || !v.tunnel.Carries() || v.failed {
		return
	}
	v.endDrain() // its flows are of the same endpoints
	cfg, open := c.attachInner(v)
	var err error
	var r *registration
	r, err = c.register(nameInternal, c.cfg.Internal, cfg, open, func(e mobilenode.Event) { c.innerEvent(r, e) })
	if v.inner = r; err != nil {
		c.problem(control.Problem{Peer: c.internalName(), Message: "cannot be registered with through the VPN: " + err.Error()})
		return
	}
	r.instead = v.agent != nil
	v.inner.start(c)
}

// innerEvent is an event of the registration with the i-HA through the VPN.
func (c *Client) innerEvent(r *registration, e mobilenode.Event) {
	if c.session == nil || c.session.vpn == nil || c.session.vpn.inner != r {
		return
	}
	if v := c.session.vpn; v.agent != nil && c.agencyEvent(v, e) {
		return
	}
	_, mode := c.roam.Using()
	outside := mode != stack.ModeNone && !mode.Plaintext()
	switch e := e.(type) {
	case mobilenode.Accepted:
		if outside {
			c.compose(mode)
		}
	case mobilenode.Unanswered:
		if outside && !e.Deregistration {
			c.silence(control.Problem{Peer: c.internalName(), Message: "does not answer through the VPN",
				Advice: "check that the gateway lets UDP 434 of its address pool through to the i-HA, and that the i-HA trusts the pool"})
			r.start(c)
		}
	case mobilenode.Expired:
		if outside {
			r.start(c)
		}
	}
}
