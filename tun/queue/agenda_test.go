package queue

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Timers become due in the order of their times, whatever is set anew or stopped meanwhile.
//
// Shows: GDL-6
func TestAgendaOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var a Agenda[int]
	all := make([]Timer[int], 500)
	for i := range all {
		all[i] = NewTimer(i, 0)
	}
	for range 20_000 {
		x := &all[random.IntN(len(all))]
		if random.IntN(4) == 0 {
			a.Stop(x)
		} else {
			a.Set(x, time.Duration(random.IntN(1000)))
		}
	}
	left := a.Len()
	if _, due := a.Due(-1); left == 0 || due {
		t.Fatalf("%d timers, one of them due before its time", left)
	}
	set := a.All()
	slices.Sort(set)
	if len(slices.Compact(set)) != left {
		t.Errorf("%d timers of %d different things", left, len(set))
	}
	last := time.Duration(-1)
	for i, due := a.Due(1000); due; i, due = a.Due(1000) {
		at, ok := a.Deadline()
		if first, _ := a.First(); !ok || first != i || at != all[i].At() || at < last {
			t.Fatalf("%d, due at %d behind %d; the first is %d, at %d", i, all[i].At(), last, first, at)
		}
		last = at
		a.Stop(&all[i])
		left--
	}
	if _, ok := a.Deadline(); left != 0 || ok {
		t.Errorf("%d timers never became due", left)
	}
	if _, ok := a.First(); ok {
		t.Error("an empty agenda has a first timer")
	}
	for i := range all {
		if all[i].Running() {
			t.Fatal("a timer believes to be in the agenda")
		}
	}
}
