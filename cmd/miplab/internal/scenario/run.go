package scenario

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"mipvpn/client/control"
	"mipvpn/cmd/miplab/internal/session"
	"mipvpn/cmd/miplab/internal/verdict"
	"mipvpn/stack"
)

// Step is one change: the cable of Interface goes into Network, and the client must come to Mode. Without a network the
// cable is pulled, and the client must come to Mode through another interface. Where the cable is in the network already, only
// Policy changes.
type Step struct {
	Interface string
	Network   string
	Mode      string
	// Again has the cable pulled and put back where it is in the network already.
	Again bool
	// Policy is the mode that is pinned before; empty for "auto", in which the client chooses.
	Policy string
}

// policy is what the client is told.
func (s Step) policy() string { return cmp.Or(s.Policy, "auto") }

// Scenario is a row of steps.
type Scenario struct {
	Steps []Step
	// Dwell is how long the laptop stays in each network once traffic flows, Patience how long it may take until then.
	Dwell, Patience time.Duration
	// Log takes lines for a person while it goes.
	Log io.Writer
	// Observe is told each Moment, one at a time and in their order; nil for nobody. It must not wait for the scenario.
	Observe func(Moment)
}

// run is a scenario being played.
type run struct {
	Scenario
	world  World
	report Report
	begun  time.Time

	near, far *session.End
	stream    *session.Stream
	observing observing
	mode      string
	policy    string            // what the client has been told
	in        map[string]string // the network that each interface is in
}

// Run plays the scenario. The error is for what kept it from being played; a scenario that was played and failed says so
// in the report.
func (s Scenario) Run(ctx context.Context, w World) (*Report, error) {
	r := &run{Scenario: s, world: w, begun: time.Now(), mode: "none", policy: "auto", in: map[string]string{}}
	r.report = Report{Schema: Schema, World: w.Describe(), Verdict: verdict.New(), Changes: []Change{}}
	r.say("%s", w.Describe())
	watching, stop := context.WithCancel(ctx)
	watched := make(chan error, 1)
	go func() { watched <- w.Client().Events(watching, r.event) }()
	sampled := r.sample(watching)
	err := r.play(ctx)
	r.end(ctx)
	stop()
	<-watched
	<-sampled
	r.report.Took = time.Since(r.begun)
	if err == nil {
		r.report.Settle()
	}
	return &r.report, err
}

func (r *run) say(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	fmt.Fprintf(r.Log, "%7.3fs  %s\n", time.Since(r.begun).Seconds(), text)
	if text != "" {
		r.observe(Moment{Kind: MomentLine, Text: text})
	}
}

// event tells one event of the client.
func (r *run) event(e control.Event) {
	message := strings.TrimPrefix(e.Message, e.Kind+": ") // it stands in front
	if e.Interface != "" {
		message = e.Interface + ": " + strings.TrimPrefix(message, e.Interface+": ")
	}
	r.say("    %-13s %s", e.Kind, message)
}

// play goes through the steps until one fails.
func (r *run) play(ctx context.Context) error {
	if err := r.world.Client().Up(ctx); err != nil {
		return fmt.Errorf("scenario: bringing the client up: %w", err)
	}
	for _, s := range r.Steps {
		if err := r.step(ctx, s); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			r.report.Fail("%v", err)
			r.say("FAILED: %v", err)
			return nil
		}
	}
	return nil
}

func (r *run) step(ctx context.Context, s Step) error {
	limit, cancel := context.WithTimeout(ctx, r.Patience)
	defer cancel()
	c := Change{From: r.mode, Network: s.Network, Policy: s.policy(), Cause: r.cause(s)}
	r.say("")
	r.say("== %s", c.Cause)
	leaks, _ := r.world.Outside().Leaks()
	before := r.world.Outside().Tally(s.Network)
	touched := time.Now()
	offered := touched
	r.observe(Moment{Kind: MomentStep, Text: c.Cause, Cable: &Cable{Interface: r.named(s.Interface), Network: s.Network}})
	var err error
	if s.policy() != r.policy {
		if err := r.world.Client().SetMode(limit, s.policy()); err != nil {
			return fmt.Errorf("scenario: setting the mode to %s: %w", s.policy(), err)
		}
		r.policy = s.policy()
	}
	switch {
	case s.Network == "":
		err = r.world.Unplug(s.Interface)
	case s.Again || s.Network != r.in[s.Interface]:
		offered, err = r.world.Plug(limit, s.Interface, s.Network)
	}
	if err != nil {
		return err
	}
	if s.Network != "" && (s.Again || s.Network != r.in[s.Interface]) {
		r.say("the network has offered what it has")
	}
	r.in[s.Interface] = s.Network
	first := r.stream == nil
	if first {
		if err := r.openSessions(limit, s.Mode); err != nil {
			return err
		}
	}
	resumed, err := r.await(limit, s, offered)
	if err != nil {
		return err
	}
	r.observe(Moment{Kind: MomentResumed, Gap: &Gap{
		Touched: touched.Sub(r.begun).Seconds(), Offered: offered.Sub(r.begun).Seconds(), Resumed: resumed.Sub(r.begun).Seconds(), First: first,
	}})
	after := r.world.Outside().Tally(s.Network)
	c.Registrations, c.IKE = after.Registrations-before.Registrations, after.IKE-before.IKE
	received := r.near.Received()
	if err := r.dwell(ctx, received); err != nil {
		return err
	}
	now := time.Now()
	status, err := r.status(limit)
	if err != nil {
		return fmt.Errorf("scenario: the client's status: %w", err)
	}
	c.To, c.Evidence, c.Layers = status.Mode, status.Proof.Reason, status.Layers
	if !first {
		f := r.stream.Between(touched, now.Add(-settleTime))
		c.Lost, c.Sent, c.Silence = f.Lost, f.Sent, milliseconds(f.Outage)
	}
	c.Outage = milliseconds(max(resumed.Sub(offered), 0))
	c.TCP = r.near.Sent() + r.near.Received()
	total, _ := r.world.Outside().Leaks()
	c.PlaintextFrames = total - leaks
	r.report.Changes = append(r.report.Changes, c)
	r.tell(c)
	r.observe(Moment{Kind: MomentChange, Change: &c})
	r.mode = status.Mode
	if status.Mode != s.Mode {
		return fmt.Errorf("scenario: %s: the client is in mode %q, want %q", c.Cause, status.Mode, s.Mode)
	}
	return nil
}

// cause says what a step does to the laptop.
func (r *run) cause(s Step) string {
	cause := ""
	switch {
	case s.Network == "":
		cause = s.Interface + " unplugged"
	case s.Again:
		cause = s.Interface + " again into " + s.Network
	case s.Network != r.in[s.Interface]:
		cause = s.Interface + " into " + s.Network
	}
	if s.policy() == r.policy {
		return cause
	}
	if cause != "" {
		cause = ", " + cause
	}
	return "mipvpn mode " + s.policy() + cause
}

// settleTime is left out at the end of a span when losses are counted: what was sent last may still be on its way.
const settleTime = 300 * time.Millisecond

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// tell tells a change for a person.
func (r *run) tell(c Change) {
	r.say("mode %s, %s", c.To, c.Evidence)
	for _, l := range c.Layers {
		line := fmt.Sprintf("    %-8s no address", l.Kind)
		if l.Local.IsValid() {
			line = fmt.Sprintf("    %-8s %v", l.Kind, l.Local)
		}
		if l.Remote.IsValid() {
			line += fmt.Sprintf(" to %v", l.Remote)
		}
		if l.CareOf.IsValid() {
			line += fmt.Sprintf(" by care-of address %v", l.CareOf)
		}
		if l.Encapsulation != "none" && l.Encapsulation != "" {
			line += ", " + l.Encapsulation
		}
		if len(l.SPIs) > 0 {
			line += fmt.Sprintf(" %v", l.SPIs)
		}
		r.say("%s", line)
	}
	if c.Registrations > 0 {
		r.say("%d registration messages and %d of IKE on the wire until traffic flowed", c.Registrations, c.IKE)
	}
	r.say("outage %.1f ms (silence %.1f ms), %d of %d datagrams lost, %d octets of TCP so far", c.Outage, c.Silence, c.Lost, c.Sent, c.TCP)
}

// openSessions starts conversation and stream once the client is connected for the first time.
func (r *run) openSessions(ctx context.Context, mode string) error {
	if _, err := r.awaitMode(ctx, Step{Mode: mode}); err != nil {
		return err
	}
	canary, err := session.NewCanary()
	if err != nil {
		return err
	}
	r.report.Canary = hex.EncodeToString(canary)
	r.world.Outside().AddCanary(canary)
	r.world.Inside().AddCanary(canary)
	near, far, err := r.world.OpenConversation(ctx)
	if err != nil {
		return fmt.Errorf("scenario: opening the TCP session: %w", err)
	}
	r.near, r.far = session.StartEnd(near, canary), session.StartEnd(far, canary)
	if a, ok := near.(net.Conn); ok {
		r.report.LocalAddr, r.report.RemoteAddr = a.LocalAddr().String(), a.RemoteAddr().String()
	}
	conn, err := r.world.OpenStream(ctx)
	if err != nil {
		return fmt.Errorf("scenario: opening the UDP stream: %w", err)
	}
	r.stream = session.StartStream(conn, canary)
	r.observing.flows.Store(&flows{r.near, r.far, r.stream})
	return nil
}

// await waits until a datagram sent after the offer has come back and the client is where it should be.
func (r *run) await(ctx context.Context, s Step, offered time.Time) (resumed time.Time, err error) {
	back := r.stream.Resumed(offered)
	if _, err := r.awaitMode(ctx, s); err != nil {
		return time.Time{}, err
	}
	select {
	case resumed = <-back:
		return resumed, nil
	case <-ctx.Done():
		return time.Time{}, fmt.Errorf("scenario: the client says that it is connected, but no datagram came back within %v", r.Patience)
	}
}

// pollInterval is how often the client is asked for its state.
const pollInterval = 20 * time.Millisecond

func (r *run) awaitMode(ctx context.Context, s Step) (control.Status, error) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	var last control.Status
	for {
		status, err := r.world.Client().Status(ctx)
		if err == nil {
			last = status
		}
		if err == nil && status.State == control.StateConnected && status.Mode == s.Mode {
			return status, nil
		}
		if err := r.broken(); err != nil {
			return last, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last, fmt.Errorf("scenario: mode %s was not reached within %v: the client is %s in mode %q (%s)%s", s.Mode, r.Patience, last.State,
				last.Mode, last.Proof.Reason, problems(last))
		}
	}
}

func problems(s control.Status) string {
	out := ""
	for _, p := range s.Problems {
		out += "\n  " + p.Message
	}
	return out
}

// broken says whether the world or the session has broken.
func (r *run) broken() error {
	if r.near != nil {
		if err := errors.Join(r.near.Err(), r.far.Err()); err != nil {
			return fmt.Errorf("scenario: the TCP session broke: %w", err)
		}
	}
	return r.world.Err()
}

// dwell stays in the network, and until the TCP session has moved on from `received` octets.
func (r *run) dwell(ctx context.Context, received int64) error {
	wait := time.NewTimer(r.Dwell)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	limit, cancel := context.WithTimeout(ctx, r.Patience)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		if err := r.broken(); err != nil {
			return err
		}
		if r.near.Received() > received && r.far.Received() > 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-limit.Done():
			return fmt.Errorf("scenario: the TCP session stands still at %d octets received", received)
		}
	}
}

// end ends the sessions and draws up the report.
func (r *run) end(ctx context.Context) {
	if r.stream != nil {
		if err := r.stream.Close(); err != nil {
			r.report.Fail("the UDP stream: %v", err)
		}
		r.report.Stream = r.stream.Between(r.begun, time.Now().Add(-settleTime))
	}
	if r.near != nil {
		r.endConversation(ctx)
	}
	lost, err := r.world.Settle()
	if err != nil {
		r.report.Fail("the captures: %v", err)
	}
	r.report.CaptureLost = lost
	if lost > 0 {
		r.report.Fail("the captures lost %d frames, which nobody has judged", lost)
	}
	r.verdict()
}

func (r *run) endConversation(ctx context.Context) {
	r.near.Stop()
	r.far.Stop()
	limit, cancel := context.WithTimeout(ctx, r.Patience)
	defer cancel()
	// A session that hangs is broken off, so that waiting for it ends.
	hung := context.AfterFunc(limit, func() {
		r.near.Abort()
		r.far.Abort()
	})
	err := errors.Join(r.near.Wait(), r.far.Wait())
	if !hung() {
		err = fmt.Errorf("did not end within %v: %w", r.Patience, err)
	}
	if err != nil {
		r.report.Fail("the TCP session: %v", err)
	}
	r.report.Conversation = session.Compare(r.near, r.far)
	if !r.report.Conversation.Intact {
		r.report.Fail("the TCP session's octets are not the same at both ends")
	}
}

// verdict judges what the judges saw.
func (r *run) verdict() {
	outside := r.world.Outside()
	n, leaks := outside.Leaks()
	r.report.PlaintextFrames = n
	for _, l := range leaks {
		r.report.Leaks = append(r.report.Leaks, fmt.Sprintf("wire %s at %.3fs: %s", l.Wire, l.At.Sub(r.begun).Seconds(), l.Reason))
	}
	if n > 0 {
		r.report.Fail("%d frames of the laptop's enterprise traffic crossed an external wire outside ESP, the first: %s", n, r.report.Leaks[0])
	}
	r.report.External = outside.Tallies()
	protected := 0
	for _, t := range r.report.External {
		protected += t.ESP
	}
	if protected == 0 && slices.ContainsFunc(r.report.Changes, func(c Change) bool { return !stack.Mode(c.To).Plaintext() }) {
		r.report.Fail("no ESP was seen outside although a mode with the VPN was in use: the captures see nothing")
	}
	r.report.InsideFrames, _ = r.world.Inside().Leaks()
	if r.report.InsideFrames == 0 && r.near != nil {
		r.report.Fail("the judge saw no enterprise traffic even inside: it proves nothing")
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
