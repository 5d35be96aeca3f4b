package bench

// Names of the tunnels.
const (
	Kernel     = "none"  // no tunnel, the kernel alone
	Reference  = "W"     // wireguard-go
	StrongSwan = "L"     // charon with kernel-libipsec
	Null       = "N"     // the null tunnel: the same I/O, no layers, no cryptography
	NullHops   = "nullN" // the null tunnel over the hops of cvc
	ModeC      = "c"     // the daemon inside, with the i-HA
	ModeVC     = "vc"    // pinned composition: VPN and i-MIP
	ModeCVC    = "cvc"   // the daemon outside, with x-HA, VPN gateway and i-HA
)

// MiB is 2^20 octets.
const MiB = 1 << 20

// Goal is what a tunnel is to reach, on each kind of wire and in each direction: a bound of the median of its ratios to
// the reference, or of its own figure where there is no reference. Of the bounds AtMost and AtLeast one is not 0.
type Goal struct {
	Tunnel    string   `json:"tunnel"`
	Quantity  Quantity `json:"quantity"`
	Reference string   `json:"reference,omitempty"`
	AtMost    float64  `json:"at_most,omitempty"`
	AtLeast   float64  `json:"at_least,omitempty"`
}

// Met reports whether the value is within the goal.
func (g Goal) Met(v float64) bool {
	if g.AtMost != 0 {
		return v <= g.AtMost
	}
	return v >= g.AtLeast
}

// Goals are all goals, a tunnel's together.
var Goals = []Goal{
	{ModeC, NearCPU, Reference, 0.4, 0},
	{ModeC, NearCPU, Null, 1.25, 0},
	{ModeC, Rate, Reference, 0, 2.5},
	{ModeC, IdleRTT, Reference, 1, 0},
	{ModeC, NearRSS, "", 40 * MiB, 0},
	{ModeC, WakeUps, "", 1, 0},

	{ModeVC, NearCPU, Reference, 0.55, 0},
	{ModeVC, Rate, Reference, 0, 1.8},
	{ModeVC, Rate, StrongSwan, 0, 6},
	{ModeVC, Small, Reference, 0, 1.5},
	{ModeVC, IdleRTT, Reference, 1, 0},
	{ModeVC, NearRSS, "", 40 * MiB, 0},
	{ModeVC, WakeUps, "", 1, 0},

	{ModeCVC, NearCPU, Reference, 0.65, 0},
	{ModeCVC, Rate, Reference, 0, 1.3},
	{ModeCVC, Large, Reference, 0, 1.5},
	{ModeCVC, IdleRTT, NullHops, 1, 0},
	{ModeCVC, NearRSS, "", 40 * MiB, 0},
	{ModeCVC, WakeUps, "", 1, 0},
}
