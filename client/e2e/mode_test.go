package e2e

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
)

// world starts a world in the running bubble and ends it with the test.
func world(t *testing.T, o Options) *World {
	t.Helper()
	if o.Log == nil {
		o.Log = zaptest.NewLogger(t, zaptest.Level(zap.DebugLevel))
	}
	w, err := NewWorld(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// use starts a session, lets it run and checks it.
func use(t *testing.T, w *World) {
	t.Helper()
	s, err := StartSession(w)
	if err != nil {
		t.Fatal(err)
	}
	near, far := s.Addresses()
	if near != far {
		t.Errorf("the laptop sees the socket pair %v, the correspondent %v", near, far)
	}
	time.Sleep(5 * time.Second)
	up, down, err := s.Finish()
	if err != nil {
		t.Error(err)
	}
	if up < 100*chunk || down < 100*chunk {
		t.Errorf("%d octets up, %d down", up, down)
	}
}

// Shows: MOD-c
func TestModeC(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 1})
		w.Plug(w.Eth0, w.Office)
		if _, err := w.UntilMode(10*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		use(t, w)
	})
}

// Shows: MOD-f
func TestModeF(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 1})
		w.Plug(w.Wlan0, w.OfficeFA)
		if _, err := w.UntilMode(10*time.Second, "f"); err != nil {
			t.Fatal(err)
		}
		use(t, w)
	})
}

// Shows: MOD-cvc
func TestModeCVC(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 1})
		j := Watch(w.External()...)
		w.Plug(w.Wlan0, w.Cafe)
		if _, err := w.UntilMode(10*time.Second, "cvc"); err != nil {
			t.Fatal(err)
		}
		use(t, w)
		judge(t, j)
	})
}

// Shows: MOD-fvc
func TestModeFVC(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 1})
		j := Watch(w.External()...)
		w.Plug(w.Wlan0, w.Hotspot)
		if _, err := w.UntilMode(10*time.Second, "fvc"); err != nil {
			t.Fatal(err)
		}
		use(t, w)
		judge(t, j)
	})
}

// judge fails the test when something leaked, or nothing was looked at.
func judge(t *testing.T, j *Judge) {
	t.Helper()
	leaks, frames := j.Leaks()
	if frames == 0 {
		t.Error("the judge has seen nothing")
	}
	for _, f := range leaks {
		t.Errorf("enterprise traffic in the clear on %s from %s: %x", f.Wire, f.Sender, f.Packet)
		return
	}
}
