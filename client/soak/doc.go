// Package soak takes the whole system for long random walks on the simulated network and counts what leaks.
//
// Purpose: the promise of the client is about every transition, so the proof of it is about many. A Walk is one lab
// (client/e2e) in which a laptop is moved, put to sleep, woken elsewhere, re-routed without a sign, has its daemon killed
// and its agents restarted, at moments and in an order that follow from a seed, while applications send all the time: one TCP
// session, UDP, ICMP, DNS, IPv6, both ways, each packet with a canary. An oracle of its own (oracle.go) sees every frame
// of the laptop and says what each may be: it knows nothing of the client's machines, only what a proof of inside is
// (REQUIREMENTS DET-3, DET-4) and what the walk has done to the laptop.
//
// What is counted: transitions by kind with the longest outage, frames by what they are, leaks (zero), exposures after
// silent re-routes (apart, each shorter than T_MONITOR), and whether the sessions are kept. The tests of this package run a
// few hundred transitions; flags ask for more, and for one seed again:
//
//	go test ./client/soak -run TestSoak -args -transitions 10000
//	go test ./client/soak -run TestSoak -args -seed 17 -walks 1 -story
//
// Specification: none of its own.
//
// Concurrency: a Walk runs in a testing/synctest bubble of its own, in which time is virtual; several run at once in
// parallel tests. What is done to the laptop, when, and what comes of it follow from the seed; of two things that
// applications and agents do in the same instant of virtual time either may be the first, so that the number of frames differs
// a little from one run to the next.
//
// Ownership: Run owns the world that it starts and ends it.
package soak
