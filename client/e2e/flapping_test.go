package e2e

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/control"
	"mipvpn/stack/simnet"
)

const (
	// flapInterval makes 100 changes a minute, flapTime is for how long.
	flapInterval = 600 * time.Millisecond
	flapTime     = 4 * time.Minute
	// mostRequests is how many registration requests a flapping interface may cost a minute, with both agents.
	mostRequests = 150
	// calmAfter is how long after the last change user data must flow again.
	calmAfter = 10 * time.Second
)

// Shows: HST-6, DET-2, MOD-keep (100 changes a minute: nothing leaks, the agents are not flooded, and the session goes on soon
// after; where another interface is steady, it does not even notice)
func TestFlapping(t *testing.T) {
	t.Parallel()
	wires := func(w *World, ps ...place) []*simnet.Wire {
		var all []*simnet.Wire
		for _, p := range ps {
			all = append(all, p.wire(w))
		}
		return all
	}
	for _, c := range []struct {
		name   string
		wires  func(*World) []*simnet.Wire // plugged in by turns; nil for unplugged
		steady func(*World) *simnet.Wire   // of eth0
		after  place
	}{
		{"the café's access point comes and goes", func(w *World) []*simnet.Wire { return []*simnet.Wire{w.Cafe, nil} }, nil, cafePlace},
		{"café and hotspot by turns", func(w *World) []*simnet.Wire { return wires(w, cafePlace, hotspotPlace) }, nil, cafePlace},
		{"office and café by turns", func(w *World) []*simnet.Wire { return wires(w, officePlace, cafePlace) }, nil, officePlace},
		{"office FA and hotspot by turns", func(w *World) []*simnet.Wire { return wires(w, places[1], hotspotPlace) }, nil, hotspotPlace},
		{"the office's access point, beside a steady cable at the café",
			func(w *World) []*simnet.Wire { return []*simnet.Wire{w.Office, nil} }, func(w *World) *simnet.Wire { return w.Cafe }, officePlace},
		{"the café's access point, beside a steady cable at the office",
			func(w *World) []*simnet.Wire { return []*simnet.Wire{w.Cafe, nil} }, func(w *World) *simnet.Wire { return w.Office }, officePlace},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 140, Log: zap.NewNop()})
				j, clear, r := Watch(w.External()...), watchClear(w), watchRegistrations(w)
				k := talk(t, w, 50*time.Millisecond)
				if c.steady != nil {
					w.Plug(w.Eth0, c.steady(w))
				} else {
					w.Plug(w.Wlan0, c.after.wire(w))
				}
				up := func(s control.Status) bool { return s.State == control.StateConnected }
				if _, err := w.Until(20*time.Second, up); err != nil {
					t.Fatal(err)
				}
				s := converse(t, w)
				s.pass(t, s.near, s.far, 1000)
				k.reset()
				asked := func() int { return len(r.requests(simnet.LabInternalHA)) + len(r.requests(simnet.LabExternalHA)) }
				before, turns := asked(), c.wires(w)
				worst, minute := 0, asked()
				for i := range int(flapTime / flapInterval) {
					if on := turns[i%len(turns)]; on != nil {
						w.Plug(w.Wlan0, on)
					} else {
						w.Unplug(w.Wlan0)
					}
					time.Sleep(flapInterval)
					if i%100 == 99 {
						worst, minute = max(worst, asked()-minute), asked()
					}
				}
				sent, answered, gap := k.counts()
				if worst > mostRequests {
					t.Errorf("%d registration requests in a minute of 100 changes, at most %d are fair", worst, mostRequests)
				}
				if c.steady != nil && (gap > 2*time.Second || answered < sent*9/10) {
					t.Errorf("%d of %d packets were answered beside a steady interface, longest gap %v", answered, sent, gap)
				}
				t.Logf("%d requests in %v, at most %d a minute; %d of %d packets answered, longest gap %v", asked()-before, flapTime, worst, answered, sent, gap)
				w.Plug(w.Wlan0, c.after.wire(w))
				began := time.Now()
				if _, err := w.Until(calmAfter, func(s control.Status) bool { return up(s) && (c.steady != nil || s.Mode == c.after.mode) }); err != nil {
					t.Fatal(err)
				}
				t.Logf("carrying again after %v", time.Since(began))
				s.pass(t, s.near, s.far, 10_000)
				s.pass(t, s.far, s.near, 10_000)
				if _, err := w.UntilMode(time.Minute, c.after.mode); err != nil {
					t.Error(err)
				}
				s.end(t)
				if st, err := w.Client.Status(context.Background()); err != nil || len(st.Problems) != 0 {
					t.Errorf("problems %v, %v", st.Problems, err)
				}
				if n := clear.on(w.External()...); n != 0 {
					t.Errorf("%d frames of user data in the clear outside", n)
				}
				judge(t, j)
			})
		})
	}
}
