package e2e

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mipvpn/client"
	"mipvpn/client/control"
	"mipvpn/stack/simnet"
)

// setUp are moments within a set-up: the address comes after 20 ms, the x-HA answers some 15 ms later, IKE starts after 2 s
// and takes 60 ms, the registration through the VPN 30 ms more.
func setUp() []time.Duration {
	moments := []time.Duration{0, time.Millisecond}
	for at := 20 * time.Millisecond; at < 45*time.Millisecond; at += 1500 * time.Microsecond {
		moments = append(moments, at)
	}
	for at := 2018 * time.Millisecond; at < 2130*time.Millisecond; at += 5 * time.Millisecond {
		moments = append(moments, at)
	}
	return append(moments, 3*time.Second, 35*time.Second)
}

// sentPlaintext counts the frames that the client itself sends in the clear. While it is down, applications' packets go the
// host's own way, as they did before it came: they do not count here.
func sentPlaintext(w *World, wires ...*simnet.Wire) *atomic.Int64 {
	var n atomic.Int64
	for _, wire := range wires {
		wire.Tap(func(f simnet.Frame) {
			if f.Plaintext && strings.HasPrefix(f.Sender, "laptop/") {
				n.Add(1)
			}
		})
	}
	return &n
}

// Shows: MOD-switch (the client can be closed at any moment; the bubble notices a goroutine that is left)
func TestCloseAtEveryMoment(t *testing.T) {
	t.Parallel()
	for _, at := range places {
		t.Run(at.name, func(t *testing.T) {
			for _, m := range setUp() {
				synctest.Test(t, func(t *testing.T) {
					w := world(t, Options{Seed: 70, Log: zap.NewNop()})
					talk(t, w, 25*time.Millisecond)
					w.Plug(w.Wlan0, at.wire(w))
					time.Sleep(m)
					began := time.Now()
					if err := w.Client.Close(); err != nil {
						t.Fatalf("closed after %v: %v", m, err)
					}
					if took := time.Since(began); took != 0 {
						t.Errorf("closed after %v: that took %v", m, took)
					}
					clear := sentPlaintext(w, at.wire(w))
					if err := w.Client.Up(context.Background()); !errors.Is(err, client.ErrClosed) {
						t.Errorf("closed after %v: up says %v", m, err)
					}
					time.Sleep(time.Second)
					if n := clear.Load(); n != 0 {
						t.Errorf("closed after %v: %d frames of user data afterwards", m, n)
					}
				})
			}
		})
	}
}

// Shows: MOD-switch (down and up at any moment; epochs go on, so that the gate opens again)
func TestDownAndUpAtEveryMoment(t *testing.T) {
	t.Parallel()
	for _, at := range places {
		t.Run(at.name, func(t *testing.T) {
			for i, m := range setUp() {
				if i%3 != 0 {
					continue
				}
				synctest.Test(t, func(t *testing.T) {
					w := world(t, Options{Seed: 71, Log: zap.NewNop()})
					clear := sentPlaintext(w, at.wire(w))
					k := talk(t, w, 25*time.Millisecond)
					w.Plug(w.Wlan0, at.wire(w))
					time.Sleep(m)
					ctx := context.Background()
					if err := w.Client.Down(ctx); err != nil {
						t.Fatal(err)
					}
					s, err := w.Client.Status(ctx)
					if err != nil || s.State != control.StateDown || s.Mode != "" || len(s.Problems) != 0 {
						t.Fatalf("down after %v: state %s, mode %q, problems %v, %v", m, s.State, s.Mode, s.Problems, err)
					}
					time.Sleep(time.Second)
					before := clear.Load()
					time.Sleep(time.Second)
					if n := clear.Load() - before; n != 0 {
						t.Errorf("down after %v: %d frames of user data afterwards", m, n)
					}
					if err := w.Client.Up(ctx); err != nil {
						t.Fatal(err)
					}
					if _, err := w.UntilMode(20*time.Second, at.mode); err != nil {
						t.Fatalf("down after %v and up again: %v", m, err)
					}
					k.works(t, 2*time.Second)
					if n := clear.Load(); n != 0 && (at.mode == "cvc" || at.mode == "fvc") {
						t.Errorf("%d frames of user data in the clear outside", n)
					}
				})
			}
		})
	}
}

// Shows: MOD-switch (several at once)
func TestEverythingAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 72, Log: zap.NewNop()})
		talk(t, w, 50*time.Millisecond)
		outside, inside := sentPlaintext(w, w.External()...), sentPlaintext(w, w.Office)
		ctx, cancel := context.WithCancel(context.Background())
		var people sync.WaitGroup
		for i, act := range []func(){
			func() { _ = w.Client.Down(ctx) },
			func() { _ = w.Client.Up(ctx) },
			func() { _ = w.Client.Up(ctx) },
			func() { _ = w.Client.SetMode(ctx, "cvc") },
			func() { _ = w.Client.SetMode(ctx, "auto") },
			func() { _, _ = w.Client.Detect(ctx, true) },
			func() { _, _ = w.Client.Status(ctx) },
			func() { w.Plug(w.Wlan0, w.Cafe) },
			func() { w.Plug(w.Wlan0, w.Hotspot) },
			func() { w.Plug(w.Eth0, w.Office) },
			func() { w.Unplug(w.Eth0) },
		} {
			people.Go(func() {
				tick := time.NewTicker(time.Duration(37+13*i) * 7 * time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-tick.C:
						act()
					case <-ctx.Done():
						return
					}
				}
			})
		}
		time.Sleep(time.Minute)
		cancel()
		people.Wait()
		if outside.Load() != 0 || inside.Load() == 0 {
			t.Errorf("%d frames in the clear outside, %d inside", outside.Load(), inside.Load())
		}
		// It is no worse for that.
		if err := errors.Join(w.Client.Up(context.Background()), w.Client.SetMode(context.Background(), "auto")); err != nil {
			t.Fatal(err)
		}
		w.Unplug(w.Eth0)
		w.Plug(w.Wlan0, w.Cafe)
		if _, err := w.UntilMode(time.Minute, "cvc"); err != nil {
			t.Fatal(err)
		}
	})
}
