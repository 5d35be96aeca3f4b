package handoff

import (
	"cmp"
	"flag"
	"slices"
	"testing"
	"testing/synctest"
)

var (
	seed    = flag.Uint64("seed", 1, "seed of TestSimulate")
	changes = flag.Int("changes", 0, "changes of TestSimulate; 60 without it, 15 in the short run")
)

// TestSimulate shows that a change to a better interface while the present one lives loses nothing, in either direction.
//
// Shows: MOD-prefer, MOD-keep
func TestSimulate(t *testing.T) {
	// The built program makes 60 without the race detector: cmd/miplab TestBenchHandoffSimulated.
	want := cmp.Or(*changes, 60)
	if testing.Short() {
		want = cmp.Or(*changes, 15)
	}
	synctest.Test(t, func(t *testing.T) {
		r, err := Simulate(*seed, want)
		if err != nil {
			t.Fatal(err)
		}
		if r.Changes != want || r.Sent < 50*r.Changes {
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
