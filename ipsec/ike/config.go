package ike

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"mipvpn/ipsec/esp"
)

// Lifetimes say when SAs are renewed. A zero Duration means the default, a negative one never.
type Lifetimes struct {
	// IKE is the age at which the IKE SA is rekeyed (default 4 h), Child that of child SAs (default 1 h). Each time is cut
	// by a random part of up to a tenth, so that the ends rarely collide (RFC 7296 §2.8.1).
	IKE, Child time.Duration
	// Bytes and Packets are how many octets of inner packets, and how many packets, one direction of a child SA carries until
	// it is rekeyed, each cut by a random part of up to a tenth; it can carry a quarter more, and is closed then. 0 leaves it to
	// what its cipher and its sequence numbers allow. The SA counts (esp.Parameters); the driver says HandleSpent.
	Bytes, Packets uint64
	// Authentication is how long an authentication is good for (RFC 4478), 0 or less for ever. A responder tells its peer, and
	// closes an IKE SA half a minute after that; an initiator is told by ReauthenticationDue, after the gateway's time or its own,
	// whichever is first.
	Authentication time.Duration
	// Grace is how much longer an SA may live when rekeying fails; then the IKE SA is closed (default 10 min).
	Grace time.Duration
}

// Retransmission says how requests are repeated (RFC 7296 §2.1, §2.4). Zero fields mean the defaults.
type Retransmission struct {
	// Initial is the time to the first repetition (default 500 ms), each next one is Factor times as long (default 1.8) up
	// to Limit (default 20 s).
	Initial time.Duration
	Factor  float64
	Limit   time.Duration
	// Tries is how often a request is sent in all (default 10: about 98 s until the peer counts as dead).
	Tries int
	// InitTries is the same for the first request to a peer that has not answered yet; 0 for Tries. It is smaller where another
	// gateway can be tried.
	InitTries int
	// RefusedTries is how often a request is sent in all once an unauthenticated refusal was received: long enough for the
	// true peer to be heard against a forger, short enough to tell the user (default 5: about 12 s).
	RefusedTries int
}

// Config is what both roles need.
type Config struct {
	// LocalID is the own identity.
	LocalID Identity
	// Proposals, Lifetimes, Retransmission: see there.
	Proposals      Proposals
	Lifetimes      Lifetimes
	Retransmission Retransmission
	// Liveness is how long the peer may be silent before it is asked whether it lives (default 30 s, negative never).
	Liveness time.Duration
	// Dead is how long after the peer's last proof of life (a fresh protected message, or HandleTraffic) it counts as dead,
	// whatever Retransmission says: requests are repeated so that they end then, and Closed with ErrNoAnswer follows. Of that
	// time the peer is silent for Liveness, and asked in the rest, which has to be a second at least. A request that is sent
	// while nothing was expected of the peer is repeated for the rest alone. 0 leaves it to Retransmission.
	Dead time.Duration
	// Keepalive is the interval of NAT keepalives while this end is behind a NAT (default 20 s, RFC 3948 §4; negative never).
	Keepalive time.Duration
	// KeepaliveLimit is the longest interval of keepalives that may be learned from what the NAT is seen to hold (default
	// Keepalive, so that none is).
	KeepaliveLimit time.Duration
	// SentESP returns how many ESP packets this end has sent to the peer so far; nothing is learned without it. It must not call
	// the machine.
	SentESP func() uint64
	// Fragmentation says in which sizes messages are sent.
	Fragmentation Fragmentation
	// MaxChildren bounds the child SAs that the peer may create (default 32): more are refused with NO_ADDITIONAL_SAS.
	MaxChildren int
	// ReplayWindow is the window of inbound child SAs in packets, 0 for the default of package esp. TFCPadding is the length in octets
	// that shorter packets are padded to on sending (RFC 4303 §2.7), 0 for none; a peer that does not take that gets none.
	ReplayWindow, TFCPadding int
	// Version is told in APPLICATION_VERSION, by a responder to who tells his. Empty for none, which tells strangers nothing.
	Version string
	// MOBIKE lets the IKE SA and its child SAs move to other addresses (RFC 4555) where the peer supports it too; everything is
	// on port 4500 then. nil for an end that does not.
	MOBIKE *MOBIKE
	// NoFollowing has SAs be moved by MOBIKE alone: authentic packets from elsewhere do not (against the advice of RFC 7296 §2.23),
	// so that a peer without MOBIKE whose address or NAT mapping changes has to begin anew.
	NoFollowing bool
	// CrashToken, when set, returns the token that proves to the peer that this end has lost the IKE SA with these SPIs, 16 to
	// 128 octets (RFC 6290 §5). It must return the same after a restart, be a secret of this end, and not be said in the clear
	// while the IKE SA lives. The peer's tokens are understood in any case.
	CrashToken func(spiI, spiR uint64) []byte
	// SPIInUse, when set, tells whether an inbound ESP SPI is taken by somebody else on this host.
	SPIInUse func(spi uint32) bool
}

// InitiatorConfig is the configuration of an initiator: a remote access client.
type InitiatorConfig struct {
	Config
	// Local and Remote are the endpoints of the first message. A port of 0 means 500; with 4500 everything goes there from
	// the beginning (RFC 7296 §2.23).
	Local, Remote netip.AddrPort
	// TCP has IKE and ESP travel in a TCP connection that the driver has opened from Local to Remote (RFC 9329).
	TCP bool
	// RemoteID is the identity that the peer must prove; the zero Identity takes any that Accept proves. It is also sent
	// as IDr.
	RemoteID Identity
	// Rounds are the proofs of this end's identity in their order; more than one needs a gateway that supports RFC 4739. The
	// zero Identity in one means LocalID, and the zero LocalID that of the first. Keys are copied.
	Rounds []Proof
	// Accept is what the gateway may prove itself with. Keys are copied.
	Accept Acceptance
	// PSK, in the place of Rounds and Accept, is a pre-shared key for both directions. It is copied, and the copy wiped when
	// authentication is over.
	PSK []byte
	// PPK is a post-quantum pre-shared key beside all that (RFC 8784), nil for none. It is used where the gateway knows it;
	// RequirePPK ends the attempt otherwise.
	PPK        *PPK
	RequirePPK bool
	// RequestAddress asks for an internal IPv4 address, RequestAddress6 for an IPv6 one; it fails when none is assigned at all.
	// RequestDNS asks for name servers, RequestSubnets for the protected networks, RequestDomains for the internal domains and
	// RequestTrustAnchors for their DNSSEC trust anchors (RFC 8598 §3.1; each needs the one before).
	RequestAddress, RequestAddress6, RequestDNS, RequestSubnets, RequestDomains, RequestTrustAnchors bool
	// WantedAddress and WantedAddress6 are addresses to ask for again, the zero Addr for any.
	WantedAddress, WantedAddress6 netip.Addr
	// GatewayAgent shows the gateway that this end supports a foreign agent in it (draft appendix B): Established says whether the
	// gateway has one. UseGatewayAgent asks that child SAs go through it, with WantedAddress, an IPv4 address, being the home
	// address (i-HoA); RequestAddress and GatewayAgent are set then. Where the gateway does not agree, child SAs are ordinary ones
	// with another address: ChildInstalled says which it is.
	GatewayAgent, UseGatewayAgent bool
	// LocalSelectors and RemoteSelectors are what the child SA is to carry. Empty LocalSelectors mean the assigned address
	// (0.0.0.0/0 is offered and narrowed by the gateway, RFC 7296 §2.19), empty RemoteSelectors 0.0.0.0/0; with RequestAddress6
	// ::/0 too, or alone.
	LocalSelectors, RemoteSelectors []esp.Selector
	// ForceUDPEncapsulation pretends to be behind a NAT by a false NAT_DETECTION_SOURCE_IP, so that both ends encapsulate
	// ESP in UDP.
	ForceUDPEncapsulation bool
	// InitialContact tells the gateway to forget other IKE SAs of this identity (RFC 7296 §2.4).
	InitialContact bool
	// RequestTicket asks for a ticket to resume the IKE SA with (RFC 5723): Suspend yields it.
	RequestTicket bool
	// Ticket resumes an IKE SA in the place of IKE_SA_INIT, as long as it is usable and fits the rest of the configuration; if
	// the peer does not take it, IKE_SA_INIT follows. The machine owns it then. nil for none.
	Ticket *Ticket
	// FollowRedirects tells the gateway that redirections are followed (RFC 5685): RedirectError and Redirected say where to.
	// RedirectedFrom is the gateway that has redirected here, the zero GatewayName for none.
	FollowRedirects bool
	RedirectedFrom  GatewayName
	// MaxPuzzle is the difficulty of the hardest puzzle that PuzzleWanted asks for (RFC 8019), in bits, 24 at most; 0 for none.
	MaxPuzzle int
	// KeepChildless keeps an IKE SA whose first child SA was refused, for which otherwise there is no use.
	KeepChildless bool
}

// Request is what an initiator asks for in CFG_REQUEST.
type Request struct {
	// IPv4 and IPv6 have an element for each internal address asked for: one that is wanted, the zero Addr for any. Empty
	// without INTERNAL_IP4_ADDRESS or INTERNAL_IP6_ADDRESS.
	IPv4, IPv6 []netip.Addr
	// DNS, Subnets, Domains and TrustAnchors are set when those are asked for.
	DNS, Subnets, Domains, TrustAnchors bool
	// Version is the peer's APPLICATION_VERSION, printable ASCII.
	Version string
	// HomeAddress is set when the peer asks for the foreign agent in the gateway and for the home address that it may use it with:
	// when it is the only address assigned, child SAs go through the agent. Otherwise they are ordinary ones.
	HomeAddress netip.Addr
}

// Policy answers a responder's questions about one peer. Its methods are called from HandleDatagram and must not call
// the machine.
type Policy interface {
	// Authentication returns what is required of the peer remote, which asked for local (the zero Identity when it did not
	// say). Both are what the peer says, and not proved yet. The result is copied. An error refuses the peer with
	// AUTHENTICATION_FAILED.
	Authentication(local, remote Identity) (Requirement, error)
	// Assign returns what the authenticated peer gets. An error is answered with INTERNAL_ADDRESS_FAILURE; an error that
	// wraps ErrConfigurationRequired, when the peer asked for nothing but must, with FAILED_CP_REQUIRED.
	Assign(remote Identity, r Request) (Configuration, error)
	// Selectors returns what child SAs of the peer may carry: local is the side of this end, remote the peer's, assigned
	// are its internal addresses. Proposals are narrowed to it; nothing left is answered with TS_UNACCEPTABLE.
	Selectors(remote Identity, assigned []netip.Addr) (localSide, remoteSide []esp.Selector)
}

// ErrConfigurationRequired lets Policy.Assign insist on a configuration request (RFC 7296 §2.19).
var ErrConfigurationRequired = errors.New("a configuration request is required")

// ResponderConfig is the configuration of a responder: a gateway.
type ResponderConfig struct {
	Config
	// Policy answers questions about the peer.
	Policy Policy
	// Accept says what to ask peers for in IKE_SA_INIT, before it is known who they are: Certificates with Authorities and OCSP
	// make CERTREQ payloads. What a peer has to prove is decided by Policy all the same.
	Accept Acceptance
	// Multiple announces that Policy may want several rounds (RFC 4739).
	Multiple bool
	// PPK announces that Policy may have post-quantum pre-shared keys for a peer (RFC 8784).
	PPK bool
	// Redirect, when set, says that a peer is to go to another gateway (RFC 5685): it is asked in IKE_SA_INIT with the zero
	// Identity, and in IKE_AUTH with the one that is proved, of peers that follow redirections. from is where the peer is.
	Redirect func(peer Identity, from netip.AddrPort) (GatewayName, bool)
	// Tickets makes tickets for peers that ask and resumes IKE SAs with them (RFC 5723); nil for neither.
	Tickets Tickets
	// GatewayAgent, when set, says what the foreign agent in this gateway is to an authenticated peer, and has its support shown to
	// peers that show theirs (draft appendix B). It must not call the machine. nil without an agent.
	GatewayAgent func(peer Identity) GatewayAgent
	// HalfOpen is how long an IKE SA may stay without authentication (default 30 s).
	HalfOpen time.Duration
}

// ErrConfig is wrapped by the errors of NewInitiator and NewResponder about their configuration.
var ErrConfig = errors.New("ike: configuration")

func withDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func listOr[T any](l, d []T) []T {
	if len(l) == 0 {
		return d
	}
	return append([]T(nil), l...)
}

// complete fills in the defaults and checks.
func (c *Config) complete() error {
	if c.LocalID.IsZero() {
		return fmt.Errorf("%w: LocalID is missing", ErrConfig)
	}
	if err := c.Proposals.complete(); err != nil {
		return err
	}
	withDefault(&c.Lifetimes.IKE, 4*time.Hour)
	withDefault(&c.Lifetimes.Child, time.Hour)
	withDefault(&c.Lifetimes.Grace, 10*time.Minute)
	r := &c.Retransmission
	withDefault(&r.Initial, 500*time.Millisecond)
	withDefault(&r.Factor, 1.8)
	withDefault(&r.Limit, 20*time.Second)
	withDefault(&r.Tries, 10)
	withDefault(&r.RefusedTries, 5)
	if r.Initial < 0 || r.Factor < 1 || r.Limit < r.Initial || r.Tries < 1 || r.InitTries < 0 || r.RefusedTries < 1 {
		return fmt.Errorf("%w: Retransmission %+v: want Initial > 0, Factor >= 1, Limit >= Initial, at least one try", ErrConfig, *r)
	}
	withDefault(&c.Liveness, 30*time.Second)
	if c.Dead != 0 && c.Dead < max(c.Liveness, 0)+time.Second {
		return fmt.Errorf("%w: Dead: want a second more than Liveness (%v) at least, found %v", ErrConfig, c.Liveness, c.Dead)
	}
	withDefault(&c.Keepalive, 20*time.Second)
	withDefault(&c.KeepaliveLimit, c.Keepalive)
	withDefault(&c.MaxChildren, 32)
	if c.Version != printable([]byte(c.Version)) {
		return fmt.Errorf("%w: Version: want up to %d printable ASCII characters, found %q", ErrConfig, maxVersion, c.Version)
	}
	if c.MOBIKE != nil {
		own := *c.MOBIKE
		c.MOBIKE = &own
	}
	return c.Fragmentation.complete()
}

func (c *InitiatorConfig) complete() error {
	if err := c.completeRounds(); err != nil {
		return err
	}
	if err := c.Config.complete(); err != nil {
		return err
	}
	if err := c.completePPK(); err != nil {
		return err
	}
	if c.MaxPuzzle < 0 || c.MaxPuzzle > 24 {
		return fmt.Errorf("%w: MaxPuzzle: want 0 to 24, found %d", ErrConfig, c.MaxPuzzle)
	}
	if c.UseGatewayAgent && (!c.GatewayAgent || !c.RequestAddress || !c.WantedAddress.Is4()) {
		return fmt.Errorf("%w: UseGatewayAgent: want GatewayAgent, RequestAddress and an IPv4 home address in WantedAddress, found %t, %t and %v",
			ErrConfig, c.GatewayAgent, c.RequestAddress, c.WantedAddress)
	}
	if c.RedirectedFrom != (GatewayName{}) {
		if _, err := c.RedirectedFrom.value(); err != nil {
			return err
		}
	}
	if c.RequestDomains && !c.RequestDNS || c.RequestTrustAnchors && !c.RequestDomains {
		return fmt.Errorf("%w: want RequestDNS with RequestDomains, and that with RequestTrustAnchors (RFC 8598 §3.1)", ErrConfig)
	}
	for _, p := range []*netip.AddrPort{&c.Local, &c.Remote} {
		if !p.Addr().IsValid() || p.Addr().IsUnspecified() {
			return fmt.Errorf("%w: Local and Remote: want addresses, found %v and %v", ErrConfig, c.Local, c.Remote)
		}
		if p.Port() == 0 {
			*p = netip.AddrPortFrom(p.Addr(), portIKE)
		}
	}
	return nil
}

// completeRounds makes Rounds and Accept of the short form, copies and checks them.
func (c *InitiatorConfig) completeRounds() error {
	if len(c.PSK) != 0 {
		if len(c.Rounds) != 0 || c.Accept.any() {
			return fmt.Errorf("%w: want either PSK or Rounds and Accept, found both", ErrConfig)
		}
		c.Rounds, c.Accept = []Proof{{PSK: c.PSK}}, Acceptance{PSK: c.PSK}
		c.PSK = nil
	}
	if len(c.Rounds) == 0 {
		return fmt.Errorf("%w: Rounds: want a proof of the own identity, such as a PSK, found none", ErrConfig)
	}
	c.Rounds = append([]Proof(nil), c.Rounds...)
	withDefault(&c.LocalID, c.Rounds[0].ID)
	for i := range c.Rounds {
		p := &c.Rounds[i]
		withDefault(&p.ID, c.LocalID)
		if err := p.complete(); err != nil {
			return fmt.Errorf("%w: Rounds: round %d: %w", ErrConfig, i+1, err)
		}
	}
	if err := c.Accept.complete(); err != nil {
		return fmt.Errorf("%w: Accept: %w", ErrConfig, err)
	}
	if c.Accept.EAP && !c.Rounds[0].EAP {
		return fmt.Errorf("%w: Accept: EAP alone can prove the gateway only where the first of Rounds is EAP (RFC 5998)", ErrConfig)
	}
	return nil
}

func (c *ResponderConfig) complete() error {
	if err := c.Config.complete(); err != nil {
		return err
	}
	if c.Policy == nil {
		return fmt.Errorf("%w: Policy is missing", ErrConfig)
	}
	withDefault(&c.HalfOpen, 30*time.Second)
	return nil
}

// The UDP ports of IKE (RFC 7296 §2, §2.23).
const (
	portIKE  = 500
	portNATT = 4500
)
