// Package hostnet puts the host's network into a declared state and takes it back.
//
// Purpose: link.Settings say what the TUN device's address and MTU, the routes into it, the shielded addresses and
// forwarding are to be. Apply compares that with what the kernel has and changes only the difference, so that applying
// twice changes nothing and the first Apply of a new run takes back what a crashed one left. Everything made here can be
// told by its marks: one routing table, rules of one routing protocol number, one nftables table. Values of sysctls that
// were changed are kept as comments in that nftables table, so that they live exactly as long as the changes do. Of several
// Networks in one namespace, such as an agent's roles, each keeps the value from before all of them, and the last one to go
// restores it.
//
// Routes are held twice: into the device, and with the greatest metric as unreachable. When the device goes with a
// crashed process, its routes go too and the second ones keep traffic for the prefixes blocked until the next run, or
// until the zero Settings take everything back. IPv6 has the second ones only.
//
// A home agent on its home link has home addresses led into its device one by one (RouteHome, home_linux.go), as mobile nodes come
// and go, without an Apply for each.
//
// What other programs have in the kernel's network that may decide about packets before, or against, the client is listed for people
// (Rivals, rivals_linux.go); nothing is done about it.
//
// The kill switch (link.Settings.KillSwitch, HST-2) is two more nftables tables, written together in one transaction
// (line_linux.go has the rules). An inet table drops, in the output and forward hooks and on whatever interface but the
// device, packets to the routed and blocked prefixes and from the home addresses. A netdev table has an egress chain on each
// interface but loopback and the device, because packet sockets pass the inet hooks: it drops the same, and what is marked
// as plaintext unless the interface's index is in a set, whose elements Permit adds with a time to live. With a full tunnel
// both drop everything else too. Exempt are this process's own marks, DHCP from port 68 to port 67, and in a full tunnel
// what an interface takes to be attached to a network (ARP, IEEE 802.1X, PPPoE, neighbour discovery, DHCPv6) and, where
// Settings.Local says so, the local network; never IPv6 or IPv4 of the enterprise. Of IPv6 the mark of what is protected alone is
// exempt: the VPN may stand on IPv6. Plaintext never leaves by IPv6.
//
// From Linux 6.16 on one egress chain stands on every interface, those to come included, whether a process runs or not;
// whether the kernel can, is found out by writing it. Before that, and where the system's nft is older than such chains (1.1.6), which
// would then read rules without end, each interface has a chain of its own, a new one when Cover hears of it: until then, and while no
// process runs, only the inet table holds it, which packet sockets pass.
//
// Load writes what outlives a process before there is one, at the system's start.
//
// Restore puts back what other programs have taken away of what Apply made (systemd-networkd, `nft flush ruleset`, `sysctl
// --system`), and Watch says when that may be so.
//
// What passes: IPv6 to other than blocked prefixes in split tunnels, addresses embedded in it (6to4, NAT64) included; what
// another tunnel carries inside packets of its own; what a process with CAP_NET_ADMIN marks itself or takes away; in split
// tunnels, frames with two VLAN tags that a packet socket has made up. In the output hook the interface is the one from
// before a chain that routes anew (a portal's); the egress chain knows the true one.
//
// A captive portal's browser is the third exception, in split and full tunnels alike: packets with Options.PortalMark leave
// only to what the sets "portal" name, one in each of the two tables with the same elements: index of the interface,
// destination address, IP protocol and destination port (portalKey), each element with a time to live. They are empty until
// portal_linux.go fills them. In both tables the rules for them stand behind the one that drops what goes to the enterprise;
// in the netdev table, where addresses may have been translated, also behind those for the home addresses.
//
// OpenPortal opens the way to a captive portal for the processes of one control group (portal_linux.go): a third nftables
// table marks what they send with that mark, or rejects it, and leads it to the portal's interface by a routing table and a
// policy rule of their own. What may be reached are elements with a time to live there and in the kill switch's sets, so that
// the way closes when nobody renews them. A way that a crashed run has left is taken away, and its processes are killed, by the
// next Apply.
//
// Other systems: on darwin addresses and routes are set by ifconfig(8) and route(8) and the kill switch stands in an anchor of
// pf(4) (pf.go, hostnet_darwin.go), on Windows by the IP helper API and in the Windows Filtering Platform (filters.go,
// hostnet_windows.go). Neither has marks for packets: what this program sends as signalling and ESP is known by its ports and its
// user or file. Neither has permits that end by themselves, so that Permit fails there and plaintext modes do not go. Neither has
// been run on a real machine; the rules and commands themselves are tested everywhere.
//
// Specification: none of its own. RFC 5944 §5.7 and RFC 4093 §4.2 want no ARP for a home address away from home.
//
// Concurrency: a Network may be used from several goroutines; calls are done one after the other. They work on the
// network namespace of the calling thread.
//
// Ownership: Apply borrows the Settings for the call.
package hostnet
