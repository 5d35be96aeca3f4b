package linkmon

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// The first hint is passed on at once; those within the quiet time after it come as one at its end.
func TestCoalescer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		c := &coalescer{f: func() { at = append(at, time.Since(start)) }}
		for _, d := range []time.Duration{0, 10, 20, 99, 350, 440} { // milliseconds of hints
			time.Sleep(time.Until(start.Add(d * time.Millisecond)))
			c.hint()
			synctest.Wait()
		}
		time.Sleep(time.Second)
		synctest.Wait()
		want := []time.Duration{0, 100 * time.Millisecond, 350 * time.Millisecond, 450 * time.Millisecond}
		if !slices.Equal(at, want) {
			t.Errorf("hints passed on at %v, want %v", at, want)
		}
		c.hint()
		synctest.Wait()
		c.hint()
		c.stop()
		time.Sleep(time.Second)
		synctest.Wait()
		if len(at) != 5 {
			t.Errorf("%d hints passed on, want 5: none after stop", len(at))
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
