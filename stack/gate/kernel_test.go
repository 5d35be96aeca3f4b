package gate_test

import (
	"errors"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"mipvpn/detect/location"
	"mipvpn/stack/gate"
	"mipvpn/stack/gate/gatetest"
)

// kernel is the kernel's half as tests see it: permits by interface, that end by themselves.
type kernel struct {
	clock   *clock
	mu      sync.Mutex
	permits map[int]time.Duration
	err     error // what it refuses with
	// allowed asks the gate, at each call, whether it is open; nil asks nothing.
	allowed func(index int) bool
	calls   []call
}

// call is one call and whether the gate was open during it.
type call struct {
	permit bool
	open   bool
}

func newKernel(c *clock) *kernel { return &kernel{clock: c, permits: make(map[int]time.Duration)} }

func (k *kernel) note(index int, permit bool) error {
	if k.allowed != nil {
		k.calls = append(k.calls, call{permit, k.allowed(index)})
	}
	return k.err
}

func (k *kernel) Permit(index int, until time.Duration) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.note(index, true); err != nil {
		return err
	}
	k.permits[index] = until
	return nil
}

func (k *kernel) Forbid(index int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.note(index, false); err != nil {
		return err
	}
	delete(k.permits, index)
	return nil
}

// live returns the permits that have not ended.
func (k *kernel) live() map[int]time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	live := maps.Clone(k.permits)
	maps.DeleteFunc(live, func(_ int, until time.Duration) bool { return until <= k.clock.Now().Boot })
	return live
}

// Shows: DET-4, HST-2 (the kernel's permit is there before the gate opens, lasts as long as the proof, and goes after the gate
// has closed)
func TestKernelHoldsTheSameLine(t *testing.T) {
	c := newClock()
	k := newKernel(c)
	g := gate.New(c, k)
	k.allowed = func(index int) bool { return g.Allows(index, epoch) }
	for name, shut := range map[string]func(){
		"Close":    func() { g.Close(iface, "refused") },
		"CloseAll": func() { g.CloseAll("down") },
	} {
		k.calls = nil
		if err := g.Open(gatetest.Proof(t, iface, epoch, start)); err != nil {
			t.Fatal(err)
		}
		if until, want := k.live()[iface], start+location.DefaultMonitor; until != want {
			t.Errorf("permitted until %v, want %v", until, want)
		}
		shut()
		if n := len(k.live()); n != 0 {
			t.Errorf("%s: %d permits are left", name, n)
		}
		if len(k.calls) != 2 || k.calls[0] != (call{permit: true}) || k.calls[1] != (call{}) {
			t.Errorf("%s: calls %+v, want a permit and its end, both while the gate is closed", name, k.calls)
		}
	}
	if err := g.Open(gatetest.Proof(t, iface, epoch, start)); err != nil {
		t.Fatal(err)
	}
	g.Enter(iface, epoch+1)
	if n := len(k.live()); n != 0 {
		t.Errorf("Enter: %d permits are left", n)
	}
	if err := g.Open(gatetest.Proof(t, iface, epoch+1, start)); err != nil {
		t.Fatal(err)
	}
	c.set(start + location.DefaultMonitor)
	if n := len(k.live()); n != 0 {
		t.Errorf("expiry: %d permits are left", n)
	}
}

// Shows: DET-4, HST-2 (no plaintext where the kernel does not hold the line; a kernel that cannot forbid does not keep the
// gate open)
func TestKernelRefuses(t *testing.T) {
	c := newClock()
	k := newKernel(c)
	g := gate.New(c, k)
	k.err = errors.New("no kill switch")
	if err := g.Open(gatetest.Proof(t, iface, epoch, start)); !errors.Is(err, gate.ErrNotOpened) || !errors.Is(err, k.err) {
		t.Errorf("error %v, want ErrNotOpened and the kernel's", err)
	}
	if g.Allows(iface, epoch) || len(g.States()) != 0 {
		t.Error("open without the kernel's permit")
	}
	k.err = nil
	if err := g.Open(gatetest.Proof(t, iface, epoch, start)); err != nil {
		t.Fatal(err)
	}
	k.err = errors.New("no memory")
	g.Close(iface, "refused")
	if g.Allows(iface, epoch) {
		t.Error("open after Close because the kernel was not told")
	}
}

// Shows: DET-4, HST-2 (after whatever has happened the kernel permits exactly the interfaces that the gate is open on, for as
// long)
func TestKernelFollowsTheGate(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 5))
		c := newClock()
		k := newKernel(c)
		g := gate.New(c, k)
		now := start
		for range 60 {
			i, e := 1+r.IntN(3), uint64(1+r.IntN(4))
			switch r.IntN(6) {
			case 0:
				now += time.Duration(r.IntN(40)) * time.Second
				c.set(now)
			case 1:
				g.Enter(i, e)
			case 2:
				g.Close(i, "test")
			case 3:
				g.CloseAll("test")
			default:
				_ = g.Open(gatetest.Proof(t, i, e, now-time.Duration(r.IntN(80))*time.Second))
			}
			want := make(map[int]time.Duration)
			for _, s := range g.States() {
				if s.Open {
					want[s.Interface] = now + s.Remaining
				}
			}
			if got := k.live(); !maps.Equal(got, want) {
				t.Fatalf("seed %d at %v: the kernel permits %v, the gate %v", seed, now, got, want)
			}
		}
	}
}
