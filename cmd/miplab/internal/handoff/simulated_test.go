package handoff

import (
	"flag"
	"slices"
	"testing"
	"testing/synctest"
)

var (
	seed    = flag.Uint64("seed", 1, "seed of TestSimulate")
	changes = flag.Int("changes", 60, "changes of TestSimulate")
)

// TestSimulate shows that a change to a better interface while the present one lives loses nothing, in either direction.
//
// Shows: MOD-prefer, MOD-keep
func TestSimulate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := Simulate(*seed, *changes)
		if err != nil {
			t.Fatal(err)
		}
		if r.Changes != *changes || r.Sent < 50*r.Changes {
			t.Errorf("%+v", r)
		}
		if r.Lost != 0 {
			t.Errorf("%d of %d datagrams lost: %v", r.Lost, r.Sent, r.Losses)
		}
		t.Logf("%+v", r)
	})
}

// TestSplit shows how changes are divided.
func TestSplit(t *testing.T) {
	for _, c := range []struct {
		changes, most int
		want          []int
	}{{10, 20, []int{10}}, {10, 4, []int{4, 3, 3}}, {0, 5, []int{}}, {8, 4, []int{4, 4}}} {
		if got := Split(c.changes, c.most); !slices.Equal(got, c.want) {
			t.Errorf("%d by %d: %v, want %v", c.changes, c.most, got, c.want)
		}
	}
}
