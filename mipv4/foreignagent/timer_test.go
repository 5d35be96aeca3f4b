package foreignagent

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Timers become due in the order of their times, whatever is set anew or stopped meanwhile.
//
// Shows: GDL-6
func TestAgendaOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var a agenda
	all := make([]*registration, 500)
	for i := range all {
		all[i] = newRegistration(registrationKey{})
	}
	for range 20_000 {
		r := all[random.IntN(len(all))]
		if random.IntN(4) == 0 {
			a.stop(&r.waiting)
		} else {
			a.set(&r.waiting, time.Duration(random.IntN(1000)))
		}
	}
	left := len(a)
	if left == 0 || a.due(-1) != nil {
		t.Fatalf("%d timers, one of them due before its time", left)
	}
	last := time.Duration(-1)
	for r := a.due(1000); r != nil; r = a.due(1000) {
		if r.waiting.at < last {
			t.Fatalf("due at %d behind %d", r.waiting.at, last)
		}
		last = r.waiting.at
		a.stop(&r.waiting)
		left--
	}
	if left != 0 {
		t.Errorf("%d timers never became due", left)
	}
	for _, r := range all {
		if r.waiting.place != 0 {
			t.Fatal("a timer believes to be in the agenda")
		}
	}
}
