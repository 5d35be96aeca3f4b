package gateway

import (
	"container/heap"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
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
	spis     map[spiKey]bool
	inbound  map[ike.ChildID]uint32 // ESP SPIs of ours

	// before is the session of the same peer that this one has replaced, while it is there; endAt is when it is deleted then, 0
	// for never.
	before *session
	endAt  time.Duration

	at    time.Duration // deadline
	index int           // in the queue of deadlines, -1 when not in it
}

// policy answers the IKE machine of one session.
type policy struct {
	g *Gateway
	s *session
}

// Authentication finds the key by the identity that the peer claims, never by where it is (REQUIREMENTS IKE-8).
func (p policy) Authentication(local, remote ike.Identity) (ike.Requirement, error) {
	if own := p.g.cfg.IKE.LocalID; !local.IsZero() && local != own {
		return ike.Requirement{}, fmt.Errorf("%w: want %v, found %v", ErrNotMe, own, local)
	}
	peer, ok := p.g.peers[remote]
	if !ok {
		return ike.Requirement{}, fmt.Errorf("%w: %v", ErrUnknownPeer, remote)
	}
	return ike.Requirement{Own: ike.Proof{PSK: peer.PSK}, Rounds: []ike.Acceptance{{PSK: peer.PSK}}}, nil
}

// Assign gives an authenticated peer its inner addresses: one of each family that it asks for and that there is.
func (p policy) Assign(remote ike.Identity, r ike.Request) (ike.Configuration, error) {
	if len(r.IPv4) == 0 && (len(r.IPv6) == 0 || !p.g.cfg.Pool6.IsValid()) {
		return ike.Configuration{}, fmt.Errorf("gateway: peer %v: %w", remote, ike.ErrConfigurationRequired)
	}
	var out ike.Configuration
	var failed error
	for _, family := range []struct {
		pool   *pool
		wanted []netip.Addr
	}{{p.g.pool, r.IPv4}, {p.g.pool6, r.IPv6}} {
		if family.pool == nil || len(family.wanted) == 0 {
			continue // a family that is not served is ignored (RFC 7296 §3.15.4)
		}
		a, err := family.pool.assign(remote, family.wanted[0])
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
	if r.DNS {
		out.DNS = p.g.cfg.DNS
	}
	if r.Subnets {
		out.Subnets = p.g.cfg.Networks
	}
	if r.Domains {
		out.Domains = p.g.cfg.Domains
	}
	return out, nil
}

// Selectors lets a peer use its inner address as source, and reach the networks.
func (p policy) Selectors(_ ike.Identity, assigned []netip.Addr) (localSide, remoteSide []esp.Selector) {
	for _, a := range assigned {
		remoteSide = append(remoteSide, esp.AddrSelector(a))
	}
	return p.g.cfg.selectors(), remoteSide
}

// deadlines are the sessions with a timer, the earliest first.
type deadlines []*session

func (q deadlines) Len() int           { return len(q) }
func (q deadlines) Less(i, j int) bool { return q[i].at < q[j].at }
func (q deadlines) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements heap.Interface.
func (q *deadlines) Push(x any) {
	s := x.(*session)
	s.index = len(*q)
	*q = append(*q, s)
}

// Pop implements heap.Interface.
func (q *deadlines) Pop() any {
	last := len(*q) - 1
	s := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	s.index = -1
	return s
}

// schedule puts the session where its machine's deadline belongs, or takes it out when there is none.
func (q *deadlines) schedule(s *session, at time.Duration, ok bool) {
	switch {
	case !ok:
		if s.index >= 0 {
			heap.Remove(q, s.index)
		}
	case s.index < 0:
		s.at = at
		heap.Push(q, s)
	case s.at != at:
		s.at = at
		heap.Fix(q, s.index)
	}
}
