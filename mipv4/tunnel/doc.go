// Package tunnel holds Mobile IPv4's tunnels as the data path uses them: encapsulation, decapsulation, and what an
// encapsulator owes to the packets that it cannot pass on.
//
// Purpose: home agents, foreign agents and mobile nodes put packets into IP-in-IP (RFC 2003), minimal (RFC 2004), GRE (RFC 2784)
// or MIP UDP tunnels (RFC 3519) and take them out again. Encapsulator and Decapsulator are the steps for a batch; Open does the same for
// one packet where the caller has to look up whose tunnel it is. Around them stand the checks of RFC 2003 §3 and
// RFC 3519 §4.3, the ECN rules of RFC 6040, fragmentation before encapsulation, ICMP errors (made, and relayed from
// within a tunnel), path MTU soft state, and the keepalive of RFC 3519 §4.9 with the home agent's answer to it.
//
// Superpackets (packet.Buf.Super) go into a tunnel whole; Fragment judges them by their segments.
//
// The outermost IPv4 and UDP headers are the flow's that carries the payload: over a flow of protocol 4 an IP-in-IP
// payload is the inner packet itself, and the outer type of service travels in Buf.TOS. Of minimal encapsulation the outer header's
// time to live and DF are the inner packet's; they travel in Buf.TTL and Buf.DontFragment.
//
// Specification: RFC 2003 (§3 header fields, §4 ICMP, §5 soft state: MTU, length and reachability; congestion, §5.2, is left to those at the ends), RFC 3519 (§3.3 data header, §4.3 decapsulation,
// §4.8 fragments, §4.9 and §4.10 keepalives), RFC 6040 §4 (ECN, normal mode), RFC 791 §2.3 and §3.2 (fragmentation),
// RFC 792 and RFC 1191 §4 (errors), RFC 1122 §3.2.2 and RFC 1812 §4.3.2 (when no error may be sent); RFC 1624 and
// docs/zero-overhead.md (addresses switched in the place of a tunnel, draft appendix D); RFC 2004 (minimal encapsulation), RFC 2784
// and RFC 2890 §2.1 (GRE with checksum and key). Left out on purpose: GRE sequence numbers (RFC 2890 §2.2: packets that have them
// are refused, since they would have to wait for each other), minimal encapsulation and GRE inside UDP (RFC 3519 §4.1, optional).
//
// Concurrency: Encapsulator and Decapsulator are values without state and may be used by several goroutines. Keepalive is a
// protocol machine and belongs to one goroutine. State is safe for concurrent use.
//
// Ownership: functions that take a Buf or a Batch leave its ownership with the caller unless they say otherwise; dropped
// packets of a batch are released and counted.
package tunnel
