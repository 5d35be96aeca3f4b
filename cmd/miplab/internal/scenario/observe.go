package scenario

import (
	"context"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mipvpn/client/control"
	"mipvpn/cmd/miplab/internal/session"
)

// MomentKind says what a Moment tells.
type MomentKind string

// The kinds of moments, each with the field that it fills.
const (
	MomentLine    MomentKind = "line"    // Text: a line of the log
	MomentStep    MomentKind = "step"    // Text and Cable: a step begins
	MomentClient  MomentKind = "client"  // Client: the client's state is another one
	MomentSample  MomentKind = "sample"  // Sample: the counts at this time
	MomentResumed MomentKind = "resumed" // Gap: traffic flows again
	MomentChange  MomentKind = "change"  // Change: a step has ended
)

// Moment is one thing that is to be told of a scenario while it is played.
type Moment struct {
	// At is the time in seconds since the scenario began.
	At   float64    `json:"at_s"`
	Kind MomentKind `json:"kind"`

	Text   string       `json:"text,omitempty"`
	Cable  *Cable       `json:"cable,omitempty"`
	Client *ClientState `json:"client,omitempty"`
	Sample *Sample      `json:"sample,omitempty"`
	Gap    *Gap         `json:"gap,omitempty"`
	Change *Change      `json:"change,omitempty"`
}

// Cable says where the cable of an interface is: in no network when that is empty.
type Cable struct {
	// Interface is the name that the client knows it by.
	Interface string `json:"interface"`
	Network   string `json:"network"`
}

// ClientState is what of the client's state does not change by itself.
type ClientState struct {
	State     control.State `json:"state"`
	Mode      string        `json:"mode"`
	Policy    string        `json:"mode_policy"`
	Interface string        `json:"interface"`
	// Verdict says where the interface in use is, Reason how that is known.
	Verdict    control.Verdict     `json:"verdict"`
	Reason     string              `json:"reason"`
	Layers     []control.Layer     `json:"layers"`
	Interfaces []control.Interface `json:"interfaces"`
}

// Sample are counts at one time, all since the scenario began.
type Sample struct {
	// TCP is how many octets of the session have come out at the other end, both ways together.
	TCP int64 `json:"tcp_octets"`
	// Sent and Back count the UDP stream's datagrams.
	Sent int `json:"sent"`
	Back int `json:"back"`
	// Outside counts the frames on the wires outside, ESP those of them with ESP, Leaks those in plaintext.
	Outside int `json:"outside_frames"`
	ESP     int `json:"esp_frames"`
	Leaks   int `json:"plaintext_frames"`
	// ExpiresIn is how long the proof of inside is good for in seconds; null without one.
	ExpiresIn *float64 `json:"expires_in_s"`
}

// Gap is the time from a step's beginning until traffic flows, in seconds since the scenario began.
type Gap struct {
	// Touched is when the cable was touched, or the mode was set; Offered when the network had offered an address or its link;
	// Resumed when a datagram that was sent after that was back.
	Touched float64 `json:"touched_s"`
	Offered float64 `json:"offered_s"`
	Resumed float64 `json:"resumed_s"`
	// First is set at the first step, before which nothing flowed.
	First bool `json:"first"`
}

// sampleInterval is the time between two samples.
const sampleInterval = 100 * time.Millisecond

// flows are what is counted of the sessions.
type flows struct {
	near, far *session.End
	stream    *session.Stream
}

// observing is what telling moments needs beside the run.
type observing struct {
	mu    sync.Mutex            // Observe is called under it
	flows atomic.Pointer[flows] // nil until the sessions are open

	asking sync.Mutex
	client ClientState // that was told last; guarded by asking
}

// observe tells a moment, the time of which is now.
func (r *run) observe(m Moment) {
	if r.Observe == nil {
		return
	}
	r.observing.mu.Lock()
	defer r.observing.mu.Unlock()
	m.At = time.Since(r.begun).Seconds()
	r.Observe(m)
}

// named returns the client's name of an interface, which some worlds call otherwise.
func (r *run) named(iface string) string {
	if w, ok := r.world.(interface{ InterfaceName(iface string) string }); ok {
		return w.InterfaceName(iface)
	}
	return iface
}

// sample takes samples, and looks for changes of the client's state, until ctx ends; then the channel is closed.
func (r *run) sample(ctx context.Context) <-chan struct{} {
	ended := make(chan struct{})
	if r.Observe == nil {
		close(ended)
		return ended
	}
	go func() {
		defer close(ended)
		tick := time.NewTicker(sampleInterval)
		defer tick.Stop()
		for {
			status, _ := r.status(ctx) // a client that does not answer shows in the steps
			r.observe(Moment{Kind: MomentSample, Sample: r.count(status.Proof.ExpiresIn)})
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ended
}

// status asks for the client's state, and tells it where it is another one.
func (r *run) status(ctx context.Context) (control.Status, error) {
	// Held from asking to telling, so that no older answer is told behind a newer one.
	r.observing.asking.Lock()
	defer r.observing.asking.Unlock()
	status, err := r.world.Client().Status(ctx)
	if err != nil || r.Observe == nil {
		return status, err
	}
	if now := clientState(status); !reflect.DeepEqual(now, r.observing.client) {
		r.observe(Moment{Kind: MomentClient, Client: &now})
		r.observing.client = now
	}
	return status, nil
}

// clientState returns what of a status does not change by itself.
func clientState(s control.Status) ClientState {
	c := ClientState{State: s.State, Mode: s.Mode, Policy: s.ModePolicy, Interface: s.Interface, Verdict: s.Proof.Verdict,
		Reason: s.Proof.Reason, Layers: slices.Clone(s.Layers), Interfaces: slices.Clone(s.Interfaces)}
	for i := range c.Layers {
		c.Layers[i].Lifetime = 0
	}
	for i := range c.Interfaces {
		c.Interfaces[i].Proof.Age, c.Interfaces[i].Proof.ExpiresIn = nil, nil
	}
	return c
}

// count takes a sample.
func (r *run) count(expires *float64) *Sample {
	s := &Sample{ExpiresIn: expires}
	if f := r.observing.flows.Load(); f != nil {
		s.TCP = f.near.Received() + f.far.Received()
		s.Sent, s.Back = f.stream.Counts()
	}
	for _, t := range r.world.Outside().Tallies() {
		s.Outside += t.Frames
		s.ESP += t.ESP
		s.Leaks += t.Leaks
	}
	return s
}
