package soak

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
)

var (
	transitions = flag.Int("transitions", 0, "transitions of TestSoak, in all; 60 without it, 20 in the short run")
	walks       = flag.Int("walks", 0, "walks of TestSoak; 0 for one for every hundred transitions")
	seed        = flag.Uint64("seed", 1, "seed of the first walk; the others have the numbers that follow")
	story       = flag.Bool("story", false, "write every transition and every event of the client to standard error")
	debug       = flag.Bool("debug", false, "write the client's log")
	only        = flag.String("kinds", "", "kinds of transitions to take, separated by semicolons; all without it")
)

// walkLength is how many transitions one walk has, unless flags say otherwise.
const walkLength = 100

// take takes one walk in a bubble.
func take(t *testing.T, cfg Config) *Report {
	t.Helper()
	var r *Report
	synctest.Test(t, func(t *testing.T) {
		if *story {
			cfg.Story = os.Stderr
		}
		if *debug {
			cfg.Log = zaptest.NewLogger(t, zaptest.Level(zap.DebugLevel))
		}
		if *only != "" {
			cfg.Kinds = strings.Split(*only, ";")
		}
		var err error
		if r, err = Run(cfg); err != nil {
			t.Errorf("seed %d: %v", cfg.Seed, err)
		}
	})
	if r == nil {
		r = &Report{Seeds: []uint64{cfg.Seed}}
	}
	return r
}

// Shows: DET-1, DET-2, DET-3, DET-4, DET-12, HST-2, HST-6, MOD-keep (nothing leaks, over many transitions of every kind)
func TestSoak(t *testing.T) {
	all := cmp.Or(*transitions, 60)
	if testing.Short() { // many more are made without the race detector by the stage soak of `make test`
		all = cmp.Or(*transitions, 20)
	}
	n := *walks
	if n == 0 {
		n = max(2, (all+walkLength-1)/walkLength)
	}
	total := &Report{}
	var mu sync.Mutex
	t.Cleanup(func() {
		var b strings.Builder
		if err := total.Write(&b); err != nil {
			t.Error(err)
		}
		fmt.Print(b.String())
	})
	for i := range n {
		cfg := Config{Seed: *seed + uint64(i), Transitions: all/n + min(1, max(0, all%n-i))}
		t.Run(fmt.Sprintf("seed %d", cfg.Seed), func(t *testing.T) {
			t.Parallel()
			r := take(t, cfg)
			if !r.Passed() || t.Failed() {
				for _, l := range r.Leaks {
					t.Error(l)
				}
				for _, f := range r.Failures {
					t.Error(f)
				}
				t.Errorf("seed %d: %d leaks, %d failures; repeat it with:\n  go test ./client/soak -run TestSoak -args -seed %d -walks 1 -transitions %d -story",
					cfg.Seed, r.Frames.Leaks, len(r.Failures), cfg.Seed, cfg.Transitions)
			}
			mu.Lock()
			defer mu.Unlock()
			total.Add(r)
		})
	}
}
