// Package mobilenode is the registration machine of a Mobile IPv4 mobile node.
//
// Purpose: one Machine registers one home address with one home agent from one care-of address over one path: directly
// with a co-located care-of address, or through a foreign agent. It builds and authenticates requests, retransmits them
// with fresh Identifications, matches and verifies replies, renews before the lifetime ends, adapts to refusals that can
// be mended, and deregisters. A verified reply becomes a VerifiedReply, which nothing else can make: the detection of
// the internal network rests on that.
//
// Specification: RFC 2794 (NAI, dynamic home addresses); RFC 4433 (dynamic home agents); RFC 5944 §3.6 (mobile node; at home by Config.AtHome), §4.1
// (minimal encapsulation and GRE), §5.7.1 (timestamps), §5.7.2 (nonces); RFC 5265 §3.4 (TNC); RFC 3519 §3.1-3.2, §4.4, §4.11 (UDP
// tunnelling, with the R flag where a co-located care-of address is registered through a foreign agent whose U bit is set);
// RFC 3024 §3.2-3.4 (reverse tunnelling, delivery style); RFC 4636 §5 (FA error); RFC 4721 §3.1 and §3.5
// (challenges of foreign agents, Mobile-AAA authentication); RFC 3543 §4.2.2.3 (revocation by the home agent of a registration
// that was made directly); RFC 3115 §2.3 and docs/zero-overhead.md (zero-overhead tunnelling, draft appendix D). The B bit
// (broadcasts, §4.3) is set by configuration alone. Left out on purpose: TNC as a proof where data do not take the way of the
// registration (VerifiedReply.TrustedNetwork).
// UDP keepalives are data and sent by mipv4/tunnel; their interval comes with Tunnel.
//
// Concurrency: a Machine belongs to one goroutine. Machines may share a security association. Events and VerifiedReply
// are values.
//
// Ownership: HandleReply borrows its payload; Transmit owns its octets.
package mobilenode
