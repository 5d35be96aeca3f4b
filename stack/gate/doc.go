// Package gate is the one place that lets user data pass in the clear.
//
// Purpose: a Gate stands between the TUN device and every path without ESP. It passes packets, both ways, only while a
// live proof of inside exists for the very interface and connection status epoch that the path was composed for: while
// now - (sending time of the request that the last proof answers) < T_MONITOR. It is asked at the final send of each
// batch. Nothing but a location.Proof opens it, and only package detect/location makes one.
//
// Below it the kernel holds the same line (link.PlaintextPermit): packets marked as plaintext leave an interface only under
// a permit that Open gives, that Close, CloseAll and Enter take back, and that ends by itself when the proof expires, so
// that a daemon that was frozen or killed cannot leave it open.
//
// Specification: RFC 5265 §3.2.2 and §3.2.4; draft §4.2; REQUIREMENTS DET-1, DET-2, DET-4, DET-12, HST-2.
//
// Concurrency: everything may be called from any goroutine. Allows and the guards take no lock and allocate nothing. A
// batch that has passed the check when Close is called may still be on its way to the kernel; no check after Close
// has returned passes.
//
// Ownership: guards take ownership of the batches that they are given, and hand them on or drop them.
package gate
