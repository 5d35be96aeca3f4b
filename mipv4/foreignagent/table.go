package foreignagent

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"time"

	"mipvpn/mipv4/internal/readmap"
	"mipvpn/mipv4/tunnel"
)

// Visitor is one registration of a mobile node through this agent, as the data path sees it. It does not change.
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
	// Encapsulation is the form of the tunnel to the home agent.
	Encapsulation tunnel.Encapsulation
	// CoLocated says that the mobile node has a care-of address of its own: this agent carries nothing for it.
	CoLocated bool
	// State is the soft state of the tunnel to the home agent (RFC 2003 §5), which all visitors with that home agent share. The
	// table sets it.
	State *tunnel.State
}

// Table is the visitor list. Reading takes no lock and allocates nothing, and a change costs the same however many visitors
// there are. Only its Machine writes.
type Table struct {
	visitors readmap.Map[[]*Visitor] // by home address; the newest registration first
	paths    readmap.Map[*path]      // by home agent
	length   atomic.Int64            // registrations
}

// path is the soft state of the way to one home agent: its MTU is that of tunnels of IP-in-IP.
type path struct {
	state    tunnel.State
	visitors int // the writer's: how many have that home agent
}

func (t *Table) of(home netip.Addr) []*Visitor {
	if !home.Is4() {
		return nil
	}
	list, _ := t.visitors.Get(tableKey(home))
	return list
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

// State returns the soft state of the tunnel to homeAgent, and nil when no visitor has that home agent.
func (t *Table) State(homeAgent netip.Addr) *tunnel.State {
	if !homeAgent.Is4() {
		return nil
	}
	p, ok := t.paths.Get(tableKey(homeAgent))
	if !ok {
		return nil
	}
	return &p.state
}

// Len returns the number of registrations.
func (t *Table) Len() int { return int(t.length.Load()) }

// set puts v first among the registrations of home, in the place of the one with homeAgent; a nil v only takes that out.
func (t *Table) set(home, homeAgent netip.Addr, v *Visitor) {
	old := t.of(home)
	list := make([]*Visitor, 0, len(old)+1)
	if v != nil {
		t.acquire(v)
		list = append(list, v)
	}
	for _, o := range old {
		if o.HomeAgent == homeAgent {
			t.release(o)
		} else {
			list = append(list, o)
		}
	}
	t.length.Add(int64(len(list) - len(old)))
	if len(list) == 0 {
		t.visitors.Delete(tableKey(home))
	} else {
		t.visitors.Put(tableKey(home), list)
	}
}

// acquire gives a new visitor the soft state of its tunnel.
func (t *Table) acquire(v *Visitor) {
	p, ok := t.paths.Get(tableKey(v.HomeAgent))
	if !ok {
		p = new(path)
		t.paths.Put(tableKey(v.HomeAgent), p)
	}
	p.visitors++
	v.State = &p.state
}

// release counts a visitor that has gone; the last with a home agent takes the soft state with it.
func (t *Table) release(v *Visitor) {
	p, ok := t.paths.Get(tableKey(v.HomeAgent))
	if !ok {
		return
	}
	if p.visitors--; p.visitors == 0 {
		t.paths.Delete(tableKey(v.HomeAgent))
	}
}

func tableKey(a netip.Addr) uint64 {
	b := a.As4()
	return uint64(binary.BigEndian.Uint32(b[:]))
}
