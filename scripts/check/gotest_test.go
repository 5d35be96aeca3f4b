package main

import (
	"io"
	"maps"
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
	there := stage{name: "there", run: func() result { return result{skips: []string{"a TestX: not here", "a TestY: not here"}} }}
	here := stage{name: "here", run: func() result { return result{passed: []string{"a TestX"}} }}
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
	good := stage{name: "good", run: func() result { return result{skips: []string{"x: no y"}} }}
	bad := stage{name: "bad", run: func() result { return result{failures: []string{"broken"}} }}
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

// TestBeside shows that a stage beside the others lets those that follow begin, and that its failure counts and is told.
func TestBeside(t *testing.T) {
	over := make(chan struct{})
	long := stage{name: "long", beside: true, run: func() result {
		<-over
		return result{failures: []string{"broken\nby this"}}
	}}
	next := stage{name: "next", run: func() result {
		close(over)
		return result{}
	}}
	var out strings.Builder
	if code := run("", []stage{long, next}, &out); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if s := out.String(); !strings.Contains(s, "by this") || !strings.Contains(s, "FAILED  long") || !strings.Contains(s, "passed  next") {
		t.Errorf("said:\n%s", s)
	}
}

// summary runs a stage with the verdicts' result and returns the exit code and what was printed.
func summary(v *verdicts) (int, string) {
	var out strings.Builder
	code := run("", []stage{{name: "stage", run: v.result}}, &out)
	return code, out.String()
}

// failing makes the verdicts of a run in which the tests failed, each in package a.
func failing(texts map[string]string) *verdicts {
	v := newVerdicts()
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		v.take(testEvent{Action: "run", Package: "mipvpn/a", Test: name})
		v.take(testEvent{Action: "output", Package: "mipvpn/a", Test: name, Output: texts[name]})
		v.take(testEvent{Action: "fail", Package: "mipvpn/a", Test: name})
	}
	v.take(testEvent{Action: "fail", Package: "mipvpn/a"})
	return v
}

// TestSecondAttempt shows that a test that fails and passes when it is run once more, alone, is named as such in the summary
// and fails nothing; one that fails twice fails the stage.
func TestSecondAttempt(t *testing.T) {
	for _, c := range []struct {
		name   string
		first  *verdicts
		second map[string]string // what each test does when it is run alone: "pass" or "fail"
		code   int
		want   []string // in what is printed
		never  string   // not in it
	}{
		{"passes", failing(map[string]string{"TestA": "a_test.go:1: late\n"}), map[string]string{"TestA": "pass"}, 0,
			[]string{"passed at the second attempt: a TestA\n", "a_test.go:1: late", "passed: all 1 stages"}, "FAILED"},
		{"fails twice", failing(map[string]string{"TestA": "late"}), map[string]string{"TestA": "fail"}, 1,
			[]string{"FAILED  a TestA", "(the second attempt)"}, "passed at the second attempt"},
		{"one of two", failing(map[string]string{"TestA": "late", "TestB": "late"}), map[string]string{"TestA": "pass", "TestB": "fail"}, 1,
			[]string{"passed at the second attempt: a TestA\n", "FAILED  a TestB"}, "FAILED  a TestA"},
		{"with its parts", failing(map[string]string{"TestA/x": "late", "TestA": ""}), map[string]string{"TestA": "pass"}, 0,
			[]string{"passed at the second attempt: a TestA/x\n", "passed at the second attempt: a TestA\n"}, "FAILED"},
		{"too many", failing(map[string]string{"TestA": "", "TestB": "", "TestC": "", "TestD": "", "TestE": "", "TestF": ""}), nil, 1,
			[]string{"FAILED  a TestA", "FAILED  a TestF"}, "second attempt"},
		{"a race", failing(map[string]string{"TestA": "WARNING: DATA RACE"}), nil, 1, []string{"FAILED  a TestA"}, "second attempt"},
		{"a panic", failing(map[string]string{"TestA": "late", "TestB": "panic: no"}), nil, 1, []string{"FAILED  a TestA", "FAILED  a TestB"}, "second attempt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var asked []string
			c.first.again(func(pkg, test string) *verdicts {
				asked = append(asked, test)
				v := newVerdicts()
				v.take(testEvent{Action: "run", Package: pkg, Test: test})
				v.take(testEvent{Action: c.second[test], Package: pkg, Test: test})
				v.take(testEvent{Action: c.second[test], Package: pkg})
				return v
			})
			if want := slices.Sorted(maps.Keys(c.second)); !slices.Equal(asked, want) {
				t.Errorf("once more: %q, want %q", asked, want)
			}
			code, out := summary(c.first)
			if code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("%q is not in\n%s", want, out)
				}
			}
			if strings.Contains(out, c.never) {
				t.Errorf("%q is in\n%s", c.never, out)
			}
		})
	}
}

// TestInputFailed tells an input that fails from fuzzing that got no time.
func TestInputFailed(t *testing.T) {
	for out, want := range map[string]bool{
		"--- FAIL: FuzzA (1.2s)\n    fuzzing process terminated by unexpected signal; no crash will be recorded: signal: interrupt\n":        false,
		"--- FAIL: FuzzA (1.2s)\n    --- FAIL: FuzzA (0.00s)\n        a_test.go:9: no\n    Failing input written to testdata/fuzz/FuzzA/1\n": true,
		"failure while testing seed corpus entry: FuzzA/seed#0\n--- FAIL: FuzzA (0.01s)\n":                                                   true,
		"panic: index out of range\n": true,
	} {
		if got := inputFailed(out); got != want {
			t.Errorf("%q: %t, want %t", out, got, want)
		}
	}
}

// TestNoSecondAttempt shows that a package whose program ended in the middle is not forgiven, since tests have not run, nor one
// that could not be built.
func TestNoSecondAttempt(t *testing.T) {
	ended, unbuilt := newVerdicts(), newVerdicts()
	for _, e := range []testEvent{
		{Action: "run", Package: "mipvpn/a", Test: "TestA"},
		{Action: "fail", Package: "mipvpn/a", Test: "TestA"},
		{Action: "run", Package: "mipvpn/a", Test: "TestB"},
		{Action: "fail", Package: "mipvpn/a"},
	} {
		ended.take(e)
	}
	unbuilt.take(testEvent{Action: "build-fail", ImportPath: "mipvpn/b [mipvpn/b.test]"})
	for name, v := range map[string]*verdicts{"ended": ended, "unbuilt": unbuilt} {
		v.again(func(pkg, test string) *verdicts {
			t.Errorf("%s: %s %s is run once more", name, pkg, test)
			return newVerdicts()
		})
		if code, out := summary(v); code != 1 {
			t.Errorf("%s: exit code %d:\n%s", name, code, out)
		}
	}
}
