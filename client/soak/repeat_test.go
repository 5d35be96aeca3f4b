package soak

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// counts is what two walks with one seed have in common.
type counts struct {
	transitions    int
	kinds          map[string]int
	leaks          int
	sessions, kept int
	failures       []string
}

func (r *Report) counts() counts {
	c := counts{r.Transitions, make(map[string]int), r.Frames.Leaks, r.Sessions, r.Kept, r.Failures}
	for name, row := range r.Kinds {
		c.kinds[name] = row.Count
	}
	return c
}

// TestSameSeedSameCounts takes walks twice: what is done and what comes of it are the same.
func TestSameSeedSameCounts(t *testing.T) {
	seeds, transitions := []uint64{1, 2}, 20
	if testing.Short() {
		seeds, transitions = seeds[:1], 8
	}
	for _, seed := range seeds {
		cfg := Config{Seed: seed, Transitions: transitions}
		first, second := take(t, cfg), take(t, cfg)
		if d := cmp.Diff(first.counts(), second.counts(), cmp.AllowUnexported(counts{})); d != "" {
			t.Errorf("seed %d: the second walk differs (-first +second):\n%s", seed, d)
		}
		if other := take(t, Config{Seed: seed + 100, Transitions: transitions}); cmp.Equal(first.counts(), other.counts(), cmp.AllowUnexported(counts{})) {
			t.Error("another seed gives the same counts")
		}
	}
}
