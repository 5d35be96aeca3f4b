package gate_test

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mipvpn/detect/location"
	"mipvpn/stack/gate"
	"mipvpn/stack/gate/gatetest"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

const (
	iface = 3
	epoch = 7
	start = 1000 * time.Second
)

// clock is a clock whose two times are set apart from each other.
type clock struct {
	boot, wall atomic.Int64
	reads      atomic.Int64
}

func newClock() *clock {
	c := &clock{}
	c.boot.Store(int64(start))
	c.wall.Store(1_700_000_000)
	return c
}

func (c *clock) Now() link.Instant {
	c.reads.Add(1)
	return link.Instant{Boot: time.Duration(c.boot.Load()), Wall: time.Unix(c.wall.Load(), 0)}
}

func (c *clock) NewTimer() link.Timer { panic("the gate needs no timer") }

func (c *clock) set(boot time.Duration) { c.boot.Store(int64(boot)) }

// wire counts the packets that get through to it.
type wire struct{ packets atomic.Int64 }

func (w *wire) Send(b *packet.Batch) error {
	w.packets.Add(int64(b.Len()))
	b.Release()
	return nil
}

func batch(n int) *packet.Batch {
	b := packet.GetBatch()
	for range n {
		b.Append(packet.From([]byte{0x45}))
	}
	return b
}

// Shows: DET-4
func TestClosedWithoutProof(t *testing.T) {
	c := newClock()
	g := gate.New(c, newKernel(c))
	var w wire
	var drops packet.Drops
	if g.Allows(iface, epoch) || g.Allows(0, 0) {
		t.Fatal("a new gate allows")
	}
	if err := g.Guard(iface, epoch, &w, &drops).Send(batch(3)); err != nil {
		t.Fatal(err)
	}
	g.GuardReceiver(iface, epoch, func(*packet.Batch) { t.Error("received past a closed gate") }, &drops)(batch(2))
	if n := w.packets.Load(); n != 0 {
		t.Errorf("%d packets passed", n)
	}
	if n := drops.Of(packet.DropGateClosed); n != 5 {
		t.Errorf("%d drops counted, want 5", n)
	}
	if last, most := g.Exposure(); last != 0 || most != 0 {
		t.Errorf("exposure %v, %v although nothing passed", last, most)
	}
}

// Shows: DET-4
func TestOpenUntilTheProofExpires(t *testing.T) {
	c := newClock()
	g := gate.New(c, newKernel(c))
	c.set(start + 300*time.Millisecond) // the reply's way back
	if err := g.Open(gatetest.Proof(t, iface, epoch, start)); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		at   time.Duration
		want bool
	}{
		{300 * time.Millisecond, true}, {location.DefaultMonitor - 1, true}, {location.DefaultMonitor, false},
		{location.DefaultMonitor + time.Hour, false}, // resumed from suspend
		{-1, false}, {0, true},
	} {
		c.set(start + step.at)
		if got := g.Allows(iface, epoch); got != step.want {
			t.Errorf("%v after the request was sent: %v, want %v", step.at, got, step.want)
		}
	}
	c.set(start + location.DefaultMonitor - 1)
	c.wall.Store(c.wall.Load() - 86400)
	if !g.Allows(iface, epoch) {
		t.Error("the time of day counts")
	}
	c.set(start + location.DefaultMonitor)
	if g.Allows(iface, epoch) {
		t.Error("the time of day counts")
	}
}

// Shows: DET-1, DET-2
func TestOnlyThatInterfaceAndEpoch(t *testing.T) {
	c := newClock()
	g := gate.New(c, newKernel(c))
	if err := g.Open(gatetest.Proof(t, iface, epoch, start)); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		for e := range uint64(10) {
			if got, want := g.Allows(i, e), i == iface && e == epoch; got != want {
				t.Errorf("interface %d epoch %d: %v, want %v", i, e, got, want)
			}
		}
	}
}

// Shows: DET-2
func TestNewEpochClosesAtOnce(t *testing.T) {
	c := newClock()
	g := gate.New(c, newKernel(c))
	old := gatetest.Proof(t, iface, epoch, start)
	other := gatetest.Proof(t, iface+1, epoch, start)
	for _, p := range []location.Proof{old, other} {
		if err := g.Open(p); err != nil {
			t.Fatal(err)
		}
	}
	g.Enter(iface, epoch) // nothing new
	if !g.Allows(iface, epoch) {
		t.Error("the present epoch was begun again")
	}
	g.Enter(iface, epoch+1)
	if g.Allows(iface, epoch) || g.Allows(iface, epoch+1) {
		t.Error("open in a new epoch")
	}
	if !g.Allows(iface+1, epoch) {
		t.Error("another interface was closed")
	}
	if err := g.Open(old); !errors.Is(err, gate.ErrNotOpened) {
		t.Errorf("a proof of the old epoch: %v", err)
	}
	if g.Allows(iface, epoch) {
		t.Error("a proof of the old epoch opened the gate")
	}
	g.Enter(iface, epoch-1)
	if err := g.Open(gatetest.Proof(t, iface, epoch+1, start)); err != nil {
		t.Fatal(err)
	}
	if !g.Allows(iface, epoch+1) || g.Allows(iface, epoch) {
		t.Error("the new epoch's proof does not count, or the old one's does again")
	}
}

// Shows: DET-4
func TestProofsThatDoNotOpen(t *testing.T) {
	c := newClock()
	g := gate.New(c, newKernel(c))
	for name, p := range map[string]location.Proof{
		"zero":            {},
		"expired":         gatetest.Proof(t, iface, epoch, start-location.DefaultMonitor),
		"from the future": gatetest.Proof(t, iface, epoch, start+1),
	} {
		if err := g.Open(p); !errors.Is(err, gate.ErrNotOpened) {
			t.Errorf("%s: %v", name, err)
		}
		if g.Allows(p.Interface(), p.Epoch()) || len(g.States()) != 0 {
			t.Errorf("%s: open", name)
		}
	}
	if err := g.Open(gatetest.Proof(t, iface, epoch, start)); err != nil {
		t.Fatal(err)
	}
	if err := g.Open(gatetest.Proof(t, iface, epoch, start-30*time.Second)); err != nil {
		t.Errorf("an older proof: %v", err)
	}
	c.set(start + 50*time.Second)
	if !g.Allows(iface, epoch) {
		t.Error("an older proof replaced a newer one")
	}
}

// Shows: DET-12
func TestCloseAtOnce(t *testing.T) {
	c := newClock()
	g := gate.New(c, newKernel(c))
	var w wire
	var drops packet.Drops
	sender := g.Guard(iface, epoch, &w, &drops)
	open := func() {
		t.Helper()
		if err := g.Open(gatetest.Proof(t, iface, epoch, start)); err != nil {
			t.Fatal(err)
		}
	}
	for _, shut := range []func(){
		func() { g.Close(iface, "refused") },
		func() { g.CloseAll("down") },
		func() { g.Enter(iface, epoch+1) },
	} {
		open()
		if err := sender.Send(batch(1)); err != nil {
			t.Fatal(err)
		}
		before := w.packets.Load()
		shut()
		if err := sender.Send(batch(1)); err != nil {
			t.Fatal(err)
		}
		if w.packets.Load() != before || before == 0 {
			t.Errorf("%d packets passed before closing, %d after", before, w.packets.Load()-before)
		}
	}
	g.Close(99, "never heard of")
	if len(g.States()) != 1 {
		t.Errorf("states %+v", g.States())
	}
}

func TestExposureAndStates(t *testing.T) {
	c := newClock()
	g := gate.New(c, newKernel(c))
	var w wire
	sender := g.Guard(iface, epoch, &w, nil)
	receiver := g.GuardReceiver(iface, epoch, func(b *packet.Batch) { b.Release() }, nil)
	if err := g.Open(gatetest.Proof(t, iface, epoch, start)); err != nil {
		t.Fatal(err)
	}
	g.Enter(iface+1, 1)
	for _, step := range []struct {
		at, last, most time.Duration
		receive        bool
	}{
		{at: 2 * time.Second, last: 2 * time.Second, most: 2 * time.Second},
		{at: 40 * time.Second, last: 40 * time.Second, most: 40 * time.Second, receive: true},
		{at: 5 * time.Second, last: 5 * time.Second, most: 40 * time.Second},
		{at: 61 * time.Second, last: 5 * time.Second, most: 40 * time.Second}, // dropped
	} {
		c.set(start + step.at)
		if step.receive {
			receiver(batch(1))
		} else if err := sender.Send(batch(1)); err != nil {
			t.Fatal(err)
		}
		if last, most := g.Exposure(); last != step.last || most != step.most {
			t.Errorf("at %v: exposure %v, %v; want %v, %v", step.at, last, most, step.last, step.most)
		}
	}
	c.set(start + 20*time.Second)
	want := []gate.State{
		{Interface: iface, Epoch: epoch, Open: true, Age: 20 * time.Second, Remaining: 40 * time.Second},
		{Interface: iface + 1, Epoch: 1, Reason: "a new connection has not been proven to be inside"},
	}
	check := func() {
		t.Helper()
		got := g.States()
		if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] {
			t.Errorf("states %+v, want %+v", got, want)
		}
	}
	check()
	c.set(start + 90*time.Second)
	want[0] = gate.State{Interface: iface, Epoch: epoch, Reason: "the proof has expired"}
	check()
	g.Close(iface, "refused: 129")
	want[0].Reason = "refused: 129"
	check()
}

// Shows: DET-4 (the clock is read at each final send, so that nothing that waited gets through)
func TestEverySendReadsTheClock(t *testing.T) {
	c := newClock()
	g := gate.New(c, newKernel(c))
	if err := g.Open(gatetest.Proof(t, iface, epoch, start)); err != nil {
		t.Fatal(err)
	}
	var w wire
	sender := g.Guard(iface, epoch, &w, nil)
	before := c.reads.Load()
	for range 10 {
		if err := sender.Send(batch(2)); err != nil {
			t.Fatal(err)
		}
	}
	if n := c.reads.Load() - before; n != 10 {
		t.Errorf("the clock was read %d times for 10 batches", n)
	}
	c.set(start + location.DefaultMonitor)
	if err := sender.Send(batch(2)); err != nil {
		t.Fatal(err)
	}
	if w.packets.Load() != 20 {
		t.Errorf("%d packets passed, want 20", w.packets.Load())
	}
}

func TestNoAllocations(t *testing.T) {
	c := newClock()
	g := gate.New(c, newKernel(c))
	for i := range 4 {
		if err := g.Open(gatetest.Proof(t, i+1, epoch, start)); err != nil {
			t.Fatal(err)
		}
	}
	sender := g.Guard(iface, epoch, nothing{}, nil)
	receiver := g.GuardReceiver(iface, epoch, func(*packet.Batch) {}, nil)
	b := batch(4)
	defer b.Release()
	if n := testing.AllocsPerRun(1000, func() {
		if !g.Allows(iface, epoch) {
			panic("closed")
		}
		_ = sender.Send(b)
		receiver(b)
	}); n != 0 {
		t.Errorf("%v allocations a batch", n)
	}
}

// nothing leaves the batch as it is.
type nothing struct{}

func (nothing) Send(*packet.Batch) error { return nil }

// Shows: DET-1, DET-2, DET-4, DET-12 (under concurrency: no batch gets through for a closed interface or an old epoch)
func TestConcurrentUse(t *testing.T) {
	c := newClock()
	g := gate.New(c, newKernel(c))
	const rounds = 300
	var present atomic.Uint64 // the epoch that was entered last
	var users sync.WaitGroup
	done := make(chan struct{})
	var passed atomic.Int64
	for i := range 4 {
		users.Go(func() {
			for n := uint64(i); ; n++ {
				select {
				case <-done:
					return
				default:
				}
				e := n%rounds + 1
				before := present.Load()
				allowed := g.Allows(iface, e)
				if allowed && e < before {
					t.Errorf("epoch %d allowed although epoch %d had been entered", e, before)
					return
				}
				if allowed {
					passed.Add(1)
				}
				g.States()
				g.Exposure()
				if g.Allows(iface+1, e) {
					t.Error("an interface without proof allowed")
					return
				}
			}
		})
	}
	var w wire
	for e := uint64(1); e <= rounds; e++ {
		g.Enter(iface, e)
		present.Store(e)
		if err := g.Open(gatetest.Proof(t, iface, e, start)); err != nil {
			t.Fatal(err)
		}
		sender := g.Guard(iface, e, &w, nil)
		for range 5 {
			if err := sender.Send(batch(1)); err != nil {
				t.Fatal(err)
			}
		}
		if e%3 == 0 {
			g.Close(iface, "test")
			if g.Allows(iface, e) {
				t.Fatal("open after Close has returned")
			}
		}
	}
	close(done)
	users.Wait()
	if w.packets.Load() != 5*rounds {
		t.Errorf("%d packets passed, want %d", w.packets.Load(), 5*rounds)
	}
}

// Shows: DET-1, DET-2, DET-4 (against a model, on random operations)
func TestRandomOperations(t *testing.T) {
	type slot struct {
		epoch  uint64
		sentAt time.Duration // 0: closed
	}
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 4))
		c := newClock()
		g := gate.New(c, newKernel(c))
		model := map[int]slot{}
		now := start
		for range 60 {
			i, e := 1+r.IntN(3), uint64(1+r.IntN(4))
			s := model[i]
			switch r.IntN(5) {
			case 0:
				now += time.Duration(r.IntN(40)) * time.Second
				c.set(now)
			case 1:
				g.Enter(i, e)
				if e > s.epoch {
					model[i] = slot{epoch: e}
				}
			case 2:
				g.Close(i, "test")
				model[i] = slot{epoch: s.epoch}
			default:
				sent := now - time.Duration(r.IntN(80))*time.Second
				err := g.Open(gatetest.Proof(t, i, e, sent))
				good := now-sent < location.DefaultMonitor && e >= s.epoch
				if (err == nil) != good {
					t.Fatalf("seed %d: proof of epoch %d, %v old, in epoch %d: %v", seed, e, now-sent, s.epoch, err)
				}
				if good && (e > s.epoch || sent >= s.sentAt) {
					model[i] = slot{epoch: e, sentAt: sent}
				}
			}
			for i := 1; i <= 3; i++ {
				for e := uint64(1); e <= 4; e++ {
					s := model[i]
					want := s.epoch == e && s.sentAt != 0 && now-s.sentAt < location.DefaultMonitor
					if got := g.Allows(i, e); got != want {
						t.Fatalf("seed %d: interface %d epoch %d at %v: %v, want %v", seed, i, e, now, got, want)
					}
				}
			}
		}
	}
}

func BenchmarkGuard(b *testing.B) {
	c := newClock()
	g := gate.New(c, newKernel(c))
	if err := g.Open(gatetest.Proof(b, iface, epoch, start)); err != nil {
		b.Fatal(err)
	}
	sender := g.Guard(iface, epoch, nothing{}, nil)
	one := batch(packet.BatchSize)
	defer one.Release()
	b.ReportAllocs()
	for b.Loop() {
		_ = sender.Send(one)
	}
}
