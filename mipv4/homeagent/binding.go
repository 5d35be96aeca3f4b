package homeagent

import (
	"container/list"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/queue"
)

// EventKind says what has become of a binding.
type EventKind uint8

// What becomes of bindings.
const (
	// Registered: the mobile node has a binding that it did not have.
	Registered EventKind = iota + 1
	// Renewed: a binding lives on.
	Renewed
	// Deregistered: the mobile node took the binding back.
	Deregistered
	// Replaced: another binding took its place.
	Replaced
	// Expired: its lifetime ended.
	Expired
	// Dropped: the administrator took it back.
	Dropped
	// Revoked: the foreign agent took it back (RFC 3543).
	Revoked
	// Restored: it was stored before this home agent began (Machine.Restore).
	Restored
	// AtHome: the mobile node has deregistered from its home address, as it does on its home link; whether or not it had
	// bindings, of which their own events tell before. CareOfAddress is the request's, Tunnel is empty.
	AtHome
)

// String returns the kind as one word for logs.
func (k EventKind) String() string {
	switch k {
	case Registered:
		return "registered"
	case Renewed:
		return "renewed"
	case Deregistered:
		return "deregistered"
	case AtHome:
		return "at home"
	case Replaced:
		return "replaced"
	case Expired:
		return "expired"
	case Dropped:
		return "dropped"
	case Revoked:
		return "revoked"
	case Restored:
		return "restored"
	}
	return fmt.Sprintf("event %d", uint8(k))
}

// Event is a change of one binding.
type Event struct {
	Kind EventKind
	// HomeAddress and CareOfAddress are the binding's, as registered.
	HomeAddress, CareOfAddress netip.Addr
	// NAI is the mobile node's network access identifier, "" for one without.
	NAI string
	// Tunnel is the binding's.
	Tunnel *Tunnel
	// Lifetime granted, in seconds, for Registered, Renewed and Restored.
	Lifetime uint16
}

// node is what the machine knows of one mobile node.
type node struct {
	home         netip.Addr // the zero Addr while none is assigned
	nai          string     // "" for none
	dynamic      bool       // home is assigned on demand
	associations []*auth.SecurityAssociation
	bindings     []*binding          // the newest last
	last         wire.Identification // with timestamps: the greatest one accepted
	nonce        uint32              // with nonces: the counter of the one expected (auth.NextNonceCounter), 0 before the first request
	// refused is the boot time of the last reply to a request that failed authentication; everRefused says that there was
	// one.
	refused     time.Duration
	everRefused bool
	// limits are its own, nil for none; spent is the boot time up to which it has used its requests up, 0 before the first.
	limits *Limits
	spent  time.Duration
	// resting is its place among those that have an assigned address and no binding since restingSince, a boot time; else nil.
	resting      *list.Element
	restingSince time.Duration
	touched      bool // stands in the machine's list of changed records
}

func (n *node) association(spi uint32) *auth.SecurityAssociation {
	for _, a := range n.associations {
		if a.SPI() == spi {
			return a
		}
	}
	return nil
}

func (n *node) binding(careOf netip.Addr) *binding {
	for _, b := range n.bindings {
		if b.careOf == careOf {
			return b
		}
	}
	return nil
}

func (n *node) tunnels() []*Tunnel {
	var t []*Tunnel
	for _, b := range n.bindings {
		t = append(t, b.tunnel)
	}
	return t
}

// binding is an entry of the mobility binding list (RFC 5944 §3.8.1).
type binding struct {
	node           *node
	careOf         netip.Addr
	identification wire.Identification
	tunnel         *Tunnel
	udpReply       *wire.UDPTunnelReply  // as granted, for duplicates
	revocable      *Revocability         // as agreed, nil for nothing
	answered       time.Duration         // boot time of the last reply that accepted it
	granted        uint16                // seconds
	ending         queue.Timer[*binding] // set unless granted is infinite
}

// until returns the boot time at which the binding ends. It means nothing when granted is infinite.
func (b *binding) until() time.Duration { return b.ending.At() }

// schedule sets the binding's lifetime from now on.
func (m *Machine) schedule(b *binding, now time.Duration, lifetime uint16) {
	b.granted = lifetime
	if lifetime == wire.LifetimeInfinite {
		m.ends.Stop(&b.ending)
	} else {
		m.ends.Set(&b.ending, now+time.Duration(lifetime)*time.Second)
	}
}

// remove takes a binding out of its node and the queue; the table is for the caller to bring up to date.
func (m *Machine) remove(b *binding, why EventKind) {
	m.ends.Stop(&b.ending)
	n := b.node
	n.bindings = slices.DeleteFunc(n.bindings, func(x *binding) bool { return x == b })
	m.count--
	if n.dynamic && len(n.bindings) == 0 {
		since := b.answered
		if why == Expired {
			since = b.until()
		}
		m.homes.rest(n, since)
	}
	m.touch(n)
	m.event(b, why)
}

func (m *Machine) event(b *binding, kind EventKind) {
	e := Event{Kind: kind, HomeAddress: b.node.home, NAI: b.node.nai, CareOfAddress: b.careOf, Tunnel: b.tunnel}
	if kind == Registered || kind == Renewed || kind == Restored {
		e.Lifetime = b.granted
	}
	m.events.Push(e)
}
