// Package dns has names resolved as the enterprise wants it while the client is up: the enterprise's names by the
// enterprise's servers and nowhere else (REQUIREMENTS HST-3).
//
// Purpose: Forwarder is a small DNS server on a loopback address. It sends the questions about the enterprise's names (its
// domains, and the reverse names of its prefixes) to the enterprise's servers by the host's routes, which lead into the
// tunnel, and all others to the servers of the interface in use, outside the tunnel; with Full all of them inside. A
// question about an enterprise name never goes anywhere else: without servers inside, or without an answer from there, it
// is answered with a failure. Nor does a name that spells an enterprise domain and goes on behind it
// (wiki.corp.example.hotel.example), as a resolver makes it from a search list that the network has given, or a name of one
// label: both are answered "no such name" on the spot.
//
// Settings has the host ask the Forwarder. There are two ways: Resolved tells systemd-resolved over D-Bus that a link of
// this program's own has this server and these domains; ResolvConf writes the file of that name. Both can be taken back by
// a later process after this one was killed. Which of them is used Choose decides, from what manages the host's
// resolv.conf.
//
// Darwin has a file for each domain (ResolverDir), Windows a table of policies (PolicyTable); neither has been run on a real machine.
//
// What stays when the daemon is killed: a managed resolv.conf goes on naming the Forwarder, so that no name is resolved at
// all until the daemon is back or `mipvpn down --without-daemon` puts the old file back. With systemd-resolved a link of
// its own that outlives the process (OwnLink) keeps the enterprise's domains, and they alone fail.
//
// Specification: RFC 1035 §4.2 (UDP and TCP), §7.3; RFC 2308 §7.1 (a failure is answered, not silence); resolv.conf(5);
// org.freedesktop.resolve1(5). Left out on purpose: caching (the hosts' resolvers do), DNSSEC validation (answers are handed
// on whole, with their signatures), DNS over TLS, the IPv6 reverse tree, zone transfers.
//
// Concurrency: a Forwarder is safe for concurrent use; each question has a goroutine, at most 256 at a time. Settings are
// used by one goroutine at a time.
//
// Ownership: what is handed in is borrowed for the call.
package dns
