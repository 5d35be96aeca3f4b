package e2e

import (
	"testing"
	"testing/synctest"
	"time"
)

// The cable is moved from one network to another in one instant, so that no snapshot sees the carrier gone. At the office
// FA's and the hotspot the laptop has no address either, so that nothing but the count of carrier changes tells the two
// apart: without it, user packets would go on in the clear, to the office FA's hardware address, on the hotspot's wire.
//
// Shows: DET-2 (a flap between two snapshots)
func TestCableMovedInOneInstant(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ from, to place }{{places[0], places[2]}, {places[1], places[3]}} {
		t.Run(c.from.name+" to "+c.to.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 21})
				j := Watch(w.External()...)
				w.Plug(w.Eth0, c.from.wire(w))
				if _, err := w.UntilMode(20*time.Second, c.from.mode); err != nil {
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
				time.Sleep(3*time.Second + 3*time.Millisecond) // between two packets of the probe
				w.Plug(w.Eth0, c.to.wire(w))
				if _, err := w.UntilMode(30*time.Second, c.to.mode); err != nil {
					t.Fatal(err)
				}
				time.Sleep(3 * time.Second)
				if _, _, err := s.Finish(); err != nil {
					t.Error(err)
				}
				if err := p.Close(); err != nil {
					t.Error(err)
				}
				judge(t, j)
			})
		})
	}
}
