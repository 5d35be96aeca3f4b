// Package probe does what package portal decides: it asks questions over TCP and answers a browser's queries for names.
//
// Purpose: Prober makes the HTTP request of a portal.Question straight through one interface and reports what came of it.
// Forwarder answers the DNS queries of a portal's browser from the name servers of that interface and tells which addresses
// the browser has learnt. Both get their sockets and their resolver as interfaces, so that they run on the kernel and on the
// simulated network alike.
//
// Specification: RFC 9112 (one GET request, no redirect is followed, at most maxAnswer octets are read), RFC 1035 over UDP.
//
// Concurrency: safe for concurrent use. What is started ends with its context.
//
// Ownership: a Forwarder owns the connection that Serve is given.
package probe
