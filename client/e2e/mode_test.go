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

// Shows: MOD-c
func TestModeC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 1})
		w.Plug(w.Eth0, w.Office)
		s, err := w.UntilMode(10*time.Second, "c")
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", s)
	})
}

// Shows: MOD-f
func TestModeF(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 1})
		w.Plug(w.Wlan0, w.OfficeFA)
		s, err := w.UntilMode(10*time.Second, "f")
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", s)
	})
}
