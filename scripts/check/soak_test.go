package main

import (
	"errors"
	"testing"
)

// TestSoaked reads counts as both soaks print them: a leak, an error, or the lack of counts is a failure.
func TestSoaked(t *testing.T) {
	const counts = "   to the café  7  1  -  -\n300 transitions in 3 walks, seeds 1-3\n12 frames examined; of the laptop's, 1 protected\n"
	for _, c := range []struct {
		out    string
		err    error
		note   string
		failed bool
	}{
		{counts + "0 LEAKS\n", nil, "300 transitions simulated, 0 leaks", false},
		{counts + "0 LEAKS; inside, the same judge saw 5\n", nil, "300 transitions simulated, 0 leaks", false},
		{counts + "10 LEAKS\n", nil, "300 transitions simulated, 10 leaks", true},
		{counts + "0 LEAKS\n", errors.New("exit status 1"), "300 transitions simulated, 0 leaks", true},
		{"building failed", nil, "no counts", true},
	} {
		if r := soaked("simulated", c.out, c.err); r.note != c.note || len(r.failures) > 0 != c.failed {
			t.Errorf("%q, %v: note %q, failures %q", c.out, c.err, r.note, r.failures)
		}
	}
}
