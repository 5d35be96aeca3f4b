package roam

import (
	"time"

	"mipvpn/tun/link"
)

// Event is a decision: Attempt, Abandon, Use, Keep, Hold, Blocked, Damped or Epoch.
type Event interface{ event() }

// Epoch says that an interface's connection status has changed: proofs and registrations of earlier epochs are void.
type Epoch struct {
	Interface link.Interface
	Epoch     uint64
	// Gone is set when the interface has vanished.
	Gone bool
	// Relinked is set when the interface may be on another link than before: foreign agents heard there are void too.
	Relinked bool
	Reason   string
}

// Attempt says: begin detection and registration on the interface.
type Attempt struct {
	Interface link.Interface
	Epoch     uint64
	// ForeignAgent is set when registrations go through the foreign agent found there.
	ForeignAgent bool
	// ExternalOnly is set when a mode with a VPN is pinned, or nothing else is possible: the i-HA is not asked directly.
	ExternalOnly bool
	// Probe is set when the i-HA alone is asked, since another path carries the data or is about to.
	Probe bool
	// Simultaneous is set when other bindings are to be kept meanwhile (RFC 5944 §3.6.1.2, the S bit).
	Simultaneous bool
	Reason       string
}

// Abandon says: end what was begun on the interface; its path may drain.
type Abandon struct {
	Index  int
	Epoch  uint64
	Reason string
}

// Use says: the interface carries the traffic from now on, as chosen. It comes again when the choice changes.
type Use struct {
	Index int
	Epoch uint64
	Choice
	// FallBack is set when a path that is preferred was lost before.
	FallBack bool
	Reason   string
}

// Keep says: the interface goes on carrying the traffic although something was found out about another one.
type Keep struct {
	Index  int
	Reason string
}

// Hold says: no path is usable this moment; let packets wait for the next.
type Hold struct{ Reason string }

// Blocked says: no path can be used until something changes. Nothing leaves.
type Blocked struct{ Reason string }

// Damped says: the interface changes so often that it is tried seldom, and after all others, until it has been quiet.
type Damped struct {
	Index  int
	Until  time.Duration // boot time at which it is trusted again, if it stays as it is
	Reason string
}

func (Epoch) event()   {}
func (Attempt) event() {}
func (Abandon) event() {}
func (Use) event()     {}
func (Keep) event()    {}
func (Hold) event()    {}
func (Blocked) event() {}
func (Damped) event()  {}
