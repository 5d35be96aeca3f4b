// Package handoff measures what a change of network costs: mipvpn beside strongSwan with MOBIKE and wireguard-go's roaming.
//
// Purpose: figures as ratios. Each program has a lab of its own, the same network for all. Datagrams go through the
// tunnel to the correspondent every 10 ms and come back; a Sample is the longest gap between two that were answered and the
// number lost around one change of a Kind. Run makes the changes one program after the other, over and over, and a Report
// has the medians, the ratios of each pair, and the goals beside them. Simulate makes many thousands of changes with a
// second interface on the simulated network, in virtual time.
//
// What the peers need is given to them: all interfaces have default routes, the preferred one the lower metric; charon may
// leave a path that works for a better one (prefer_best_path) and has its virtual IP on the loopback, where no interface takes
// it along; wireguard-go follows the routes by itself. The laptop answers ARP on each interface for its own addresses alone.
//
// Specification: RFC 4555 (MOBIKE) and WireGuard's roaming as those programs have it; none of its own.
//
// Concurrency: a measurement runs alone.
//
// Ownership: Lab owns its programs and its lab until Close; what Run is given belongs to the caller.
package handoff
