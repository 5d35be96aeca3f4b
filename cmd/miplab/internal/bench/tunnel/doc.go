// Package tunnel starts and stops the tunnels that the benchmark compares, each between two namespaces of its own.
//
// Purpose: a Site is a near and a far namespace with one veth between them, as a laptop and what it talks to. A Kind starts
// the programs of both ends in them and says which addresses the application uses. The far namespace has the application's
// other end too, so the tunnel's far end and the application share one host's kernel and the cores.
//
// Specification: none. The wires are of two kinds: with veth's defaults segments cross as one superframe, as they do
// between a host and a card with segmentation offload; with gso_max_segs 1 each frame is what a wire carries.
//
// Concurrency: tunnels of several Sites stand side by side. A Site and its Standing belong to one goroutine.
//
// Ownership: Close of a Site takes its namespaces, Stop of a Standing its programs. Files stay in the Site's directory,
// which is the caller's.
package tunnel
