package walk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"mipvpn/client/control"
	"mipvpn/cmd/miplab/internal/scenario"
	"mipvpn/cmd/miplab/internal/session"
	"mipvpn/cmd/miplab/internal/verdict"
)

// World is where a walk is taken: a scenario's, whose daemon can be killed.
type World interface {
	scenario.World
	// Kill kills the laptop's daemon with SIGKILL and returns when it is dead.
	Kill() error
	// Start starts the daemon again and returns when it answers.
	Start(ctx context.Context) error
	// OpenApplications opens the other applications of the laptop, by name. Each sends and counts until it is closed.
	OpenApplications(canary []byte) ([]Application, error)
}

// Application is something on the laptop that sends all the time.
type Application interface {
	// Name says what it is.
	Name() string
	// Close ends it and returns what it did.
	Close() (Count, error)
}

// Config says what a walk is to be.
type Config struct {
	// Seed is where the order of transitions comes from.
	Seed uint64
	// Transitions is how many there are to be.
	Transitions int
	// Dwell is how long the laptop stays once traffic flows, Patience how long a change may take until then.
	Dwell, Patience time.Duration
	// Log takes a line for each transition.
	Log io.Writer
}

// networks that a cable can be in, with the mode that each brings about where it is the only one.
var networks = map[string]string{"office": "c", "office-fa": "f", "cafe": "cvc", "hotspot": "fvc"}

var (
	networkNames = []string{"cafe", "hotspot", "office", "office-fa"}
	interfaces   = []string{"eth0", "eth1"}
)

// walk is a walk under way.
type walk struct {
	Config
	world  World
	rng    *rand.Rand
	report *Report
	begun  time.Time
	at     map[string]string // the network that each interface is in

	near, far *session.End
	stream    *session.Stream
}

// Run takes the walk. The error is for what kept it from being taken; a walk that was taken and failed says so in the report.
func Run(ctx context.Context, cfg Config, w World) (*Report, error) {
	k := &walk{
		Config: cfg, world: w, rng: rand.New(rand.NewPCG(cfg.Seed, 0x11ab)), begun: time.Now(), at: map[string]string{},
		report: &Report{Schema: Schema, World: w.Describe(), Seed: cfg.Seed, Verdict: verdict.New(), Kinds: map[string]*Row{}, Modes: map[string]int{}, Applications: map[string]*Count{}},
	}
	applications, err := k.open(ctx)
	if err == nil {
		err = k.wander(ctx)
	}
	for _, a := range applications {
		c, closeErr := a.Close()
		err = errors.Join(err, closeErr)
		k.report.Applications[a.Name()] = &c
	}
	k.end(ctx)
	k.report.Took = time.Since(k.begun)
	if err == nil {
		k.report.Settle()
	}
	return k.report, err
}

func (k *walk) say(format string, args ...any) {
	fmt.Fprintf(k.Log, "%8.3fs  %s\n", time.Since(k.begun).Seconds(), fmt.Sprintf(format, args...))
}

// open connects the laptop for the first time and opens everything.
func (k *walk) open(ctx context.Context) ([]Application, error) {
	limit, cancel := context.WithTimeout(ctx, k.Patience)
	defer cancel()
	if err := k.world.Client().Up(limit); err != nil {
		return nil, fmt.Errorf("walk: bringing the client up: %w", err)
	}
	first := networkNames[k.rng.IntN(len(networkNames))]
	if err := k.plug(limit, "eth0", first); err != nil {
		return nil, err
	}
	if _, err := k.await(limit, networks[first]); err != nil {
		return nil, err
	}
	canary, err := session.NewCanary()
	if err != nil {
		return nil, err
	}
	k.world.Outside().AddCanary(canary)
	k.world.Inside().AddCanary(canary)
	near, far, err := k.world.OpenConversation(limit)
	if err != nil {
		return nil, fmt.Errorf("walk: opening the TCP session: %w", err)
	}
	k.near, k.far = session.StartEnd(near, canary), session.StartEnd(far, canary)
	conn, err := k.world.OpenStream(limit)
	if err != nil {
		return nil, fmt.Errorf("walk: opening the UDP stream: %w", err)
	}
	k.stream = session.StartStream(conn, canary)
	return k.world.OpenApplications(canary)
}

// wander makes the transitions, until one fails.
func (k *walk) wander(ctx context.Context) error {
	for k.report.Transitions < k.Transitions {
		k.report.Transitions++
		if err := k.step(ctx); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			k.report.Fail("transition %d: %v", k.report.Transitions, err)
			k.say("FAILED: %v", err)
			return nil
		}
	}
	return nil
}

// step makes one transition and waits until traffic flows again.
func (k *walk) step(ctx context.Context) error {
	limit, cancel := context.WithTimeout(ctx, k.Patience)
	defer cancel()
	leaks, _ := k.world.Outside().Leaks()
	began := time.Now()
	kind, err := k.act(limit)
	if err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	mode := ""
	if len(k.at) == 1 {
		for _, network := range k.at {
			mode = networks[network]
		}
	}
	back := k.stream.Resumed(time.Now())
	status, err := k.await(limit, mode)
	if err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	select {
	case at := <-back:
		row := k.report.Kinds[kind]
		if row == nil {
			row = &Row{}
			k.report.Kinds[kind] = row
		}
		row.add(at.Sub(began))
		k.say("%3d %-28s %-4s on %s, %4.0f ms, now %v", k.report.Transitions, kind, status.Mode, status.Interface, milliseconds(at.Sub(began)), k.at)
	case <-limit.Done():
		return fmt.Errorf("%s: the client says that it is connected in mode %s, but no datagram came back within %v", kind, status.Mode, k.Patience)
	}
	k.report.Modes[status.Mode]++
	if err := k.dwell(ctx, limit); err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	if n, _ := k.world.Outside().Leaks(); n > leaks {
		return fmt.Errorf("%s: %d frames leaked", kind, n-leaks)
	}
	return nil
}

// act does something to the laptop and says what.
func (k *walk) act(ctx context.Context) (kind string, err error) {
	n := k.rng.IntN(100)
	switch {
	case n < 12 && len(k.at) == 2:
		i := interfaces[k.rng.IntN(2)]
		delete(k.at, i)
		return "one cable pulled", k.world.Unplug(i)
	case n < 24:
		if err := k.world.Kill(); err != nil {
			return "kill -9", err
		}
		k.pause(ctx, 300*time.Millisecond)
		return "kill -9", k.start(ctx)
	case n < 34:
		kind = "kill -9, moved meanwhile"
		if err := k.world.Kill(); err != nil {
			return kind, err
		}
		if err := k.move(ctx); err != nil {
			return kind, err
		}
		k.pause(ctx, 200*time.Millisecond)
		return kind, k.start(ctx)
	case n < 42:
		kind = "flapping"
		i := interfaces[k.rng.IntN(2)]
		network := networkNames[k.rng.IntN(len(networkNames))]
		for range 2 + k.rng.IntN(3) {
			if err := k.plug(ctx, i, network); err != nil {
				return kind, err
			}
			network = networkNames[k.rng.IntN(len(networkNames))]
		}
		return kind, k.plug(ctx, i, network)
	}
	err = k.move(ctx)
	return "to another network", err
}

// move puts a cable into another network.
func (k *walk) move(ctx context.Context) error {
	i := interfaces[k.rng.IntN(2)]
	network := networkNames[k.rng.IntN(len(networkNames))]
	for network == k.at[i] {
		network = networkNames[k.rng.IntN(len(networkNames))]
	}
	return k.plug(ctx, i, network)
}

func (k *walk) plug(ctx context.Context, iface, network string) error {
	k.at[iface] = network
	_, err := k.world.Plug(ctx, iface, network)
	return err
}

// start starts the daemon again and has it take charge.
func (k *walk) start(ctx context.Context) error {
	if err := k.world.Start(ctx); err != nil {
		return err
	}
	return k.world.Client().Up(ctx)
}

func (k *walk) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// pollInterval is how often the client is asked for its state.
const pollInterval = 20 * time.Millisecond

// await waits until the client is connected, in the mode if one is given.
func (k *walk) await(ctx context.Context, mode string) (control.Status, error) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	var last control.Status
	for {
		if s, err := k.world.Client().Status(ctx); err == nil {
			if last = s; s.State == control.StateConnected && (mode == "" || s.Mode == mode) {
				return s, nil
			}
		}
		if err := k.broken(); err != nil {
			return last, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last, fmt.Errorf("walk: not connected (mode %q wanted) within %v: the client is %s in mode %q (%s), problems %v, cables %v",
				mode, k.Patience, last.State, last.Mode, last.Proof.Reason, last.Problems, k.at)
		}
	}
}

// broken says whether the world or the session has broken.
func (k *walk) broken() error {
	if k.near != nil {
		if err := errors.Join(k.near.Err(), k.far.Err()); err != nil {
			return fmt.Errorf("walk: the TCP session broke: %w", err)
		}
	}
	return k.world.Err()
}

// dwell stays for a moment, now and then until the TCP session has moved on.
func (k *walk) dwell(ctx, limit context.Context) error {
	received := k.near.Received()
	k.pause(ctx, k.Dwell)
	if k.rng.IntN(4) > 0 {
		return k.broken()
	}
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for k.near.Received() == received {
		if err := k.broken(); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-limit.Done():
			return fmt.Errorf("the TCP session stands still at %d octets received", received)
		}
	}
	return nil
}

// settleTime is left out at the end of the stream when losses are counted: what was sent last may still be on its way.
const settleTime = 300 * time.Millisecond

// end ends the sessions and draws up the report.
func (k *walk) end(ctx context.Context) {
	if k.stream != nil {
		if err := k.stream.Close(); err != nil {
			k.report.Fail("the UDP stream: %v", err)
		}
		k.report.Stream = k.stream.Between(k.begun, time.Now().Add(-settleTime))
	}
	if k.near != nil {
		k.endConversation(ctx)
	}
	lost, err := k.world.Settle()
	if err != nil {
		k.report.Fail("the captures: %v", err)
	}
	if k.report.CaptureLost = lost; lost > 0 {
		k.report.Fail("the captures lost %d frames, which nobody has judged", lost)
	}
	n, leaks := k.world.Outside().Leaks()
	k.report.PlaintextFrames, k.report.External = n, k.world.Outside().Tallies()
	for _, l := range leaks {
		k.report.Leaks = append(k.report.Leaks, fmt.Sprintf("wire %s at %.3fs: %s", l.Wire, l.At.Sub(k.begun).Seconds(), l.Reason))
	}
	if n > 0 {
		k.report.Fail("%d frames of the laptop's enterprise traffic crossed an external wire outside ESP, the first: %s", n, k.report.Leaks[0])
	}
	protected := 0
	for _, t := range k.report.External {
		protected += t.ESP
	}
	if k.report.InsideFrames, _ = k.world.Inside().Leaks(); k.near != nil && (protected == 0 || k.report.InsideFrames == 0) {
		k.report.Fail("%d frames of ESP outside and %d of enterprise traffic inside were seen: the judges prove nothing", protected, k.report.InsideFrames)
	}
	for _, name := range slices.Sorted(maps.Keys(k.report.Applications)) {
		if k.report.Applications[name].Sent == 0 {
			k.report.Fail("%s has sent nothing", name)
		}
	}
}

func (k *walk) endConversation(ctx context.Context) {
	k.near.Stop()
	k.far.Stop()
	limit, cancel := context.WithTimeout(ctx, k.Patience)
	defer cancel()
	// A session that hangs is broken off, so that waiting for it ends.
	hung := context.AfterFunc(limit, func() {
		k.near.Abort()
		k.far.Abort()
	})
	err := errors.Join(k.near.Wait(), k.far.Wait())
	if !hung() {
		err = fmt.Errorf("did not end within %v: %w", k.Patience, err)
	}
	if err != nil {
		k.report.Fail("the TCP session: %v", err)
	}
	if k.report.Conversation = session.Compare(k.near, k.far); !k.report.Conversation.Intact {
		k.report.Fail("the TCP session's octets are not the same at both ends")
	}
}
