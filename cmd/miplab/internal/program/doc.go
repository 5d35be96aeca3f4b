// Package program runs the lab's programs, each in its box.
//
// Purpose: a Program is a child process in a namespace whose output goes to a file. It is ended in order, or by force
// when it does not listen, and dies with this process in any case.
//
// Specification: none.
//
// Concurrency: a Program may be used by several goroutines at once.
//
// Ownership: Stop ends the process; the log file stays.
package program
