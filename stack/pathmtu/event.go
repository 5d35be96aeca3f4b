package pathmtu

import "fmt"

// State is a state of RFC 8899 §5.2.
type State uint8

const (
	// Idle (DISABLED): there is no path.
	Idle State = iota
	// Base: whether the base size gets through is being found out.
	Base
	// Searching for the largest size that does.
	Searching
	// Complete: it has been found.
	Complete
	// Confirming: whether that size still gets through is being found out.
	Confirming
	// Unanswered (ERROR): no probe of any size is answered. The base size counts.
	Unanswered
)

// String returns the state in lower case.
func (s State) String() string {
	switch s {
	case Idle:
		return "idle"
	case Base:
		return "base"
	case Searching:
		return "searching"
	case Complete:
		return "complete"
	case Confirming:
		return "confirming"
	case Unanswered:
		return "unanswered"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Event is a change of the size in force, or of what is known of it.
type Event struct {
	// MTU is the largest packet in octets that may be sent into the path from now on.
	MTU int
	// State is the machine's.
	State State
	// Reason says in plain words what led to it.
	Reason string
}

// Statistics count what a Machine has done since it was made.
type Statistics struct {
	// Probes were sent, Answers came, and Searches began: one for each path, and one more each time that something cast doubt
	// on the result.
	Probes, Answers, Searches uint64
	// BlackHoles counts how often a size that had got through no longer did.
	BlackHoles uint64
	// Hints counts the unauthenticated messages that were taken as a reason to look.
	Hints uint64
}
