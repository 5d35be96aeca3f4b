// Package hostnet puts the host's network into a declared state and takes it back.
//
// Purpose: link.Settings say what the TUN device's address and MTU, the routes into it, the shielded addresses and
// forwarding are to be. Apply compares that with what the kernel has and changes only the difference, so that applying
// twice changes nothing and the first Apply of a new run takes back what a crashed one left. Everything made here can be
// told by its marks: one routing table, rules of one routing protocol number, one nftables table. Values of sysctls that
// were changed are kept as comments in that nftables table, so that they live exactly as long as the changes do.
//
// Routes are held twice: into the device, and with the greatest metric as unreachable. When the device goes with a
// crashed process, its routes go too and the second ones keep traffic for the prefixes blocked until the next run, or
// until the zero Settings take everything back.
//
// The kill switch (link.Settings.KillSwitch, HST-2) is two more nftables tables, written together in one transaction. An
// inet table drops, in the output and forward hooks and on whatever interface but the device, IPv4 packets to the routed
// prefixes and from the home addresses. A netdev table has an egress chain on each interface but loopback and the device,
// because packet sockets pass the inet hooks: it drops the same, and what is marked as plaintext unless the interface's
// index is in a set, whose elements Permit adds with a time to live. Exempt are this process's own marks, and DHCP from
// port 68 to port 67. No IPv6 prefix is routed into the device and no home address is an IPv6 one, so IPv6 passes: check
// refuses both. What a privileged process tags itself for a VLAN passes the egress chain of the interface below.
//
// Specification: none of its own. RFC 5944 §5.7 and RFC 4093 §4.2 want no ARP for a home address away from home.
//
// Concurrency: a Network may be used from several goroutines; calls are done one after the other. They work on the
// network namespace of the calling thread.
//
// Ownership: Apply borrows the Settings for the call.
package hostnet
