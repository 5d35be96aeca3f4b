package location

// Event is one of the event types of this package. Each bears the epoch that it belongs to: an event of another epoch
// than the interface's present one is void.
type Event interface{ event() }

// StartRegistrations asks for registration requests to be sent now, together, and repeated with back-off while they are
// unanswered (DET-6, RFC 5265 §3.3). It begins each detection, and is repeated when a registration gave up while the
// detection still goes on.
type StartRegistrations struct {
	// Epoch is the interface's connection status epoch.
	Epoch uint64
	// Internal asks for a request to the i-HA, straight through the interface. It is not set when detection is bypassed
	// (DET-10) or the i-HA may not be asked on this network (DET-17).
	Internal bool
	// External asks for a request to the x-HA.
	External bool
}

// Reregister asks for a fresh request to the i-HA, straight through the interface, because the proof grows old
// (DET-5) or an answer could not serve as one.
type Reregister struct {
	// Epoch is the interface's connection status epoch.
	Epoch uint64
}

// ProbeInternal asks for one series of requests to the i-HA, straight through the interface, to find out whether it has
// become reachable meanwhile (DET-9).
type ProbeInternal struct {
	// Epoch is the interface's connection status epoch.
	Epoch uint64
}

// ProbeUnanswered tells that such a series ended without an answer, or any other that left from outside, such as the renewal
// of a binding from before; what of it is still being repeated is to be given up. A request may have arrived all the same, so the binding through the VPN is to be refreshed if it could have been
// replaced (DET-9).
type ProbeUnanswered struct {
	// Epoch is the interface's connection status epoch.
	Epoch uint64
}

// BindingReplaced tells that outside the i-HA has accepted a registration straight through the interface that is no proof,
// such as one that was answered too late: it sends to the interface in the clear now, and its binding through the VPN is to
// be made anew at once. With an Alarm the same is to be done.
type BindingReplaced struct {
	// Epoch is the interface's connection status epoch.
	Epoch uint64
}

// Paused tells that no user data has passed for so long that re-registration pauses (DET-13): the proof is given up and
// plaintext stops both ways, until Wake.
type Paused struct {
	// Epoch is the interface's connection status epoch.
	Epoch uint64
	// Reason says so in plain words.
	Reason string
}

// Inside carries a new proof. Unanswered requests to both home agents are to be given up (RFC 5265 §3.3).
type Inside struct {
	// Proof is what the gate is to be opened with.
	Proof Proof
	// Renewed is set when the interface was known to be inside already, so that only the gate needs the event.
	Renewed bool
}

// DeregisterExternal asks for deregistration with the x-HA, where this interface has registered although it is inside
// (DET-8).
type DeregisterExternal struct {
	// Epoch is the interface's connection status epoch.
	Epoch uint64
}

// TentativelyOutside tells that the x-HA has answered and the i-HA has not (DET-7). ESP of a living security association
// may flow at once; a new IKE exchange waits for Outside.
type TentativelyOutside struct {
	// Epoch is the interface's connection status epoch.
	Epoch uint64
}

// Outside tells that the x-HA has answered and the detection period is over, so that the VPN may be set up. Unanswered
// requests to the i-HA are to be given up, unless Trying is set; a proof that still comes wins (DET-8).
type Outside struct {
	// Epoch is the interface's connection status epoch.
	Epoch uint64
	// Trying is set when a hint has shortened the wait alone: the i-HA goes on being asked until GiveUpInternal.
	Trying bool
}

// GiveUpInternal asks for unanswered requests to the i-HA to be given up: the detection period is over.
type GiveUpInternal struct {
	// Epoch is the interface's connection status epoch.
	Epoch uint64
}

// Unreachable tells that neither home agent answered within the detection period (DET-18). The requests go on.
type Unreachable struct {
	// Epoch is the interface's connection status epoch.
	Epoch uint64
}

// ProofLost tells that the interface is no longer proven to be inside: plaintext stops both ways at once (DET-12).
type ProofLost struct {
	// Epoch is the epoch that the lost proof belonged to.
	Epoch uint64
	// Reason says in plain words why.
	Reason string
}

// AlarmKind says what a firewall or home agent seems to be misconfigured in.
type AlarmKind uint8

const (
	// AlarmNoTNC is a direct reply of the i-HA without a valid Trusted Networks Configured extension (RFC 5265 §3.4).
	AlarmNoTNC AlarmKind = iota + 1
	// AlarmReachableOutside is a direct reply of the i-HA, whatever it says, on a network that is listed as outside.
	AlarmReachableOutside
	// AlarmNAT is a direct reply of the i-HA through a NAT, where those are refused (Config.RefuseNAT).
	AlarmNAT
)

// String returns a stable name of the kind.
func (k AlarmKind) String() string {
	switch k {
	case AlarmNoTNC:
		return "no_tnc"
	case AlarmReachableOutside:
		return "i_ha_reachable_outside"
	case AlarmNAT:
		return "i_ha_behind_nat"
	}
	return "unknown"
}

// Alarm tells of a reply that must not have been possible (DET-14). It is no proof, and the binding that it tells of is
// to be replaced through the VPN.
type Alarm struct {
	// Epoch is the interface's connection status epoch.
	Epoch uint64
	// Kind says which rule was broken.
	Kind AlarmKind
	// Message says in plain words what was seen and who has to mend it.
	Message string
}

func (StartRegistrations) event() {}
func (Reregister) event()         {}
func (ProbeInternal) event()      {}
func (ProbeUnanswered) event()    {}
func (BindingReplaced) event()    {}
func (Paused) event()             {}
func (GiveUpInternal) event()     {}
func (Inside) event()             {}
func (DeregisterExternal) event() {}
func (TentativelyOutside) event() {}
func (Outside) event()            {}
func (Unreachable) event()        {}
func (ProofLost) event()          {}
func (Alarm) event()              {}
