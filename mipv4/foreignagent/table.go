package foreignagent

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"mipvpn/mipv4/tunnel"
)

// Visitor is one registration of a mobile node through this agent, as the data path sees it. It does not change but for
// MTU.
type Visitor struct {
	// Home is the home address, HomeAgent the home agent: the tunnel's far end.
	Home, HomeAgent netip.Addr
	// Station is where the mobile node is reached.
	Station Station
	// Former is what a registration through another interface, or VPN session, of the mobile node has replaced, the zero
	// Station for none. What was on its way from there is taken until the boot time FormerUntil.
	Former      Station
	FormerUntil time.Duration
	// Encapsulating says that the mobile node asked for the encapsulating delivery style (RFC 3024 §5.2).
	Encapsulating bool
	// CoLocated says that the mobile node has a care-of address of its own: this agent carries nothing for it.
	CoLocated bool
	// MTU is the soft state of the tunnel to the home agent (RFC 2003 §5.1).
	MTU tunnel.PathMTU
}

// Table is the visitor list. Reading takes no lock and allocates nothing; writing copies it. Only its Machine writes.
type Table struct {
	visitors atomic.Pointer[map[uint32][]*Visitor] // by home address; the newest registration first
}

func (t *Table) of(home netip.Addr) []*Visitor {
	if !home.Is4() {
		return nil
	}
	m := t.visitors.Load()
	if m == nil {
		return nil
	}
	return (*m)[tableKey(home)]
}

// Deliver returns the visitor that a packet for home is for which came out of the tunnel from homeAgent, nil when there
// is none: then the packet must be discarded silently (RFC 5944 §4.2.2).
func (t *Table) Deliver(home, homeAgent netip.Addr) *Visitor {
	for _, v := range t.of(home) {
		if v.HomeAgent == homeAgent && !v.CoLocated {
			return v
		}
	}
	return nil
}

// Reverse returns the visitor that a packet with the source home from the station s belongs to at the boot time now, nil
// when there is none. Of several registrations of one home address the newest counts.
func (t *Table) Reverse(now time.Duration, home netip.Addr, s Station) *Visitor {
	for _, v := range t.of(home) {
		if !v.CoLocated && (v.Station == s || v.Former == s && now < v.FormerUntil) {
			return v
		}
	}
	return nil
}

// ByHomeAgent calls f for each visitor whose tunnel goes to homeAgent.
func (t *Table) ByHomeAgent(homeAgent netip.Addr, f func(*Visitor)) {
	m := t.visitors.Load()
	if m == nil {
		return
	}
	for _, list := range *m {
		for _, v := range list {
			if v.HomeAgent == homeAgent {
				f(v)
			}
		}
	}
}

// Len returns the number of registrations.
func (t *Table) Len() int {
	n := 0
	if m := t.visitors.Load(); m != nil {
		for _, list := range *m {
			n += len(list)
		}
	}
	return n
}

// set puts v first among the registrations of home, in the place of the one with homeAgent; a nil v only takes that out.
func (t *Table) set(home, homeAgent netip.Addr, v *Visitor) {
	next := make(map[uint32][]*Visitor)
	if old := t.visitors.Load(); old != nil {
		next = maps.Clone(*old)
	}
	key := tableKey(home)
	var list []*Visitor
	if v != nil {
		list = append(list, v)
	}
	for _, o := range next[key] {
		if o.HomeAgent != homeAgent {
			list = append(list, o)
		}
	}
	if len(list) == 0 {
		delete(next, key)
	} else {
		next[key] = slices.Clip(list)
	}
	t.visitors.Store(&next)
}

func tableKey(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}
