// Package pathmtu measures the largest packet that gets through the whole composition to the i-HA.
//
// Purpose: whatever lies between the laptop and the i-HA (a PPPoE line, a tunnel of somebody else's, a router whose ICMP
// messages are filtered), packets that are too large for it must not vanish. Machine sends ICMP echo requests of the size to
// be tested from the i-HoA to the i-HA, through the pipeline in use and with DF in every header, so that all layers are
// measured at once, and finds the largest that is answered. It bears no user data and needs nothing of the i-HA but that it
// answers pings, as it must to keepalives (RFC 3519 §4.9).
//
// Specification: RFC 8899 (§3, §4.1, §4.6, §5.1 to §5.4) as far as its state machine goes, with the i-HA's echo replies as
// acknowledgments; RFC 4821 §7.2 and §7.3 (search range and raising). It differs from RFC 8899 in three things. Before
// anything is measured the interface's MTU counts and not the base size, for until then packets may be fragmented on the
// way outside, and a path that is wide is not made narrow for the ten minutes for which hosts remember an ICMP error. A probe also counts as
// lost when one that was sent later has been answered, so that a black hole is noticed in a few round trips and not in
// seconds. PROBE_TIMER is 1 s, its least, not 15 s. ICMP messages from outside, which anybody can forge, only begin a
// search and name a size to try (§4.6.2); they never set the result. Left out on purpose: packets that carry user data as
// probes (§4.1), since echo requests are at hand.
//
// Concurrency: a Machine belongs to one goroutine. It does no I/O and reads no clock.
//
// Ownership: messages given are borrowed for the call; what PollTransmit returns belongs to the caller.
package pathmtu
