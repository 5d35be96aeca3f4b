package roam

import (
	"mipvpn/stack"
)

// Policy says when the VPN may stand straight on an interface, without the x-HA (draft appendix C).
type Policy uint8

// The policies. The zero value is Shown.
const (
	// Shown is for wherever the gateway can be shown to follow the laptop, or there is no other way out.
	Shown Policy = iota
	// Demanded refuses to go outside in any other way.
	Demanded
	// Forbidden is for never.
	Forbidden
)

// External is what is known of the x-HA through an interface.
type External uint8

const (
	// ExternalAsked is before it has answered or counts as silent.
	ExternalAsked External = iota
	// ExternalBound: it holds a binding of the interface.
	ExternalBound
	// ExternalSilent: it does not answer through the interface.
	ExternalSilent
	// ExternalNone: none is configured.
	ExternalNone
)

// Following says whether the gateway of the VPN follows a tunnel to another outer address.
type Following uint8

const (
	// FollowingUnknown is before it has been found out.
	FollowingUnknown Following = iota
	// FollowsNot is a gateway that wants a new tunnel instead.
	FollowsNot
	// Follows is one that has been seen to follow.
	Follows
)

// Ground is what a tunnel stands on.
type Ground uint8

const (
	// GroundNone is before there is a tunnel.
	GroundNone Ground = iota
	// GroundExternal is x-MIP: the outer address is the x-HoA.
	GroundExternal
	// GroundInterface is an interface's own address.
	GroundInterface
)

// Mechanisms is what is known of the optional mechanisms, for the gateway whose turn it is.
type Mechanisms struct {
	// Following says whether the gateway follows.
	Following Following
	// Ground is what the tunnel of the session stands on.
	Ground Ground
	// GatewayAgent is set while the tunnel goes through the foreign agent in the gateway (draft appendix B).
	GatewayAgent bool
}

// situation is all that the choice of a mode goes by.
type situation struct {
	foreignAgent bool // the interface is attached through a foreign agent
	six          bool // the interface has IPv6 alone
	verdict      Verdict
	external     External
	// mute is set when the gateway does not answer straight through the interface.
	mute  bool
	known Mechanisms
	// update is the policy of endpoint updates, pin the pinned mode, ModeNone for auto.
	update Policy
	pin    stack.Mode
	// noPlaintext is set where the VPN has to be used inside too.
	noPlaintext bool
}

// Choice is how an interface is used, and why.
type Choice struct {
	// Mode is the access mode; ModeNone where the interface cannot be used as things are.
	Mode stack.Mode
	// Grounds are what the VPN may stand on, the preferred first; none without a VPN.
	Grounds []Ground
	// Barred is set when user data may not pass in this mode: the policy demands what is not there, or not known to be there
	// yet. The VPN is set up all the same, to find out.
	Barred bool
	// Why says in plain words why it is this mode.
	Why string
}

// equal reports whether a and b differ in nothing but words.
func (a Choice) equal(b Choice) bool {
	if a.Mode != b.Mode || a.Barred != b.Barred || len(a.Grounds) != len(b.Grounds) {
		return false
	}
	for i, g := range a.Grounds {
		if g != b.Grounds[i] {
			return false
		}
	}
	return true
}

// choose returns the cheapest mode that everybody on the path supports, as far as policy and pin allow (draft §3).
func choose(s situation) Choice {
	pinned, isPinned := s.pin.Composition()
	if s.noPlaintext && isPinned && !pinned.VPN {
		return Choice{Why: "mode " + string(s.pin) + " is pinned, and this system cannot send in the clear safely"}
	}
	if s.verdict == Inside && !(isPinned && pinned.VPN) && !s.noPlaintext {
		return Choice{Mode: stack.Direct(s.foreignAgent), Why: "proven to be inside: no VPN is needed"}
	}
	if isPinned && !pinned.VPN {
		return Choice{Why: "mode " + string(s.pin) + " is pinned and the interface is not proven to be inside"}
	}
	c := s.outside()
	if c.Mode != stack.ModeNone && s.known.GatewayAgent {
		comp, _ := c.Mode.Composition()
		comp.GatewayAgent = true
		c.Mode = comp.Mode()
		c.Why += "; the VPN gateway is the foreign agent of the home address"
	}
	if c.Mode != stack.ModeNone && isPinned && c.Mode != s.pin {
		c.Why = "mode " + string(s.pin) + " is pinned and cannot be had: " + c.Why
		if pinned.GatewayAgent && !s.known.GatewayAgent {
			c.Why += "; the VPN gateway is not the foreign agent of the home address"
		}
	}
	return c
}

// outside chooses between x-MIP and the interface's own address for the VPN to stand on.
func (s situation) outside() Choice {
	pinned, isPinned := s.pin.Composition()
	asked := !isPinned || !pinned.ExternalMIP // the pin lets it stand on the interface
	must := s.update == Demanded || isPinned && !pinned.ExternalMIP
	switch {
	case s.foreignAgent && s.update == Demanded:
		return barred(stack.ModeNone, "through a foreign agent the VPN cannot do without the x-HA, which [mechanisms] endpoint_update = \"always\" demands")
	case s.foreignAgent:
		return s.onExternal("through a foreign agent the VPN stands on the x-HoA")
	case s.update == Forbidden:
		return s.onExternal("[mechanisms] endpoint_update = \"off\" has the VPN stand on the x-HoA")
	case !asked && s.update == Demanded:
		return barred(stack.ModeNone, "mode "+string(s.pin)+" is pinned, and [mechanisms] endpoint_update = \"always\" demands that the VPN does without the x-HA")
	case !asked:
		return s.onExternal("the pin has the VPN stand on the x-HoA")
	}
	alone := s.external == ExternalSilent || s.external == ExternalNone
	switch {
	case s.known.Following == FollowsNot && s.update == Demanded:
		return barred(stack.ModeVC, "the VPN gateway does not follow the laptop to another address, which [mechanisms] endpoint_update = \"always\" demands")
	case s.known.Following == FollowingUnknown && s.update == Demanded:
		return barred(stack.ModeVC, "it is not known yet whether the VPN gateway follows the laptop, which [mechanisms] endpoint_update = \"always\" demands")
	case s.known.Following == FollowingUnknown && s.known.Ground == GroundInterface:
		return onInterface("the VPN stands straight on the interface, and it is not known yet whether its gateway follows the laptop")
	case alone && s.known.Following == FollowsNot:
		return onInterface(s.withoutExternal() + "; the VPN gateway does not follow the laptop, so that each change of address takes a new tunnel")
	case alone:
		return onInterface(s.withoutExternal())
	case s.known.Following == FollowsNot:
		return s.onExternal("the VPN gateway does not follow the laptop to another address")
	case s.mute && s.update != Demanded:
		return s.onExternal("the VPN gateway does not answer straight through the interface")
	case must:
		return onInterface("the VPN stands straight on the interface, as is asked for")
	case s.known.Following == FollowingUnknown:
		return s.onExternal("it is not known yet whether the VPN gateway follows the laptop to another address")
	case s.known.Ground == GroundExternal:
		return Choice{Mode: stack.ModeCVC, Grounds: []Ground{GroundInterface, GroundExternal},
			Why: "the VPN gateway has not answered straight through the interface so far"}
	}
	return Choice{Mode: stack.ModeVC, Grounds: []Ground{GroundInterface, GroundExternal},
		Why: "the VPN gateway follows the laptop, so that the x-HA is not needed"}
}

// withoutExternal says why the x-HA is no way out.
func (s situation) withoutExternal() string {
	if s.six {
		return "the interface has IPv6 alone, and home agents are reached over IPv4"
	}
	if s.external == ExternalNone {
		return "no x-HA is configured"
	}
	return "the x-HA does not answer"
}

// onExternal has the VPN stand on the x-HoA.
func (s situation) onExternal(why string) Choice {
	switch s.external {
	case ExternalNone:
		return barred(stack.ModeNone, why+", and no [external_home_agent] is configured")
	case ExternalSilent:
		return barred(stack.ModeNone, why+", and "+s.withoutExternal())
	case ExternalAsked, ExternalBound:
	}
	return Choice{Mode: stack.Outside(s.foreignAgent), Grounds: []Ground{GroundExternal}, Why: why}
}

// onInterface has it stand on the interface's own address.
func onInterface(why string) Choice {
	return Choice{Mode: stack.ModeVC, Grounds: []Ground{GroundInterface}, Why: why}
}

// barred lets no user data pass. With a mode the VPN is set up all the same.
func barred(m stack.Mode, why string) Choice {
	c := Choice{Mode: m, Barred: true, Why: why}
	if m != stack.ModeNone {
		c.Grounds = []Ground{GroundInterface}
	}
	return c
}
