package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// leastShare is the least that a target gets of the time that all share.
const leastShare = 700 * time.Millisecond

var fuzzTarget = regexp.MustCompile(`(?m)^func (Fuzz[A-Z]\w*)\(`)

// fuzzAll fuzzes every target with new inputs, for each or for its share of total. The seed corpora have run among the
// tests already. A package's test binary is instrumented and built once for all its targets. All of it has the lowest priority.
func fuzzAll(total, each time.Duration) result {
	targets, err := testsNamed(fuzzTarget)
	if err != nil {
		return result{failures: []string{err.Error()}}
	}
	dirs := slices.Sorted(maps.Keys(targets))
	n := 0
	for _, t := range targets {
		n += len(t)
	}
	all := n
	if n == 0 {
		return result{note: "no targets"}
	}
	temp, err := os.MkdirTemp("", "mipvpn-fuzz")
	if err != nil {
		return result{failures: []string{err.Error()}}
	}
	defer os.RemoveAll(temp)
	deadline := time.Now().Add(total)
	var r result
	bins := map[string]string{} // by directory; those that could be built
	for i, dir := range dirs {
		bin := filepath.Join(temp, fmt.Sprintf("fuzz%d", i))
		out, err := command([]string{"CGO_ENABLED=0"}, "nice", "-n", "19", "go", "test", "-c", "-fuzz=Fuzz", "-o", bin, "./"+dir)
		if err != nil {
			r.failures = append(r.failures, fmt.Sprintf("%s: building: %v\n%s", dir, err, out))
			n -= len(targets[dir])
			continue
		}
		bins[dir] = bin
	}
	for _, dir := range dirs {
		if bins[dir] == "" {
			continue
		}
		for _, name := range targets[dir] {
			share := each
			if share == 0 {
				share = max(time.Until(deadline)/time.Duration(n), leastShare)
			}
			n--
			f := fuzzOne(bins[dir], dir, name, temp, share)
			if f != "" && !inputFailed(f) { // a worker got no time from the stages beside it
				r.second = append(r.second, f)
				f = fuzzOne(bins[dir], dir, name, temp, share)
			}
			if f != "" {
				r.failures = append(r.failures, f)
			} else {
				fmt.Printf("fuzz ok   %s %s %s\n", dir, name, share.Round(100*time.Millisecond))
			}
		}
	}
	r.note = fmt.Sprintf("%d targets", all)
	return r
}

// testsNamed returns the functions of test files whose first line matches, named by the first group, by directory.
func testsNamed(function *regexp.Regexp) (map[string][]string, error) {
	found := map[string][]string{}
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range function.FindAllSubmatch(src, -1) {
			dir := filepath.Dir(path)
			found[dir] = append(found[dir], string(m[1]))
		}
		return nil
	})
	return found, err
}

// fuzzOne runs one target in the package's directory, where the go command's fuzzing writes an input that fails.
func fuzzOne(bin, dir, name, cache string, d time.Duration) string {
	out, err := command(nil, "nice", "-n", "19", "env", "-C", dir, bin, "-test.run=^$", "-test.fuzz=^"+name+"$", "-test.fuzztime="+d.String(),
		"-test.fuzzcachedir="+filepath.Join(cache, "cache", dir), "-test.fuzzminimizetime=5s")
	if err != nil && !onlyTimeRanOut(out) {
		return fmt.Sprintf("%s %s: %v\n%s", dir, name, err, out)
	}
	return ""
}

// inputFailed reports whether what a target has printed tells of an input that fails, and not of fuzzing that came to grief by itself.
func inputFailed(out string) bool {
	return strings.Contains(out, "Failing input written") || strings.Contains(out, "panic:") || strings.Contains(out, "seed corpus") || strings.Contains(out, "--- FAIL: Fuzz") && strings.Contains(out, "_test.go:")
}

// onlyTimeRanOut reports whether fuzzing ended as it should and the Go runtime called it a failure: a worker that is
// stopped in the middle of an input when the time is over sometimes makes it report its own deadline. An input that fails
// is written down, and said so.
func onlyTimeRanOut(out string) bool {
	return strings.Contains(out, "    context deadline exceeded") && !strings.Contains(out, "Failing input written") && !strings.Contains(out, "panic:")
}
