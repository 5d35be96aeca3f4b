package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// result is what a stage came to.
type result struct {
	failures []string // a name, then what was printed; empty when the stage passed
	second   []string // the same, of tests that passed when they were run once more
	skips    []string // "what: why"
	passed   []string // names of tests, as before the colon of a skip
	note     string   // a figure for the summary
}

// stage is one group of checks.
type stage struct {
	name string
	run  func() result
	// beside has the stages that follow not wait for it. It leaves the processors to them as far as they need them.
	beside bool
}

func main() {
	only := flag.String("only", "", "comma-separated names of stages to run; all without it")
	fuzzAll := flag.Duration("fuzz-total", 105*time.Second, "time that all fuzz targets share")
	fuzzEach := flag.Duration("fuzz-each", 0, "time for each fuzz target, instead of a share")
	flag.Parse()
	keepScreenshots()
	compileOnce()
	os.Exit(run(*only, stages(*fuzzAll, *fuzzEach), os.Stdout))
}

// compileOnce has everything compiled as the programs are, which the tests build too, and the packages: without names of directories.
func compileOnce() {
	const trim = "-trimpath"
	if flags := os.Getenv("GOFLAGS"); !strings.Contains(flags, trim) {
		os.Setenv("GOFLAGS", strings.TrimSpace(flags+" "+trim))
	}
}

// screenshots is the variable with the directory where tests keep the pictures that they have taken of pages.
const screenshots = "MIPVPN_SCREENSHOTS"

// keepScreenshots has tests keep pictures below captures, unless another place is named.
func keepScreenshots() {
	dir, err := filepath.Abs(filepath.Join("captures", "screenshots"))
	if err == nil && os.Getenv(screenshots) == "" {
		os.Setenv(screenshots, dir)
	}
}

// run runs the stages that only names (all of them when it is empty), writes the summary and returns the exit code.
func run(only string, all []stage, out io.Writer) int {
	wanted := map[string]bool{}
	for name := range strings.SplitSeq(only, ",") {
		if name != "" {
			wanted[name] = true
		}
	}
	type line struct {
		stage
		result
		took time.Duration
	}
	var lines []*line
	start := time.Now()
	take := func(l *line) {
		t := time.Now()
		l.result = l.run()
		l.took = time.Since(t)
	}
	say := func(l *line) {
		for _, f := range l.failures {
			fmt.Fprintln(out, f)
		}
		for _, f := range l.second {
			fmt.Fprintf(out, "passed at the second attempt; the first one:\n%s\n", f)
		}
	}
	var beside sync.WaitGroup
	for _, s := range all {
		if only != "" && !wanted[s.name] {
			continue
		}
		delete(wanted, s.name)
		l := &line{stage: s}
		lines = append(lines, l)
		if s.beside {
			fmt.Fprintf(out, "=== %s begins, beside the others\n", s.name)
			beside.Go(func() { take(l) })
			continue
		}
		fmt.Fprintf(out, "=== %s\n", s.name)
		take(l)
		say(l)
	}
	beside.Wait()
	for _, l := range lines {
		if l.beside {
			fmt.Fprintf(out, "=== %s, to its end\n", l.name)
			say(l)
		}
	}
	for name := range wanted {
		fmt.Fprintf(os.Stderr, "check: there is no stage %q\n", name)
		return 2
	}

	failed := 0
	fmt.Fprintf(out, "\n=== summary (%s)\n", time.Since(start).Round(time.Second))
	for _, l := range lines {
		word := "passed"
		if len(l.failures) > 0 {
			word = "FAILED"
			failed++
		}
		fmt.Fprintf(out, "%-7s %-14s %6s  %s\n", word, l.name, l.took.Round(time.Second), l.note)
		for _, f := range l.failures {
			fmt.Fprintf(out, "        FAILED  %s\n", firstLine(f))
		}
		for _, f := range l.second {
			fmt.Fprintf(out, "        passed at the second attempt: %s\n", firstLine(f))
		}
	}
	// What one stage has skipped may have passed in another: allocations are not counted under the race detector.
	elsewhere := map[string]bool{}
	for _, l := range lines {
		for _, name := range l.passed {
			elsewhere[name] = true
		}
	}
	for _, l := range lines {
		for _, s := range l.skips {
			if name, _, _ := strings.Cut(s, ": "); elsewhere[name] {
				continue
			}
			fmt.Fprintf(out, "skipped %-14s %s\n", l.name, s)
		}
	}
	if failed > 0 {
		fmt.Fprintf(out, "FAILED: %d of %d stages\n", failed, len(lines))
		return 1
	}
	fmt.Fprintf(out, "passed: all %d stages\n", len(lines))
	return 0
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return s
}

// command runs a program with extra environment variables and returns what it printed.
func command(env []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// passes makes a result from a command that prints nothing when all is well.
func passes(env []string, name string, args ...string) result {
	out, err := command(env, name, args...)
	if err == nil {
		return result{}
	}
	return result{failures: []string{fmt.Sprintf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)}}
}
