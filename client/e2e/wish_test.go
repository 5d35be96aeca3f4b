package e2e

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"mipvpn/client"
	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/tun/link"
)

// wishing is the lab with a laptop that is not up from the start and keeps its wish in the store. Restart kills its process and starts
// the next one on h; what that logs is returned.
func wishing(t *testing.T, seed uint64, store *kept) (w *World, restart func(h link.Host) *observer.ObservedLogs) {
	t.Helper()
	asked := func(c *config.Config) { c.UpAtStart = false }
	w = world(t, Options{Seed: seed, Client: asked, Start: []client.Option{client.WithWish(store)}})
	w.Plug(w.Eth0, w.Cafe)
	var p *Process
	return w, func(h link.Host) *observer.ObservedLogs {
		t.Helper()
		if p != nil {
			p.Kill()
		}
		if err := w.Client.Close(); err != nil {
			t.Fatal(err)
		}
		w.Client = nil
		time.Sleep(3 * time.Second) // as long as a service manager may take
		if h == nil {
			p = NewProcess(w.Laptop, 0)
			h = p
		}
		cfg := ClientConfig()
		asked(cfg)
		core, logs := observer.New(zapcore.InfoLevel)
		c, err := client.Start(h, cfg, zap.New(core), client.WithWish(store))
		if err != nil {
			t.Fatal(err)
		}
		w.Client = c
		return logs
	}
}

// stateOf returns the state after a moment.
func stateOf(t *testing.T, w *World) control.State {
	t.Helper()
	time.Sleep(10 * time.Second)
	s, err := w.Client.Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return s.State
}

// Shows: HST-2 (a daemon that is killed comes back as it was asked to be: up by itself, with the session going on, or down; nothing
// leaves in the clear meanwhile)
func TestComesBackAsItWas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &kept{}
		w, restart := wishing(t, 940, store)
		restart(nil)
		if got := stateOf(t, w); got != control.StateDown {
			t.Fatalf("without a wish: %s", got)
		}
		if err := w.Client.Up(context.Background()); err != nil {
			t.Fatal(err)
		}
		if _, err := w.UntilMode(time.Minute, "cvc"); err != nil {
			t.Fatal(err)
		}
		s := converse(t, w)
		s.pass(t, s.near, s.far, 1000)
		clear := readableOn(w)
		for range 2 { // what it came back as is what it comes back as
			logs := restart(nil)
			if _, err := w.UntilMode(time.Minute, "cvc"); err != nil {
				t.Fatal(err)
			}
			s.pass(t, s.near, s.far, 1000)
			events, cancel := w.Client.SubscribeAfter("another-1")
			var told []string
			for range len(events) {
				if e := <-events; e.Kind == "up" {
					told = append(told, e.Message)
				}
			}
			cancel()
			if len(told) != 1 || !strings.Contains(told[0], "again, as before the daemon was started anew") || logs.FilterMessage(told[0]).Len() != 1 {
				t.Errorf("told %q, and logged %v", told, logs.All())
			}
		}
		s.end(t)
		if n := clear.Load(); n != 0 {
			t.Errorf("%d frames in the clear at the café", n)
		}
		if err := w.Client.Down(context.Background()); err != nil {
			t.Fatal(err)
		}
		restart(nil)
		if got := stateOf(t, w); got != control.StateDown {
			t.Errorf("started anew after down: %s", got)
		}
	})
}

// Shows: HST-2 (what cannot be read is no wish: the client stays down, says so, and what is blocked stays so)
func TestBrokenWish(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]string{
		"empty": "", "not a state": "up", "cut short": `{"version":1,"wi`, "newer": `{"version":2,"wish":"up"}`, "another wish": `{"version":1,"wish":"open"}`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &kept{}
				w, restart := wishing(t, 941, store)
				if err := w.Client.Up(context.Background()); err != nil {
					t.Fatal(err)
				}
				if _, err := w.UntilMode(time.Minute, "cvc"); err != nil {
					t.Fatal(err)
				}
				clear := readableOn(w)
				k := talk(t, w, time.Second)
				if err := store.Save([]byte(state)); err != nil {
					t.Fatal(err)
				}
				logs := restart(nil)
				if got := stateOf(t, w); got != control.StateDown {
					t.Errorf("with %q: %s", state, got)
				}
				if logs.FilterLevelExact(zapcore.WarnLevel).FilterMessageSnippet("run `mipvpn up`").Len() != 1 {
					t.Errorf("with %q the log says %v", state, logs.All())
				}
				if n := clear.Load(); n != 0 {
					t.Errorf("%d frames in the clear", n)
				}
				if err := w.Client.Up(context.Background()); err != nil {
					t.Fatal(err)
				}
				mended(t, w, k, time.Minute, "cvc")
				restart(nil)
				if _, err := w.UntilMode(time.Minute, "cvc"); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A wish that cannot be followed does not end the daemon: it is asked again, or taken down.
func TestCannotComeBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, restart := wishing(t, 942, &kept{})
		if err := w.Client.Up(context.Background()); err != nil {
			t.Fatal(err)
		}
		h := &brokenHost{Host: w.Laptop, refuse: errDevice}
		problems := func() []control.Problem {
			t.Helper()
			s, err := w.Client.Status(context.Background())
			if err != nil || s.State != control.StateDown {
				t.Fatalf("%s, %v", s.State, err)
			}
			return s.Problems
		}
		restart(h)
		if p := problems(); len(p) != 1 || !strings.Contains(p[0].Message, errDevice.Error()) || !strings.Contains(p[0].Advice, "`mipvpn up`") {
			t.Fatalf("problems %v", p)
		}
		if err := w.Client.Up(context.Background()); !errors.Is(err, errDevice) {
			t.Errorf("up: %v, want %v", err, errDevice)
		}
		restart(h) // it is still wished
		if p := problems(); len(p) != 1 {
			t.Errorf("the second time: problems %v", p)
		}
		h.refuse = nil
		if err := w.Client.Up(context.Background()); err != nil {
			t.Fatal(err)
		}
		if s, err := w.UntilMode(time.Minute, "cvc"); err != nil || slices.ContainsFunc(s.Problems, func(p control.Problem) bool { return p.Peer == "" }) {
			t.Errorf("problems %v, %v", s.Problems, err)
		}
		h.refuse = errDevice
		restart(h)
		if err := w.Client.Down(context.Background()); err != nil {
			t.Fatal(err)
		}
		if p := problems(); len(p) != 0 {
			t.Errorf("after down: %v", p)
		}
	})
}
