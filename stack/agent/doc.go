// Package agent runs the agents: home agent, foreign agent and VPN gateway.
//
// Purpose: each driver takes a link.Host and a configuration, opens flows, frames and a TUN device on it, gives what
// arrives to its protocol machine (packages mipv4/homeagent, mipv4/foreignagent, ipsec/gateway) and carries user data by
// the tables that the machine keeps. The drivers run unchanged on the kernel (stack/underlay) and on the simulated network
// (stack/simnet). Roles of one process on one host share an Exchange, in which they hand packets over in memory.
// A home agent with a BindingStore sends a reply only when the binding and the state of replay protection are durable: package
// boltstore keeps them in a file, package etcdstore among several agents that stand for one. Home agents and foreign agents may ask
// RADIUS servers about mobile nodes (package ipsec/radius).
//
// Specification: RFC 5944 §3.8.2.1 (requests to a home network's broadcast address, which are denied with the home agent's own), §4.2 (routing at home agent and foreign agent), §4.6 (proxy ARP and gratuitous ARP on an on-link home network), RFC 2003 §3 to §5 (tunnels, ICMP, fragments),
// RFC 3024 §4.3.2 and §5 (the check of reverse-tunnelled packets, delivery styles), RFC 3519 §4 (UDP tunnelling), docs/zero-overhead.md (switched addresses, draft appendix D). The
// gateway's is in its own file, with draft-ietf-mobileip-vpn-problem-solution-01 appendix B.4 and B.5 for the foreign agent in it.
// RFC 5944 §4.3 and §4.4 (broadcasts) by configuration: UDP datagrams to all, or to a group of 224.0.0.0/24, on the home link or from
// another mobile node of the home network, so many a second, but DHCP and registrations. The host of the home agent itself is not
// given those of mobile nodes, and its own are not handed on. Directed broadcasts that routers bring from elsewhere are not handed
// on (RFC 2644). Other groups are joined by IGMP through the tunnel (§4.4, package mipv4/igmp), by mobile nodes that ask for broadcasts:
// what is sent to such a group on the home link, where the home agent joins it on their behalf, or by another mobile node, goes to its members. The
// time to live is left as it is: mobile nodes are a part of the link. Left out on purpose: groups across a router on behalf of a virtual
// home network, which would take a multicast routing protocol;
// RADIUS for other credentials than those of CHAP_SPI, which it does not know;
// ICMP errors toward correspondents about packets that a foreign agent cannot deliver, for which RFC 2003 has no way
// back.
//
// Concurrency: signalling goes through one goroutine for each driver, which owns its machine. Data goes through the
// goroutines that call receivers and the one that reads the device; they read tables through atomic pointers. Through an
// Exchange a goroutine of one role goes on into the next, so that forwarding runs on several goroutines at once.
//
// Ownership: a driver owns what it opens on the host, until Close.
package agent
