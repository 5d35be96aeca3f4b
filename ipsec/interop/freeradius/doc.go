// Package freeradius starts a FreeRADIUS in a namespace, for tests of what asks a RADIUS server.
//
// Purpose: Start writes a configuration of its own, so that nothing of the host's counts, and waits until the server listens. It
// does EAP-MSCHAPv2, EAP-TLS, EAP-TTLS and accounting.
//
// Specification: none; the server is FreeRADIUS 3 as Debian has it (package freeradius).
//
// Concurrency: a server belongs to the test that started it.
//
// Ownership: the files named in Options stay until the test's end.
package freeradius
