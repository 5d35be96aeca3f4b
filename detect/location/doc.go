// Package location decides for one network interface whether it is inside the company's network.
//
// Purpose: a laptop may send user data in the clear only while it can prove that the interface is connected to the
// internal network. The proof is a registration reply of the internal home agent (i-HA) that only a request from that
// very interface, in its present connection status, can have brought, and it ages from the moment when that request was
// sent. A Machine tracks one interface: it starts both registrations when the connection status changes, judges the
// replies, keeps proofs fresh, and says so in events. A Proof can be made by nothing else; the gate (stack/gate) and the
// composition of plaintext modes (stack) take nothing else.
//
// Specification: RFC 5265 §3.2 to §3.5 and draft-ietf-mobileip-vpn-problem-solution §4, with DET-1 to DET-14 and the waiting
// of DET-18 of the project's requirements. Of the draft's §4.4 a hint shortens the wait before IKE on a network that was
// outside before, and nothing else: requests to the x-HA are never postponed, and no hint is part of a proof (DET-11).
//
// Registrations are made by mipv4/mobilenode, one machine a home agent, which also repeats unanswered requests; this
// package says when to ask and what an answer means. Retransmission in this package is the schedule that the
// registration machines have to be given for the arithmetic of DET-5 to hold.
//
// Concurrency: a Machine is used by one goroutine at a time; it starts none and reads no clock. A Proof is an immutable
// value.
//
// Ownership: events are values; nothing is shared with the caller.
package location
