package soak

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is what came of one walk, or of several.
type Report struct {
	// Seeds are those of the walks.
	Seeds []uint64
	// Transitions is how many there were, Kinds says of which kinds, by name.
	Transitions int
	Kinds       map[string]*Row
	// Frames counts what was on the wires, LongestExposure how long a silent re-route was not noticed at most.
	Frames          Frames
	LongestExposure time.Duration
	// Leaks are the first frames that leaked.
	Leaks []Leak
	// Sessions is how many TCP sessions there were, one a walk, and Kept how many of them lasted to the end with every octet
	// unchanged; Octets is what they carried.
	Sessions, Kept int
	Octets         int64
	// Sent counts the UDP packets that wanted an echo, Answered the echoes.
	Sent, Answered int
	// Failures are all other things that must not be, in words.
	Failures []string
	// Failed are the seeds of walks with leaks or failures.
	Failed []uint64
}

// Row is what came of the transitions of one kind.
type Row struct {
	Count int
	// Measured is how many of them were waited for until traffic flowed again that had flowed before. Longest and Total are the
	// times from the last answer before to the first one after.
	Measured       int
	Longest, Total time.Duration
}

func newReport(seed uint64) *Report {
	return &Report{Seeds: []uint64{seed}, Kinds: make(map[string]*Row)}
}

func (r *Report) row(name string) *Row {
	if r.Kinds[name] == nil {
		r.Kinds[name] = &Row{}
	}
	return r.Kinds[name]
}

func (r *Report) fail(format string, args ...any) {
	r.Failures = append(r.Failures, fmt.Sprintf(format, args...))
}

// Passed reports whether nothing leaked and nothing failed.
func (r *Report) Passed() bool { return r.Frames.Leaks == 0 && len(r.Failures) == 0 }

// Add adds another report to r.
func (r *Report) Add(o *Report) {
	r.Seeds = append(r.Seeds, o.Seeds...)
	r.Transitions += o.Transitions
	if r.Kinds == nil {
		r.Kinds = make(map[string]*Row)
	}
	for name, row := range o.Kinds {
		mine := r.row(name)
		mine.Count += row.Count
		mine.Measured += row.Measured
		mine.Longest = max(mine.Longest, row.Longest)
		mine.Total += row.Total
	}
	a, b := &r.Frames, &o.Frames
	a.Examined += b.Examined
	a.Protected += b.Protected
	a.Inside += b.Inside
	a.Exposed += b.Exposed
	a.Lifted += b.Lifted
	a.Leaks += b.Leaks
	r.LongestExposure = max(r.LongestExposure, o.LongestExposure)
	r.Leaks = append(r.Leaks, o.Leaks...)
	r.Sessions += o.Sessions
	r.Kept += o.Kept
	r.Octets += o.Octets
	r.Sent += o.Sent
	r.Answered += o.Answered
	r.Failures = append(r.Failures, o.Failures...)
	r.Failed = append(r.Failed, o.Failed...)
	if !o.Passed() && len(o.Failed) == 0 {
		r.Failed = append(r.Failed, o.Seeds...)
	}
}

// Write writes the report as a table for people.
func (r *Report) Write(w io.Writer) error {
	slices.Sort(r.Seeds)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "transition\tcount\tmeasured\tmean outage\tlongest outage\t\n")
	for _, name := range slices.Sorted(maps.Keys(r.Kinds)) {
		row := r.Kinds[name]
		mean, longest := "-", "-"
		if row.Measured > 0 {
			mean, longest = (row.Total / time.Duration(row.Measured)).Round(time.Millisecond).String(), row.Longest.Round(time.Millisecond).String()
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s\t\n", name, row.Count, row.Measured, mean, longest)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	f := r.Frames
	_, err := fmt.Fprintf(w, "%d transitions in %d walks, seeds %s\n"+
		"%d frames examined; of the laptop's, %d protected, %d readable inside under a live proof, %d while a person had lifted the protection\n"+
		"%d readable after a silent re-route, the longest for %v\n"+
		"%d LEAKS\n"+
		"%d of %d TCP sessions kept, %d octets; %d of %d UDP echoes came back\n",
		r.Transitions, len(r.Seeds), span(r.Seeds), f.Examined, f.Protected, f.Inside, f.Lifted, f.Exposed, r.LongestExposure.Round(time.Millisecond),
		f.Leaks, r.Kept, r.Sessions, r.Octets, r.Answered, r.Sent)
	for _, l := range r.Leaks {
		fmt.Fprintf(w, "LEAK: %s\n", l)
	}
	for _, s := range r.Failures {
		fmt.Fprintf(w, "FAILED: %s\n", s)
	}
	return err
}

// span writes ascending seeds in short.
func span(seeds []uint64) string {
	var b strings.Builder
	for i := 0; i < len(seeds); {
		j := i
		for j+1 < len(seeds) && seeds[j+1] == seeds[j]+1 {
			j++
		}
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		if fmt.Fprint(&b, seeds[i]); j > i {
			fmt.Fprintf(&b, "-%d", seeds[j])
		}
		i = j + 1
	}
	return b.String()
}
