// Package scenario plays the main job: one laptop, one address, one session, through every access mode.
//
// Purpose: a Scenario plugs the laptop into one network after the other while a TCP conversation and a UDP stream run
// between its home address and the correspondent, waits each time until traffic flows in the mode that the network calls
// for, and tells what it saw: as lines for a person while it goes, and as one Report. It plays in any World: network
// namespaces with the real programs, or the simulated network. There are two tours: Tour, the main job in the modes that need
// nothing optional, and Eight, through all modes.
//
// Specification: the access modes are those of draft-ietf-mobileip-vpn-problem-solution-01 §3.
//
// Concurrency: Run is called once, from one goroutine.
//
// Ownership: the World belongs to the caller.
package scenario
