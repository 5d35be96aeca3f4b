package stack

import (
	"fmt"
	"slices"
)

// Mode is an access mode (draft §3): which layers stand between the applications and the interface, and how the Mobile
// IPv4 layers are registered.
type Mode string

// The access modes. The letters are x-MIP, VPN and i-MIP: c for a co-located care-of address, f for a foreign agent's,
// v for the VPN; a layer that is not used has none. The foreign agent of i-MIP over the VPN is the VPN gateway (draft
// appendix B).
const (
	ModeNone Mode = ""
	ModeC    Mode = "c"
	ModeF    Mode = "f"
	ModeVC   Mode = "vc"
	ModeVF   Mode = "vf"
	ModeCVC  Mode = "cvc"
	ModeCVF  Mode = "cvf"
	ModeFVC  Mode = "fvc"
	ModeFVF  Mode = "fvf"
)

// Composition says which layers a mode has.
type Composition struct {
	// ForeignAgent is set when the layer next to the interface registers through a foreign agent.
	ForeignAgent bool
	// ExternalMIP is set when the mode has the x-MIP layer. A mode with the VPN and without it needs a gateway that follows the
	// laptop (draft appendix C).
	ExternalMIP bool
	// VPN is set when the mode has the VPN layer. A mode without it carries user data in the clear.
	VPN bool
	// GatewayAgent is set when i-MIP registers through the foreign agent in the VPN gateway (draft appendix B).
	GatewayAgent bool
}

// modes are all access modes, in the order of the draft (§3.1 to §3.8).
var modes = []struct {
	mode  Mode
	means Composition
}{
	{ModeC, Composition{}},
	{ModeF, Composition{ForeignAgent: true}},
	{ModeVC, Composition{VPN: true}},
	{ModeVF, Composition{VPN: true, GatewayAgent: true}},
	{ModeCVC, Composition{ExternalMIP: true, VPN: true}},
	{ModeCVF, Composition{ExternalMIP: true, VPN: true, GatewayAgent: true}},
	{ModeFVC, Composition{ForeignAgent: true, ExternalMIP: true, VPN: true}},
	{ModeFVF, Composition{ForeignAgent: true, ExternalMIP: true, VPN: true, GatewayAgent: true}},
}

// Modes returns the access modes, in the order of the draft.
func Modes() []Mode {
	all := make([]Mode, len(modes))
	for i, m := range modes {
		all[i] = m.mode
	}
	return all
}

// Composition returns the layers of the mode, and false for a mode that is unknown.
func (m Mode) Composition() (Composition, bool) {
	for _, k := range modes {
		if k.mode == m {
			return k.means, true
		}
	}
	return Composition{}, false
}

// Mode returns the mode that has these layers, ModeNone when none has: the VPN does not stand on a foreign agent's link
// without x-MIP, and its gateway is no agent without it.
func (c Composition) Mode() Mode {
	for _, k := range modes {
		if k.means == c {
			return k.mode
		}
	}
	return ModeNone
}

// Plaintext reports whether the mode carries user data without ESP, so that it needs a live proof of inside. A mode that
// is not known counts as plaintext.
func (m Mode) Plaintext() bool {
	c, _ := m.Composition()
	return !c.VPN
}

// Mandatory returns the mode that takes the place of this one where none of the optional mechanisms is to be had (draft
// §2): itself, cvc or fvc.
func (m Mode) Mandatory() Mode {
	if m.Plaintext() {
		return m
	}
	c, _ := m.Composition()
	return Outside(c.ForeignAgent)
}

// ParseMode returns the mode of that name.
func ParseMode(s string) (Mode, error) {
	all := Modes()
	if slices.Contains(all, Mode(s)) {
		return Mode(s), nil
	}
	return ModeNone, fmt.Errorf("stack: access mode %q is not one of %v", s, all)
}

// Direct returns the mode in the clear for an interface's attachment.
func Direct(foreignAgent bool) Mode {
	if foreignAgent {
		return ModeF
	}
	return ModeC
}

// Outside returns the mandatory mode through x-MIP and the VPN for an interface's attachment.
func Outside(foreignAgent bool) Mode {
	if foreignAgent {
		return ModeFVC
	}
	return ModeCVC
}
