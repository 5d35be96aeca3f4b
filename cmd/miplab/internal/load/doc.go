// Package load moves the laptop between access modes under full load and looks at every octet that arrives.
//
// Purpose: a data path that works in place, shares memory between packets and cuts where it is cheapest can go wrong in ways
// that a slow conversation never meets. Run keeps a TCP connection busy both ways as fast as it goes, with octets that follow
// from their position, and sends numbered datagrams in trains both ways whose octets follow from their number; meanwhile the
// laptop goes through the networks, its cable moved or a second one plugged in first. What is counted: octets and datagrams that
// arrived other than they were sent, and datagrams that overtook each other while the path did not change; none may.
//
// Specification: none. What is lost is counted only: a cable that is out loses packets.
//
// Concurrency: Run starts goroutines of its own and ends them.
//
// Ownership: the World belongs to the caller; connections that it opened for Run are closed by Run.
package load
