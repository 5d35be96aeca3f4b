// Package e2e runs the whole system on the simulated network: the mobile node, both home agents, both foreign agents and the
// VPN gateway, each with its real machines and data path, in one process and in virtual time.
//
// Purpose: the main proving ground (DESIGN §2.2). World is the lab of stack/simnet with everything started on it; tests
// and `miplab demo --simulated` move the laptop's cable and see what its sessions make of it. An Adversary attacks it by a
// seed, a Process is a daemon's that can be killed at any step, and a Judge looks for what must not be on a wire.
//
// Specification: none of its own.
//
// Concurrency: World's methods are for one goroutine. Inside a testing/synctest bubble time is virtual, elsewhere real.
//
// Ownership: World owns everything that it starts, until Close; frames that a Judge returns may be kept.
package e2e
