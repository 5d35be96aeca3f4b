// Package company gives the lab its programs: the agents of the company and of the world outside, and the laptop's client.
//
// Purpose: a Company has configuration files and keys of its own, made afresh in a directory, and the real programs
// running on them, each in its box: mipagent by role, and mipvpn daemon on the laptop. A World adds the captures and their
// judges, so that a scenario can play.
//
// Specification: none; the files are those of mipagent and mipvpn.
//
// Concurrency: a Company may be used by several goroutines at once.
//
// Ownership: Stop ends the programs. The directory belongs to the caller, secrets in it too.
package company
