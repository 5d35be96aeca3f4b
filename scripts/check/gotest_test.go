package main

import (
	"io"
	"slices"
	"strings"
	"testing"
)

// TestVerdicts feeds events as test2json writes them: a skip keeps its reason, a failing test its output, and the
// package's own failure is not told twice.
func TestVerdicts(t *testing.T) {
	v := newVerdicts()
	for _, e := range []testEvent{
		{Action: "output", Package: "mipvpn/a", Test: "TestRoot", Output: "=== RUN   TestRoot\n"},
		{Action: "output", Package: "mipvpn/a", Test: "TestRoot", Output: "    a_test.go:7: needs root: no device\n"},
		{Action: "skip", Package: "mipvpn/a", Test: "TestRoot"},
		{Action: "output", Package: "mipvpn/a", Test: "TestBad", Output: "    a_test.go:9: got 1, want 2\n"},
		{Action: "fail", Package: "mipvpn/a", Test: "TestBad"},
		{Action: "pass", Package: "mipvpn/a", Test: "TestGood"},
		{Action: "fail", Package: "mipvpn/a"},
		{Action: "build-output", ImportPath: "mipvpn/b [mipvpn/b.test]", Output: "b.go:1: no\n"},
		{Action: "build-fail", ImportPath: "mipvpn/b [mipvpn/b.test]"},
		{Action: "fail", Package: "mipvpn/b"},
	} {
		v.take(e)
	}
	r := v.result()
	if want := []string{"a TestRoot: needs root: no device"}; !slices.Equal(r.skips, want) {
		t.Errorf("skips = %q, want %q", r.skips, want)
	}
	if len(r.failures) != 2 || !strings.Contains(r.failures[0], "got 1, want 2") || !strings.Contains(r.failures[1], "b.go:1: no") {
		t.Errorf("failures = %q, want that of TestBad and that of building b", r.failures)
	}
	if r.note != "1 tests" {
		t.Errorf("note = %q, want one test passed", r.note)
	}
}

// TestSkipElsewhere shows that a test that passed in another stage does not count as skipped.
func TestSkipElsewhere(t *testing.T) {
	there := stage{"there", func() result { return result{skips: []string{"a TestX: not here", "a TestY: not here"}} }}
	here := stage{"here", func() result { return result{passed: []string{"a TestX"}} }}
	var out strings.Builder
	if code := run("", []stage{there, here}, &out); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if s := out.String(); strings.Contains(s, "TestX") || !strings.Contains(s, "TestY: not here") {
		t.Errorf("the summary says:\n%s", s)
	}
}

// TestSummaryFails shows that one failing stage makes the exit code 1, a skip alone does not, and an unknown stage is a
// usage error.
func TestSummaryFails(t *testing.T) {
	good := stage{"good", func() result { return result{skips: []string{"x: no y"}} }}
	bad := stage{"bad", func() result { return result{failures: []string{"broken"}} }}
	for _, c := range []struct {
		only   string
		stages []stage
		want   int
	}{
		{"", []stage{good}, 0},
		{"", []stage{good, bad}, 1},
		{"good", []stage{good, bad}, 0},
		{"nothing", []stage{good}, 2},
	} {
		if got := run(c.only, c.stages, io.Discard); got != c.want {
			t.Errorf("run(%q) = %d, want %d", c.only, got, c.want)
		}
	}
}
