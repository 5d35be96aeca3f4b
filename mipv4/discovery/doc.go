// Package discovery finds mobility agents on a link.
//
// Purpose: the formats of agent advertisements and solicitations, for agents and mobile nodes alike, and the mobile
// node's machine, which solicits, keeps track of the agents that it hears and tells when one is found, has rebooted or
// is lost. HandedOver takes an advertisement that came otherwise than on a link.
//
// Specification: RFC 5944 §2 (agent discovery), RFC 1256 §3 and §5 (router advertisement and solicitation), RFC 3024
// §3.1 (T bit), RFC 3519 §3.4 (U bit), RFC 3543 §3.1 (X bit), RFC 4721 §2 (challenge);
// draft-vaarala-mip4-vpn appendix B.2 (HandedOver). Left out on purpose: default router lists (RFC 1256 §5.3),
// which are the kernel's business, the advertisement intervals of an agent, which its driver keeps, and extensions to
// advertisements beyond mobility agent, prefix lengths, challenge and padding: those from 128 up are skipped, the others make an
// advertisement void (RFC 5944 §1.8).
//
// Concurrency: a Machine belongs to one goroutine; everything else is values.
//
// Ownership: Parse functions and HandleAdvertisement borrow their input; what they return owns its octets.
package discovery
