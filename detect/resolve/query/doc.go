// Package query holds the protocol machines of a DNS resolver that asks the name servers of one interface.
//
// Purpose: Exchange gets one DNS message answered by one of several servers: it retransmits, goes from server to server,
// and takes an answer only if it is one to what was sent. Lookup makes of exchanges what a name's IPv4 addresses are. The
// drivers (detect/resolve, and the forwarder of client/dns) own flows and timers. Names.go and message.go hold the little
// that the forwarder needs to know of a message.
//
// Specification: RFC 1035 §4.1 (messages), §7.3 (what an answer must look like), RFC 2308 §5 (negative answers are kept
// for the lesser of the SOA record's TTL and its MINIMUM), RFC 5452 §9 (a random ID for each transmission, the question and
// the server compared; the random port is the driver's: a flow of its own for each transmission), and the random case of
// draft-vixie-dnsext-dns0x20, given up in the last round for servers that do not keep the case. Left out on purpose:
// iteration (the servers asked are recursive), DNSSEC validation (who the name leads to must prove itself by its own
// protocol), DNAME (a server synthesises the CNAME), AAAA (Mobile IPv4 has no use for it), EDNS(0) in Lookup's own queries
// (some routers do not take it, and 512 octets hold 28 addresses), TCP (flows carry UDP): a truncated answer is used as
// far as it goes.
//
// Concurrency: a machine belongs to one goroutine. It does no I/O, reads no clock and starts no goroutine.
//
// Ownership: messages given to a machine are borrowed for the call; what it yields owns its octets.
//
// Testing: every answer that differs from the right one in one respect; loss; a fuzz test for all that parses.
package query
