package roam

import (
	"mipvpn/stack"
	"mipvpn/tun/link"
)

// Event is a decision: Attempt, Abandon, Use, Hold, Blocked or Epoch.
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
	// ExternalOnly is set when a mode with a VPN is pinned: the i-HA is not asked directly.
	ExternalOnly bool
	Reason       string
}

// Abandon says: end what was begun on the interface; its path may drain.
type Abandon struct {
	Index  int
	Epoch  uint64
	Reason string
}

// Use says: the interface carries the traffic from now on, in this mode.
type Use struct {
	Index  int
	Epoch  uint64
	Mode   stack.Mode
	Reason string
}

// Hold says: no path is usable this moment; let packets wait for the next.
type Hold struct{ Reason string }

// Blocked says: no path can be used until something changes. Nothing leaves.
type Blocked struct{ Reason string }

func (Epoch) event()   {}
func (Attempt) event() {}
func (Abandon) event() {}
func (Use) event()     {}
func (Hold) event()    {}
func (Blocked) event() {}
