// Package netnstest makes anonymous network namespaces for tests and joins them by wires.
//
// Purpose: tests of devices, sockets and settings need networks of their own. A namespace has no name: it is held by its
// descriptor and goes with it, so that runs never meet each other's leftovers. Without the rights for that a test is
// skipped with the reason.
//
// Specification: none. Linux only; only tests import it.
//
// Concurrency: functions may be called from several goroutines.
//
// Ownership: the test closes what New returns at its end.
package netnstest
