package config

import (
	"fmt"

	"mipvpn/stack"
)

// Mechanism says when an optional mechanism of the draft is used.
type Mechanism string

// When a mechanism is used.
const (
	// MechanismAuto is for wherever everybody on the path supports it.
	MechanismAuto Mechanism = "auto"
	// MechanismAlways refuses to go without it: where somebody does not support it nothing is carried, and status says why.
	MechanismAlways Mechanism = "always"
	// MechanismOff is for never.
	MechanismOff Mechanism = "off"
	// MechanismMOBIKE is EndpointUpdate's: by MOBIKE alone, and not by packets that come from elsewhere.
	MechanismMOBIKE Mechanism = "mobike"
)

// Mechanisms are the optional mechanisms of the draft's appendices B, C and D, table [mechanisms]. The zero value is "auto"
// for each, without a vendor number.
type Mechanisms struct {
	// EndpointUpdate lets the VPN stand straight on an interface, without the x-HA (modes vc and vf): the gateway follows the
	// laptop (appendix C).
	EndpointUpdate Mechanism
	// GatewayAgent makes the VPN gateway the foreign agent of i-MIP (modes vf, cvf and fvf; appendix B).
	GatewayAgent Mechanism
	// ZeroOverhead has the x-HA switch addresses in the place of tunnelling (appendix D). It needs Vendor.
	ZeroOverhead Mechanism
	// Vendor is the private enterprise number (IANA; 24 bits, RFC 3115 §2.1) under which the x-HA knows the extension of ZeroOverhead; 0 for none.
	Vendor uint32
}

// Off reports whether the mechanism is not to be used.
func (m Mechanism) Off() bool { return m == MechanismOff }

// Always reports whether nothing is to be carried without the mechanism.
func (m Mechanism) Always() bool { return m == MechanismAlways }

// Switching reports whether zero-overhead tunnelling is asked for.
func (m Mechanisms) Switching() bool { return !m.ZeroOverhead.Off() && m.Vendor != 0 }

// Forbids says why the mechanisms do not let a mode be pinned, as the end of a sentence about it; empty when they do.
func (m Mechanisms) Forbids(mode stack.Mode) string {
	comp, _ := mode.Composition()
	switch {
	case !comp.VPN:
	case comp.ExternalMIP && m.EndpointUpdate.Always():
		return `goes through the x-HA, which [mechanisms] endpoint_update = "always" forbids`
	case !comp.ExternalMIP && m.EndpointUpdate.Off():
		return `needs a gateway that follows the laptop, which [mechanisms] endpoint_update = "off" forbids to use`
	case comp.GatewayAgent && m.GatewayAgent.Off():
		return `needs the foreign agent in the gateway, which [mechanisms] gateway_agent = "off" forbids to use`
	case !comp.GatewayAgent && m.GatewayAgent.Always():
		return `does without the foreign agent in the gateway, which [mechanisms] gateway_agent = "always" demands`
	}
	return ""
}

// mechanisms and updates are the values of those keys.
var (
	mechanisms = []string{string(MechanismAuto), string(MechanismAlways), string(MechanismOff)}
	updates    = []string{string(MechanismAuto), string(MechanismMOBIKE), string(MechanismAlways), string(MechanismOff)}
)

// mechanismFields are the keys of table [mechanisms].
func mechanismFields() []field {
	return []field{
		{key: "mechanisms.endpoint_update", valid: vOneOf(updates), standard: `"auto"`, about: "let the VPN stand straight on an interface, without the x-HA, where the gateway follows the laptop (modes vc and vf): where it can be shown to; by MOBIKE alone; always, so that nothing else is used outside; or never",
			set: oneOf(updates, func(c *Config) *Mechanism { return &c.Mechanisms.EndpointUpdate })},
		{key: "mechanisms.gateway_agent", valid: vOneOf(mechanisms), standard: `"auto"`, about: "let the VPN gateway be the foreign agent of the i-HoA, which saves the inner tunnel (modes vf, cvf and fvf): where it offers that; always; or never",
			set: oneOf(mechanisms, func(c *Config) *Mechanism { return &c.Mechanisms.GatewayAgent })},
		{key: "mechanisms.zero_overhead", valid: vOneOf(mechanisms), standard: `"auto"`, about: "have the x-HA switch addresses in the place of tunnelling, with a co-located care-of address: where it does, given mechanisms.vendor; always; or never",
			set: oneOf(mechanisms, func(c *Config) *Mechanism { return &c.Mechanisms.ZeroOverhead })},
		{key: "mechanisms.vendor", valid: vInteger(0, 1<<24-1), standard: "0", about: "private enterprise number under which the x-HA knows the extension for mechanisms.zero_overhead; 0 for none",
			set: integer(0, 1<<24-1, func(c *Config, n int64) { c.Mechanisms.Vendor = uint32(n) })},
	}
}

// tableExternal is the table of the x-HA, which may be left out: without one.
const tableExternal = "external_home_agent"

// mechanisms checks the mechanisms against each other, against the pinned mode, and against there being no x-HA.
func (r *reader) mechanisms() {
	if r.spoilt("mode", "mechanisms.") {
		return
	}
	m := r.config.Mechanisms
	_, written := r.doc[tableExternal]
	mode, err := stack.ParseMode(r.config.Mode)
	comp, _ := mode.Composition()
	switch {
	case err == nil && m.Forbids(mode) != "":
		r.fail("mode", fmt.Sprintf("found %q, which %s", mode, m.Forbids(mode)), "auto, or another setting in [mechanisms]")
	case written:
	case m.EndpointUpdate.Off():
		r.fail(tableExternal, `missing, and mechanisms.endpoint_update is "off": outside nothing could be carried`, "the table, or another endpoint_update")
	case m.ZeroOverhead.Always():
		r.fail(tableExternal, `missing, and mechanisms.zero_overhead is "always"`, `the table, or another zero_overhead`)
	case err == nil && comp.ExternalMIP:
		r.fail(tableExternal, fmt.Sprintf("missing, and mode %q needs the x-HA", mode), "the table, or another mode")
	}
	if m.ZeroOverhead.Always() && m.Vendor == 0 {
		r.fail("mechanisms.zero_overhead", `found "always" without mechanisms.vendor`, "the number that the x-HA has, too")
	}
	if m.ZeroOverhead.Always() && m.EndpointUpdate.Always() {
		r.fail("mechanisms.zero_overhead", `found "always" beside mechanisms.endpoint_update = "always", which goes without the x-HA`, "one of the two")
	}
}
