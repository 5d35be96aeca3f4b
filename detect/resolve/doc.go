// Package resolve resolves names through one interface, outside the tunnel, with the name servers of that interface
// (REQUIREMENTS HST-3).
//
// Purpose: home agents and gateways may have names. Such a name is asked for where the packets to it will go: on the
// interface concerned, past the tunnel and past the system's resolver, which may be of the opinion that another interface
// or the tunnel knows better. Resolver drives query's machines over flows of a link.Host, so that it runs on the kernel and
// on the simulated network alike, and keeps what it has found, each interface for itself. Servers says which name servers
// an interface has: from systemd-resolved, NetworkManager, lease files, or resolv.conf (SystemServers, on linux).
//
// What an answer is worth: nothing. Whoever answers, the home agent must authenticate its replies and the gateway prove its
// identity; an attacker who points a name elsewhere gains what dropping the packets gains. No route and no exception of the
// kill switch is made for an address that a name leads to, so that pointing the gateway at somebody else's address takes
// nothing of the user's out of the tunnel either (the ServerIP attack of TunnelCrack).
//
// Specification: see package query. Flows carry UDP over IPv4 and IPv6, as the interface has addresses: there is no TCP. Left out
// on purpose: the leases of DHCPv6 clients that neither systemd-resolved, NetworkManager nor resolv.conf tells of. Each transmission has a flow of its own, so a port of its own, which the kernel draws at random (RFC 5452 §9.2).
//
// Concurrency: a Resolver is safe for concurrent use. A call ends with its context, and leaves no goroutine behind.
//
// Ownership: slices handed in are borrowed for the call, slices handed out are the caller's.
package resolve
