// Package traffic sends and counts what the benchmark's applications send.
//
// Purpose: one TCP flow, paced UDP datagrams, and ICMP echo requests between two addresses in two namespaces, and what a
// process took for it: processor time, memory, context switches. Both ends of the application are in this process.
//
// Specification: RFC 792 for echo requests. Sending is what an ordinary application does: no segmentation offload is asked
// for by datagrams.
//
// Concurrency: one measurement at a time on a Path, except that Pinger runs beside a flow.
//
// Ownership: each measurement closes the sockets that it opens.
package traffic
