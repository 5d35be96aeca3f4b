package controltest

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"mipvpn/client/control"
	"mipvpn/client/metrics"
)

// Backend is a control.Backend made of values.
type Backend struct {
	mu          sync.Mutex
	status      control.Status
	detection   control.Detection
	probe       control.Probe
	explanation control.Explanation
	pings       []control.Ping
	err         error
	calls       []string
	subscribers []chan control.Event
	sequence    uint64
	closed      bool
}

var (
	_ control.Backend = (*Backend)(nil)
	_ metrics.Source  = (*Backend)(nil)
)

// Counts implements metrics.Source; nothing has been counted.
func (b *Backend) Counts(context.Context) (metrics.Counts, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return metrics.Counts{}, b.err
}

// New returns a Backend with that status.
func New(s control.Status) *Backend { return &Backend{status: s} }

// Fail makes every method but Subscribe return err, nil for none.
func (b *Backend) Fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

// SetDetection sets what Detect returns.
func (b *Backend) SetDetection(d control.Detection) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.detection = d
}

// SetProbe sets what Probe returns.
func (b *Backend) SetProbe(p control.Probe) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probe = p
}

// SetExplanation sets what Explain returns.
func (b *Backend) SetExplanation(e control.Explanation) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.explanation = e
}

// SetPings sets what Ping returns, one after the other, and the last from then on.
func (b *Backend) SetPings(p ...control.Ping) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pings = p
}

// Change changes the status and sends the event, with the next sequence number, to all subscribers.
func (b *Backend) Change(f func(*control.Status), e control.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(&b.status)
	b.sequence++
	e.Schema, e.Sequence = control.Schema, b.sequence
	for _, s := range b.subscribers {
		select {
		case s <- e:
		default:
		}
	}
}

// Calls returns what was asked so far, such as "up" or "mode c".
func (b *Backend) Calls() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.calls)
}

// Subscribers returns how many subscriptions there are.
func (b *Backend) Subscribers() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.subscribers)
}

// Close ends all subscriptions, as a client does that ends.
func (b *Backend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for _, s := range b.subscribers {
		close(s)
	}
	b.subscribers = nil
	return nil
}

func (b *Backend) call(format string, args ...any) error {
	b.calls = append(b.calls, fmt.Sprintf(format, args...))
	return b.err
}

// Up implements control.Backend.
func (b *Backend) Up(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.call("up")
}

// Down implements control.Backend.
func (b *Backend) Down(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.call("down")
}

// Status implements control.Backend.
func (b *Backend) Status(context.Context) (control.Status, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.status, b.call("status")
}

// SetMode implements control.Backend.
func (b *Backend) SetMode(_ context.Context, policy string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.call("mode %s", policy)
	if err == nil {
		b.status.ModePolicy = policy
	}
	return err
}

// Detect implements control.Backend.
func (b *Backend) Detect(_ context.Context, again bool) (control.Detection, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.detection, b.call("detect again=%v", again)
}

// Probe implements control.Backend.
func (b *Backend) Probe(context.Context) (control.Probe, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.probe, b.call("probe")
}

// Explain implements control.Backend.
func (b *Backend) Explain(_ context.Context, address netip.Addr) (control.Explanation, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.explanation, b.call("explain %v", address)
}

// Ping implements control.Backend.
func (b *Backend) Ping(context.Context) (control.Ping, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var p control.Ping
	if len(b.pings) > 0 {
		p = b.pings[0]
	}
	if len(b.pings) > 1 {
		b.pings = b.pings[1:]
	}
	return p, b.call("ping")
}

// Subscribe implements control.Backend.
func (b *Backend) Subscribe() (<-chan control.Event, func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := make(chan control.Event, 16)
	if b.closed {
		close(s)
		return s, func() {}
	}
	b.subscribers = append(b.subscribers, s)
	return s, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if i := slices.Index(b.subscribers, s); i >= 0 {
			b.subscribers = slices.Delete(b.subscribers, i, i+1)
			close(s)
		}
	}
}

// SubscribeAfter implements control.Backend. It keeps no events: the cursor is noted among the calls.
func (b *Backend) SubscribeAfter(cursor string) (<-chan control.Event, func()) {
	if cursor != "" {
		b.mu.Lock()
		_ = b.call("events after %s", cursor)
		b.mu.Unlock()
	}
	return b.Subscribe()
}
