// Package packet holds the buffers that packets travel in and the views of the headers in front of them.
//
// Purpose: every packet of the data path is a *Buf, a slot of pooled memory with room in front (Headroom) and behind
// (Tailroom) for what the deepest access mode adds, so that headers are pushed and trailers appended in place. A Batch
// is the unit that moves between goroutines. Header views (IPv4, UDP, ICMPv4) are named byte slices with getters
// and setters, at the offsets of their RFC figures; checksums are computed in full or incrementally (RFC 1624).
//
// Specification: RFC 791 (IPv4 header, no options written), RFC 768, RFC 792, RFC 1071, RFC 1624. Left out on purpose:
// IPv6 views, which come with the dual-stack work.
//
// Concurrency: a Buf or Batch has one owner at a time and no locks; pools and Drops are safe for concurrent use.
//
// Ownership: linear. Handing a Batch to a function that says it takes ownership ends the caller's right to it; the last
// owner calls Release. With the build tag packetdebug a released slot is poisoned, and a second Release or a
// write after it panics.
package packet
