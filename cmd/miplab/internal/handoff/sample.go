package handoff

import "time"

// Kind is a kind of change.
type Kind string

// The kinds of change.
const (
	// Cut: the interface in use goes down while a second one is up and configured.
	Cut Kind = "interface cut"
	// FirstCut: as Cut, the first time since the program was started: mipvpn has no IKE SA yet when it leaves the inside.
	FirstCut Kind = "first interface cut"
	// MakeBeforeBreak: a second, preferred interface comes up while the first one lives; later the first one goes.
	MakeBeforeBreak Kind = "make before break"
	// NewNetwork: the only interface is in another network from one instant to the next, with another address.
	NewNetwork Kind = "new network"
)

// Kinds are all kinds in the order in which they are measured.
var Kinds = []Kind{Cut, MakeBeforeBreak, NewNetwork}

// Place says which networks the laptop is in.
type Place string

// The places. In Outside and Inside both interfaces have a network of that side; in Between the preferred one is inside.
const (
	Outside Place = "outside"
	Inside  Place = "inside"
	Between Place = "between"
)

// Places are all places in the order in which they are measured.
var Places = []Place{Outside, Inside, Between}

// The programs that are measured. StrongSwan is the reference of ratios.
const (
	Mipvpn     = "mipvpn"
	StrongSwan = "strongswan"
	WireGuard  = "wireguard-go"
)

// Modes says which modes mipvpn changes between, "c to cvc" for one; empty for the other programs, which have none.
func Modes(program string, p Place, k Kind) string {
	switch {
	case program != Mipvpn:
		return ""
	case p == Inside:
		return "c to c"
	case p == Outside:
		return "cvc to cvc"
	case k == MakeBeforeBreak:
		return "cvc to c"
	}
	return "c to cvc"
}

// Sample is what one change cost.
type Sample struct {
	// Gap is the longest time between two datagrams that came back; it is 10 ms when nothing happens.
	Gap time.Duration
	// Sent counts the datagrams of the time observed, Lost those of them that did not come back.
	Sent, Lost int
	// Moved is set when traffic had moved to the preferred interface before the other one went (MakeBeforeBreak).
	Moved bool
	// Stuck is set when nothing came back for as long as was waited; Gap is that time.
	Stuck bool
}

// column returns one figure of each sample.
func column(samples []Sample, f func(Sample) float64) []float64 {
	out := make([]float64, 0, len(samples))
	for _, s := range samples {
		out = append(out, f(s))
	}
	return out
}

// milliseconds returns a duration in ms with a resolution of a microsecond.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
