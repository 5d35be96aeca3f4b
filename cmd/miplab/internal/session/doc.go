// Package session carries traffic through the lab and measures what becomes of it.
//
// Purpose: one TCP connection that lives as long as the run, its octets hashed at both ends in both directions, and a
// steady UDP stream that the correspondent sends back, from which losses and outages are read. Every payload is full of a
// canary, a random string that the judge of external wires looks for.
//
// Specification: none. A TCP stream is a row of blocks of 32 octets: the canary (16), a counter (8, big-endian) and noise
// (8). A datagram begins with its sequence number (8, big-endian) and goes on with such blocks.
//
// Concurrency: Conversation and Stream may be asked from any goroutine while they run.
//
// Ownership: Conversation and Stream own the connections given to them and close them.
package session
