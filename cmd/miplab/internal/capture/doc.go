// Package capture reads whole frames off a wire of the lab.
//
// Purpose: a packet socket on a bridge sees every frame that crosses the wire. Frames go to a function, and to a file
// that other programs read.
//
// Specification: packet(7); the file format is pcap, by gopacket's pcapgo.
//
// Concurrency: the function is called by one goroutine for one Tap.
//
// Ownership: a frame is lent to the function for the call. Close ends reading and closes the file.
package capture
