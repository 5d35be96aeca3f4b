package stack

import "fmt"

// Mode is an access mode (draft §3): which layers stand between the applications and the interface, and how the Mobile
// IPv4 layers are registered.
type Mode string

// The access modes. The letters are x-MIP, VPN and i-MIP: c for a co-located care-of address, f for a foreign agent's,
// v for the VPN; a layer that is not used has none.
const (
	ModeNone Mode = ""
	ModeC    Mode = "c"
	ModeF    Mode = "f"
	ModeCVC  Mode = "cvc"
	ModeFVC  Mode = "fvc"
)

// Composition says which layers a mode has.
type Composition struct {
	// ForeignAgent is set when the layer next to the interface registers through a foreign agent.
	ForeignAgent bool
	// ExternalMIP is set when the mode has the x-MIP layer.
	ExternalMIP bool
	// VPN is set when the mode has the VPN layer. A mode without it carries user data in the clear.
	VPN bool
}

var compositions = map[Mode]Composition{
	ModeC:   {},
	ModeF:   {ForeignAgent: true},
	ModeCVC: {ExternalMIP: true, VPN: true},
	ModeFVC: {ForeignAgent: true, ExternalMIP: true, VPN: true},
}

// Modes returns the access modes that can be composed, in the order of the draft.
func Modes() []Mode { return []Mode{ModeC, ModeF, ModeCVC, ModeFVC} }

// Composition returns the layers of the mode, and false for a mode that is unknown.
func (m Mode) Composition() (Composition, bool) {
	c, ok := compositions[m]
	return c, ok
}

// Plaintext reports whether the mode carries user data without ESP, so that it needs a live proof of inside. A mode that
// is not known counts as plaintext.
func (m Mode) Plaintext() bool { return !compositions[m].VPN }

// ParseMode returns the mode of that name.
func ParseMode(s string) (Mode, error) {
	if _, ok := compositions[Mode(s)]; ok {
		return Mode(s), nil
	}
	return ModeNone, fmt.Errorf("stack: access mode %q is not one of %v", s, Modes())
}

// Direct and Outside name the mode for an interface's attachment: direct to the i-HA, or through x-MIP and the VPN.
func Direct(foreignAgent bool) Mode {
	if foreignAgent {
		return ModeF
	}
	return ModeC
}

// Outside returns the mode through x-MIP and the VPN for an interface's attachment.
func Outside(foreignAgent bool) Mode {
	if foreignAgent {
		return ModeFVC
	}
	return ModeCVC
}
