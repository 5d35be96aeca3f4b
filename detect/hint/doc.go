// Package hint gathers signs that an interface is inside or outside the company's network before anything proves it.
//
// Purpose: a laptop that comes to a network must ask both home agents whatever it believes, but it may ask in a better order
// when it knows the place: the domain name of the DHCP lease, the network access identifier that a foreign agent
// advertises, the hardware address of the gateway that proofs came through before (REQUIREMENTS DET-11). All of these can be
// forged by anybody on the link. So a hint orders work and nothing else: it is no proof nor part of one, never opens or
// closes the gate, and never makes anything last longer (detect/location.Hint, client/roam).
//
// Specification: draft-ietf-mobileip-vpn-problem-solution §4.4; RFC 2131 §4.4.3 and RFC 2132 §3.17 (DHCPINFORM, domain name);
// the lease files of systemd-networkd and dhclient(8), and NetworkManager's D-Bus interface. Left out on purpose: the
// draft's postponing of requests to the x-HA, since both leave together (DET-6); NetworkManager's own lease files, which hold
// no domain.
//
// Concurrency: Gateways is for one goroutine; SystemLeases and File may be used by several.
//
// Ownership: results are the caller's.
package hint
