package gateway

import (
	"net/netip"

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
	// Remote is the peer's outer endpoint as far as is known.
	Remote netip.AddrPort
	// Event is one of ipsec/ike's.
	Event ike.Event
}
