// Package linkmon watches the network interfaces: snapshots, hints that something may have changed, and what did.
//
// Purpose: events of the operating system are hints only. Whoever gets one takes a new snapshot and compares: Compare says
// which interfaces' connection status has changed and why, which is what opens a new epoch (REQUIREMENTS DET-2). The first
// hint after a quiet time is passed on at once, further ones 10 ms later, and in the long run at most every 100 ms. A
// carrier that was gone for shorter than that shows by link.Interface.CarrierChanges.
//
// Specification: REQUIREMENTS DET-2. On Linux: rtnetlink for interfaces, addresses, routes and neighbours, nl80211 for
// associations, a timerfd for resume from suspend and clock changes; of several IPv6 addresses the one to send from by
// RFC 6724 §5, rules 3 and 7. On darwin the routing socket and its tables (route(4)), on Windows the IP helper API; neither has been
// run on a real machine, neither tells how often the carrier has changed nor of access points, and the first address is taken.
// Left out on purpose: other systems, where everything fails with ErrUnsupported.
//
// Concurrency: a Monitor may be used from several goroutines. Snapshot and Watch work on the network namespace of the
// thread that calls them.
//
// Ownership: snapshots are the caller's.
package linkmon
