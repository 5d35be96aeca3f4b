// Command miplab makes the network of the draft's section 2 on one machine and plays the main job in it.
//
// Purpose: `miplab demo` takes a laptop through every access mode with one TCP session and says what it cost and whether
// anything was to be seen outside; `miplab up` leaves the network standing for a person to play with (`miplab exec laptop
// -- ...`, `miplab plug`, `miplab down`); `miplab bench` measures throughput beside other tunnels. It needs root, or
// a user namespace where /dev/net/tun may be opened; with neither, `miplab demo --simulated` plays on the simulated
// network.
//
// Specification: draft-ietf-mobileip-vpn-problem-solution-01 §2 and §3.
//
// Concurrency: one process a lab; several labs do not see each other.
//
// Ownership: everything that is made ends with the process, or with `miplab down`.
package main
