package link

// LimitedHost is what a Host may implement beside: it says what its system cannot do, so that it is not tried.
type LimitedHost interface {
	// Limits returns the same at all times.
	Limits() Limits
}

// Limits are reasons, in plain words that follow "this system"; empty for what the system can do.
type Limits struct {
	// Plaintext says why there are no permits for plaintext (PlaintextPermit).
	Plaintext string
	// Frames says why the link layer is not reached (Host.OpenFrames).
	Frames string
}

// LimitsOf returns what the host's system cannot do.
func LimitsOf(h Host) Limits {
	if l, ok := h.(LimitedHost); ok {
		return l.Limits()
	}
	return Limits{}
}
