package location

import "time"

// Exchange is what is known of the registration with one home agent in the present detection (DET-16). Times are boot
// times.
type Exchange struct {
	// Asked is set once a request was asked for, at AskedAt.
	Asked   bool
	AskedAt time.Duration
	// Answered is set once the agent, or a foreign agent, answered, at AnsweredAt.
	Answered   bool
	AnsweredAt time.Duration
	// RoundTrip is the time from sending the request that was answered to its reply; 0 while unknown.
	RoundTrip time.Duration
	// TrustedNetwork is set when the last verified reply bore the Trusted Networks Configured extension (RFC 5265 §3.4).
	TrustedNetwork bool
	// Outcome says in plain words what the last answer was and, of the i-HA's, whether it served as proof.
	Outcome string
}

func (e *Exchange) asked(now time.Duration) { e.Asked, e.AskedAt = true, now }

func (e *Exchange) answered(now time.Duration, outcome string) {
	e.Answered, e.AnsweredAt, e.Outcome = true, now, outcome
}

// Report is everything that a Machine knows about its interface, for people (DET-16).
type Report struct {
	// Interface is the interface's index and Epoch its present epoch.
	Interface int
	Epoch     uint64
	// State, Verdict and Reason say what was decided and why.
	State   State
	Verdict Verdict
	Reason  string
	// Internal and External are the registrations with the two home agents through this interface.
	Internal, External Exchange
	// Proof is the present proof, zero without one.
	Proof Proof
}

// Report returns what the machine knows.
func (m *Machine) Report() Report {
	return Report{
		Interface: m.config.Interface, Epoch: m.epoch, State: m.state, Verdict: m.state.Verdict(), Reason: m.reason,
		Internal: m.internal, External: m.external, Proof: m.proof,
	}
}
