package gate_test

import (
	"testing"
	"time"

	"mipvpn/stack/gate"
	"mipvpn/stack/gate/gatetest"
)

// Shows: DET-2, DET-4 (a resume closes the gate before anybody has told it so, however young the proof is)
func TestSleepClosesByItself(t *testing.T) {
	c := newClock()
	g := gate.New(c, newKernel(c))
	lived := start / 2
	g.WatchSleep(func() time.Duration { return lived })
	pass := func(d time.Duration) {
		c.boot.Add(int64(d))
		lived += d
	}
	open := func() {
		t.Helper()
		if err := g.Open(gatetest.Proof(t, iface, epoch, time.Duration(c.boot.Load()))); err != nil {
			t.Fatal(err)
		}
	}
	open()
	pass(50 * time.Second)
	if !g.Allows(iface, epoch) {
		t.Error("closed with a live proof and no sleep")
	}
	open()
	c.boot.Add(int64(time.Second)) // asleep
	if g.Allows(iface, epoch) {
		t.Error("open after a sleep of a second")
	}
	if s := g.States()[0]; s.Open || s.Reason != "the host has slept since the proof" {
		t.Errorf("state %+v", s)
	}
	pass(time.Second)
	if g.Allows(iface, epoch) {
		t.Error("opened again without a proof")
	}
	open()
	pass(time.Second)
	if !g.Allows(iface, epoch) {
		t.Error("closed with a proof from after the sleep")
	}
	lived += time.Second // the readings were apart
	if !g.Allows(iface, epoch) {
		t.Error("closed although nothing slept")
	}
}
