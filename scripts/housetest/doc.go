// Package housetest has only tests: those of the rules that hold for the whole repository.
//
// Purpose: the direction of imports, machines without sockets, clocks and goroutines, a package comment with its four
// parts in each package and a comment on each exported name, files of readable length, formatting, and licences of
// dependencies that go with ours.
//
// Specification: DESIGN §2.1 and §3, as docs/architecture.md tells it.
//
// Concurrency: does not apply.
//
// Ownership: does not apply.
package housetest
