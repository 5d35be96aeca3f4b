package homeagent

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"

	"mipvpn/mipv4/tunnel"
)

// Tunnel is where packets for a home address go and where its own come from. It does not change but for MTU.
type Tunnel struct {
	// Encapsulation is the form agreed in registration.
	Encapsulation tunnel.Encapsulation
	// Remote is the far end: the care-of address with port 0 for IP-in-IP; for UDP the source of the registration request
	// (RFC 3519 §4.6). Port 0 with UDP is a tunnel that is half bound: the port is learnt from the first keepalive (R flag,
	// RFC 3519 §4.11), and until then nothing can be sent.
	Remote netip.AddrPort
	// ReverseTunnel says that the mobile node asked for a reverse tunnel (T bit).
	ReverseTunnel bool
	// Switched is the default destination of zero-overhead tunnelling (draft appendix D), the zero Addr without it: ESP and IKE
	// to and from it travel with switched addresses, everything else in the tunnel.
	Switched netip.Addr
	// MTU is the tunnel's soft state (RFC 2003 §5.1).
	MTU tunnel.PathMTU
}

// HalfBound reports whether the far end's port is still to be learnt.
func (t *Tunnel) HalfBound() bool { return t.Encapsulation == tunnel.UDP && t.Remote.Port() == 0 }

// same reports whether two tunnels have the same ends and form.
func (t *Tunnel) same(u *Tunnel) bool {
	return t.Encapsulation == u.Encapsulation && t.Remote == u.Remote && t.ReverseTunnel == u.ReverseTunnel && t.Switched == u.Switched
}

// Route is the tunnels of one home address: one unless the mobile node has simultaneous bindings. It does not change.
type Route struct {
	// Home is the home address.
	Home netip.Addr
	// Tunnels are those of the bindings, the newest last. Packets for Home go into each of them (RFC 5944 §4.2.3).
	Tunnels []*Tunnel
}

// Admits returns the tunnel that a packet which came out of encapsulation e from remote, with Home as its inner source,
// belongs to, and nil when there is none: then the packet must be discarded (RFC 3024 §4.3.2, RFC 3519 §4.3).
func (r *Route) Admits(e tunnel.Encapsulation, remote netip.AddrPort) *Tunnel {
	for _, t := range r.Tunnels {
		if t.Encapsulation != e {
			continue
		}
		if t.Remote == remote || t.HalfBound() && t.Remote.Addr() == remote.Addr() {
			return t
		}
	}
	return nil
}

const numShards = 256

// Table is the bindings as the data path sees them. Reading takes no lock and allocates nothing; writing copies one
// shard of the table. Only its Machine writes.
type Table struct {
	shards   [numShards]atomic.Pointer[map[uint32]*Route]
	switched [numShards]atomic.Pointer[map[uint32]*Switched] // by care-of address
}

// Switched is a binding with zero-overhead tunnelling as its care-of address leads to it. It does not change.
type Switched struct {
	// Home is the home address.
	Home netip.Addr
	// Tunnel is the binding's, with its default destination.
	Tunnel *Tunnel
}

// Switched returns the binding that packets with switched addresses from the care-of address belong to, nil for none: then they
// must be discarded.
func (t *Table) Switched(careOf netip.Addr) *Switched {
	if !careOf.Is4() {
		return nil
	}
	b := careOf.As4()
	key := binary.BigEndian.Uint32(b[:])
	m := t.switched[shard(key)].Load()
	if m == nil {
		return nil
	}
	return (*m)[key]
}

// setSwitched replaces what the care-of address leads to; nil takes it out.
func (t *Table) setSwitched(careOf netip.Addr, s *Switched) {
	b := careOf.As4()
	key := binary.BigEndian.Uint32(b[:])
	p := &t.switched[shard(key)]
	next := make(map[uint32]*Switched)
	if old := p.Load(); old != nil {
		maps.Copy(next, *old)
	}
	if s == nil {
		delete(next, key)
	} else {
		next[key] = s
	}
	p.Store(&next)
}

// Route returns the tunnels of a home address, nil when it has no binding.
func (t *Table) Route(home netip.Addr) *Route {
	if !home.Is4() {
		return nil
	}
	b := home.As4()
	key := binary.BigEndian.Uint32(b[:])
	m := t.shards[shard(key)].Load()
	if m == nil {
		return nil
	}
	return (*m)[key]
}

// ByRemote calls f for each tunnel whose far end is remote, for errors that come back from within tunnels. It looks at
// every binding.
func (t *Table) ByRemote(e tunnel.Encapsulation, remote netip.AddrPort, f func(*Tunnel)) {
	for i := range t.shards {
		m := t.shards[i].Load()
		if m == nil {
			continue
		}
		for _, r := range *m {
			for _, u := range r.Tunnels {
				if u.Encapsulation == e && u.Remote == remote {
					f(u)
				}
			}
		}
	}
}

// Len returns the number of home addresses that have a binding.
func (t *Table) Len() int {
	n := 0
	for i := range t.shards {
		if m := t.shards[i].Load(); m != nil {
			n += len(*m)
		}
	}
	return n
}

// set replaces the tunnels of a home address; with none it is taken out.
func (t *Table) set(home netip.Addr, tunnels []*Tunnel) {
	if old := t.Route(home); old != nil {
		for _, u := range old.Tunnels {
			if u.Switched.IsValid() && !slices.ContainsFunc(tunnels, func(n *Tunnel) bool { return n.Switched.IsValid() && n.Remote == u.Remote }) {
				t.setSwitched(u.Remote.Addr(), nil)
			}
		}
	}
	for _, u := range tunnels {
		if u.Switched.IsValid() {
			t.setSwitched(u.Remote.Addr(), &Switched{Home: home, Tunnel: u})
		}
	}
	b := home.As4()
	key := binary.BigEndian.Uint32(b[:])
	p := &t.shards[shard(key)]
	var next map[uint32]*Route
	if old := p.Load(); old != nil {
		next = maps.Clone(*old)
	} else {
		next = make(map[uint32]*Route)
	}
	if len(tunnels) == 0 {
		delete(next, key)
	} else {
		next[key] = &Route{Home: home, Tunnels: tunnels}
	}
	p.Store(&next)
}

func shard(key uint32) uint32 { return (key ^ key>>8 ^ key>>16) % numShards }
