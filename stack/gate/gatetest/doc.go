// Package gatetest makes proofs of inside for tests.
//
// Purpose: a location.Proof can only come of a registration reply that was verified and judged. Proof here goes that way
// in full: it registers with a home agent of its own making and gives the reply to a detector. So it opens no way around
// the rules; it only needs no network.
//
// Specification: none.
//
// Concurrency: Proof may be called from several goroutines.
//
// Ownership: proofs are values.
package gatetest
