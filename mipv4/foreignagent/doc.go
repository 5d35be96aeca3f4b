// Package foreignagent is a Mobile IPv4 foreign agent without its sockets: the machine that advertises the agent and
// relays registrations, and the visitor list that the data path reads.
//
// Purpose: Machine answers agent solicitations and advertises by itself, relays registration requests of visiting mobile
// nodes to their home agents and the replies back, and keeps pending registrations and the visitor list. A mobile node may
// have registrations with several home agents at once (REQUIREMENTS DET-15): entries are found by home address and home
// agent. Table is the visitor list for the data path. A driver (stack/agent) owns frames, flows and timers.
//
// Specification: RFC 2794 §3 (NAI); RFC 4433 §5.2 (requested home agents); RFC 5944 §2.1 and §2.3 (advertisements), §3.7 (foreign agent), §4.2.2 (routing); RFC 1256 as far as RFC 5944
// §2.3 refers to it; RFC 3024 §4.2 and §5 (reverse tunnels, both delivery styles, TTL of 255); RFC 5944 §4.1 (minimal
// encapsulation and GRE by configuration); RFC 3519 §3.4 (U bit), §4.5, §4.9 (UDP tunnels to home agents); RFC 4721 §2 to §3.3 (challenges; Mobile-AAA authentication, which an AAA
// infrastructure is asked about through the driver) with RFC 4636 (FA Error, for ha_wrong_challenge); RFC 3543 (registration
// revocation, both ways, with the mobile node told by an advertisement with sequence number 0). A solicited advertisement is
// sent at once, in a frame to the mobile node that asked, but with the group 224.0.0.1 as its IPv4 destination: on an
// interface without an address a mobile node has none yet that it would be heard under. RFC 5944 §3.7.3.2 deletes the visitor
// when a deregistration is accepted; here only when it concerned this agent's care-of address. RFC 5944 says of the bit x both
// that it is ignored (§3.3) and that requests with it must be denied (§3.7.2.1): they are denied. Left out on purpose:
// triangular routing (requests without the T bit are denied with code 75 unless the care-of address is co-located). Local and regional registrations (RFC 4857) are left out for good: they spare the home agent distant
// registrations, but a mobile node that is to prove where it is needs the home agent's own answer each time (RFC 5265 §3.4),
// and a foreign agent hierarchy would hold keys of the mobile nodes.
//
// Requests that are pending are bounded for each station too (PendingPerStation), and each station has its own for a registration, so
// that none can push out another's in the name of the same mobile node. Who forges link-layer addresses is many stations, and can
// reach the bound of all (Config.MaxPending). RFC 5944 §3.7.1 has further requests denied then, which would leave the agent to the forger;
// here the request that has waited longest is denied in their place. So a request has the time for its reply that it takes to fill the table:
// with 1024 requests a second in a flood one second, with ten times as many a tenth.
//
// In a VPN gateway (draft-ietf-mobileip-vpn-problem-solution-01 appendix B) mobile nodes are reached through their VPN sessions in the
// place of a visited link (Station), each may register one home address (Request.HomeAddress), and the gateway hands the
// advertisement over (Machine.Advertisement).
//
// Concurrency: a Machine belongs to one goroutine. A Table may be read by any number of goroutines without locks.
//
// Ownership: messages are borrowed for the call; what is to be sent owns its octets.
package foreignagent
