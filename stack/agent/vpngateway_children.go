package agent

import (
	"net/netip"
	"slices"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike"
)

// childKey names a child SA of all sessions.
type childKey struct {
	session gateway.SessionID
	id      ike.ChildID
}

// child is an installed child SA pair.
type child struct {
	key     childKey
	in      *esp.Inbound
	out     *esp.Outbound
	address netip.Addr // the client's inner one
	// visiting is set when it goes through the foreign agent in the gateway.
	visiting *visiting
	end      *endpoint
	update   uint64 // number of the ike.EndpointUpdate that its endpoint is from, 0 for ike.ChildInstalled
	usable   bool   // may be sent through: not on standby
	// besideUntil is the boot time until which an older tunnel of the client is sent through, if there is one; 0 for no waiting.
	besideUntil time.Duration
}

// children are the installed child SA pairs. A client has one or, during a rekeying, a few: they are found by what they
// belong to, so that the work for one does not grow with the number of clients. It belongs to the loop.
type children struct {
	byKey     map[childKey]*child
	byAddress map[netip.Addr][]*child
	bySession map[gateway.SessionID][]*child
}

func newChildren() children {
	return children{make(map[childKey]*child), make(map[netip.Addr][]*child), make(map[gateway.SessionID][]*child)}
}

func (s *children) add(c *child) {
	s.byKey[c.key] = c
	s.byAddress[c.address] = append(s.byAddress[c.address], c)
	s.bySession[c.key.session] = append(s.bySession[c.key.session], c)
}

// remove returns the child SA that the key named, nil when there is none.
func (s *children) remove(key childKey) *child {
	c := s.byKey[key]
	if c == nil {
		return nil
	}
	delete(s.byKey, key)
	drop(s.byAddress, c.address, c)
	drop(s.bySession, key.session, c)
	return c
}

// drop takes c from the list under key, and the list away with its last one.
func drop[K comparable](m map[K][]*child, key K, c *child) {
	list := m[key]
	if i := slices.Index(list, c); i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	if len(list) == 0 {
		delete(m, key)
		return
	}
	m[key] = list
}
