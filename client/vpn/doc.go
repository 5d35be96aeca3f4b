// Package vpn is what the client wants of a VPN protocol: an address behind the gateway, and a link from there.
//
// Purpose: a Protocol opens an Access to a gateway, over a link that the client gives it; an Access makes Tunnels, of which the
// client uses one at a time, and has a second one set up beside it when the first does not answer. IPsec (package
// client/vpn/ipsec) is the one that mipvpn comes with. Another takes its place by client.WithVPN: it needs no more than IPv4
// connectivity with an address that the i-HA takes as a care-of address.
//
// Specification: draft-ietf-mobileip-vpn-problem-solution-01 §6.6 (non-IPsec VPN protocols).
//
// Concurrency: all methods are called on the client's goroutine and must not block. What a Protocol does on goroutines of its
// own comes back through Ground.Run.
//
// Ownership: an Access belongs to the client until Close, a Tunnel likewise. Links belong to their Access.
package vpn
