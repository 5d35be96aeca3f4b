// Package topology makes the network of the draft's section 2 on one machine.
//
// Purpose: the boxes of a company and of the world outside are network namespaces; the wires between them are bridges in
// one more namespace, the fabric, where cables are plugged and traffic is seen. A café gives addresses by DHCP behind a
// NAPT, a hotspot has a foreign agent and no addresses, the company has an office LAN with DHCP, an office network with a
// foreign agent, a firewall that hides the inside, and a demilitarised zone. Everything is made by netlink and nftables
// calls of our own.
//
// Specification: draft-ietf-mobileip-vpn-problem-solution-01 §2 (the figure), RFC 2131 for DHCP. The addresses are those of
// plan.go.
//
// Concurrency: a Lab may be used by several goroutines at once; Plug and Unplug of one interface must not overlap.
//
// Ownership: Close ends the DHCP servers and clients and lets go of all namespaces; with the last process gone, the
// kernel removes them.
package topology
