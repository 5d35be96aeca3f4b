// Package stack composes access modes from layers and moves packets through the composition.
//
// Purpose: DESIGN's one idea is that each layer turns one IPv4 link into another. Here are the layers as the data path
// sees them: the foreign agent's link (Segment), Mobile IPv4 (CoLocated, ViaForeignAgent, ViaGateway), the VPN (VPN), each giving a
// PacketLink to what stands above it; the access modes as data (Mode); the Pipeline, compiled from a composition
// and never changed; and the Engine, which owns the TUN device and swaps pipelines. Machines (registration, IKE,
// detection) are driven by package client and never know the mode they run in.
//
// Specification: draft-vaarala-mip4-vpn §3 (access modes) and appendix B.5 (the mobile node's side); RFC 5265 §2; RFC 5944 §4.2, §4.4 (at home: AtHome) and RFC 3024 §5 as far as the mobile
// node's tunnels go; RFC 3519 §3.3 and §4.8 (tunnel data); RFC 3948 §2 (ESP and IKE on port 4500); RFC 791 §3.2
// (fragments, before the first encapsulation and at the end of the laptop's tunnels), RFC 1191 §4 and RFC 6691 (path MTU, as
// package pathmtu measures it).
//
// Meter counts what the link of a layer carries.
//
// Superpackets (packet.Buf.Super) go down whole: the Engine judges them by their segments and counts them so, and headers that
// are pushed in front of one are a template. ESP and the senders cut; so does a PacketLink before the second tunnel in front of
// one, and the Engine when segments do not fit. Up come ordinary packets, in batches as they were received: each IPv4 header
// is verified once, by what takes the packet out of its tunnel, and a UDP checksum's sum goes with the packet to the device.
//
// Concurrency: flow tables, carriers and the pipeline are read through atomic pointers by data-path goroutines and
// replaced whole by the one goroutine that owns the composition (the client's actor). Receivers never block.
//
// Ownership: as in package link: a batch handed on belongs to the receiver.
package stack
