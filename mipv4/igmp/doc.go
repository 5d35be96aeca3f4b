// Package igmp is as much of the Internet Group Management Protocol as a home agent needs for mobile nodes that join groups through
// their tunnels (RFC 5944 §4.4).
//
// Purpose: ParseReports reads what hosts say of the groups that they are in, AppendQuery asks them, and Router is the machine of a
// multicast router that each host reaches by a link of its own, its tunnel: it asks, and knows for as long as the answers count
// which hosts are members of a group. AppendReport and ParseQuery are the hosts' side of the same messages. Mobile nodes need no
// machine: their system's own IP layer answers on the TUN device.
//
// Specification: RFC 3376 (of which RFC 9776 is a revision) §4.1 and §4.2 (messages of version 3), §6.4 (what a router makes of
// them), §7.3.2 (reports of versions 1 and 2 count too), §8 (times); RFC 2236 §2 and RFC 1112 appendix I (versions 2 and 1).
// Left out on purpose: lists of sources are not kept, since the hosts choose among sources themselves: a host that wants any
// source of a group is a member; what a host that has listed sources blocks of them is no leave, and its membership ends with the
// next answers. Queries to one group, and the last member's query interval: one host alone is at the end of a link, so that its leave
// is believed at once. The election of a querier: nobody else asks there.
//
// Concurrency: a Router belongs to one goroutine but for Members, which any number may call.
//
// Ownership: messages that are given are borrowed for the call.
package igmp
