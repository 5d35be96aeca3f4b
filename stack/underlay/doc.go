// Package underlay is the operating system as the layers see it: the kernel implementation of link.Host.
//
// Purpose: Host gives the clock that counts suspend, timers on it, the interfaces, links of one interface whose flows are
// kernel sockets, link-layer frames, TUN devices and the host's network settings. Every socket of a Host carries one of
// two firewall marks by the class of what it sends, so that policy routing keeps it out of the TUN device and a kill
// switch can tell plaintext from what may always leave.
//
// Specification: RFC 768 flows with segmentation offload, flows of the IP protocols 4 (RFC 2003), 47 (RFC 2784), 50
// (RFC 4303), 55 (RFC 2004) and others over raw sockets, each of the IP version of its link's address, and IPv4 in Ethernet
// frames (RFC 894) without ARP, which stays with the kernel but for home addresses on a home link (RFC 826, RFC 5944 §4.6); of them
// agent advertisements alone (RFC 1256 §3), by a filter in the kernel, where an interface has an address of its own. On
// darwin and Windows there are UDP flows over the sockets of Go's net package alone (plainflow.go, which is tried on Linux), and no
// permits for plaintext; neither has been run on a real machine. Left out on purpose: IPv6 in frames; other systems, where NewHost
// says so.
//
// Concurrency: everything may be used from several goroutines. Each flow and each Frames has one receiving goroutine, a
// flow that carries signalling and data two, a Host has one for its timers.
//
// Overload: data that nobody takes in time fills the receive buffer of its own socket, and what comes then is dropped there
// and counted (packet.DropQueueFull, a train of merged datagrams once). Registrations and IKE have sockets, buffers and
// goroutines of their own, also where they share a port with data.
//
// Ownership: as in package link. A Host, flow or device that is not closed keeps its goroutine and sockets.
package underlay
