// Package controltest has a Backend for tests of the control socket and the command line.
//
// Purpose: Backend answers with what a test puts into it and remembers what it was asked, so that the socket, the protocol
// and the command line can be tested without a client.
//
// Specification: none.
//
// Concurrency: a Backend may be used by several goroutines.
//
// Ownership: a Backend keeps what it is given.
package controltest
