// Package device makes TUN devices and moves packets in and out of them in batches.
//
// Purpose: Open returns a link.Device. On Linux it is read and written here with the virtio-net header, so that the kernel
// hands over TCP and UDP superpackets in one read, which go on whole, and takes them in one write. On other
// systems wireguard's tun package does the work.
//
// Specification: IFF_TUN, IFF_NO_PI, IFF_VNET_HDR of Linux; the header itself stands in package virtio.
//
// Concurrency: Read and Write may be called from several goroutines; reads are done one after the other.
//
// Ownership: Read appends Bufs to the caller's batch, Write takes the batch. A device that is not closed lives as long as
// the process.
package device
