package homeagent

import (
	"container/list"
	"fmt"
	"net/netip"
	"time"

	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

// DefaultAddressHold is how long an assigned home address is kept for a mobile node without bindings unless configured otherwise.
const DefaultAddressHold = 24 * time.Hour

// homes is the pool of dynamic home addresses. An address stays with the mobile node that it was assigned to for as long as there are
// others; when there are none it goes to another one, if its own has had no binding for the time of Config.AddressHold.
type homes struct {
	ranges  []netip.Prefix // what is left, from next on in the first
	next    netip.Addr
	freed   []netip.Addr
	resting list.List // *node with an assigned address and without bindings, the longest so first
}

// newHomes returns the pool of the prefixes.
func newHomes(prefixes []netip.Prefix) homes {
	h := homes{ranges: prefixes}
	if len(prefixes) > 0 {
		h.next = prefixes[0].Addr()
	}
	return h
}

// take returns an address that may be assigned and has no owner, and false when there is none. Each address is looked at once, and
// again when it was freed.
func (h *homes) take(may func(netip.Addr) bool) (netip.Addr, bool) {
	for len(h.freed) > 0 {
		a := h.freed[len(h.freed)-1]
		h.freed = h.freed[:len(h.freed)-1]
		if may(a) {
			return a, true
		}
	}
	for len(h.ranges) > 0 {
		a := h.next
		if !h.ranges[0].Contains(a) {
			if h.ranges = h.ranges[1:]; len(h.ranges) > 0 {
				h.next = h.ranges[0].Addr()
			}
			continue
		}
		h.next = a.Next()
		if may(a) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// rest notes that the node has an assigned address and no binding since the boot time.
func (h *homes) rest(n *node, since time.Duration) {
	n.restingSince = since
	if n.resting == nil {
		n.resting = h.resting.PushBack(n)
	}
}

// wake notes that the node has a binding, or its address no more.
func (h *homes) wake(n *node) {
	if n.resting != nil {
		h.resting.Remove(n.resting)
		n.resting = nil
	}
}

// identify finds the mobile node of a request by its NAI (RFC 2794), else by its home address, and fills in the home address that it
// did not give and has.
func (m *Machine) identify(q *request) error {
	covered, _, _ := q.Extensions.Authorized()
	if i := covered.Index(wire.ExtMobileNodeNAI); i >= 0 {
		q.nai, _ = wire.ParseNAI(covered[i]) // an empty one is none: the extension is skippable
	}
	if q.node = m.nais[q.nai]; q.node == nil {
		q.node = m.nodes[q.HomeAddress]
		if q.node == nil || q.node.nai != "" && q.nai != "" {
			return fmt.Errorf("%w: home address %v, NAI %q, from %v", ErrUnknownMobileNode, q.HomeAddress, q.nai, q.source)
		}
		return nil
	}
	switch n := q.node; {
	case q.HomeAddress.IsUnspecified() && n.home.IsValid():
		if q.DeregistersAll() {
			q.CareOfAddress = n.home
		}
		q.HomeAddress = n.home
	case q.HomeAddress.IsUnspecified(), q.HomeAddress == n.home, n.dynamic:
	default:
		return fmt.Errorf("%w: NAI %q has another home address than %v, from %v", ErrUnknownMobileNode, q.nai, q.HomeAddress, q.source)
	}
	return nil
}

// assignable reports whether a home address of the pool has no owner.
func (m *Machine) assignable(a netip.Addr) bool {
	if m.nodes[a] != nil || a == m.cfg.Address || !usable(a) {
		return false
	}
	for _, p := range m.cfg.HomeNetworks {
		if p.Contains(a) && p.Bits() < 31 && (a == p.Addr() || a == broadcast(p)) {
			return false // the network itself and its broadcast address
		}
	}
	return true
}

// broadcast returns the subnet-directed broadcast address of a network.
func broadcast(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

// assign gives the mobile node of a request that is about to be accepted the home address that it asks for, or any (RFC 2794 §1). It
// returns the code of denial and the reason where it cannot.
func (m *Machine) assign(now link.Instant, q *request) (wire.Code, error) {
	n := q.node
	switch asked := q.HomeAddress; {
	case asked == n.home:
		return wire.CodeAccepted, nil
	case n.home.IsValid():
		return wire.CodeProhibited, fmt.Errorf("home address %v, NAI %q has %v", asked, n.nai, n.home)
	case !asked.IsUnspecified():
		if !contains(m.cfg.DynamicAddresses, asked) || !m.assignable(asked) {
			return wire.CodeProhibited, fmt.Errorf("home address %v is not to be had", asked)
		}
		m.setHome(n, asked)
		return wire.CodeAccepted, nil
	}
	a, ok := m.homes.take(m.assignable)
	if !ok {
		first := m.homes.resting.Front()
		if first == nil || now.Since(first.Value.(*node).restingSince) < m.cfg.AddressHold {
			return wire.CodeInsufficientResources, fmt.Errorf("no home address is left in %v", m.cfg.DynamicAddresses)
		}
		former := first.Value.(*node)
		a = former.home
		m.releaseHome(former)
		m.homes.freed = m.homes.freed[:len(m.homes.freed)-1] // it is given away here
	}
	m.setHome(n, a)
	q.HomeAddress = a
	return wire.CodeAccepted, nil
}

// setHome makes a the node's home address.
func (m *Machine) setHome(n *node, a netip.Addr) {
	n.home = a
	m.nodes[a] = n
	if n.dynamic {
		m.touch(n)
	}
}

// releaseHome takes the node's home address from it, which has no binding; one of the pool can be assigned again.
func (m *Machine) releaseHome(n *node) {
	if !n.home.IsValid() {
		return
	}
	m.homes.wake(n)
	if contains(m.cfg.DynamicAddresses, n.home) {
		m.homes.freed = append(m.homes.freed, n.home)
	}
	delete(m.nodes, n.home)
	n.home = netip.Addr{}
	if n.dynamic {
		m.touch(n)
	}
}

// serve makes or updates the node of a configured mobile node, and returns it and how many bindings were dropped because its home
// address is another one now, or is another node's.
func (m *Machine) serve(now link.Instant, c MobileNode) (n *node, dropped int) {
	who := c.Identity()
	if n = m.nais[c.NAI]; c.NAI == "" {
		if n = m.nodes[c.HomeAddress]; n != nil && n.nai != "" {
			n = nil
		}
	}
	if n == nil {
		if n = m.retired[who]; n == nil {
			n = &node{nai: c.NAI}
		}
		delete(m.retired, who)
		if c.NAI != "" {
			m.nais[c.NAI] = n
		}
	}
	n.limits = limitsOf(c)
	n.associations = c.Associations // the state of replay protection stays: it is the mobile node's, whatever its keys
	static := c.HomeAddress.IsValid()
	fits := n.home == c.HomeAddress && m.nodes[n.home] == n
	if !static {
		fits = n.home.IsValid() && n.dynamic && m.nodes[n.home] == n && contains(m.cfg.DynamicAddresses, n.home)
	}
	if fits {
		n.dynamic = !static
		if m.homes.wake(n); n.dynamic && len(n.bindings) == 0 {
			m.homes.rest(n, now.Boot)
		}
		return n, 0
	}
	if m.nodes[n.home] == n {
		dropped += m.drop(now, n)
		m.releaseHome(n)
	}
	n.dynamic = !static
	n.home = netip.Addr{}
	if static {
		if owner := m.nodes[c.HomeAddress]; owner != nil {
			dropped += m.drop(now, owner)
			m.releaseHome(owner)
		}
		m.setHome(n, c.HomeAddress)
	}
	return n, dropped
}

// Identity is what a mobile node is known by as long as it is configured: its NAI, without one its home address. It is for comparing.
type Identity struct {
	nai  string
	home netip.Addr
}

// Identity returns what the mobile node is known by.
func (c MobileNode) Identity() Identity {
	if c.NAI != "" {
		return Identity{nai: c.NAI}
	}
	return Identity{home: c.HomeAddress}
}

func (n *node) identity() Identity { return MobileNode{NAI: n.nai, HomeAddress: n.home}.Identity() }

// assignedTo returns the NAI that the record of the node is kept under, "" where its home address is configured.
func (n *node) assignedTo() string {
	if n.dynamic {
		return n.nai
	}
	return ""
}

// restoredNode returns the node of a record. An address that is not to be had any more is no error, but leaves the bindings with no
// place: errors wrap ErrUnknownMobileNode then too.
func (m *Machine) restoredNode(r Record) (*node, error) {
	if r.NAI == "" {
		if n := m.nodes[r.HomeAddress]; n != nil && !n.dynamic {
			return n, nil
		}
		return nil, fmt.Errorf("%w: home address %v", ErrUnknownMobileNode, r.HomeAddress)
	}
	n := m.nais[r.NAI]
	if n == nil || !n.dynamic {
		return nil, fmt.Errorf("%w: NAI %q with an assigned home address", ErrUnknownMobileNode, r.NAI)
	}
	if a := r.HomeAddress; a.IsValid() && n.home != a && (n.home.IsValid() || !contains(m.cfg.DynamicAddresses, a) || !m.assignable(a)) {
		return nil, fmt.Errorf("%w: NAI %q cannot have the home address %v", ErrUnknownMobileNode, r.NAI, a)
	}
	return n, nil
}

// restoreHome gives a restored node its assigned home address back; bound says that it gets bindings too.
func (m *Machine) restoreHome(now link.Instant, n *node, a netip.Addr, bound bool) {
	if !n.dynamic || !a.IsValid() {
		return
	}
	n.home = a
	m.nodes[a] = n
	if m.homes.wake(n); !bound && len(n.bindings) == 0 {
		m.homes.rest(n, now.Boot)
	}
}
