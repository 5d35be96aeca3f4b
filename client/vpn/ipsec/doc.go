// Package ipsec is the VPN protocol of mipvpn: IKEv2 and ESP.
//
// Purpose: Protocol makes ike.Machines from the client's configuration, sends and receives their messages and keeps the child SAs
// that they make in the data path (stack.VPN). A tunnel stands on one of the bearers that the client offers and moves between them;
// on each, UDP or TCP is chosen anew. How long the NAT of a network holds a mapping is learned, and known again there.
//
// Specification: RFC 7296 and RFC 4303 as ipsec/ike, ipsec/esp and stack implement them; RFC 4555 and draft appendix C for moves;
// RFC 9329 for TCP; REQUIREMENTS MOD-park. What is learned of networks and gateways is kept while the process lives, and not in a
// file.
//
// Concurrency: that of package vpn.
//
// Ownership: that of package vpn. The keys of child SAs are wiped when they have been given to ipsec/esp.
package ipsec
