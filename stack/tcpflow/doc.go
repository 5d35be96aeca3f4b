// Package tcpflow carries IKE and ESP over a TCP connection.
//
// Purpose: a Flow is a link.Flow whose payloads travel in a stream, as if they were datagrams on UDP port 4500: what the data
// path and the IKE drivers do with UDP encapsulation they do with it too. The connection is the kernel's, or stack/simnet's;
// its congestion control is what the system has (CUBIC on Linux).
//
// Specification: RFC 9329 §3 and §4 through ipsec/iketcp; of §6.1 the handling of broken and corrupt connections; §9.5 (the
// outer headers are the kernel's, which are not ECN-capable). Left to who holds the Flow: §5.1, §6.1's rules about which end
// opens and closes, §7.
//
// Data never waits: a packet for which there is no room is dropped and counted, as a full queue in the network drops it, so
// that a slow connection stalls nobody else. Signalling has room of its own and leaves first. A peer that takes nothing for
// a while loses its connection.
//
// Concurrency: a Flow may be used by several goroutines. Its receiver is called from one, which is not the caller's.
//
// Ownership: as link.Flow and link.Sender say. New owns the connection.
package tcpflow
