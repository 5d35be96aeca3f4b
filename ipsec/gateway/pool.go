package gateway

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"mipvpn/ipsec/ike"
)

// ErrPoolExhausted tells that no inner address is free.
var ErrPoolExhausted = errors.New("gateway: no inner address is free")

// pool assigns inner addresses. An identity has one address at most, and gets the one it had last while that is free.
type pool struct {
	prefix      netip.Prefix
	first, last uint32 // assignable addresses of the prefix
	next        uint32 // where the search goes on

	fixed map[ike.Identity]netip.Addr
	kept  map[netip.Addr]bool // fixed addresses, not to be given to others
	owner map[netip.Addr]ike.Identity
	had   map[ike.Identity]netip.Addr // last assignment, in use or not; bounded by the peers there are
}

func newPool(c *Config) *pool {
	p := &pool{prefix: c.Pool.Masked(), fixed: make(map[ike.Identity]netip.Addr), kept: make(map[netip.Addr]bool),
		owner: make(map[netip.Addr]ike.Identity), had: make(map[ike.Identity]netip.Addr)}
	if p.prefix.IsValid() {
		p.first = toUint(p.prefix.Addr())
		p.last = p.first + uint32(uint64(1)<<(32-p.prefix.Bits())-1)
		if p.prefix.Bits() < 31 {
			p.first++
			p.last--
		}
		p.next = p.first
	}
	for _, peer := range c.Peers {
		if peer.Address.IsValid() {
			p.fixed[peer.Identity], p.kept[peer.Address] = peer.Address, true
		}
	}
	return p
}

// assign returns the inner address of id. wanted is what the peer asked for, the zero Addr for any.
func (p *pool) assign(id ike.Identity, wanted netip.Addr) (netip.Addr, error) {
	if a, ok := p.fixed[id]; ok {
		p.take(a, id)
		return a, nil
	}
	for _, a := range []netip.Addr{p.had[id], wanted} {
		if p.free(a, id) {
			p.take(a, id)
			return a, nil
		}
	}
	if !p.prefix.IsValid() {
		return netip.Addr{}, ErrPoolExhausted
	}
	for range uint64(p.last-p.first) + 1 {
		a := fromUint(p.next)
		if p.next++; p.next > p.last || p.next < p.first {
			p.next = p.first
		}
		if p.free(a, id) {
			p.take(a, id)
			return a, nil
		}
	}
	return netip.Addr{}, ErrPoolExhausted
}

// free reports whether the pool may give a to id.
func (p *pool) free(a netip.Addr, id ike.Identity) bool {
	if !a.Is4() || !p.prefix.IsValid() || toUint(a) < p.first || toUint(a) > p.last || p.kept[a] {
		return false
	}
	owner, taken := p.owner[a]
	return !taken || owner == id
}

func (p *pool) take(a netip.Addr, id ike.Identity) {
	if before, ok := p.had[id]; ok && before != a && p.owner[before] == id {
		delete(p.owner, before)
	}
	p.owner[a], p.had[id] = id, a
}

// release makes the address of id free.
func (p *pool) release(id ike.Identity) {
	if a, ok := p.had[id]; ok && p.owner[a] == id {
		delete(p.owner, a)
	}
}

func toUint(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func fromUint(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}
