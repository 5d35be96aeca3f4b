// Package iketcp is the format of IKE and ESP in a TCP stream.
//
// Purpose: a Splitter makes messages of the octets of a stream, a Queue makes a stream of messages. A message is what would
// be the payload of a UDP datagram on port 4500: an IKE message behind the non-ESP marker, an ESP packet or a NAT
// keepalive; esp.Classify tells which.
//
// Specification: RFC 9329 §3 (length field), §4 (stream prefix); of §6.1 that what breaks off is discarded. Left to whoever
// owns the connection: who opens and closes it, which IKE SA it belongs to (stack/tcpflow, stack/agent). Left out on
// purpose: other framing below the stream, such as TLS (Appendix A); finding the next message after corruption by a
// search (§10 allows closing the connection instead).
//
// Concurrency: a Splitter belongs to one goroutine; so does a Queue.
//
// Ownership: messages that a Splitter yields are parts of its buffer and valid until it is filled again. A Queue copies.
package iketcp
