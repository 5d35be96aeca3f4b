package gateway

import (
	"net/netip"

	"mipvpn/ipsec/eap"
	"mipvpn/ipsec/ike"
)

// SessionID names one IKE association with a peer. It is never used again.
type SessionID uint64

// Event is an event of one session's IKE machine. ike.SPIOpened and ike.SPIClosed do not appear; ike.Closed is the last
// event of its session.
type Event struct {
	Session SessionID
	// Identity is the peer's, the zero Identity before it has proved it.
	Identity ike.Identity
	// Address is the inner address that the peer has been assigned, the zero Addr before.
	Address netip.Addr
	// HomeAddress is Address when it is a home address (i-HoA) and the child SAs go through the agent in this gateway, the zero Addr
	// otherwise.
	HomeAddress netip.Addr
	// Remote is the peer's outer endpoint as far as is known.
	Remote netip.AddrPort
	// Event is one of ipsec/ike's, nil with EAP. ike.SignatureWanted is answered by Gateway.Signed, ike.TrustWanted by
	// Gateway.Trusted; ike.EAPReceived does not appear.
	Event ike.Event
	// EAP is a question of the session's EAP method, nil otherwise: eap.SignatureWanted, which Gateway.EAPSigned answers, or
	// eap.TrustWanted, which Gateway.EAPTrusted does.
	EAP eap.Event
}
