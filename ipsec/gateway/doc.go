// Package gateway is the protocol machine of a VPN gateway: many IKE SAs behind two UDP ports.
//
// Purpose: Gateway gives each IKE message to the ike.Machine of its SPI, makes machines for new peers, finds peers and
// their keys by the identity that they prove, assigns each its inner address (the VPN-TIA), and says by events which
// child SAs to install. In front of the machines stands the stateless COOKIE, so that strangers cause neither state nor
// arithmetic when there are many of them.
//
// Specification: RFC 7296 §2.6 (SPIs, COOKIE), §2.1 (repeated IKE_SA_INIT requests), §2.19 (address assignment),
// §2.4 (INITIAL_CONTACT), §1.5 and §2.21.4 (INVALID_IKE_SPI, at a bounded rate); RFC 8019 §4.2 (bounds on half-open IKE
// SAs, in all and for one address), without its puzzles; RFC 5723 with tickets by value (§6.1) under keys that live in memory. The messages themselves are ipsec/ike's. The outer address of a
// peer is never asked for who it is (REQUIREMENTS IKE-8). One IKE SA an identity: a new one, once authenticated,
// replaces the one before.
//
// Concurrency: a Gateway belongs to one goroutine.
//
// Ownership: datagrams are borrowed for the call. Events and transmits belong to the caller, keys in events included.
// Configuration slices, keys among them, are kept and not changed.
package gateway
