package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// testEvent is one line of `go test -json` (go doc test2json).
type testEvent struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
}

// testRun says how tests are run.
type testRun struct {
	race    bool     // under the race detector, where there is a C compiler
	timeout string   // of a package
	flags   []string // more of them for the go command
	second  bool     // tests that fail are run once more, alone
}

// tests runs the tests of the packages that match, and reads the verdicts of single tests.
func (t testRun) tests(match func(pkg string) bool) result {
	out, err := command(nil, "go", "list", "./...")
	if err != nil {
		return result{failures: []string{"go list: " + out}}
	}
	var pkgs []string
	for p := range strings.FieldsSeq(out) {
		if match(p) {
			pkgs = append(pkgs, p)
		}
	}
	if len(pkgs) == 0 {
		return result{note: "no packages"}
	}
	var without []string
	if t.race {
		if _, err := exec.LookPath("gcc"); err != nil {
			t.race = false
			without = []string{"race detector: there is no C compiler; the tests ran without it"}
		}
	}
	v := t.run(pkgs...)
	if t.second {
		v.again(t.alone)
	}
	r := v.result()
	r.skips = append(without, r.skips...)
	return r
}

// alone runs one test of a package and returns its verdict.
func (t testRun) alone(pkg, test string) *verdicts {
	t.flags = append(slices.Clone(t.flags), "-count=1", "-run", "^"+test+"$")
	return t.run(pkg)
}

// run runs the tests of the packages.
func (t testRun) run(pkgs ...string) *verdicts {
	args := append([]string{"test", "-json", "-timeout", t.timeout}, t.flags...)
	cgo := "CGO_ENABLED=0"
	if t.race {
		cgo, args = "CGO_ENABLED=1", append(args, "-race")
	}
	cmd := exec.Command("go", append(args, pkgs...)...)
	cmd.Env = append(os.Environ(), cgo)
	cmd.Stderr = os.Stderr
	v := newVerdicts()
	pipe, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		v.fail(failure{text: "go test: " + err.Error()})
		return v
	}
	lines := bufio.NewScanner(pipe)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e testEvent
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Println(lines.Text())
			continue
		}
		v.take(e)
	}
	if err := lines.Err(); err != nil {
		v.fail(failure{text: "reading the tests' output: " + err.Error()})
	}
	if err := cmd.Wait(); err != nil && len(v.failures) == 0 {
		v.fail(failure{text: "go test: " + err.Error()})
	}
	return v
}

// verdicts gathers the events of a test run.
type verdicts struct {
	passed   []string
	output   map[string]*strings.Builder // by package, or package and test
	failures []failure
	second   []string // what passed when it was run once more
	skips    []string
	failedIn map[string]bool // packages in which a single test has failed
	begun    map[string]int  // by package, tests that have begun and not ended
}

func newVerdicts() *verdicts {
	return &verdicts{output: map[string]*strings.Builder{}, failedIn: map[string]bool{}, begun: map[string]int{}}
}

func (v *verdicts) fail(f failure) { v.failures = append(v.failures, f) }

// take takes one event.
func (v *verdicts) take(e testEvent) {
	pkg := e.Package
	if pkg == "" {
		pkg, _, _ = strings.Cut(e.ImportPath, " ")
	}
	key := strings.TrimPrefix(pkg, "mipvpn/")
	if e.Test != "" {
		key += " " + e.Test
	}
	if e.Test != "" {
		switch e.Action {
		case "run":
			v.begun[pkg]++
		case "pass", "skip", "fail":
			v.begun[pkg]--
		}
	}
	switch e.Action {
	case "output", "build-output":
		b := v.output[key]
		if b == nil {
			b = &strings.Builder{}
			v.output[key] = b
		}
		b.WriteString(e.Output)
	case "pass":
		if e.Test != "" {
			v.passed = append(v.passed, key)
		} else {
			fmt.Printf("ok   %s\n", key)
		}
		delete(v.output, key)
	case "skip":
		if e.Test != "" {
			v.skips = append(v.skips, key+": "+v.reason(key))
		}
		delete(v.output, key)
	case "fail", "build-fail":
		if e.Test == "" && v.failedIn[pkg] && v.begun[pkg] <= 0 {
			return // said already, test by test
		}
		v.failedIn[pkg] = true
		var text string
		if b := v.output[key]; b != nil {
			text = b.String()
		}
		v.fail(failure{pkg, e.Test, key + "\n" + text})
	}
}

// reason finds what a skipped test said: the text behind "file_test.go:12: ".
func (v *verdicts) reason(key string) string {
	b := v.output[key]
	if b == nil {
		return "no reason given"
	}
	for line := range strings.SplitSeq(b.String(), "\n") {
		if _, why, ok := strings.Cut(line, ".go:"); ok {
			if _, why, ok = strings.Cut(why, ": "); ok {
				return why
			}
		}
	}
	return "no reason given"
}

func (v *verdicts) result() result {
	r := result{second: v.second, skips: v.skips, passed: v.passed, note: fmt.Sprintf("%d tests", len(v.passed))}
	for _, f := range v.failures {
		r.failures = append(r.failures, f.text)
	}
	return r
}
