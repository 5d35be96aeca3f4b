package homeagent

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
)

const (
	// DefaultTolerance is how far a timestamp may be from the home agent's time of day (RFC 5944 §5.7.1).
	DefaultTolerance = 7 * time.Second
	// MinTolerance is the least that the RFC recommends.
	MinTolerance = 3 * time.Second
	// DefaultMaxLifetime is the longest lifetime that is granted unless configured otherwise.
	DefaultMaxLifetime = 30 * time.Minute
	// InfiniteLifetime as Config.MaxLifetime grants lifetimes that never end (0xffff) to those who ask.
	InfiniteLifetime = time.Duration(wire.LifetimeInfinite) * time.Second
)

// ErrConfig means that a home agent cannot be made of the configuration given.
var ErrConfig = errors.New("homeagent: unusable configuration")

// Config is what a home agent is told by its administrator.
type Config struct {
	// Address is the home agent's unicast address, the one in registrations and outer headers.
	Address netip.Addr
	// HomeNetworks are the networks that home addresses are of. No care-of address may be in one.
	HomeNetworks []netip.Prefix
	// DynamicAddresses are the home addresses that are assigned to mobile nodes without a configured one, within HomeNetworks.
	// Configured home addresses may be among them.
	DynamicAddresses []netip.Prefix
	// RedirectTo is another home agent, with the same security associations, that mobile nodes without a binding here are sent to which
	// leave it to the network who serves them (RFC 4433 §5.3), from RedirectFrom bindings on; the zero Addr for none.
	RedirectTo   netip.Addr
	RedirectFrom int
	// AddressHold is how long an assigned home address is kept, at least, for a mobile node that has no binding, DefaultAddressHold
	// when zero. It stays longer while the pool has others.
	AddressHold time.Duration
	// MobileNodes are those that are served.
	MobileNodes []MobileNode
	// ForeignAgents are those with which security associations exist. Others are served without.
	ForeignAgents []ForeignAgent
	// Internal makes this an i-HA (RFC 5265 §4.3): requests from outside TrustedNetworks are discarded silently, and every
	// reply carries the Trusted Networks Configured extension. With no networks configured everything is discarded.
	Internal bool
	// TrustedNetworks are those of an i-HA; none by default.
	TrustedNetworks []netip.Prefix
	// RefusedNetworks are those whose requests are discarded silently, as an x-HA may do with the internal network's
	// (RFC 5265 §3.7).
	RefusedNetworks []netip.Prefix
	// MaxLifetime is the longest lifetime granted, in whole seconds; DefaultMaxLifetime when zero.
	MaxLifetime time.Duration
	// Tolerance of timestamps; DefaultTolerance when zero.
	Tolerance time.Duration
	// SimultaneousBindings is how many bindings a mobile node may have at once. Under 2, simultaneous bindings are not
	// supported, and registrations are accepted with code 1.
	SimultaneousBindings int
	// MaxRequests is how many requests a minute are taken of a mobile node (Limits.Requests); 0 means no limit.
	MaxRequests int
	// MaxBindings limits the bindings of all mobile nodes together (code 130); 0 means no limit.
	MaxBindings int
	// NoReverseTunnel denies requests with the T bit (code 137); RequireReverseTunnel those without (code 138).
	NoReverseTunnel, RequireReverseTunnel bool
	// NoUDPTunnel turns UDP tunnelling (RFC 3519) off; NoForcedUDPTunnel denies it where there is no NAT (code 129).
	NoUDPTunnel, NoForcedUDPTunnel bool
	// KeepAlive is the interval that mobile nodes are told to keep NAT mappings alive by; 0 leaves them theirs.
	KeepAlive time.Duration
	// AllowRelayedCoLocated accepts a co-located care-of address from another source address without UDP tunnelling: a
	// foreign agent with the R bit relays so. Otherwise that is denied (code 129; RFC 3519 §4.6.1), since it is usually a
	// NAT that the tunnel could not pass.
	AllowRelayedCoLocated bool
	// Durable has the machine yield records for a driver that stores them (Machine.PollRecord).
	Durable bool
	// AAA has registrations checked by an AAA infrastructure (Machine.PollQuestion): they need a Mobile-AAA Authentication extension
	// besides the Mobile-Home one (RFC 4721 §3.4, §6), and are denied with code 144 without. Deregistrations do not.
	AAA bool
	// MaxPending is how many questions to it wait for their answers at most, DefaultMaxPending when zero; then requests are denied with
	// code 130.
	MaxPending int
	// NoRevocation turns registration revocation (RFC 3543) off. Otherwise it is agreed with foreign agents and mobile nodes that
	// ask for it.
	NoRevocation bool
	// Encapsulations are the forms of tunnels that are granted besides IP-in-IP and UDP to those who ask (M and G bits); others
	// are denied with code 139.
	Encapsulations tunnel.Offered
	// Broadcasts grants the B bit (RFC 5944 §4.3): broadcasts of the home network are handed to mobile nodes that ask for them, and
	// datagrams for groups to those of them that have joined (§4.4).
	// Otherwise the bit is ignored, and the registration accepted as without it.
	Broadcasts bool
	// ZeroOverhead grants zero-overhead tunnelling (draft appendix D, docs/zero-overhead.md); the zero value grants none.
	ZeroOverhead ZeroOverhead
}

// MobileNode is one mobile node that the home agent serves.
type MobileNode struct {
	// HomeAddress is its home address; the zero Addr where one of DynamicAddresses is to be assigned, which needs a NAI.
	HomeAddress netip.Addr
	// NAI is its network access identifier (RFC 2794), 1 to 255 octets of UTF-8, "" for none: by it requests are known that leave the
	// home address open.
	NAI string
	// Associations are its security associations, told apart by SPI. Replies to requests with an unknown SPI are
	// authenticated with the first.
	Associations []*auth.SecurityAssociation
	// Limits are its own; a field that is 0 leaves it the Config's.
	Limits Limits
}

// ForeignAgent is a foreign agent that shares a security association with the home agent.
type ForeignAgent struct {
	// Address is the care-of address that it relays requests from.
	Address netip.Addr
	// Association is the security association; its SPI goes into replies.
	Association *auth.SecurityAssociation
}

// check returns the configuration with its defaults, or an error that wraps ErrConfig.
func (c Config) check() (Config, error) {
	fail := func(format string, a ...any) (Config, error) {
		return Config{}, fmt.Errorf("%w: %s", ErrConfig, fmt.Sprintf(format, a...))
	}
	if !usable(c.Address) {
		return fail("address %v: expected a unicast IPv4 address", c.Address)
	}
	for _, list := range [][]netip.Prefix{c.HomeNetworks, c.DynamicAddresses, c.TrustedNetworks, c.RefusedNetworks} {
		for _, p := range list {
			if !p.IsValid() || !p.Addr().Is4() || p != p.Masked() {
				return fail("network %v: expected an IPv4 prefix without host bits", p)
			}
		}
	}
	if len(c.TrustedNetworks) > 0 && !c.Internal {
		return fail("trusted networks belong to an internal home agent")
	}
	if err := c.checkMobileNodes(); err != nil {
		return Config{}, err
	}
	agents := make(map[netip.Addr]bool)
	for _, f := range c.ForeignAgents {
		if !usable(f.Address) || f.Association == nil || agents[f.Address] {
			return fail("foreign agent %v: expected one unicast IPv4 address and a security association each", f.Address)
		}
		agents[f.Address] = true
	}
	if c.MaxLifetime == 0 {
		c.MaxLifetime = DefaultMaxLifetime
	}
	if c.MaxLifetime < time.Second || c.MaxLifetime > InfiniteLifetime {
		return fail("longest lifetime %v: expected 1s to %v", c.MaxLifetime, InfiniteLifetime)
	}
	if c.RedirectTo.IsValid() && (!usable(c.RedirectTo) || c.RedirectTo == c.Address) || c.RedirectFrom < 0 {
		return fail("redirection to %v from %d bindings on: expected another home agent's address and a number of bindings", c.RedirectTo, c.RedirectFrom)
	}
	if c.AddressHold == 0 {
		c.AddressHold = DefaultAddressHold
	}
	if c.AddressHold < 0 {
		return fail("hold of assigned home addresses is %v: expected 0 or more", c.AddressHold)
	}
	if c.Tolerance == 0 {
		c.Tolerance = DefaultTolerance
	}
	if c.Tolerance < MinTolerance {
		return fail("timestamp tolerance %v: expected at least %v (RFC 5944 §5.7.1)", c.Tolerance, MinTolerance)
	}
	if c.MaxPending == 0 {
		c.MaxPending = DefaultMaxPending
	}
	if c.MaxPending < 0 {
		return fail("%d questions to an AAA infrastructure: expected 0 or more", c.MaxPending)
	}
	if c.MaxRequests < 0 {
		return fail("%d requests a minute: expected 0 or more", c.MaxRequests)
	}
	if c.KeepAlive < 0 || c.KeepAlive > 0xffff*time.Second {
		return fail("keepalive interval %v: expected 0 to %v", c.KeepAlive, 0xffff*time.Second)
	}
	if err := c.ZeroOverhead.check(c.Address); err != nil {
		return Config{}, err
	}
	if c.NoReverseTunnel && c.RequireReverseTunnel {
		return fail("reverse tunnels cannot be both refused and required")
	}
	return c, nil
}

// checkMobileNodes checks mobile nodes and the pool of home addresses.
func (c *Config) checkMobileNodes() error {
	fail := func(format string, a ...any) error {
		return fmt.Errorf("%w: %s", ErrConfig, fmt.Sprintf(format, a...))
	}
	for _, p := range c.DynamicAddresses {
		if !slices.ContainsFunc(c.HomeNetworks, func(n netip.Prefix) bool { return n.Bits() <= p.Bits() && n.Contains(p.Addr()) }) {
			return fail("dynamic addresses %v are in none of the home networks %v", p, c.HomeNetworks)
		}
	}
	seen, nais := make(map[netip.Addr]bool), make(map[string]bool)
	for _, n := range c.MobileNodes {
		name := n.name()
		switch {
		case len(n.NAI) > maxNAI || !utf8.ValidString(n.NAI) || strings.ContainsFunc(n.NAI, unicode.IsControl):
			return fail("NAI %q: expected at most %d octets of UTF-8 without control characters", n.NAI, maxNAI)
		case n.NAI != "" && nais[n.NAI]:
			return fail("NAI %q is configured twice", n.NAI)
		case !n.HomeAddress.IsValid() && (n.NAI == "" || len(c.DynamicAddresses) == 0):
			return fail("mobile node %s has no home address: expected one, or a NAI and dynamic addresses", name)
		case n.HomeAddress.IsValid() && !contains(c.HomeNetworks, n.HomeAddress):
			return fail("home address %v is in none of the home networks %v", n.HomeAddress, c.HomeNetworks)
		case n.HomeAddress == c.Address:
			return fail("home address %v is the home agent's own", n.HomeAddress)
		case n.HomeAddress.IsValid() && seen[n.HomeAddress]:
			return fail("home address %v is configured twice", n.HomeAddress)
		case len(n.Associations) == 0:
			return fail("mobile node %s has no security association", name)
		}
		if err := n.Limits.check(); err != nil {
			return fail("mobile node %s: %v", name, err)
		}
		seen[n.HomeAddress], nais[n.NAI] = true, true
		spis := make(map[uint32]bool)
		for _, a := range n.Associations {
			if a == nil || spis[a.SPI()] {
				return fail("mobile node %s has a security association twice, or an empty one", name)
			}
			spis[a.SPI()] = true
		}
	}
	return nil
}

// maxNAI is the greatest length of a NAI in octets: what the extension holds.
const maxNAI = 255

// name names the mobile node for people.
func (c MobileNode) name() string {
	if c.NAI != "" {
		return strconv.Quote(c.NAI)
	}
	return c.HomeAddress.String()
}

// usable reports whether a can be a host's address that this agent sends to.
func usable(a netip.Addr) bool {
	return a.Is4() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && a.As4()[0] < 240
}

func contains(networks []netip.Prefix, a netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(a) {
			return true
		}
	}
	return false
}
