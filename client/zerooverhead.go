package client

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/stack"
)

const (
	// switchTrial is how long after addresses are switched the i-HA must have answered through the VPN: ESP passes then. Some
	// networks let UDP through and nothing else.
	switchTrial = 4 * time.Second
	// switchTrials is how many of these spans the VPN has to come up in.
	switchTrials = 3
	// switchAgain is how long after switching has turned out not to work in a network it is asked for there again. It doubles.
	switchAgain = 10 * time.Minute
)

// switchedWays is what is known of zero-overhead tunnelling (draft appendix D) for one registration.
type switchedWays struct {
	switching *stack.Switching // what qualifying packets travel by, nil for the tunnel
	refused   string           // why there is none
	failed    string           // why it was given up in this network; empty while it was not
	pause     time.Duration    // until it is asked for again after it has failed
	trial     func()           // takes the trial back; nil without one
	tried     bool             // it has been shown to work
	accepted  time.Duration    // boot time of the last acceptance
}

// zeroOverhead returns what a registration with the x-HA asks for of zero-overhead tunnelling: with the gateway in use as the
// default destination.
func (c *Client) zeroOverhead(ha config.HomeAgent) mobilenode.ZeroOverhead {
	m, gateway := c.cfg.Mechanisms, c.cfg.Gateway.Address
	if !m.Switching() || !gateway.Is4() || gateway == ha.Address || gateway == ha.HomeAddress || ha.Encapsulation != config.EncapsulationAuto && ha.Encapsulation != config.EncapsulationIPIP {
		return mobilenode.ZeroOverhead{}
	}
	return mobilenode.ZeroOverhead{Vendor: m.Vendor, Destination: gateway}
}

// whyNotAsked says in plain words why a registration with the x-HA does not ask, for people.
func (c *Client) whyNotAsked(r *registration) string {
	m := c.cfg.Mechanisms
	switch {
	case m.ZeroOverhead.Off():
		return `[mechanisms] zero_overhead is "off"`
	case m.Vendor == 0:
		return "[mechanisms] vendor is not set"
	case !r.coLocated, r.machine != nil && r.machine.Config().ForeignAgent.IsValid():
		return "the registration goes through a foreign agent"
	case c.cfg.External.Encapsulation == config.EncapsulationUDP:
		return `[external_home_agent] encapsulation is "udp"`
	case !c.cfg.Gateway.Address.Is4():
		return "no IPv4 address of the VPN gateway is known"
	}
	return "the VPN gateway cannot be the default destination"
}

// askSwitching has the registrations with the x-HA ask for the gateway in use, which is another one than before.
func (c *Client) askSwitching() {
	for _, i := range c.ifaces {
		if i.attempt == nil || i.attempt.external == nil || i.attempt.external.machine == nil {
			continue
		}
		r := i.attempt.external
		if r.ways.failed == "" && r.coLocated && !r.machine.Config().ForeignAgent.IsValid() {
			c.setSwitching(r, c.zeroOverhead(c.cfg.External))
		}
	}
}

// setSwitching has a registration ask for z, and registers anew where that changes what is in force.
func (c *Client) setSwitching(r *registration, z mobilenode.ZeroOverhead) {
	if r.machine.Config().ZeroOverhead == z {
		return
	}
	if err := r.machine.SetZeroOverhead(z); err != nil {
		c.log.Warn("zero-overhead tunnelling cannot be asked for", zap.Error(err))
		return
	}
	if r.bound || r.machine.State() == mobilenode.StateRegistering {
		r.start(c)
	}
}

// noteSwitching takes account of what the x-HA has granted.
func (c *Client) noteSwitching(r *registration, reply mobilenode.VerifiedReply) {
	w := &r.ways
	w.accepted = reply.ReceivedAt()
	if r.name != nameExternal {
		return
	}
	before := w.switching
	w.switching, w.refused = nil, ""
	a, coLocated := r.attachment.(*stack.CoLocated)
	destination := reply.Tunnel().Switched
	switch {
	case w.failed != "":
		w.refused = w.failed
	case !destination.IsValid():
		if w.refused = reply.SwitchReason(); w.refused == "" {
			w.refused = c.whyNotAsked(r)
		}
	case !coLocated || c.session == nil:
		w.refused = "there is no flow for it"
	default:
		s, err := a.Switch(c.session.external.link, destination)
		if err != nil {
			c.unswitch(r, err.Error())
			return
		}
		if w.switching = s; before != s {
			w.tried = false
			w.endTrial()
		}
	}
	if r.coLocated && c.cfg.Mechanisms.Switching() && w.switching == nil {
		r.why += "; addresses are not switched: " + w.refused
	}
}

// unswitch gives zero-overhead tunnelling up in this network for a while.
func (c *Client) unswitch(r *registration, why string) {
	w := &r.ways
	if w.failed != "" || r.machine == nil {
		return
	}
	w.failed, w.switching, w.refused = why, nil, why
	w.endTrial()
	c.event(control.Event{Kind: "encapsulation", Message: fmt.Sprintf("addresses are not switched any more with the %s %v: %s", r.name, r.agent, why)})
	c.setSwitching(r, mobilenode.ZeroOverhead{})
	if w.pause = 2 * w.pause; w.pause == 0 {
		w.pause = switchAgain
	}
	c.after(w.pause, func() {
		if r.machine != nil && w.failed != "" {
			w.failed = ""
			c.setSwitching(r, c.zeroOverhead(c.cfg.External))
		}
	})
}

// trySwitching finds out whether packets with switched addresses get through both ways: the i-HA must answer through the VPN.
func (c *Client) trySwitching(r *registration, trials int) {
	w := &r.ways
	w.endTrial()
	since := c.now.Boot
	if inner := c.inner(); inner != nil && inner.bound && c.carries(r) {
		inner.start(c)
	}
	w.trial = c.after(switchTrial, func() {
		w.trial = nil
		if r.machine == nil || w.switching == nil || !c.carries(r) {
			return // tried when it carries
		}
		inner := c.inner()
		switch {
		case inner != nil && inner.ways.accepted >= since:
			w.pause, w.tried = 0, true
		case trials > 1:
			c.trySwitching(r, trials-1)
		default:
			c.unswitch(r, "nothing comes back through the VPN that way")
		}
	})
}

// carries reports whether the registration is the one that the VPN stands on.
func (c *Client) carries(r *registration) bool {
	a := c.inUse()
	return a != nil && a.external == r && c.throughExternal()
}

// throughExternal reports whether the mode in use has x-MIP.
func (c *Client) throughExternal() bool {
	_, mode := c.roam.Using()
	comp, _ := mode.Composition()
	return comp.ExternalMIP
}

// endTrial takes a trial back.
func (w *switchedWays) endTrial() {
	if w.trial != nil {
		w.trial()
		w.trial = nil
	}
}

// errUnswitched is why nothing is carried where [mechanisms] zero_overhead is "always".
var errUnswitched = errors.New(`addresses are not switched, and [mechanisms] zero_overhead is "always"`)

// mustSwitch reports whether nothing may be carried by the registration because addresses are not switched, and tells people.
func (c *Client) mustSwitch(r *registration) bool {
	if !c.cfg.Mechanisms.ZeroOverhead.Always() || r.ways.switching != nil {
		return false
	}
	if !c.throughExternal() {
		return true
	}
	c.problem(control.Problem{Peer: c.externalName(), Message: fmt.Sprintf("nothing is carried: %v: %s", errUnswitched, r.ways.refused),
		Advice: "have the x-HA's administrator allow it for this gateway, or set zero_overhead to \"auto\""})
	return true
}
