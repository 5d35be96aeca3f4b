package agent

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

// keptArrivals is how many of the last registration requests from untrusted networks are remembered.
const keptArrivals = 16

// Arrival is a registration request that came from outside of the trusted networks.
type Arrival struct {
	// At is when it came, Source where from.
	At     time.Time
	Source netip.AddrPort
}

// Exposure is what a home agent can see of the firewall in front of it (RFC 5265 §3.1): what has come through it that should not
// have. That nothing has is no proof that nothing can.
type Exposure struct {
	// Address is the home agent's.
	Address netip.Addr
	// Internal says that it is an internal home agent; of others nothing is known here.
	Internal bool
	// TrustedNetworks are those that requests may come from.
	TrustedNetworks []netip.Prefix
	// Since is when the home agent was started.
	Since time.Time
	// Untrusted counts the requests from other networks, Last are the last of them, the newest last.
	Untrusted uint64
	Last      []Arrival
}

// strangers remembers requests from untrusted networks. The zero value is ready; it is safe for concurrent use.
type strangers struct {
	mu    sync.Mutex
	count uint64
	last  []Arrival
}

func (s *strangers) note(a Arrival) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	if len(s.last) == keptArrivals {
		s.last = append(s.last[:0], s.last[1:]...)
	}
	s.last = append(s.last, a)
}

// Exposure returns what the home agent has seen of the firewall in front of it.
func (a *HomeAgent) Exposure() Exposure {
	a.reloading.Lock()
	e := Exposure{Address: a.cfg.Address, Internal: a.cfg.Internal, TrustedNetworks: slices.Clone(a.trusted), Since: a.since}
	a.reloading.Unlock()
	a.strangers.mu.Lock()
	defer a.strangers.mu.Unlock()
	e.Untrusted, e.Last = a.strangers.count, slices.Clone(a.strangers.last)
	return e
}
