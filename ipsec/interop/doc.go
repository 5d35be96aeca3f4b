// Package interop holds the tests of ipsec against implementations that are not ours.
//
// Purpose: the IKE machine and the ESP SAs of this tree talk to strongSwan's charon in network namespaces: every pair of
// algorithms, data both ways, rekeying from either side, liveness checks, DELETE, refusals. There is nothing here but
// tests; ipsec/interop/charon starts the peer, ipsec/interop/debian has those that the machine has not installed.
//
// TestMatrix plays cases, each a row of values of the matrix's dimensions: against three releases of strongSwan, with us as
// initiator and as responder. `make interop` plays all of them and prints the table.
//
// Specification: RFC 7296, RFC 4303, RFC 3948 as charon 5.9 and 6 have them.
//
// Concurrency: none.
//
// Ownership: none. The tests need root (network namespaces) and the packages of charon.Packages, and skip without.
package interop
