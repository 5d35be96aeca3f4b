// Package bench measures throughput in the lab, beside another userspace tunnel on the same machine.
//
// Purpose: figures as ratios. The same TCP transfer between laptop and correspondent goes through the kernel alone,
// through wireguard-go, and through mipvpn in modes c and cvc; the wires have segmentation offload on, as real network
// cards have.
//
// Specification: none.
//
// Concurrency: a measurement runs alone.
//
// Ownership: Measure closes the connections that it opens.
package bench
