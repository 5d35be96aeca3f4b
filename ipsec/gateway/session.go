package gateway

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"mipvpn/ipsec/eap"
	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/radius"
	"mipvpn/tun/queue"
)

// ErrUnknownPeer tells that a peer claims an identity that is not configured.
var ErrUnknownPeer = errors.New("gateway: no such peer")

// ErrNotMe tells that a peer asked for another gateway.
var ErrNotMe = errors.New("gateway: the peer asks for another identity")

// spiKey is an IKE SPI of ours and the field of the header it stands in.
type spiKey struct {
	spi       uint64
	initiator bool
}

// session is one IKE association.
type session struct {
	id      SessionID
	machine *ike.Machine
	init    [sha256.Size]byte // of its IKE_SA_INIT request and where that came from
	remote  netip.AddrPort
	from    netip.Addr // counted for MaxHalfOpenAddress

	halfOpen bool
	identity ike.Identity
	address  netip.Addr
	// home is its home address when its child SAs go through the agent, homeNetworks what they reach then.
	home         netip.Addr
	homeNetworks Policy
	provision    *provision // what it gets, nil before that is known
	rule         *Rule      // by which it came, nil for a peer with a key of its own
	// asked is the identity that it was first let in for, key the pre-shared key, nil for none, reloads the configuration's number.
	asked   ike.Identity
	key     []byte
	reloads uint64

	// Of EAP: the identity that the peer claims, the method here or the conversation at a RADIUS server (0 for none), and what
	// that says of the user.
	claimed ike.Identity
	method  *eap.Machine
	talk    radius.ID
	user    radius.User
	fixed   netip.Addr // assigned by RADIUS

	spis    map[spiKey]bool
	inbound map[ike.ChildID]uint32 // ESP SPIs of ours

	// before is the session of the same peer that this one has replaced, while it is there; endAt is when a session is deleted,
	// for that reason or because it may not last longer, 0 for never; mayLastTo is the latter while it is the former.
	before           *session
	endAt, mayLastTo time.Duration

	deadline queue.Timer[*session] // its machine's
}

// policy answers the IKE machine of one session.
type policy struct {
	g *Gateway
	s *session
}

// Assign gives an authenticated peer its inner addresses: one of each family that it asks for and that there is.
func (p policy) Assign(remote ike.Identity, r ike.Request) (ike.Configuration, error) {
	if err := p.recall(remote); err != nil {
		return ike.Configuration{}, fmt.Errorf("gateway: peer %v: %w", remote, err)
	}
	v := p.s.provision
	if r.HomeAddress.IsValid() {
		return p.assignHome(r), nil
	}
	if len(r.IPv4) == 0 && (len(r.IPv6) == 0 || v.pool6 == nil) {
		return ike.Configuration{}, fmt.Errorf("gateway: peer %v: %w", remote, ike.ErrConfigurationRequired)
	}
	var out ike.Configuration
	var failed error
	for _, family := range []struct {
		pool   *pool
		wanted []netip.Addr
	}{{v.pool, r.IPv4}, {v.pool6, r.IPv6}} {
		if family.pool == nil || len(family.wanted) == 0 {
			continue // a family that is not served is ignored (RFC 7296 §3.15.4)
		}
		a, err := family.pool.assign(remote, family.wanted[0])
		if p.s.fixed.IsValid() && family.pool == v.pool {
			a, err = p.s.fixed, family.pool.assignFixed(remote, p.s.fixed)
		}
		if err != nil {
			failed = err
			continue
		}
		out.Addresses = append(out.Addresses, a)
	}
	if len(out.Addresses) == 0 {
		return ike.Configuration{}, fmt.Errorf("peer %v: %w", remote, failed)
	}
	p.s.address = out.Addresses[0]
	return p.s.told(r, out.Addresses...), nil
}

// told returns what a client with these addresses is told of what it asks for.
func (s *session) told(r ike.Request, addresses ...netip.Addr) ike.Configuration {
	out, v := ike.Configuration{Addresses: addresses}, s.provision
	if r.DNS {
		out.DNS = v.DNS
	}
	if r.Subnets {
		out.Subnets = v.Networks
	}
	if r.Domains {
		out.Domains = v.Domains
	}
	return out
}

// recall finds what a user gets who comes with a ticket, after an EAP method long ago: the user may have been struck off, or
// have another policy now.
func (p policy) recall(remote ike.Identity) error {
	s := p.s
	if s.provision == nil {
		return ErrUnknownPeer
	}
	if s.rule == nil || s.rule.Rounds[len(s.rule.Rounds)-1] != ByEAP || !s.claimed.IsZero() {
		return nil
	}
	u, ok := p.g.byName[remote]
	switch {
	case !ok:
		return ErrUnknownUser
	case len(s.rule.Rounds) == 1 && !p.g.cfg.rule(remote).same(s.rule):
		return ErrRule
	}
	if u.Policy != "" {
		s.provision = p.g.provisions[u.Policy]
	}
	return nil
}

// Selectors lets a peer use its inner address as source, and reach the networks.
func (p policy) Selectors(_ ike.Identity, assigned []netip.Addr) (localSide, remoteSide []esp.Selector) {
	for _, a := range assigned {
		remoteSide = append(remoteSide, esp.AddrSelector(a))
	}
	if p.s.provision == nil {
		return nil, nil
	}
	if p.s.home.IsValid() {
		return p.s.homeSelectors()
	}
	return p.s.provision.selectors(), remoteSide
}
