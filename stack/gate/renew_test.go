package gate_test

import (
	"errors"
	"maps"
	"testing"
	"time"

	"mipvpn/detect/location"
	"mipvpn/stack/gate"
	"mipvpn/stack/gate/gatetest"
)

// Shows: DET-4, HST-2 (a kernel's half that was made anew gets the permits of what the gate is open for, and no others)
func TestRenew(t *testing.T) {
	c := newClock()
	k := newKernel(c)
	g := gate.New(c, k)
	lived := time.Duration(0)
	g.WatchSleep(func() time.Duration { return lived })
	for _, i := range []int{iface, iface + 1, iface + 2} {
		if err := g.Open(gatetest.Proof(t, i, epoch, start)); err != nil {
			t.Fatal(err)
		}
	}
	g.Close(iface+1, "refused")
	g.Enter(iface+2, epoch+1)
	clear(k.permits) // another program's doing
	if err := g.Renew(); err != nil {
		t.Fatal(err)
	}
	if want := map[int]time.Duration{iface: start + location.DefaultMonitor}; !maps.Equal(k.live(), want) {
		t.Errorf("permits %v, want %v", k.live(), want)
	}
	k.err = errors.New("no memory")
	if err := g.Renew(); !errors.Is(err, k.err) {
		t.Errorf("error %v, want the kernel's", err)
	}
	k.err = nil
	clear(k.permits)
	c.boot.Add(int64(time.Second)) // asleep
	if err := g.Renew(); err != nil || len(k.live()) != 0 {
		t.Errorf("after a sleep: permits %v, %v", k.live(), err)
	}
	lived += time.Second
	c.set(start + location.DefaultMonitor)
	if err := g.Renew(); err != nil || len(k.permits) != 0 {
		t.Errorf("with a proof that has run out: permits %v, %v", k.permits, err)
	}
}
