package homeagent

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"mipvpn/mipv4/internal/readmap"
	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
)

// Tunnel is where packets for a home address go and where its own come from. It does not change.
type Tunnel struct {
	// Encapsulation is the form agreed in registration.
	Encapsulation tunnel.Encapsulation
	// Remote is the far end: the care-of address with port 0 but for UDP; for that the source of the registration request
	// (RFC 3519 §4.6). Port 0 with UDP is a tunnel that is half bound: the port is learnt from the first keepalive (R flag,
	// RFC 3519 §4.11), and until then nothing can be sent.
	Remote netip.AddrPort
	// ReverseTunnel says that the mobile node asked for a reverse tunnel (T bit).
	ReverseTunnel bool
	// Switched is the default destination of zero-overhead tunnelling (draft appendix D), the zero Addr without it: ESP and IKE
	// to and from it travel with switched addresses, everything else in the tunnel.
	Switched netip.Addr
	// Broadcasts says whether, and how, broadcasts of the home network go into the tunnel.
	Broadcasts Broadcasts
	// State is the soft state (RFC 2003 §5). All tunnels of one form to one far end share it: behind a foreign agent there may be
	// thousands. The table sets it.
	State *tunnel.State
}

// HalfBound reports whether the far end's port is still to be learnt.
func (t *Tunnel) HalfBound() bool { return t.Encapsulation == tunnel.UDP && t.Remote.Port() == 0 }

// same reports whether two tunnels have the same ends and form.
func (t *Tunnel) same(u *Tunnel) bool {
	return t.Encapsulation == u.Encapsulation && t.Remote == u.Remote && t.ReverseTunnel == u.ReverseTunnel && t.Switched == u.Switched && t.Broadcasts == u.Broadcasts
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
		if t.Encapsulation != e && !(t.Encapsulation == tunnel.Minimal && e == tunnel.IPIP) { // RFC 2004 §3: fragments
			continue
		}
		if t.Remote == remote || t.HalfBound() && t.Remote.Addr() == remote.Addr() {
			return t
		}
	}
	return nil
}

// Table is the bindings as the data path sees them. Reading takes no lock and allocates nothing (but for Listeners), and a change costs the same
// however many bindings there are. Only its Machine writes.
type Table struct {
	routes   readmap.Map[*Route]    // by home address
	switched readmap.Map[*Switched] // by care-of address
	paths    readmap.Map[*path]     // by encapsulation and far end
	// listeners are those of routes that broadcasts go to.
	listeners listeners
}

// path is the soft state of the tunnels of one form to one far end.
type path struct {
	state   tunnel.State
	tunnels int // the writer's: how many there are
}

// Switched is a binding with zero-overhead tunnelling as its care-of address leads to it. It does not change.
type Switched struct {
	// Home is the home address.
	Home netip.Addr
	// Tunnel is the binding's, with its default destination.
	Tunnel *Tunnel
}

// Route returns the tunnels of a home address, nil when it has no binding.
func (t *Table) Route(home netip.Addr) *Route {
	if !home.Is4() {
		return nil
	}
	r, _ := t.routes.Get(addressKey(home))
	return r
}

// Renews reports whether a message is, as it looks, a registration request of a mobile node from where it has a binding. Nothing of
// it is verified: it tells those that a stranger would have to know a binding for.
func (t *Table) Renews(r Request) bool {
	if kind, _ := wire.TypeOf(r.Payload); kind != wire.TypeRegistrationRequest || len(r.Payload) < wire.RequestLen {
		return false
	}
	route := t.Route(netip.AddrFrom4([4]byte(r.Payload[4:8])))
	return route != nil && slices.ContainsFunc(route.Tunnels, func(x *Tunnel) bool { return x.Remote.Addr() == r.Source.Addr() })
}

// Switched returns the binding that packets with switched addresses from the care-of address belong to, nil for none: then they
// must be discarded.
func (t *Table) Switched(careOf netip.Addr) *Switched {
	if !careOf.Is4() {
		return nil
	}
	s, _ := t.switched.Get(addressKey(careOf))
	return s
}

// State returns the soft state of the tunnels of form e to remote, for errors that come back from within them, and nil when
// there are none.
func (t *Table) State(e tunnel.Encapsulation, remote netip.AddrPort) *tunnel.State {
	if !remote.Addr().Is4() {
		return nil
	}
	p, ok := t.paths.Get(pathKey(e, remote))
	if !ok {
		return nil
	}
	return &p.state
}

// Len returns the number of home addresses that have a binding.
func (t *Table) Len() int { return t.routes.Len() }

// set replaces the tunnels of a home address; with none it is taken out.
func (t *Table) set(home netip.Addr, tunnels []*Tunnel) {
	for _, u := range tunnels {
		if u.State == nil {
			t.acquire(u)
		}
	}
	old := t.Route(home)
	for _, u := range tunnels {
		if u.Switched.IsValid() {
			t.switched.Put(addressKey(u.Remote.Addr()), &Switched{Home: home, Tunnel: u})
		}
	}
	if len(tunnels) == 0 {
		t.routes.Delete(addressKey(home))
		t.listeners.set(home, nil)
	} else {
		r := &Route{Home: home, Tunnels: tunnels}
		t.routes.Put(addressKey(home), r)
		t.listeners.set(home, r)
	}
	if old == nil {
		return
	}
	for _, u := range old.Tunnels {
		if u.Switched.IsValid() && !slices.ContainsFunc(tunnels, func(n *Tunnel) bool { return n.Switched.IsValid() && n.Remote == u.Remote }) {
			t.switched.Delete(addressKey(u.Remote.Addr()))
		}
		if !slices.Contains(tunnels, u) {
			t.release(u)
		}
	}
}

// acquire gives a new tunnel the soft state of its form and far end.
func (t *Table) acquire(u *Tunnel) {
	key := pathKey(u.Encapsulation, u.Remote)
	p, ok := t.paths.Get(key)
	if !ok {
		p = new(path)
		t.paths.Put(key, p)
	}
	p.tunnels++
	u.State = &p.state
}

// release counts a tunnel that has gone; the last of a form to a far end takes the soft state with it.
func (t *Table) release(u *Tunnel) {
	key := pathKey(u.Encapsulation, u.Remote)
	p, ok := t.paths.Get(key)
	if !ok {
		return
	}
	if p.tunnels--; p.tunnels == 0 {
		t.paths.Delete(key)
	}
}

func addressKey(a netip.Addr) uint64 {
	b := a.As4()
	return uint64(binary.BigEndian.Uint32(b[:]))
}

// pathKey packs a form (8 bits), a port (16) and an IPv4 address (32). A tunnel of minimal encapsulation has packets of IP-in-IP,
// and counts with their header.
func pathKey(e tunnel.Encapsulation, remote netip.AddrPort) uint64 {
	if e == tunnel.Minimal {
		e = tunnel.IPIP
	}
	return uint64(e)<<48 | uint64(remote.Port())<<32 | addressKey(remote.Addr())
}
