package scenario

import (
	"slices"

	"mipvpn/client/e2e"
	"mipvpn/stack"
)

// Tour is the whole main job: every mode, changes between outside networks with a live security association, and at the
// end a change with both networks there at once.
var Tour = []Step{
	{Interface: "eth0", Network: "office", Mode: "c"},
	{Interface: "eth0", Network: "office-fa", Mode: "f"},
	{Interface: "eth0", Network: "cafe", Mode: "cvc"},
	{Interface: "eth0", Network: "hotspot", Mode: "fvc"},
	{Interface: "eth0", Network: "cafe", Mode: "cvc"},
	{Interface: "eth0", Network: "office", Mode: "c"},
	{Interface: "eth1", Network: "cafe", Mode: "c"},
	{Interface: "eth0", Mode: "cvc"},
	{Interface: "eth0", Network: "office", Mode: "c"},
}

// Eight is the tour of all eight modes, where agents and gateway have the optional mechanisms: the client chooses the cheapest
// by itself, the others are pinned, in place and with a change of network.
var Eight = []Step{
	{Interface: "eth0", Network: "office", Mode: "c"},
	{Interface: "eth0", Network: "office-fa", Mode: "f"},
	{Interface: "eth0", Network: "cafe", Mode: "vf"},
	{Interface: "eth0", Network: "hotspot", Mode: "fvf"},
	{Interface: "eth0", Network: "cafe", Mode: "cvf", Policy: "cvf"},
	{Interface: "eth0", Network: "cafe", Mode: "cvc", Policy: "cvc"},
	{Interface: "eth0", Network: "cafe", Mode: "vc", Policy: "vc"},
	{Interface: "eth0", Network: "hotspot", Mode: "fvc", Policy: "fvc"},
	{Interface: "eth0", Network: "campus", Mode: "vc", Policy: "vc"},
	{Interface: "eth0", Network: "office", Mode: "c"},
	{Interface: "eth1", Network: "cafe", Mode: "c"},
	{Interface: "eth0", Mode: "vf"},
	{Interface: "eth0", Network: "office", Mode: "c"},
}

// OverTCP is the tour of networks where the way out takes TCP alone, the café and the cellular network: both home agents are silent
// there, and the VPN goes in TCP, straight from the interface.
var OverTCP = []Step{
	{Interface: "eth0", Network: "office", Mode: "c"},
	{Interface: "eth0", Network: "cafe", Mode: "vc"},
	{Interface: "eth0", Network: "cellular", Mode: "vc"},
	{Interface: "eth0", Network: "cafe", Mode: "vc"},
	{Interface: "eth0", Network: "office", Mode: "c"},
}

// Optional reports whether a mode among them needs an optional mechanism.
func Optional(modes []string) bool {
	return slices.ContainsFunc(modes, func(m string) bool { return stack.Mode(m).Mandatory() != stack.Mode(m) })
}

// Through returns the steps of the tour, or of the tour of eight where a mode is Optional, that need only the modes given,
// in order; a step that would change nothing is left out, and so is pulling a cable with no other one in.
func Through(modes []string) []Step {
	tour := Tour
	if Optional(modes) {
		tour = Eight
	}
	var steps []Step
	in, policy := map[string]string{}, "auto" // the network that each interface is in, and what the client is told
	for _, s := range tour {
		if !slices.Contains(modes, s.Mode) || in[s.Interface] == s.Network && policy == s.policy() || s.Network == "" && len(in) < 2 {
			continue
		}
		steps = append(steps, s)
		policy = s.policy()
		if in[s.Interface] = s.Network; s.Network == "" {
			delete(in, s.Interface)
		}
	}
	return steps
}

// Matrix returns the steps that make each change between any two of the modes once, those from a mode to itself in another network
// among them. A mode with the VPN is pinned; with a co-located care-of address outside, a network behind a NAT and one without take
// turns, and every third change that can be made without the cable is made by the pin alone.
func Matrix(modes []string) []Step {
	var known []stack.Mode
	for _, m := range modes {
		known = append(known, stack.Mode(m))
	}
	steps := []Step{}
	network, before := "", stack.ModeNone
	for i, m := range e2e.Tour(known) {
		s := Step{Interface: "eth0", Network: "cafe", Mode: string(m), Policy: string(m)}
		l, _ := m.Composition()
		switch {
		case !l.VPN && l.ForeignAgent:
			s.Network, s.Policy = "office-fa", ""
		case !l.VPN:
			s.Network, s.Policy = "office", ""
		case l.ForeignAgent:
			s.Network = "hotspot"
		case i%2 == 0:
			s.Network = "campus"
		}
		co := []string{"cafe", "campus"}
		if m != before && i%3 == 0 && slices.Contains(co, network) && slices.Contains(co, s.Network) {
			s.Network = network
		}
		s.Again = m == before && s.Network == network
		steps = append(steps, s)
		network, before = s.Network, m
	}
	return steps
}
