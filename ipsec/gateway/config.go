package gateway

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/radius"
)

// ErrConfig is wrapped by the errors of New about its configuration.
var ErrConfig = errors.New("gateway: configuration")

// Peer is a client that may connect.
type Peer struct {
	// Identity is what the client calls itself and proves.
	Identity ike.Identity
	// PSK is the pre-shared key with this client alone.
	PSK []byte
	// Address is its fixed inner address, the zero Addr for one from the pool. It may lie in the pool or outside.
	Address netip.Addr
}

// PeerPPK is a post-quantum pre-shared key of a client (RFC 8784), by the identity that it begins with (IDi).
type PeerPPK struct {
	Identity ike.Identity
	PPK      ike.PPK
}

// Config is the configuration of a Gateway.
type Config struct {
	// IKE has the gateway's own identity, proposals, lifetimes and timers. Its SPIInUse is set by the Gateway.
	IKE ike.Config
	// Peers are the clients, by identity.
	Peers []Peer
	// Pool is where inner addresses come from. Its first and last address are not assigned, unless it is a /31 or /32.
	Pool netip.Prefix
	// Pool6 is where inner IPv6 addresses come from, for clients that ask for one; the zero Prefix for none. They are assigned
	// and their traffic selectors negotiated, but package esp carries IPv4 packets alone.
	Pool6 netip.Prefix
	// DNS are the name servers that clients are told.
	DNS []netip.Addr
	// Domains are the internal domains that clients which ask for them are told (RFC 8598), with DNS.
	Domains []ike.Domain
	// Networks are the networks behind the gateway: what child SAs may reach, and what clients are told.
	Networks []netip.Prefix

	// Session is how long a session may last, 0 for any time.
	Session time.Duration

	// PPKs are clients' post-quantum pre-shared keys, of Peers as of those that Rules are for; RequirePPK refuses clients that use
	// none.
	PPKs       []PeerPPK
	RequirePPK bool

	// Rules let clients connect that have no key of their own: by certificates and by EAP. The first that fits counts.
	Rules []Rule
	// Policies are what clients get by rules, users and RADIUS that name them, beside what is said above.
	Policies []Policy
	// Certificates prove the gateway to clients of rules. The key is with the driver: ike.SignatureWanted asks it.
	Certificates *ike.Certificates
	// Authorities are the SHA-1 hashes of the keys of the trust anchors for clients' certificates, which the driver checks:
	// ike.TrustWanted asks it. OCSP asks clients for OCSP responses (RFC 4806).
	Authorities [][20]byte
	OCSP        bool
	// EAP is how Users prove themselves here. With RADIUS they do it there, and there are no Users.
	EAP    EAP
	Users  []User
	RADIUS *radius.Config

	// CrashSecrets are what tokens for quick crash detection are made of (RFC 6290 §5.1): 32 octets at least each, kept over
	// restarts. The first is used for new IKE SAs; up to three earlier ones are still answered with. Empty for no tokens.
	CrashSecrets [][]byte

	// Redirect, when set, says that a peer is to go to another gateway: see ike.ResponderConfig.
	Redirect func(peer ike.Identity, from netip.AddrPort) (ike.GatewayName, bool)

	// Agent is the foreign agent in this gateway, nil for none.
	Agent *Agent

	// NoResumption grants no tickets and resumes no IKE SA with one (RFC 5723).
	NoResumption bool

	// CookieThreshold is the number of half-open IKE SAs from which a COOKIE is asked for (default 32; negative: always).
	CookieThreshold int
	// PuzzleThreshold is the number of half-open IKE SAs from which a puzzle is given with the COOKIE (RFC 8019; default 128;
	// negative: never).
	PuzzleThreshold int
	// PuzzleBits is the difficulty of the puzzle at the threshold (default 16: four keys, 2^18 PRFs, tenths of a second of a core);
	// each time that the number of half-open IKE SAs doubles it is one more, up to four more.
	PuzzleBits int
	// MaxHalfOpen bounds the half-open IKE SAs (default 1024), MaxHalfOpenAddress those of one outer address (default 64).
	// Requests over a bound are ignored.
	MaxHalfOpen, MaxHalfOpenAddress int
	// HalfOpen is how long an IKE SA may take to authenticate (default 30 s, with Rules 2 min, for people type passwords).
	HalfOpen time.Duration
}

// complete fills in the defaults and checks what ike.NewResponder does not.
func (c *Config) complete() error {
	for value, standard := range map[*int]int{&c.CookieThreshold: 32, &c.PuzzleThreshold: 128, &c.PuzzleBits: 16, &c.MaxHalfOpen: 1024, &c.MaxHalfOpenAddress: 64} {
		if *value == 0 {
			*value = standard
		}
	}
	if c.MaxHalfOpen < 0 || c.MaxHalfOpenAddress < 0 {
		return fmt.Errorf("%w: bounds of half-open IKE SAs: want positive ones, found %d and %d", ErrConfig, c.MaxHalfOpen, c.MaxHalfOpenAddress)
	}
	if c.PuzzleBits < 1 || c.PuzzleBits > 20 {
		return fmt.Errorf("%w: puzzle bits: want 1 to 20, found %d", ErrConfig, c.PuzzleBits)
	}
	if c.HalfOpen == 0 {
		if c.HalfOpen = 30 * time.Second; len(c.Rules) > 0 {
			c.HalfOpen = 2 * time.Minute
		}
	}
	if c.Pool != (netip.Prefix{}) && !c.Pool.Addr().Is4() {
		return fmt.Errorf("%w: pool: want an IPv4 prefix, found %v", ErrConfig, c.Pool)
	}
	if c.Pool6 != (netip.Prefix{}) && (!c.Pool6.Addr().Is6() || c.Pool6.Addr().Is4In6()) {
		return fmt.Errorf("%w: pool6: want an IPv6 prefix, found %v", ErrConfig, c.Pool6)
	}
	for _, k := range c.PPKs {
		if k.Identity.IsZero() {
			return fmt.Errorf("%w: %v is of nobody", ErrConfig, k.PPK)
		}
		if err := k.PPK.Check(); err != nil {
			return fmt.Errorf("%w: PPK of %v: %w", ErrConfig, k.Identity, err)
		}
	}
	if c.RequirePPK && len(c.PPKs) == 0 {
		return fmt.Errorf("%w: a PPK is required, and none is there", ErrConfig)
	}
	if len(c.CrashSecrets) > maxCrashSecrets {
		return fmt.Errorf("%w: crash secrets: want up to %d, found %d", ErrConfig, maxCrashSecrets, len(c.CrashSecrets))
	}
	for _, secret := range c.CrashSecrets {
		if len(secret) < minCrashSecret {
			return fmt.Errorf("%w: crash secrets: want %d octets at least, found %d", ErrConfig, minCrashSecret, len(secret))
		}
	}
	if len(c.Domains) > 0 && len(c.DNS) == 0 {
		return fmt.Errorf("%w: domains without name servers (RFC 8598 §3.2)", ErrConfig)
	}
	if err := (&ike.Configuration{DNS: c.DNS, Domains: c.Domains}).Check(); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if len(c.Networks) == 0 {
		return fmt.Errorf("%w: no networks are given, so that no traffic could pass", ErrConfig)
	}
	for _, n := range c.Networks {
		if !n.IsValid() || !n.Addr().Is4() && !c.Pool6.IsValid() {
			return fmt.Errorf("%w: networks: want IPv4 prefixes, found %v", ErrConfig, n)
		}
	}
	identities, addresses := make(map[ike.Identity]bool), make(map[netip.Addr]bool)
	for _, p := range c.Peers {
		switch {
		case p.Identity.IsZero():
			return fmt.Errorf("%w: a peer has no identity", ErrConfig)
		case identities[p.Identity]:
			return fmt.Errorf("%w: peer %v is there twice", ErrConfig, p.Identity)
		case len(p.PSK) == 0:
			return fmt.Errorf("%w: peer %v has no pre-shared key", ErrConfig, p.Identity)
		case p.Address.IsValid() && !p.Address.Is4():
			return fmt.Errorf("%w: peer %v: want an IPv4 address, found %v", ErrConfig, p.Identity, p.Address)
		case p.Address.IsValid() && addresses[p.Address]:
			return fmt.Errorf("%w: peer %v: another one has the address %v too", ErrConfig, p.Identity, p.Address)
		case !p.Address.IsValid() && !c.Pool.IsValid():
			return fmt.Errorf("%w: peer %v has no address and there is no pool", ErrConfig, p.Identity)
		}
		identities[p.Identity], addresses[p.Address] = true, true
	}
	if c.Session < 0 {
		return fmt.Errorf("%w: session: want a positive time, found %v", ErrConfig, c.Session)
	}
	if err := c.completeRules(); err != nil {
		return err
	}
	return c.completeAgent()
}
