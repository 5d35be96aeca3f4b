// Package virtio reads the virtio-net header, with which the kernel passes packets that are not finished: checksums still
// to be completed and superpackets still to be cut into segments. It also makes superpackets of segments.
//
// Purpose: TUN devices with IFF_VNET_HDR and packet sockets with PACKET_VNET_HDR both give this header. Complete mends a
// checksum, MakeSuper has a TCP or UDP superpacket go on whole, Split cuts one, also one inside IP in IP, into packets as they
// would have been on a wire. Join makes a superpacket of packets that follow each other.
//
// Specification: VIRTIO 1.2 §5.1.6 (struct virtio_net_hdr without num_buffers, in host byte order as the kernel's legacy
// header has it), RFC 9293 and RFC 3168 for what a segment's TCP header must be. Left out on purpose: TCP over IPv6 and
// UDP fragmentation offload, which are not asked of the kernel.
//
// Concurrency: none needed; there is no state.
//
// Ownership: packets are borrowed for the call; Split appends packets of its own to the batch.
package virtio
