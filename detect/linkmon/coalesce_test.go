package linkmon

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// The first hint is passed on at once; those within the gathering time after it come as one at its end, 10 ms later and
// not 100: the address that follows the carrier need not wait. Hints that do not end come every 100 ms.
func TestCoalescer(t *testing.T) {
	flood := make([]time.Duration, 700) // a hint each millisecond
	for i := range flood {
		flood[i] = time.Duration(i)
	}
	var slow []time.Duration // each just after the one before has been gathered
	for i := range 60 {
		slow = append(slow, time.Duration(i)*11)
	}
	for _, test := range []struct {
		name       string
		hints, out []time.Duration // in milliseconds
	}{
		{"one", []time.Duration{0}, []time.Duration{0}},
		{"carrier, then address and route", []time.Duration{0, 3, 4, 5}, []time.Duration{0, 10}},
		{"carrier, then an address later", []time.Duration{0, 30, 30}, []time.Duration{0, 30, 40}},
		{"now and then", []time.Duration{0, 200, 400, 600, 605}, []time.Duration{0, 200, 400, 600, 610}},
		{"without end", flood, []time.Duration{0, 10, 20, 30, 40, 50, 100, 200, 300, 400, 500, 600, 700}},
		{"without end, slowly", slow, []time.Duration{0, 11, 22, 33, 44, 55, 100, 200, 300, 400, 500, 600, 700}},
		{"two series", append(slices.Clone(flood), 1500, 1501), append([]time.Duration{0, 10, 20, 30, 40, 50, 100, 200, 300, 400, 500, 600, 700}, 1500, 1510)},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var at []time.Duration
				c := &coalescer{f: func() { at = append(at, time.Since(start)/time.Millisecond) }}
				for _, d := range test.hints {
					time.Sleep(time.Until(start.Add(d * time.Millisecond)))
					c.hint()
					synctest.Wait()
				}
				time.Sleep(time.Second)
				synctest.Wait()
				if !slices.Equal(at, test.out) {
					t.Errorf("hints passed on at %d, want %d", at, test.out)
				}
			})
		})
	}
}

// Nothing is passed on after stop, and what was gathered is forgotten.
func TestCoalescerStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		c := &coalescer{f: func() { calls++ }}
		c.hint()
		synctest.Wait()
		c.hint()
		c.stop()
		c.hint()
		time.Sleep(time.Second)
		synctest.Wait()
		if calls != 1 {
			t.Errorf("%d hints passed on, want the one before stop", calls)
		}
	})
}

// A hint that comes while f runs is not lost: f may have looked before the change.
func TestHintDuringCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		c := &coalescer{}
		c.f = func() {
			calls++
			time.Sleep(time.Second)
		}
		c.hint()
		synctest.Wait()
		c.hint()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if calls != 2 {
			t.Errorf("f was called %d times, want 2", calls)
		}
	})
}
