package mobilenode

import (
	"net/netip"
	"time"

	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
)

// Tunnel is what the home agent has granted for a binding's data.
type Tunnel struct {
	// Encapsulation is the form. The packets of UDP tunnelling (RFC 3519) use the ports of the registration.
	Encapsulation tunnel.Encapsulation
	// GRE are the optional fields of GRE headers, as configured.
	GRE tunnel.GREOptions
	// KeepAlive is the longest time without any packet to the home agent before a keepalive is due (RFC 3519 §4.9); zero
	// without UDP.
	KeepAlive time.Duration
	// HalfBound says that the home agent does not know yet where the far end of the UDP tunnel is: the registration went through a
	// foreign agent. It learns that from a keepalive, which must be sent as soon as the registration has been accepted, each time, and
	// from the source port that data have (RFC 3519 §4.4). Its source address must be that of the registration as the home agent has
	// seen it: foreign agent and mobile node are to be behind the same NAT (§4.11).
	HalfBound bool
	// Switched is the default destination of zero-overhead tunnelling (draft appendix D) where that is granted, the zero Addr
	// otherwise: ESP and IKE to and from it travel with switched addresses, and everything else in the tunnel.
	Switched netip.Addr
}

// UDP reports whether the tunnel is one of UDP (RFC 3519).
func (t Tunnel) UDP() bool { return t.Encapsulation == tunnel.UDP }

// VerifiedReply is a Registration Reply of the home agent that carries a valid Mobile-Home authenticator and answers a
// request that was outstanding. Only a Machine makes one; the zero value proves nothing.
type VerifiedReply struct {
	origin         Origin
	homeAgent      netip.Addr
	homeAddress    netip.Addr
	careOfAddress  netip.Addr
	code           wire.Code
	sentAt         time.Duration
	receivedAt     time.Duration
	trustedNetwork bool
	strongKey      bool
	lifetime       time.Duration
	tunnel         Tunnel
	nat            bool
	tunnelReason   string
	switchReason   string
}

// Origin returns the interface and epoch that the request left from, and whether it left directly.
func (r VerifiedReply) Origin() Origin { return r.origin }

// HomeAgent returns the address of the home agent that answered.
func (r VerifiedReply) HomeAgent() netip.Addr { return r.homeAgent }

// HomeAddress returns the home address that is registered.
func (r VerifiedReply) HomeAddress() netip.Addr { return r.homeAddress }

// CareOfAddress returns the care-of address of the request.
func (r VerifiedReply) CareOfAddress() netip.Addr { return r.careOfAddress }

// Code returns the reply's code.
func (r VerifiedReply) Code() wire.Code { return r.code }

// SentAt returns the boot time at which the request that this reply answers was sent.
func (r VerifiedReply) SentAt() time.Duration { return r.sentAt }

// ReceivedAt returns the boot time at which the reply was handled.
func (r VerifiedReply) ReceivedAt() time.Duration { return r.receivedAt }

// TrustedNetwork reports whether the Trusted Networks Configured extension (RFC 5265 §3.4) stands before the
// Mobile-Home Authentication extension, so that the home agent vouches for it. One behind it does not count: a foreign
// agent could have added it. Nor does any where a co-located care-of address was registered through a foreign agent: what it
// says of the agent's way says nothing of the way that data take.
func (r VerifiedReply) TrustedNetwork() bool { return r.trustedNetwork }

// StrongKey reports whether the security association may yield proofs (auth.SecurityAssociation.Strong).
func (r VerifiedReply) StrongKey() bool { return r.strongKey }

// Lifetime returns what was granted: at most what was asked for, counted from SentAt (RFC 5944 §3.6.2.2); Infinite when
// it does not end; 0 for a deregistration.
func (r VerifiedReply) Lifetime() time.Duration { return r.lifetime }

// Tunnel returns what was granted for data.
func (r VerifiedReply) Tunnel() Tunnel { return r.tunnel }

// TunnelReason returns in plain words, for people, why the tunnel is what Tunnel says: what was asked for and what the home
// agent made of it. It is empty for a deregistration.
func (r VerifiedReply) TunnelReason() string { return r.tunnelReason }

// SwitchReason returns in plain words, for people, why zero-overhead tunnelling is granted or not, and is empty when it is not
// configured.
func (r VerifiedReply) SwitchReason() string { return r.switchReason }

// NAT reports whether the home agent vouches for a NAT, or whatever else changes source addresses, between it and the
// care-of address: it assented to a UDP tunnel that it was not forced to (RFC 3519 §3.2, §4.6). False says something only
// where UDP tunnelling was asked for without force: some agents tell a forced tunnel apart from one through a NAT, others
// do not. It is false too where the assent was to the R flag, which comes with or without a NAT.
func (r VerifiedReply) NAT() bool { return r.nat }
