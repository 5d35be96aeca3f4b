package mobilenode

import (
	"fmt"
	"net/netip"
	"time"

	"mipvpn/mipv4/wire"
)

// Event is what a Machine tells its owner: Accepted, Refused, Unverified, Deregistered, Expired, Revoked or Unanswered.
type Event interface{ event() }

// Accepted says that the home agent has accepted or renewed the registration.
type Accepted struct {
	// Reply is the verified reply.
	Reply VerifiedReply
}

// Refused says that a request was denied, or granted in a way that cannot be used.
type Refused struct {
	// Code of the denial.
	Code wire.Code
	// ByForeignAgent is set when a foreign agent denied. Unless it shares a security association with the mobile node, its
	// denial is not authenticated, and the machine goes on accepting a reply to the same request.
	ByForeignAgent bool
	// HomeAgent is the address that the home agent gives as its own, with wire.CodeUnknownHomeAgent: when Retrying, requests name it
	// from now on, and go to the configured address as before unless that is a broadcast address. With wire.CodeRedirectHomeAgent it is
	// the home agent that requests go to from now on.
	HomeAgent netip.Addr
	// Retrying is set when the machine has mended the request or goes on retransmitting, and clear when it has given up.
	Retrying bool
	// Err says what was refused, by whom, and what to do: *RegistrationError.
	Err error
}

// Unverified says that a denial arrived which claims to answer an outstanding request but whose authentication failed:
// what a home agent with another key or SPI sends. The machine has not acted on it. It is for messages to the user, at
// most one a request.
type Unverified struct {
	// Code that the reply claims.
	Code wire.Code
	// Err is what was wrong with the authentication.
	Err error
}

// Deregistered says that the home agent has confirmed that the binding is gone.
type Deregistered struct {
	// Reply is the verified reply.
	Reply VerifiedReply
}

// Expired says that the binding's lifetime has ended without renewal.
type Expired struct{}

// Unanswered says that a whole series of transmissions got no usable reply.
type Unanswered struct {
	// Transmissions is how many requests the series had.
	Transmissions int
	// Since is the boot time of the first of them.
	Since time.Duration
	// Deregistration is set when the series was to deregister.
	Deregistration bool
}

func (Accepted) event()     {}
func (Refused) event()      {}
func (Unverified) event()   {}
func (Deregistered) event() {}
func (Expired) event()      {}
func (Unanswered) event()   {}

// RegistrationError is a denial in the standard's words.
type RegistrationError struct {
	// Code of the denial.
	Code wire.Code
	// Agent is the address of the home agent or foreign agent that denied.
	Agent netip.Addr
	// ByForeignAgent tells which of them it was.
	ByForeignAgent bool
	// Advice is what an administrator or user can do, in a few words; may be empty.
	Advice string
}

// Error names the agent, the code and its name, and the advice.
func (e *RegistrationError) Error() string {
	role := "home agent"
	if e.ByForeignAgent {
		role = "foreign agent"
	}
	verb := "denied registration"
	if e.Code.Accepted() {
		verb = "accepted a registration that cannot be used"
	}
	s := fmt.Sprintf("%s %v %s: code %v", role, e.Agent, verb, e.Code)
	if e.Advice != "" {
		s += ": " + e.Advice
	}
	return s
}
