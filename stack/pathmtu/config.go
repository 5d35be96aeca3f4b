package pathmtu

import (
	"errors"
	"fmt"
	"time"
)

// ErrConfig is wrapped by the errors about an unusable configuration or path.
var ErrConfig = errors.New("pathmtu: unusable configuration")

// Config are the constants and timers of RFC 8899 §5.1.
type Config struct {
	// Floor is the least MTU in octets that the network below is believed to have, the outermost header included
	// (MIN_PLPMTU and the headers below): nothing lower is tried.
	Floor int
	// Base is the MTU in octets that is tried first, and counts when nothing is known (BASE_PLPMTU likewise).
	Base int
	// Timeout is how long an answer may take at least (PROBE_TIMER); three round trips where that is more.
	Timeout time.Duration
	// Probes are how many probes of one size go unanswered before it counts as too large (MAX_PROBES).
	Probes int
	// Raise is when a larger size is tried again (PMTU_RAISE_TIMER).
	Raise time.Duration
	// Confirm is how often the present size is tested while long packets are sent (CONFIRMATION_TIMER).
	Confirm time.Duration
}

// DefaultConfig has 576 (RFC 791 §3.1), 1280 (which leaves some 1160 to 1250 to the packet inside, about the 1200 of
// RFC 8899 §5.1.2), 1 s and 3 probes, 10 minutes (§5.1.1) and 20 s.
var DefaultConfig = Config{
	Floor: 576, Base: 1280, Timeout: time.Second, Probes: 3, Raise: 10 * time.Minute, Confirm: 20 * time.Second,
}

const (
	// retryFirst is the time until the first attempt after nothing at all has been answered; it doubles up to Config.Raise.
	retryFirst = 15 * time.Second
	// hintInterval is the least time between two searches that unauthenticated messages begin.
	hintInterval = 10 * time.Second
	// patienceLeast is added to two round trips: so long the search waits for the answer to the largest size before it goes
	// on with smaller ones. The probe is not lost then (Timeout).
	patienceLeast = 50 * time.Millisecond
	// gain is the least number of octets that a probe in the search is worth (RFC 8899 §5.3.2).
	gain = 8
)

// rungs are MTUs in octets, the outermost header included, that networks are known to have (RFC 8899 §5.3.2, RFC 1191
// §7.1): the search goes through them upwards.
var rungs = []int{
	576, 1006, 1152, 1280, 1340, 1400,
	1420, // WireGuard
	1440, // GRE and VXLAN over what is less than Ethernet
	1460, 1472,
	1480, // IP in IP, L2TP
	1492, // PPPoE (RFC 2516)
	1500, // Ethernet
}

// check returns an error that wraps ErrConfig.
func (c Config) check() error {
	switch {
	case c.Floor < minIPv4MTU || c.Floor > c.Base:
		return fmt.Errorf("%w: floor %d and base %d: expected %d <= floor <= base", ErrConfig, c.Floor, c.Base, minIPv4MTU)
	case c.Timeout < time.Second:
		return fmt.Errorf("%w: timeout %v, expected 1s or more (RFC 8899 section 5.1.1)", ErrConfig, c.Timeout)
	case c.Probes < 1:
		return fmt.Errorf("%w: %d probes of one size, expected 1 or more", ErrConfig, c.Probes)
	case c.Confirm < time.Second || c.Raise < c.Confirm:
		return fmt.Errorf("%w: confirm %v and raise %v: expected 1s <= confirm <= raise", ErrConfig, c.Confirm, c.Raise)
	}
	return nil
}
