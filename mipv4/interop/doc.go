// Package interop holds the tests of Mobile IPv4 against what is not ours: messages that other programs build and read, octets
// put together by hand from the figures of the RFCs, peers of older standards, and strangers who mean harm.
//
// Purpose: home agent, foreign agent, mobile node and discovery are machines that are driven here with octets alone. Scapy's
// Mobile IP layer (testdata/peer.py, with authenticators by Python's hashlib) plays each far end. There is nothing here but
// tests.
//
// Specification: RFC 5944, RFC 3344 and RFC 2002 messages and authenticators; RFC 3519 §3.3, RFC 2003 and, as far as scapy has
// it, RFC 2784 and RFC 2890.
//
// Concurrency: none.
//
// Ownership: none. The tests with scapy need Debian's python3-scapy, and skip without.
package interop
