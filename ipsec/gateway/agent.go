package gateway

import (
	"fmt"
	"net/netip"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
)

// Agent is a foreign agent of Mobile IPv4 in this gateway, which the driver runs (draft-ietf-mobileip-vpn-problem-solution-01
// appendix B): clients that ask for it have child SAs from their home addresses, whose packets are the agent's.
type Agent struct {
	// MobileNodes are who may use it.
	MobileNodes []MobileNode
	// Networks are what child SAs through the agent may reach, IPv4; empty for all.
	Networks []netip.Prefix
	// Advertise returns the agent advertisement that a client is handed, an ICMP message: see ike.GatewayAgent. It is called from the
	// methods of the Gateway. nil for none.
	Advertise func() []byte
}

// MobileNode binds an identity to the one home address (i-HoA) that it may use the agent with.
type MobileNode struct {
	// Identity is what the client proves, in the last round of authentication.
	Identity ike.Identity
	// HomeAddress is an IPv4 address outside of all pools.
	HomeAddress netip.Addr
}

// completeAgent checks the agent's part.
func (c *Config) completeAgent() error {
	if c.Agent == nil {
		return nil
	}
	identities, addresses := make(map[ike.Identity]bool), make(map[netip.Addr]bool)
	clients := c.ClientPrefixes()
	for _, n := range c.Agent.MobileNodes {
		switch {
		case n.Identity.IsZero() || identities[n.Identity]:
			return fmt.Errorf("%w: agent: mobile node %v: want an identity that no other has", ErrConfig, n.Identity)
		case !n.HomeAddress.Is4() || n.HomeAddress.IsUnspecified() || n.HomeAddress.IsMulticast() || addresses[n.HomeAddress]:
			return fmt.Errorf("%w: agent: mobile node %v: want an IPv4 home address that no other has, found %v", ErrConfig, n.Identity, n.HomeAddress)
		}
		for _, p := range clients {
			if p.Contains(n.HomeAddress) {
				return fmt.Errorf("%w: agent: mobile node %v: want a home address that is no inner address of this gateway's, found %v in %v", ErrConfig, n.Identity, n.HomeAddress, p)
			}
		}
		identities[n.Identity], addresses[n.HomeAddress] = true, true
	}
	for _, n := range c.Agent.Networks {
		if !n.IsValid() || !n.Addr().Is4() {
			return fmt.Errorf("%w: agent: networks: want IPv4 prefixes, found %v", ErrConfig, n)
		}
	}
	return nil
}

// homes returns the home addresses by identity.
func (a *Agent) homes() map[ike.Identity]netip.Addr {
	m := make(map[ike.Identity]netip.Addr)
	if a != nil {
		for _, n := range a.MobileNodes {
			m[n.Identity] = n.HomeAddress
		}
	}
	return m
}

// networks are Networks, or all.
func (a *Agent) networks() Policy {
	if a == nil {
		return Policy{}
	}
	if len(a.Networks) == 0 {
		return Policy{Networks: []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0)}}
	}
	return Policy{Networks: a.Networks}
}

// agent says what the agent is to an authenticated peer; nil without one.
func (g *Gateway) agent() func(ike.Identity) ike.GatewayAgent {
	if g.cfg.Agent == nil {
		return nil
	}
	return func(peer ike.Identity) ike.GatewayAgent {
		a := ike.GatewayAgent{HomeAddress: g.homes[peer]}
		if agent := g.cfg.Agent; agent != nil && agent.Advertise != nil && a.HomeAddress.IsValid() {
			a.Advertisement = agent.Advertise()
		}
		return a
	}
}

// assignHome gives a peer its home address as the only inner address.
func (p policy) assignHome(r ike.Request) ike.Configuration {
	s := p.s
	s.home, s.address = r.HomeAddress, r.HomeAddress
	s.homeNetworks = p.g.cfg.Agent.networks()
	return s.told(r, r.HomeAddress)
}

// keepsHome reports whether the configuration that is in force still grants a session its home address and what it reaches.
func (g *Gateway) keepsHome(s *session) bool {
	if !s.home.IsValid() {
		return true
	}
	now := g.cfg.Agent.networks()
	return g.homes[s.identity] == s.home && now.reaches(s.homeNetworks.Networks)
}

// homeSelectors are those of child SAs through the agent.
func (s *session) homeSelectors() (localSide, remoteSide []esp.Selector) {
	return s.homeNetworks.selectors(), []esp.Selector{esp.AddrSelector(s.home)}
}
