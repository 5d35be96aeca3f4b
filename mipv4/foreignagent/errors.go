package foreignagent

import (
	"errors"
	"fmt"
	"net/netip"

	"mipvpn/mipv4/wire"
)

// Reasons for which a message is discarded.
var (
	// ErrConfig means that a foreign agent cannot be made of the configuration given.
	ErrConfig = errors.New("foreignagent: unusable configuration")
	// ErrSource: the frame does not come from a station that can be answered.
	ErrSource = errors.New("foreignagent: source cannot be answered")
	// ErrNoPending: a reply that no pending request matches by home address, home agent and the low half of the
	// Identification (RFC 5944 §3.7.3.1).
	ErrNoPending = errors.New("foreignagent: reply to no pending registration request")
	// ErrAuthentication: an authentication extension that a security association asks for is missing, twice there, or
	// wrong (RFC 5944 §3.7.2.1, §3.7.3.1).
	ErrAuthentication = errors.New("foreignagent: authentication extension")
	// ErrRateLimited: solicitations come faster than they are answered.
	ErrRateLimited = errors.New("foreignagent: too many solicitations")
)

// Denied is the error for a request that this agent denied.
type Denied struct {
	// Code is the code of the reply.
	Code wire.Code
	// HomeAddress and HomeAgent are the request's.
	HomeAddress, HomeAgent netip.Addr
	// Suppressed is set when no reply was sent because the same registration was denied less than a second ago
	// (RFC 5944 §3.7.2).
	Suppressed bool
	// Err says more, and may be nil.
	Err error
}

// Error names the code, the mobile node and its home agent.
func (d *Denied) Error() string {
	s := fmt.Sprintf("foreignagent: registration of %v with %v denied with code %v", d.HomeAddress, d.HomeAgent, d.Code)
	if d.Err != nil {
		s += ": " + d.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (d *Denied) Unwrap() error { return d.Err }
