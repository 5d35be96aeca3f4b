// Package walk takes the lab's laptop for a random walk through the networks, with the real programs and packets.
//
// Purpose: what the soak on the simulated network (client/soak) proves many times over, here a few hundred times with the
// kernel's own sockets, routes, rules and clocks: the cables of two interfaces go from one network to another in an order
// that follows from a seed, and the daemon is killed with SIGKILL and started again in between, while applications go on
// sending: one TCP session with every octet hashed, UDP with echoes, ICMP, a DNS query, IPv6. The judges of the external wires
// (cmd/miplab/internal/judge) look at every frame for the canary that each packet bears.
//
// Specification: none of its own.
//
// Concurrency: Run is for one goroutine at a time; applications have their own.
//
// Ownership: the world is the caller's; Run opens applications in it and closes them.
package walk
