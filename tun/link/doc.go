// Package link holds the vocabulary that the layers, the operating systems and the simulated network share.
//
// Purpose: DESIGN has one idea, that each layer turns one IPv4 link into another. Link is that link. For signalling it
// opens a Flow (UDP or an IP protocol) between its address and a remote endpoint; for data a Flow yields its Path, the
// steps that a pipeline is compiled from. Host is everything that a driver asks of an operating system: a clock, the
// interfaces as snapshots, sockets, link-layer frames, a TUN device, and host settings. The kernel (stack/underlay with
// tun/device and tun/hostnet) and the simulated network (stack/simnet) both implement Host, so that the same drivers
// run on either.
//
// Specification: none of its own.
//
// Concurrency: a Receiver is called by one goroutine at a time for one flow, but by two, one for signalling and one for data,
// for Frames and for flows that carry both (FlowSpec.Signalling). It must not block. Flow, Frames, Device and
// Host may be used by several goroutines at once.
//
// Ownership: a Receiver, Sender.Send, Device.Write and Step.Apply take ownership of the batch; Apply returns it changed
// to the caller. Flow.Send borrows its payload for the call.
package link
