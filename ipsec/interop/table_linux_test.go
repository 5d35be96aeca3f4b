package interop

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// recorder is a test that remembers why it failed or was skipped.
type recorder struct {
	testing.TB
	mu     sync.Mutex
	reason string
}

func (r *recorder) because(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reason == "" {
		r.reason, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
	}
}

func (r *recorder) why() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reason
}

// Error, Errorf, Fatal, Fatalf, Skip and Skipf are testing's.
func (r *recorder) Error(args ...any) {
	r.Helper()
	r.because(fmt.Sprint(args...))
	r.TB.Error(args...)
}
func (r *recorder) Errorf(format string, args ...any) {
	r.Helper()
	r.because(fmt.Sprintf(format, args...))
	r.TB.Errorf(format, args...)
}
func (r *recorder) Fatal(args ...any) {
	r.Helper()
	r.because(fmt.Sprint(args...))
	r.TB.Fatal(args...)
}
func (r *recorder) Fatalf(format string, args ...any) {
	r.Helper()
	r.because(fmt.Sprintf(format, args...))
	r.TB.Fatalf(format, args...)
}
func (r *recorder) Skip(args ...any) { r.Helper(); r.because(fmt.Sprint(args...)); r.TB.Skip(args...) }
func (r *recorder) Skipf(format string, args ...any) {
	r.Helper()
	r.because(fmt.Sprintf(format, args...))
	r.TB.Skipf(format, args...)
}

// table is the matrix as it is printed.
type table struct {
	mu     sync.Mutex
	header []string
	rows   [][]string
	counts map[string]int
}

func newTable(dims []dimension) *table {
	t := &table{counts: map[string]int{}}
	for _, d := range dims {
		t.header = append(t.header, d.name)
	}
	t.header = append(t.header, "result", "reason")
	return t
}

// note takes the result of a case, at its end.
func (t *table) note(words []string, r *recorder) {
	result := "passed"
	switch {
	case r.Failed():
		result = "FAILED"
	case r.Skipped():
		result = "skipped"
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[result]++
	t.rows = append(t.rows, append(append([]string(nil), words...), result, r.why()))
}

// String returns the table and its counts.
func (t *table) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	width := make([]int, len(t.header))
	lines := append([][]string{t.header}, t.rows...)
	for _, line := range lines {
		for i, word := range line {
			width[i] = max(width[i], utf8.RuneCountInString(word))
		}
	}
	var b strings.Builder
	for _, line := range lines {
		var row strings.Builder
		for i, word := range line {
			fmt.Fprintf(&row, "%-*s  ", width[i], word)
		}
		b.WriteString(strings.TrimRight(row.String(), " ") + "\n")
	}
	fmt.Fprintf(&b, "%d cases: %d passed, %d failed, %d skipped", len(t.rows), t.counts["passed"], t.counts["FAILED"], t.counts["skipped"])
	return b.String()
}
