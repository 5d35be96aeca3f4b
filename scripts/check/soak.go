package main

import (
	"fmt"
	"regexp"
	"strings"
)

// The short soak: transitions on the simulated network, and in namespaces. `make soak` runs the full one.
const (
	simulatedTransitions = "400"
	realTransitions      = "12"
)

// soakCounts are the lines of counts that both soaks end with.
var soakCounts = regexp.MustCompile(`(?m)^\d+ (transitions|frames examined|readable|LEAKS|of \d+ TCP).*$`)

// soak takes random walks and prints their counts; the summary has those of transitions and leaks.
func soak() result {
	out, err := command([]string{"CGO_ENABLED=0"}, "go", "test", "./client/soak", "-run", "^TestSoak$", "-count=1", "-v", "-timeout", "8m",
		"-args", "-transitions", simulatedTransitions)
	r := soaked("simulated", out, err)
	if !namespaces() {
		r.skips = append(r.skips, "soak in namespaces: they cannot be made here; needs root and /dev/net/tun")
		return r
	}
	out, err = command(nil, "bin/miplab", "soak", "--transitions", realTransitions)
	real := soaked("in namespaces", out, err)
	return result{failures: append(r.failures, real.failures...), note: r.note + "; " + real.note}
}

// soaked makes a result from what a soak has printed.
func soaked(where, out string, err error) result {
	counts := soakCounts.FindAllString(out, -1)
	for _, line := range counts {
		fmt.Printf("%s: %s\n", where, line)
	}
	var r result
	transitions, leaks := "no counts", ""
	for _, line := range counts {
		switch n, rest, _ := strings.Cut(line, " "); {
		case strings.HasPrefix(rest, "transitions"):
			transitions = n + " transitions " + where
		case strings.HasPrefix(rest, "LEAKS"):
			leaks = ", " + n + " leaks"
		}
	}
	r.note = transitions + leaks
	if err != nil || leaks != ", 0 leaks" {
		r.failures = []string{fmt.Sprintf("soak %s: %s: %v\n%s", where, r.note, err, out)}
	}
	return r
}
