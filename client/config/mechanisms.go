package config

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

// mechanisms checks the mechanisms against each other.
func (r *reader) mechanisms() {
	m := r.config.Mechanisms
	if m.ZeroOverhead.Always() && m.Vendor == 0 {
		r.fail("mechanisms.zero_overhead", `found "always" without mechanisms.vendor`, "the number that the x-HA has, too")
	}
	if m.ZeroOverhead.Always() && m.EndpointUpdate.Always() {
		r.fail("mechanisms.zero_overhead", `found "always" beside mechanisms.endpoint_update = "always", which goes without the x-HA`, "one of the two")
	}
}
