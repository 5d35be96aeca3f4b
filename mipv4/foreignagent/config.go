package foreignagent

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
)

const (
	// DefaultMaxLifetime is the longest registration lifetime accepted unless configured otherwise.
	DefaultMaxLifetime = 30 * time.Minute
	// PendingTime is how long a request waits for its reply before it is denied with code 78 (RFC 5944 §3.7.1).
	PendingTime = 7 * time.Second
	// PendingPerRegistration is how many requests of one mobile node to one home agent may be pending at once for a station: a newer
	// one takes the place of the oldest. Other stations, which may be forgers in its name, have no part in it.
	PendingPerRegistration = 5
	// PendingPerStation is how many requests of one station may be pending at once (code 66), so that none uses up what there is for
	// all: more than one mobile node has, which may stand behind a repeater with others.
	PendingPerStation = 32
	// DefaultMaxPending limits the pending requests of all mobile nodes together: then the one that has waited longest is denied with
	// code 66.
	DefaultMaxPending = 1024
	// DefaultMaxVisitors limits the visitor list (code 66 and the B bit).
	DefaultMaxVisitors = 1024
	// DefaultInterval is the time between advertisements.
	DefaultInterval = time.Second
	// DefaultAdvertisementLifetime is how long an advertisement counts: three of them may be missed (RFC 5944 §2.1).
	DefaultAdvertisementLifetime = 3 * time.Second
	// minInterval keeps advertisements from filling the link (RFC 5944 §2.3).
	minInterval = 50 * time.Millisecond
)

// Config is what a foreign agent is told by its administrator.
type Config struct {
	// Address is the agent's address on the visited link.
	Address netip.Addr
	// Prefix is that link's prefix length, for the Prefix-Lengths extension (RFC 5944 §2.1.2); 0 leaves the extension out.
	Prefix int
	// CareOfAddress is the one that is offered; home agents tunnel to it.
	CareOfAddress netip.Addr
	// OwnAddresses are all others of the box: a home agent at one of them is refused with code 194 (RFC 5944 §3.7.2).
	OwnAddresses []netip.Addr
	// PermittedHomeAgents are those that may be registered with (code 65 for others); empty permits all.
	PermittedHomeAgents []netip.Prefix
	// MobileNodes and HomeAgents share security associations with this agent; others are served without.
	MobileNodes []Peer
	HomeAgents  []Peer
	// MaxLifetime is the longest registration lifetime accepted, in whole seconds, and advertised.
	MaxLifetime time.Duration
	// MaxVisitors and MaxPending limit the tables; defaults when zero.
	MaxVisitors, MaxPending int
	// NoEncapsulatingDelivery refuses that delivery style with code 79.
	NoEncapsulatingDelivery bool
	// Encapsulations are the forms of tunnels that are served and advertised (M and G bits) besides IP-in-IP; requests for others
	// are denied with code 72.
	Encapsulations tunnel.Offered
	// UDPTunnel says when home agents are asked for UDP tunnelling.
	UDPTunnel UDPTunnel
	// BehindNAT says that there is a NAT between the agent and home agents, and sets the U bit (RFC 3519 §3.4): mobile nodes with
	// co-located care-of addresses then get UDP tunnels of their own through that NAT. It needs UDPTunnel.
	BehindNAT bool
	// RegistrationRequired sets the R bit: mobile nodes with co-located care-of addresses must register here too.
	RegistrationRequired bool
	// Revocation agrees with home agents, where there are security associations, that each tells the other when it ends a
	// registration early (RFC 3543), and sets the X bit. It sets the R bit too, and requests for co-located care-of addresses are
	// denied with code 65, since these cannot be revoked (§4.3.1).
	Revocation bool
	// Challenge advertises challenges, and has each mobile node without a security association with this agent answer one in
	// each request, authenticated for an AAA infrastructure (RFC 4721). ChallengeWindow is how many of the last ones are taken;
	// DefaultChallengeWindow when zero.
	Challenge       bool
	ChallengeWindow int
	// AAA has these authentications checked by an AAA infrastructure before requests are relayed (Machine.PollQuestion). Without it
	// that is left to the home agents.
	AAA bool
	// NAI is the network access identifier that the agent advertises (RFC 4857 §8.2), such as "agent7@corp.example"; empty for
	// none. To mobile nodes it is a hint where they are.
	NAI string
	// Extensions are further extensions of the advertisement as they stand on the wire: type, length, data (RFC 5944 §1.9). A mobile node that does not know one of the types 0 to 127 ignores the whole advertisement.
	Extensions []byte
	// NoCoLocated denies requests for co-located care-of addresses (the D bit) with code 77, for an agent that is in a VPN gateway
	// (draft-ietf-mobileip-vpn-problem-solution appendix B.4).
	NoCoLocated bool
	// Interval between advertisements; negative for none but solicited ones. AdvertisementLifetime is how long one counts,
	// in whole seconds.
	Interval, AdvertisementLifetime time.Duration
}

// Peer is a node that shares a security association with the agent.
type Peer struct {
	// Address is the mobile node's home address or the home agent's address.
	Address netip.Addr
	// Association is the security association.
	Association *auth.SecurityAssociation
}

// check returns the configuration with its defaults, or an error that wraps ErrConfig.
func (c Config) check() (Config, error) {
	fail := func(format string, a ...any) (Config, error) {
		return Config{}, fmt.Errorf("%w: %s", ErrConfig, fmt.Sprintf(format, a...))
	}
	for _, a := range []struct {
		name string
		addr netip.Addr
	}{{"address", c.Address}, {"care-of address", c.CareOfAddress}} {
		if !usable(a.addr) {
			return fail("%s %v: expected a unicast IPv4 address", a.name, a.addr)
		}
	}
	if c.Prefix < 0 || c.Prefix > 32 {
		return fail("prefix length %d: expected 0 to 32", c.Prefix)
	}
	for _, p := range c.PermittedHomeAgents {
		if !p.IsValid() || !p.Addr().Is4() {
			return fail("permitted home agents %v: expected an IPv4 prefix", p)
		}
	}
	for _, peers := range [][]Peer{c.MobileNodes, c.HomeAgents} {
		seen := make(map[netip.Addr]bool)
		for _, p := range peers {
			if !usable(p.Address) || p.Association == nil || seen[p.Address] {
				return fail("peer %v: expected one unicast IPv4 address and a security association each", p.Address)
			}
			seen[p.Address] = true
		}
	}
	setDefault(&c.MaxLifetime, DefaultMaxLifetime)
	setDefault(&c.Interval, DefaultInterval)
	setDefault(&c.AdvertisementLifetime, DefaultAdvertisementLifetime)
	setDefault(&c.MaxVisitors, DefaultMaxVisitors)
	setDefault(&c.MaxPending, DefaultMaxPending)
	setDefault(&c.ChallengeWindow, DefaultChallengeWindow)
	switch {
	case c.ChallengeWindow < 1 || c.ChallengeWindow > 1000:
		return fail("challenge window %d: expected 1 to 1000, 2 or more being better", c.ChallengeWindow)
	case c.BehindNAT && c.UDPTunnel == UDPTunnelNever:
		return fail("behind a NAT, but without UDP tunnels: expected UDPTunnelNAT or UDPTunnelForced (RFC 3519 §3.4)")
	case c.AAA && !c.Challenge:
		return fail("an AAA infrastructure, but no challenges (RFC 4721)")
	case c.MaxLifetime < time.Second || c.MaxLifetime > wire.LifetimeInfinite*time.Second:
		return fail("longest lifetime %v: expected 1s to %v", c.MaxLifetime, wire.LifetimeInfinite*time.Second)
	case c.MaxVisitors < 1 || c.MaxPending < 1:
		return fail("limits %d and %d: expected 1 or more", c.MaxVisitors, c.MaxPending)
	case len(c.NAI) > 254:
		return fail("NAI of %d octets: expected at most 254", len(c.NAI))
	case c.AdvertisementLifetime < time.Second || c.AdvertisementLifetime > 0xffff*time.Second:
		return fail("advertisement lifetime %v: expected 1s to %v", c.AdvertisementLifetime, 0xffff*time.Second)
	case c.Interval > 0 && (c.Interval < minInterval || c.Interval > c.AdvertisementLifetime/3):
		return fail("advertisement interval %v: expected %v to a third of the lifetime %v (RFC 5944 §2.1)", c.Interval, minInterval, c.AdvertisementLifetime)
	}
	ad := c.advertisement(0, false)
	if _, err := ad.Append(nil); err != nil {
		return fail("advertisement: %v", err)
	}
	c.OwnAddresses = append(slices.Clone(c.OwnAddresses), c.Address, c.CareOfAddress)
	return c, nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// usable reports whether a can be a host's address that this agent sends to.
func usable(a netip.Addr) bool {
	return a.Is4() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && a.As4()[0] < 240
}
