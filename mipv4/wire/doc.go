// Package wire holds the formats of Mobile IPv4 control messages, those sent to and from UDP port 434.
//
// Purpose: registration requests and replies, their extensions, and the header of UDP-tunnelled data, for the mobile
// node and for the agents alike. A message keeps its extensions as an ordered list of raw type-length-value elements:
// authentication covers everything in front of it, so a parsed message appends to exactly the octets that were parsed,
// unknown skippable extensions, padding and reserved bits included. The typed forms (UDPTunnelRequest, TrustedNetworks
// and so on) are read from and made into such elements.
//
// Specification: RFC 5944 §1.8-1.11 (extension formats), §3.3 (request), §3.4 (reply and codes), §3.5 (authentication
// extensions), §5.7 (Identification); RFC 5265 §3.4 (TNC); RFC 3519 §3.1-3.3 and 3.5 (UDP tunnelling); RFC 3024 §3.2-3.4
// (T bit, delivery style, codes); RFC 2794 (NAI); RFC 3115 (vendor extensions, in docs/zero-overhead.md those of zero-overhead
// tunnelling); RFC 3543 §3.2-3.4 (revocation); RFC 4721 §4-6 (challenge, Mobile-AAA authentication); RFC 4636 (FA error). Code
// names also from RFC 3957, 4857, 5177. Left out on purpose: dual-stack extensions (RFC 5454), which are carried as raw
// elements where they are skippable; a critical one (0 to 127) makes the parser refuse the message, as RFC 5944 §1.8 asks. Authenticators are computed
// by mipv4/auth.
//
// Concurrency: values without locks.
//
// Ownership: Parse functions borrow their input for the call; what they return owns its octets. Append functions write
// behind the slice that they are given, as append does.
package wire
