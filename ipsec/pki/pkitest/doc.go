// Package pkitest makes certification authorities, certificates, revocation lists and OCSP responses for tests.
//
// Purpose: tests of pki and of what uses it (clients, gateways, EAP-TLS, other people's gateways) make what they need in a line,
// with any property changed, and in virtual time: the time is given.
//
// Specification: RFC 5280 and RFC 6960, as far as crypto/x509 and golang.org/x/crypto/ocsp make them.
//
// Concurrency: an Authority belongs to one goroutine; what it has made may be shared.
//
// Ownership: what is returned is the caller's. Functions panic where the standard library fails, which a test cannot go on after.
package pkitest
