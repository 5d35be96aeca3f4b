package verdict

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Verdict is what a run came to. A report embeds it.
type Verdict struct {
	// Passed is false when there are failures, or when the run did not come to its end.
	Passed bool `json:"passed"`
	// Failures say what was wrong, each in one sentence.
	Failures []string `json:"failures"`
	// Took is how long the run lasted.
	Took time.Duration `json:"took_ns"`
}

// New returns the verdict of a run that has not ended.
func New() Verdict { return Verdict{Failures: []string{}} }

// Fail adds a failure.
func (v *Verdict) Fail(format string, args ...any) {
	v.Failures = append(v.Failures, fmt.Sprintf(format, args...))
	v.Passed = false
}

// Settle says that the run came to its end: it has passed unless something has failed.
func (v *Verdict) Settle() { v.Passed = len(v.Failures) == 0 }

// Write writes the failures and the verdict, a line each.
func (v *Verdict) Write(w io.Writer) error {
	for _, f := range v.Failures {
		fmt.Fprintln(w, "FAILED:", f)
	}
	word := "FAILED after"
	if v.Passed {
		word = "passed in"
	}
	_, err := fmt.Fprintln(w, word, v.Took.Round(time.Second))
	return err
}

// WriteJSON writes a report as one JSON document.
func WriteJSON(w io.Writer, report any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(report)
}

// Publish writes a report as JSON for a program, or as a table for a person.
func Publish(w io.Writer, report interface{ WriteTable(io.Writer) error }, asJSON bool) error {
	if asJSON {
		return WriteJSON(w, report)
	}
	return report.WriteTable(w)
}
