package gateway

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"

	"mipvpn/ipsec/ike"
)

// ErrPoolExhausted tells that no inner address is free.
var ErrPoolExhausted = errors.New("gateway: no inner address is free")

// pool assigns inner addresses. An identity has one address at most, and gets the one it had last while that is free.
type pool struct {
	prefix netip.Prefix
	// first and last are the assignable addresses of the prefix, next is where the search goes on: the last 32 bits of an IPv4
	// address, the last 64 of an IPv6 one, of whose prefix only as much is used.
	first, last, next uint64

	fixed map[ike.Identity]netip.Addr
	kept  map[netip.Addr]bool // fixed addresses, not to be given to others
	owner map[netip.Addr]ike.Identity
	had   map[ike.Identity]netip.Addr // last assignment, in use or not; at most maxRemembered that are not
}

// newPool makes the pool of prefix. fixed has the addresses that peers have for good.
func newPool(prefix netip.Prefix, fixed map[ike.Identity]netip.Addr) *pool {
	p := &pool{prefix: prefix.Masked(), fixed: fixed, kept: make(map[netip.Addr]bool),
		owner: make(map[netip.Addr]ike.Identity), had: make(map[ike.Identity]netip.Addr)}
	if p.prefix.IsValid() {
		p.first = toUint(p.prefix.Addr())
		switch hosts := p.prefix.Addr().BitLen() - p.prefix.Bits(); {
		case hosts >= 64:
			p.last = math.MaxUint64
		default:
			p.last = p.first + (1<<hosts - 1)
		}
		if p.prefix.Addr().BitLen()-p.prefix.Bits() > 1 {
			p.first++
			p.last--
		}
		p.next = p.first
	}
	for _, a := range fixed {
		p.kept[a] = true
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
	// As many are taken as there are owners at most, so that one more than those and the kept ones finds a free one.
	for range min(p.last-p.first, uint64(len(p.owner)+len(p.kept))) + 1 {
		a := p.at(p.next)
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

// assignFixed gives id an address that somebody else has chosen. It fails when another has it.
func (p *pool) assignFixed(id ike.Identity, a netip.Addr) error {
	if owner, taken := p.owner[a]; taken && owner != id || p.kept[a] && p.fixed[id] != a {
		return fmt.Errorf("%w: %v belongs to another", ErrPoolExhausted, a)
	}
	p.take(a, id)
	return nil
}

// free reports whether the pool may give a to id.
func (p *pool) free(a netip.Addr, id ike.Identity) bool {
	if !p.prefix.Contains(a) || toUint(a) < p.first || toUint(a) > p.last || p.kept[a] {
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
		if len(p.had) > maxRemembered {
			delete(p.had, id)
		}
	}
}

// maxRemembered bounds the identities whose last address is remembered.
const maxRemembered = 1 << 16

// toUint returns the last 64 bits of an address.
func toUint(a netip.Addr) uint64 {
	if a.Is4() {
		b := a.As4()
		return uint64(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[8:])
}

// at returns the address of the pool whose last bits are n.
func (p *pool) at(n uint64) netip.Addr {
	if p.prefix.Addr().Is4() {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(n))
		return netip.AddrFrom4(b)
	}
	b := p.prefix.Addr().As16()
	binary.BigEndian.PutUint64(b[8:], n)
	return netip.AddrFrom16(b)
}
