package control

import (
	"context"
	"errors"
	"net/netip"
)

// ErrRefused is wrapped by a Backend's error for a command that cannot be obeyed as things are, such as a mode that is
// not available; the error's text is shown to the person.
var ErrRefused = errors.New("refused")

// Backend is the client's actor as the control socket sees it. All methods may be called from several goroutines at once
// and return when ctx ends.
type Backend interface {
	// Up brings the client up: it takes charge of the enterprise's traffic. It returns when that is so, which is before
	// user data flows. Up while up does nothing.
	Up(ctx context.Context) error
	// Down takes the client down: registrations are given up and everything on the host is taken back. Down while down
	// does nothing.
	Down(ctx context.Context) error
	// Status returns the whole state. It asks nothing of the network.
	Status(ctx context.Context) (Status, error)
	// SetMode pins an access mode, or with "auto" lets the client choose. The name is one of config.ModePolicies. A pin that
	// cannot be obeyed now is refused with an error that wraps ErrRefused and says why; it never opens the gate.
	SetMode(ctx context.Context, policy string) error
	// Detect returns what detection knows. With again set it first starts detection anew on every interface, without
	// waiting for the outcome.
	Detect(ctx context.Context, again bool) (Detection, error)
	// Probe asks the i-HA straight through every interface that can send, whatever suppresses that otherwise, and returns
	// what came back within a few seconds (DET-14). An answer proves nothing and opens nothing; a binding that it has made is
	// replaced. While the client is down the error wraps ErrRefused.
	Probe(ctx context.Context) (Probe, error)
	// Explain returns which way packets to the address go at this moment. It asks nothing of the network.
	Explain(ctx context.Context, address netip.Addr) (Explanation, error)
	// Ping asks the far end of each layer once and returns what came back within a few seconds. What concerns the home address
	// goes by the path in use, through the gate where that is in the clear; nothing of a user is in it. One ping runs at a time:
	// the error of another, and of one while the client is down, wraps ErrRefused.
	Ping(ctx context.Context) (Ping, error)
	// Subscribe returns a channel of all events from now on, in order, until cancel is called, after which the channel is
	// closed. A reader that is too slow loses events, which shows in the sequence numbers; the sender never waits. The
	// channel is also closed when the client ends.
	Subscribe() (events <-chan Event, cancel func())
	// SubscribeAfter is Subscribe that begins with the events after the one with that cursor (Event.Cursor), as far as they are kept; where
	// some are not, or the cursor is of a daemon before, an event of the kind "gap" stands before the oldest that is known. An
	// empty cursor begins now.
	SubscribeAfter(cursor string) (events <-chan Event, cancel func())
}
