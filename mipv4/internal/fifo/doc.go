// Package fifo is the queue that a machine keeps what it has to say in until its driver polls.
//
// Purpose: transmits and events wait here, each for the one Poll method that takes it out. A queue that is emptied after each
// call, as drivers do, allocates nothing from then on.
//
// Specification: none of its own.
//
// Concurrency: a Queue belongs to one goroutine.
//
// Ownership: the queue forgets what it has handed out.
package fifo
