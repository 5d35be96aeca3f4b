// Package verdict is the part that the reports of miplab's runs share: whether a run passed, and how a report is written.
//
// Purpose: Verdict collects what went wrong and writes the last lines of a report for a person; Publish writes a whole
// report for either.
//
// Specification: none.
//
// Concurrency: a Verdict belongs to one goroutine.
//
// Ownership: nothing is kept of what is given but the strings.
package verdict
