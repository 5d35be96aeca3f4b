// Package holder keeps a lab standing between commands.
//
// Purpose: namespaces that only descriptors hold end with their process, and nobody can enter another user's namespace;
// so `miplab up` leaves one process behind, and `miplab exec`, `plug`, `unplug` and `down` ask it over a unix socket. A
// command's standard streams go along as descriptors.
//
// Specification: one request and one answer a connection, each one JSON document and the end of the stream's writing half
// not needed; the request's first octets carry the descriptors (SCM_RIGHTS, unix(7)). While a command runs, further
// requests on its connection are signals for it.
//
// Concurrency: Serve answers each connection in a goroutine of its own.
//
// Ownership: the socket is its user's alone (mode 0600), since a command runs with the holder's rights.
package holder
