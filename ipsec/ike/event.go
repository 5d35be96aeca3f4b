package ike

import (
	"net/netip"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike/message"
)

// Identity is a peer's identity (RFC 7296 §3.5), comparable.
type Identity = message.Identity

// Datagram is an IKE message that arrived. Payload has no non-ESP marker: the driver strips it on port 4500
// (RFC 3948 §2.2). Payload is borrowed for the call.
type Datagram struct {
	// Local is where it arrived, with port 500 or 4500; Remote is where it came from.
	Local, Remote netip.AddrPort
	Payload       []byte
	// TCP is set when it came in a TCP stream (RFC 9329); the ports are those of the connection then.
	TCP bool
}

// Transmit is a datagram to be sent from Local to Remote. Local's port is 500 or 4500 and says which flow to take; on
// port 4500 the driver puts the non-ESP marker (four zero octets) in front, unless Keepalive is set. The receiver of the
// Transmit owns Payload, which is never written again.
type Transmit struct {
	Local, Remote netip.AddrPort
	Payload       []byte
	// Keepalive marks a NAT keepalive: the single octet 0xFF, sent on port 4500 without a marker (RFC 3948 §2.3).
	Keepalive bool
	// TCP has it sent, behind the non-ESP marker, in the TCP connection between Local and Remote (RFC 9329).
	TCP bool
}

// ChildID names a child SA pair of one Machine. It is never used again.
type ChildID uint64

// NAT tells where address translation was found (RFC 7296 §2.23).
type NAT struct {
	// Local means that this end is behind a NAT, Remote that the peer is.
	Local, Remote bool
}

// Event is something that a Machine tells its driver. The types are those of this file.
type Event interface{ event() }

// SPIOpened says that messages with this SPI of ours now belong to the machine: the driver that serves several machines
// dispatches by it (RFC 7296 §2.6). Initiator is set when it stands in the initiator's SPI field.
type SPIOpened struct {
	SPI       uint64
	Initiator bool
}

// SPIClosed takes back an SPIOpened.
type SPIClosed struct {
	SPI       uint64
	Initiator bool
}

// Established says that the IKE SA is up and the peer authenticated.
type Established struct {
	// LocalID is the identity of the last round of authentication, RemoteID the one of the peer that policy goes by: that of
	// the last round, as an EAP method has authenticated it.
	LocalID, RemoteID Identity
	// Proved are the identities that the peer has proved, one a round, the last of them RemoteID.
	Proved []Identity
	// Configuration is what the gateway assigned (initiator) or what we assigned (responder).
	Configuration Configuration
	NAT           NAT
	// UDPEncapsulation is set when ESP travels in UDP port 4500: a NAT was found or is pretended.
	UDPEncapsulation bool
	// Local and Remote are the endpoints in use; ESP in UDP, or in TCP, goes between the same.
	Local, Remote netip.AddrPort
	// TCP is set when IKE and ESP travel in a TCP connection (RFC 9329).
	TCP bool
	// Resumed is set when the IKE SA was made with a ticket (RFC 5723): others with this RemoteID are dead and not told
	// (§4.3.4).
	Resumed bool
	// InitialContact is set when the peer says that it has no other IKE SA with us: others with this RemoteID are dead
	// (RFC 7296 §2.4).
	InitialContact bool
	// MOBIKE is set when both ends support it, so that SetAddresses moves the SAs; where it is not, ProveFollowing may help.
	MOBIKE bool
	// Suite names the algorithms of the IKE SA for status.
	Suite string
	// KeyExchanges are the methods of the key exchanges that made the keys, the first one and the additional ones (RFC 9370), by
	// their names. Downgraded is set when this end wanted additional ones and the peer did none, so that the connection is as
	// good as the first alone.
	KeyExchanges []string
	Downgraded   bool
	// PPK is set when a post-quantum pre-shared key was mixed into the keys (RFC 8784).
	PPK bool
	// GatewayAgent is set when both ends support a foreign agent in the gateway, Advertisement what the gateway has handed over
	// of it to an initiator (the octets of an ICMP message, not looked into, nil for none). Whether a child SA goes through
	// the agent is said by ChildInstalled.
	GatewayAgent  bool
	Advertisement []byte
}

// ChildInstalled says that a child SA pair exists. Inbound is to be installed at once; Outbound is to be used at once
// unless Standby is set, otherwise from ChildActivated or the first packet that authenticates on Inbound, whichever
// is first (RFC 7296 §2.8).
type ChildInstalled struct {
	ID ChildID
	// Inbound and Outbound hold keys; the receiver of the event owns them.
	Inbound, Outbound esp.Parameters
	UDPEncapsulation  bool
	// Local and Remote are the outer endpoints, in a TCP connection between which ESP goes when TCP is set (RFC 9329).
	Local, Remote netip.AddrPort
	TCP           bool
	// Replaces is the child SA that this one rekeys, 0 for none.
	Replaces ChildID
	Standby  bool
	// GatewayAgent is set when the child SA goes through the foreign agent in the gateway: the client's side of the selectors is
	// its home address alone. Successors have it as what they replace.
	GatewayAgent bool
	// Suite names the algorithms for status.
	Suite string
}

// ChildActivated says that the peer can receive on a child SA that was installed with Standby.
type ChildActivated struct{ ID ChildID }

// ChildRemoved says that a child SA pair is closed: both halves are to be forgotten.
type ChildRemoved struct {
	ID                ChildID
	Inbound, Outbound uint32
	// Reason is why: ErrDeleted, ErrDeletedByPeer, ErrReplaced, or the reason of Closed.
	Reason error
}

// ChildFailed says that a child SA could not be made, or not be rekeyed when Replaces is not 0. Err is a *NotifyError for
// the peer's refusal.
type ChildFailed struct {
	Replaces ChildID
	Err      error
}

// IKERekeyed says that the IKE SA was replaced by one with fresh keys.
type IKERekeyed struct {
	InitiatorSPI, ResponderSPI uint64
	// KeyExchanges and Downgraded are as in Established.
	KeyExchanges []string
	Downgraded   bool
}

// Refused says that an error came from the peer before it was authenticated. Anybody may have sent it, so the attempt
// goes on until its retransmissions end, and then fails with this error (RFC 7296 §2.21.1).
type Refused struct{ Err error }

// EndpointChanged says that child SAs have other outer endpoints from now on, or that those they have are proven.
type EndpointChanged struct{ Update EndpointUpdate }

// PeerAddresses are the addresses that the peer says it has, the one that it has said so from first: messages from all of them
// are to be taken (RFC 4555 §3.4, §3.6).
type PeerAddresses struct{ Addresses []netip.Addr }

// PathRefused says that the peer has refused to use a pair of addresses: UNACCEPTABLE_ADDRESSES (RFC 4555 §3.5), or
// UNEXPECTED_NAT_DETECTED again and again (§3.9). Another one is tried, or the last one that was good; without either Closed
// follows. Err is a *NotifyError.
type PathRefused struct {
	Local, Remote netip.AddrPort
	Err           error
}

// Alive answers CheckLiveness: a fresh protected message came from the peer.
type Alive struct{}

// Closed says that the machine is dead; nothing follows. Err is what Machine.Err returns from now on.
type Closed struct{ Err error }

func (SPIOpened) event()       {}
func (SPIClosed) event()       {}
func (Established) event()     {}
func (ChildInstalled) event()  {}
func (ChildActivated) event()  {}
func (ChildRemoved) event()    {}
func (ChildFailed) event()     {}
func (IKERekeyed) event()      {}
func (Refused) event()         {}
func (EndpointChanged) event() {}
func (PeerAddresses) event()   {}
func (PathRefused) event()     {}
func (Alive) event()           {}
func (Closed) event()          {}
