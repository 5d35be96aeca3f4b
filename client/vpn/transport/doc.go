// Package transport decides whether IKE and ESP travel in UDP or in TCP.
//
// Purpose: a Choice is a machine for one association with a gateway. It wants UDP; when that is not answered soon it has TCP
// tried beside, without holding UDP up, and takes what answers first. In TCP it has a broken connection made anew, and UDP
// tried again now and then, to leave TCP when UDP passes.
//
// Specification: RFC 9329 §5.1 (UDP first, its first message repeated before TCP is tried; a new IKE_SA_INIT for TCP), §6.1 (the
// TCP Originator makes a broken connection anew), §7.1 (back to UDP, which only MOBIKE can do under the same SAs). Race in
// the manner of RFC 8305. What was learnt is forgotten with the Choice: another gateway, another network or a resumed SA begins
// with UDP (§7.2, §7.3).
//
// Concurrency: a Choice belongs to one goroutine. It does no I/O and reads no clock.
//
// Ownership: a Choice holds values only.
//
// Testing: a table of what is told and what it wants, on given times; random tellings.
package transport
