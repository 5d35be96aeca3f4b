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
// Specification: RFC 5944 §4.2 (routing at home agent and foreign agent), §4.6 (proxy ARP and gratuitous ARP on an on-link home network), RFC 2003 §3 to §5 (tunnels, ICMP, fragments),
// RFC 3024 §4.3.2 and §5 (the check of reverse-tunnelled packets, delivery styles), RFC 3519 §4 (UDP tunnelling), docs/zero-overhead.md (switched addresses, draft appendix D). The
// gateway's is in its own file, with draft-ietf-mobileip-vpn-problem-solution-01 appendix B.4 and B.5 for the foreign agent in it. Left out on purpose: broadcasts and
// multicasts of a home network (RFC 5944 §4.3, §4.4: no mobile node is sent any);
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
