package e2e

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zaptest"

	"mipvpn/client"
	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/detect/suspend"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// loginManager announces sleep when a test says so.
type loginManager struct {
	mu      sync.Mutex
	handler suspend.Handler
}

// Watch implements suspend.Source.
func (m *loginManager) Watch(h suspend.Handler) (stop func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.handler = h
	return func() {}
}

func (m *loginManager) told() suspend.Handler {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.handler
}

// happenings collects the events of a client by kind.
type happenings struct {
	mu     sync.Mutex
	events []control.Event
}

func listen(t *testing.T, w *World) *happenings {
	t.Helper()
	h := &happenings{}
	events, stop := w.Client.Subscribe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range events {
			h.mu.Lock()
			h.events = append(h.events, e)
			h.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	return h
}

func (h *happenings) of(kind string) []control.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []control.Event
	for _, e := range h.events {
		if e.Kind == kind {
			out = append(out, e)
		}
	}
	return out
}

// permitHost is the laptop, which knows what plaintext it was told to let out.
type permitHost struct {
	*simnet.Host
	mu        sync.Mutex
	permitted map[int]bool // by index of the interface
}

// Permit implements link.PlaintextPermit.
func (h *permitHost) Permit(index int, until time.Duration) error {
	h.mu.Lock()
	h.permitted[index] = true
	h.mu.Unlock()
	return h.Host.Permit(index, until)
}

// Forbid implements link.PlaintextPermit.
func (h *permitHost) Forbid(index int) error {
	h.mu.Lock()
	delete(h.permitted, index)
	h.mu.Unlock()
	return h.Host.Forbid(index)
}

func (h *permitHost) permits() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.permitted)
}

// sleeper is a world whose laptop is inside, with an application that talks all the time.
func sleeper(t *testing.T, seed uint64) (*World, *loginManager, *talker, *clearFrames, *happenings) {
	t.Helper()
	m := &loginManager{}
	w := world(t, Options{Seed: seed, Start: []client.Option{client.WithSuspend(m)}})
	return awake(t, w, m)
}

func awake(t *testing.T, w *World, m *loginManager) (*World, *loginManager, *talker, *clearFrames, *happenings) {
	t.Helper()
	k := talk(t, w, 20*time.Millisecond)
	clear := watchClear(w)
	h := listen(t, w)
	connected(t, w, officePlace)
	k.works(t, 2*time.Second)
	return w, m, k, clear, h
}

// Shows: HST-6, DET-2 (before the laptop sleeps the gate is closed, in the kernel too, and nothing opens it again until it
// is awake: not even the answer to a request that is on its way)
func TestGateIsClosedBeforeSleep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &loginManager{}
		w := world(t, Options{Seed: 400, Client: func(c *config.Config) { c.UpAtStart = false }})
		if err := w.Client.Close(); err != nil {
			t.Fatal(err)
		}
		host := &permitHost{Host: w.Laptop, permitted: make(map[int]bool)}
		var err error
		if w.Client, err = client.Start(host, ClientConfig(), zaptest.NewLogger(t), client.WithSuspend(m)); err != nil {
			t.Fatal(err)
		}
		_, _, k, clear, h := awake(t, w, m)
		if host.permits() != 1 {
			t.Fatalf("the kernel lets plaintext out of %d interfaces inside", host.permits())
		}
		// A renewal of the proof is on its way when sleep is announced.
		time.Sleep(time.Second + 7*time.Millisecond - w.Elapsed()%(20*time.Millisecond)) // between two packets of the application
		var asked atomic.Int64
		w.Office.Tap(func(f simnet.Frame) {
			if ip := packet.IPv4(f.Packet); strings.HasPrefix(f.Sender, "laptop/") && isRegistration(ip) && ip.Dst() == simnet.LabInternalHA {
				asked.Add(1)
			}
		})
		if _, err := w.Client.Detect(t.Context(), true); err != nil { // asks the i-HA for a fresh proof
			t.Fatal(err)
		}
		m.told().Prepare()
		before := clear.on()
		if before == 0 {
			t.Fatal("nothing was sent in the clear inside, so that nothing is tested")
		}
		// The lock is released, and other programs keep the laptop awake for a while.
		time.Sleep(4 * time.Second)
		if n := clear.on() - before; n != 0 {
			t.Errorf("%d frames in the clear after sleep was announced", n)
		}
		if asked.Load() == 0 {
			t.Error("no request to the i-HA was on its way")
		}
		if n := host.permits(); n != 0 {
			t.Errorf("the kernel still lets plaintext out of %d interfaces", n)
		}
		if s, err := w.Client.Status(t.Context()); err != nil || s.State == control.StateConnected || s.Proof.Age != nil {
			t.Errorf("state %s, proof %+v, %v", s.State, s.Proof, err)
		}
		w.Laptop.Suspend()
		k.asleep <- 8 * time.Hour
		time.Sleep(8 * time.Hour)
		w.Laptop.Resume()
		woke := w.Elapsed()
		m.told().Resumed()
		if _, err := w.UntilMode(5*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		if took := w.Elapsed() - woke; took > time.Second {
			t.Errorf("the race took %v after the resume", took)
		}
		k.works(t, 2*time.Second)
		if n := len(h.of("sleep")); n != 1 {
			t.Errorf("sleep was told %d times", n)
		}
		if n := len(h.of("resume")); n != 1 {
			t.Errorf("the resume was told %d times", n)
		}
	})
}

// Shows: HST-6, DET-2 (a laptop that wakes up at a café sends nothing in the clear there, whichever sign comes first, and
// each resume is taken account of once)
func TestWakesUpElsewhere(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		wake func(*World, *loginManager)
	}{
		{"signal, then clock", func(w *World, m *loginManager) {
			m.told().Resumed()
			w.Laptop.AdvanceBoot(8 * time.Hour)
		}},
		{"clock, then signal", func(w *World, m *loginManager) {
			w.Laptop.AdvanceBoot(8 * time.Hour)
			synctest.Wait()
			m.told().Resumed()
		}},
		{"clock alone", func(w *World, _ *loginManager) { w.Laptop.AdvanceBoot(8 * time.Hour) }},
		{"the kernel's word about the clock", func(w *World, m *loginManager) {
			w.Laptop.AdvanceBoot(8 * time.Hour)
			m.told().Clock()
		}},
		{"nothing but time", func(*World, *loginManager) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, m, k, clear, h := sleeper(t, 401)
				m.told().Prepare()
				before := clear.on()
				w.Plug(w.Wlan0, w.Cafe)
				time.Sleep(3 * time.Second)
				if s, err := w.Client.Status(t.Context()); err != nil || s.State == control.StateConnected {
					t.Errorf("state %s while sleep is announced, %v", s.State, err)
				}
				c.wake(w, m)
				if _, err := w.UntilMode(90*time.Second, "cvc"); err != nil {
					t.Fatal(err)
				}
				k.works(t, 2*time.Second)
				if n := clear.on() - before; n != 0 {
					t.Errorf("%d frames in the clear after sleep was announced", n)
				}
				want := 1
				if c.name == "signal, then clock" {
					want = 2 // the clock jumped behind the signal: that is another sleep
				}
				if n := len(h.of("resume")); n != want {
					t.Errorf("the resume was told %d times, want %d", n, want)
				}
			})
		})
	}
}

// A resume without an announcement closes what was open, and a signal of the same resume changes nothing more.
//
// Shows: HST-6 (once for each resume)
func TestResumeUnannounced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, m, k, _, h := sleeper(t, 402)
		w.Laptop.AdvanceBoot(time.Hour)
		if _, err := w.Until(time.Second, func(s control.Status) bool { return s.Interfaces[1].Epoch > 0 && len(h.of("resume")) == 1 }); err != nil {
			t.Fatal(err)
		}
		if _, err := w.UntilMode(5*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		s, err := w.Client.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		m.told().Resumed()
		k.works(t, time.Second)
		after, err := w.Client.Status(t.Context())
		if err != nil || after.Interfaces[1].Epoch != s.Interfaces[1].Epoch {
			t.Errorf("the signal of the same resume began epoch %d behind %d, %v", after.Interfaces[1].Epoch, s.Interfaces[1].Epoch, err)
		}
		// Much later the same signal is of another sleep, too short for the clocks to show.
		time.Sleep(time.Minute)
		m.told().Resumed()
		synctest.Wait()
		if n := len(h.of("resume")); n != 2 {
			t.Errorf("%d resumes, want 2", n)
		}
	})
}

// Shows: HST-6 (a client that is down, or is brought up while the laptop goes to sleep, makes no attempt before it is awake)
func TestUpWhileGoingToSleep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, m, k, clear, _ := sleeper(t, 403)
		if err := w.Client.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.told().Prepare()
		if err := w.Client.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		before := clear.on()
		time.Sleep(5 * time.Second)
		if s, err := w.Client.Status(context.Background()); err != nil || s.State == control.StateConnected || clear.on() != before {
			t.Errorf("state %s, %d frames in the clear, %v", s.State, clear.on()-before, err)
		}
		m.told().Resumed()
		if _, err := w.UntilMode(5*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		k.works(t, 2*time.Second)
	})
}

// Shows: HST-6, MOD-park (outside, the gateway is asked after a sleep whether it still has the SA; where it has, it is used)
func TestSleepOutside(t *testing.T) {
	t.Parallel()
	for _, forgets := range []bool{false, true} {
		name := map[bool]string{false: "gateway keeps the SA", true: "gateway has forgotten it"}[forgets]
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &loginManager{}
				w := world(t, Options{Seed: 404, Start: []client.Option{client.WithSuspend(m)}})
				k := talk(t, w, 100*time.Millisecond)
				connected(t, w, cafePlace)
				k.works(t, 2*time.Second)
				before, err := w.Client.Status(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				m.told().Prepare()
				w.Laptop.Suspend()
				time.Sleep(25 * time.Second)
				if forgets {
					w.GatewayOuter.Detach()
					restartGateway(t, w)
					w.GatewayOuter.Attach(w.Internet)
				}
				w.Laptop.Resume()
				woke := w.Elapsed()
				m.told().Resumed()
				if _, err := w.UntilMode(5*time.Second, "cvc"); err != nil {
					t.Fatal(err)
				}
				k.reset()
				for range 50 { // until something comes back
					time.Sleep(100 * time.Millisecond)
					if _, answered, _ := k.counts(); answered > 0 {
						break
					}
				}
				t.Logf("user data flows %v after the resume", w.Elapsed()-woke)
				if took := w.Elapsed() - woke; took > 2500*time.Millisecond {
					t.Errorf("user data flows %v after the resume", took)
				}
				k.works(t, 2*time.Second)
				after, err := w.Client.Status(t.Context())
				if err != nil || len(after.Problems) != 0 {
					t.Errorf("problems %v, %v", after.Problems, err)
				}
				if same := spis(before) == spis(after); same == forgets {
					t.Errorf("SPIs %s before and %s after", spis(before), spis(after))
				}
			})
		})
	}
}
