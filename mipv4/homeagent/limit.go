package homeagent

import (
	"fmt"
	"time"

	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

// Limits are what one mobile node may have at most.
type Limits struct {
	// MaxLifetime is the longest lifetime that is granted, in whole seconds.
	MaxLifetime time.Duration
	// Bindings is how many bindings the mobile node may have at once. Under 2 it has no simultaneous bindings: its registrations are
	// accepted with code 1.
	Bindings int
	// Requests is how many requests a minute are taken of it, so many at once; more are discarded without an answer. Only those count
	// that are authentic and fresh, so that nobody else can use it up.
	Requests int
}

// limits returns those of all mobile nodes.
func (c *Config) limits() Limits {
	return Limits{MaxLifetime: c.MaxLifetime, Bindings: c.SimultaneousBindings, Requests: c.MaxRequests}
}

// limits returns what n may have: its own limits where it has any, all mobile nodes' for the rest.
func (m *Machine) limits(n *node) Limits {
	l := m.cfg.limits()
	if n.limits == nil {
		return l
	}
	if n.limits.MaxLifetime != 0 {
		l.MaxLifetime = n.limits.MaxLifetime
	}
	if n.limits.Bindings != 0 {
		l.Bindings = n.limits.Bindings
	}
	if n.limits.Requests != 0 {
		l.Requests = n.limits.Requests
	}
	return l
}

// check returns what is wrong with a mobile node's limits, nil for nothing.
func (l *Limits) check() error {
	if l.MaxLifetime != 0 && (l.MaxLifetime < time.Second || l.MaxLifetime > InfiniteLifetime) || l.Bindings < 0 || l.Requests < 0 {
		return fmt.Errorf("limits of %v, %d bindings and %d requests a minute: expected 1s to %v, and no negative numbers", l.MaxLifetime, l.Bindings, l.Requests, InfiniteLifetime)
	}
	return nil
}

// limitsOf returns the mobile node's own limits, nil for none.
func limitsOf(c MobileNode) *Limits {
	if c.Limits == (Limits{}) {
		return nil
	}
	return &c.Limits
}

// checkRate counts a request and returns why it is discarded, nil when it is not.
func (m *Machine) checkRate(now link.Instant, q *request) error {
	most := m.limits(q.node).Requests
	if most == 0 {
		return nil
	}
	// The credit is kept as the time that earns it: an empty one is the time that a minute's requests take, a minute.
	n, each := q.node, time.Minute/time.Duration(most)
	if n.spent == 0 || n.spent < now.Boot-time.Minute {
		n.spent = now.Boot - time.Minute
	}
	if n.spent+each > now.Boot {
		return fmt.Errorf("%w: home address %v from %v: more than %d requests a minute", ErrRateLimited, q.HomeAddress, q.source, most)
	}
	n.spent += each
	return nil
}

// grant returns the lifetime in seconds that is granted to n when the given one is asked for.
func (m *Machine) grant(n *node, asked uint16) uint16 {
	return min(asked, uint16(m.limits(n).MaxLifetime/time.Second))
}

// simultaneous reports whether n may have simultaneous bindings.
func (m *Machine) simultaneous(n *node) bool { return m.limits(n).Bindings >= 2 }

// accepted returns the code of acceptance (RFC 5944 §3.8.3.2): 1 where simultaneous bindings are not supported.
func (m *Machine) accepted(n *node) wire.Code {
	if m.simultaneous(n) {
		return wire.CodeAccepted
	}
	return wire.CodeAcceptedSimultaneousUnsupported
}
