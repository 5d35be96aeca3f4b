package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
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

// testPackages runs the tests of the packages that match under the race detector, or without it where there is no C
// compiler.
func testPackages(timeout string, match func(pkg string) bool, flags ...string) result {
	if _, err := exec.LookPath("gcc"); err != nil {
		r := runTests("CGO_ENABLED=0", timeout, match, flags...)
		r.skips = append([]string{"race detector: there is no C compiler; the tests ran without it"}, r.skips...)
		return r
	}
	return runTests("CGO_ENABLED=1", timeout, match, append([]string{"-race"}, flags...)...)
}

// runTests runs the tests of the packages that match, with cgo or not, and reads the verdicts of single tests.
func runTests(cgo, timeout string, match func(pkg string) bool, flags ...string) result {
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
	args := append(append([]string{"test", "-json", "-timeout", timeout}, flags...), pkgs...)
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), cgo)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return result{failures: []string{err.Error()}}
	}
	if err := cmd.Start(); err != nil {
		return result{failures: []string{err.Error()}}
	}
	v := newVerdicts()
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
	scanErr := lines.Err()
	err = cmd.Wait()
	r := v.result()
	if scanErr != nil {
		r.failures = append(r.failures, "reading the tests' output: "+scanErr.Error())
	}
	if err != nil && len(r.failures) == 0 {
		r.failures = []string{"go test: " + err.Error()}
	}
	return r
}

// verdicts gathers the events of a test run.
type verdicts struct {
	passed   []string
	output   map[string]*strings.Builder // by package, or package and test
	failures []string
	skips    []string
	failedIn map[string]bool // packages in which a single test has failed
}

func newVerdicts() *verdicts {
	return &verdicts{output: map[string]*strings.Builder{}, failedIn: map[string]bool{}}
}

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
		if e.Test == "" && v.failedIn[pkg] {
			return // said already, test by test
		}
		v.failedIn[pkg] = true
		var text string
		if b := v.output[key]; b != nil {
			text = b.String()
		}
		v.failures = append(v.failures, key+"\n"+text)
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
	return result{failures: v.failures, skips: v.skips, passed: v.passed, note: fmt.Sprintf("%d tests", len(v.passed))}
}
