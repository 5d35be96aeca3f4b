// Package simulated is the lab on the simulated network, in one process and without any rights.
//
// Purpose: the same drivers of agents, gateway and client that run on a kernel run on stack/simnet, in the same topology,
// in real time; a scenario plays there as it plays in namespaces.
//
// Specification: none of its own.
//
// Concurrency: a World may be used by several goroutines at once.
//
// Ownership: Close ends everything.
package simulated
