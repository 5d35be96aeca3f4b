// Package pinned runs data paths whose keys and endpoints are given in a file, so that they can be measured without anything
// else going on.
//
// Purpose: two tunnels for `miplab bench`, one process an end. The null tunnel is the least that any userspace tunnel does: the
// same TUN device and the same UDP socket as the product's, whole IPv4 packets in UDP, and nothing between them but a look at
// the first header. It has no layers and no cryptography, so what a mode costs more than it is the price of the mode's
// layers. A relay stands for a hop of it: UDP in, UDP out. The tunnel vc is what the access mode of that name will be:
// i-MIP in UDP over the VPN, ESP in UDP, over a kernel socket. Its near end is composed of the client's own parts
// (stack.Engine, Pipeline, VPN, CoLocated, underlay), its far end of the library that gateway and home agent are made of, in
// the order in which they use it, both in one process. What IKE and the registrations would have agreed on stands in the file:
// two child SAs, and that the home agent grants UDP tunnelling.
//
// Specification: RFC 3519 §3.3 and §4 (UDP tunnelling), RFC 4303 and RFC 3948 (ESP in UDP) by the packages that do them. Left
// out on purpose: IKE, registrations, keepalives, everything that changes while it runs. The null tunnel believes whoever
// sends; it is for a lab.
//
// Concurrency: End is a value. Run uses goroutines of its own, which have ended when it returns.
//
// Ownership: Run makes the TUN device and the sockets and takes them away.
package pinned
