// Package contest runs the benchmark: it starts the tunnels, measures them in turn, and gathers the samples.
//
// Purpose: all tunnels stand at once, each at a site of its own, and one is loaded at a time; the runs that are compared
// follow one another in the order that package bench gives.
//
// Specification: none.
//
// Concurrency: one goroutine; a measurement has its own beside it.
//
// Ownership: Run takes down what it started.
package contest
