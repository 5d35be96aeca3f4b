// Package gateway is the protocol machine of a VPN gateway: many IKE SAs behind two UDP ports.
//
// Purpose: Gateway gives each IKE message to the ike.Machine of its SPI, makes machines for new peers, finds peers and
// their keys by the identity that they prove, assigns each its inner address (the VPN-TIA), and says by events which
// child SAs to install. In front of the machines stands the stateless COOKIE, so that strangers cause neither state nor
// arithmetic when there are many of them.
//
// Specification: RFC 7296 §2.6 (SPIs, COOKIE), §2.1 (repeated IKE_SA_INIT requests), §2.19 (address assignment),
// §2.4 (INITIAL_CONTACT), §1.5 and §2.21.4 (INVALID_IKE_SPI, at a bounded rate); RFC 8019 §4.2 (bounds on half-open IKE
// SAs, in all and for one address), without its puzzles; RFC 5723 with tickets by value (§6.1) under keys that live in memory. The
// messages themselves are ipsec/ike's. The outer address of a peer is never asked for who it is (REQUIREMENTS IKE-8). One IKE SA an
// identity: a new one, once authenticated, replaces the one before.
//
// Who may connect: a Peer has a pre-shared key of its own. All others come by the first Rule whose pattern fits their IDi, which
// says what they have to prove: a certificate, an EAP method, or one after the other (RFC 4739). EAP is answered here for Users, or
// passed through to RADIUS servers; either way the identity that the method has authenticated is what counts, and IDi must have
// led to the same rule, so that nobody chooses a policy by a claim. Users of RADIUS get no tickets. What the driver has to answer,
// since it may take time: ike.SignatureWanted, ike.TrustWanted, and the same of EAP in Event.EAP.
//
// With a foreign agent in the gateway (Config.Agent; draft-ietf-mobileip-vpn-problem-solution-01 appendix B) an identity may have the home
// address that it is bound to in the place of one of the pool; ClientPrefixes does not have it, for packets to it are routed to
// its home agent as ever. The agent itself is the driver's.
//
// Concurrency: a Gateway belongs to one goroutine.
//
// Ownership: datagrams are borrowed for the call. Events and transmits belong to the caller, keys in events included.
// Configuration slices, keys among them, are kept and not changed.
package gateway
