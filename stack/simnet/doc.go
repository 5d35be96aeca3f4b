// Package simnet is a simulated IPv4 network in memory, on which the whole system runs in one process.
//
// Purpose: a Network has wires (broadcast segments with latency, jitter, loss, duplication, reordering, a rate and an MTU)
// and hosts. A Host has interfaces (NIC), a small IPv4 stack that behaves as a kernel's does (routes, forwarding,
// fragments, ICMP, UDP and raw sockets, a TUN device that gives superpackets, home addresses shielded as link.Settings asks), and implements
// link.Host, so that the drivers that run on a kernel run on it unchanged. A host can be a NAT (RFC 4787's three mappings
// by three filterings) and a stateful firewall. Applications use UDPConn (a net.PacketConn) and Stream (a net.Conn with
// real TCP segments), which go through the host's routes and so into its TUN device where it has one. Taps see every frame
// of a wire. For attackers, Wire.Intercept puts somebody in the middle of a wire who loses, delays, changes and moves frames,
// Wire.Spoof answers ARP, Wire.SetPool is another DHCP server, and Host.SendPacket and Host.SendFrame send anything. NewLab
// wires the topology of the demo.
//
// Specification: RFC 791 (fragments, reassembly), RFC 792 and RFC 1812 §4.3 (echo, unreachable, fragmentation needed, time
// exceeded), RFC 1122 §3.3.4 (the weak host model, as Linux has it), RFC 4787 (UDP NAT), RFC 5382 and RFC 5508 as far as
// address and port translation of TCP and ICMP go, RFC 9293 and RFC 5681 (a small TCP: handshake, retransmission,
// windows, congestion control; no options but MSS). Left out on purpose: ARP as frames (addresses are resolved by asking
// the wire, with ARP's rules on who would answer; proxy and gratuitous ARP of home links included), DHCP as frames (a wire hands out addresses as a server would), IPv6,
// IPv4 options, ICMP redirects, TCP window scaling and SACK.
//
// Concurrency: a Network has one event loop, a goroutine, with a heap of events ordered by (time, lane, sequence), a lane
// being the host that caused the event. All state is under one mutex, which is never held while anything blocks.
// Receivers and Watch functions are called by the loop, without the mutex, and must not block; taps are called under the
// mutex and must not call back. All methods are safe for concurrent use.
//
// Time: everything goes by the time package, so that inside a testing/synctest bubble time is virtual and outside it is
// real. Each interface on each wire draws its chances from a generator of its own, seeded from the network's seed and the
// names, and every wire has a latency, so that inside a bubble runs with one seed are the same frame for frame as long as
// the goroutines of one host do not race one another. A bubble ends only after Network.Close.
//
// Ownership: as in package link. Frames handed to taps may be kept and must not be changed.
//
// Testing: same seed, same trace; NAT behaviours as a table; TCP streams over loss, moves and suspend.
package simnet
