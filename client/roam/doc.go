// Package roam decides where the laptop's traffic goes: which interface is tried, when a new path is taken up and when the
// old one is let go.
//
// Purpose: a machine. Snapshots of the interfaces, foreign agents found and lost, the detector's verdicts and the user's
// pin go in; attempts, uses, holds and blocks come out, each with its reason. It keeps the epochs of DET-2: a change of an
// interface's connection status begins a new one, and what was known of the old is void.
//
// Specification: RFC 5265 §3.2.1, §3.2.2, §3.3; draft §3, §4.2.3, §4.2.4. Left out on purpose: probing of a second
// interface while the first carries traffic, and flap damping, which come with the roam policy.
//
// Concurrency: none; one goroutine owns the machine.
//
// Ownership: values only.
package roam
