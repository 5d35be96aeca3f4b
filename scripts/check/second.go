package main

import (
	"slices"
	"strings"
)

// A test with real processes and real time may fail for a reason that lies in the machine: a packet that another program drops, a
// processor that is not had for seconds. Such a test is run once more, alone, and the summary says that it has passed at the second
// attempt only. It is there to be mended all the same.

// secondAttempts is how many tests of a stage are run once more. When more have failed, the reason is not chance.
const secondAttempts = 5

// failure is a test that failed, or a package or a run without one that could be named.
type failure struct {
	pkg, test string
	text      string // its name in the first line, then what it printed
}

// noChance are signs of what must never happen, however rarely it does.
var noChance = []string{"WARNING: DATA RACE", "panic: ", "fatal error: "}

// forgivable tells whether a second attempt may count. One that took others with it, so that they did not run, may not.
func (f failure) forgivable() bool {
	return f.test != "" && !slices.ContainsFunc(noChance, func(sign string) bool { return strings.Contains(f.text, sign) })
}

// again runs the tests that have failed once more, each alone, and forgives those that pass then. Nothing is forgiven when more than
// secondAttempts tests failed, and nothing in a package that failed as a whole.
func (v *verdicts) again(alone func(pkg, test string) *verdicts) {
	type test struct{ pkg, name string }
	var order []test
	firm := map[string]bool{} // packages
	for _, f := range v.failures {
		if !f.forgivable() {
			firm[f.pkg] = true
		}
		name, _, _ := strings.Cut(f.test, "/")
		if t := (test{f.pkg, name}); !slices.Contains(order, t) {
			order = append(order, t)
		}
	}
	if len(order) > secondAttempts {
		return
	}
	for _, t := range order {
		if firm[t.pkg] {
			continue
		}
		second := alone(t.pkg, t.name)
		if !slices.Contains(second.passed, strings.TrimPrefix(t.pkg, "mipvpn/")+" "+t.name) {
			for _, f := range second.failures {
				f.text += "(the second attempt)\n"
				v.fail(f)
			}
			continue
		}
		of := func(f failure) bool {
			return f.pkg == t.pkg && (f.test == t.name || strings.HasPrefix(f.test, t.name+"/"))
		}
		for _, f := range v.failures {
			if of(f) {
				v.second = append(v.second, f.text)
			}
		}
		v.failures = slices.DeleteFunc(v.failures, of)
		v.passed = append(v.passed, second.passed...)
		v.skips = append(v.skips, second.skips...)
	}
}
