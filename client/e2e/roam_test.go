package e2e

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/control"
	"mipvpn/stack/simnet"
)

// place is an access network and the mode that it brings about.
type place struct {
	name string
	wire func(*World) *simnet.Wire
	mode string
}

var places = []place{
	{"office", func(w *World) *simnet.Wire { return w.Office }, "c"},
	{"office FA", func(w *World) *simnet.Wire { return w.OfficeFA }, "f"},
	{"café", func(w *World) *simnet.Wire { return w.Cafe }, "cvc"},
	{"hotspot", func(w *World) *simnet.Wire { return w.Hotspot }, "fvc"},
}

// Shows: MOD-keep (between any two modes, with the interface cut and with a second interface), MOD-c, MOD-f, MOD-cvc, MOD-fvc
func TestSessionSurvivesEveryChange(t *testing.T) {
	t.Parallel()
	for fi, from := range places {
		for ti, to := range places {
			for si, second := range []bool{false, true} {
				if !sampled(2, fi, ti, si) { // each pair once
					continue
				}
				name := fmt.Sprintf("%s to %s", from.name, to.name)
				if second {
					name += " on the other interface"
				}
				t.Run(name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { testChange(t, Options{Seed: 10}, from, to, second) })
				})
			}
		}
	}
}

func testChange(t *testing.T, o Options, from, to place, second bool) {
	w := world(t, o)
	j := Watch(w.External()...)
	w.Plug(w.Wlan0, from.wire(w))
	if _, err := w.UntilMode(20*time.Second, from.mode); err != nil {
		t.Fatal(err)
	}
	s, err := StartSession(w)
	if err != nil {
		t.Fatal(err)
	}
	p, err := StartProbe(w)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second)
	var arrived control.Status
	if second {
		w.Plug(w.Eth0, to.wire(w))
		arrived, err = w.Until(30*time.Second, func(s control.Status) bool {
			return s.State == control.StateConnected && (s.Interface == "eth0" && s.Mode == to.mode)
		})
		if direct := from.mode == "c" || from.mode == "f"; err != nil && direct && (to.mode == "cvc" || to.mode == "fvc") {
			err = nil // direct access through the first interface is preferred, so it stays (MOD-prefer)
		}
	} else {
		w.Unplug(w.Wlan0)
		time.Sleep(200 * time.Millisecond)
		w.Plug(w.Wlan0, to.wire(w))
		arrived, err = w.UntilMode(30*time.Second, to.mode)
	}
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second)
	upBefore, downBefore := s.Octets()
	time.Sleep(5 * time.Second)
	upAfter, downAfter := s.Octets()
	if upAfter-upBefore < 100*chunk || downAfter-downBefore < 100*chunk {
		t.Errorf("after the change %d octets up and %d down in 5 s", upAfter-upBefore, downAfter-downBefore)
	}
	up, down, err := s.Finish()
	if err != nil {
		t.Error(err)
	}
	sent, back, gap := p.Counts()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	judge(t, j)
	t.Logf("%d octets up, %d down; UDP %d of %d, longest gap %v; mode %s on %s", up, down, back, sent, gap, arrived.Mode, arrived.Interface)
}

// Shows: GDL-5, DET-7 (with a living SA, the x-HA's reply is enough)
func TestMoveOutsideNeedsOneRegistrationAndNoIKE(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 11})
		w.Plug(w.Wlan0, w.Cafe)
		before, err := w.UntilMode(20*time.Second, "cvc")
		if err != nil {
			t.Fatal(err)
		}
		count := &signalling{}
		defer w.TapAll(count.look)()
		w.Plug(w.Wlan0, w.Hotspot)
		after, err := w.UntilMode(20*time.Second, "fvc")
		if err != nil {
			t.Fatal(err)
		}
		if count.ike() != 0 {
			t.Errorf("%d IKE messages for a move from outside to outside", count.ike())
		}
		if a, b := spis(before), spis(after); a == "" || a != b {
			t.Errorf("SPIs before %s, after %s", a, b)
		}
		last := after.Handoffs[len(after.Handoffs)-1]
		if last.From != "cvc wlan0" || last.To != "fvc wlan0" {
			t.Errorf("handoff %+v", last)
		}
		t.Logf("outage %.1f ms", last.Outage)
	})
}

func spis(s control.Status) string {
	for _, l := range s.Layers {
		if l.Kind == "vpn" {
			return fmt.Sprint(l.SPIs)
		}
	}
	return ""
}

// Shows: DET-8 (what was registered with the x-HA is given up inside), MOD-park (the SA is kept and used again)
func TestBackOutsideUsesTheParkedSA(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 12})
		w.Plug(w.Wlan0, w.Cafe)
		before, err := w.UntilMode(20*time.Second, "cvc")
		if err != nil {
			t.Fatal(err)
		}
		w.Plug(w.Wlan0, w.Office)
		if _, err := w.UntilMode(20*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		w.Plug(w.Wlan0, w.Cafe)
		after, err := w.UntilMode(20*time.Second, "cvc")
		if err != nil {
			t.Fatal(err)
		}
		if a, b := spis(before), spis(after); a != b {
			t.Errorf("SPIs before %s, after %s: the parked SA was not used", a, b)
		}
		if s, err := w.Client.Status(context.Background()); err != nil || len(s.Problems) != 0 {
			t.Errorf("problems %v, %v", s.Problems, err)
		}
	})
}
