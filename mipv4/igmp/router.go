package igmp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"mipvpn/tun/link"
	"mipvpn/tun/queue"
)

const (
	// QueryInterval is the time between two queries to a host (RFC 3376 §8.2).
	QueryInterval = defaultQueries
	// StartupInterval is that from the first to the second (§8.6), since a first one may be lost.
	StartupInterval = QueryInterval / 4
	// MembershipInterval is how long a report counts (§8.4).
	MembershipInterval = robustness*QueryInterval + maxResponse
	// MaxGroups is how many groups a host may be a member of at a time.
	MaxGroups = 64
)

// Errors of HandleReport.
var (
	// ErrHost is wrapped when the host is not known.
	ErrHost = errors.New("IGMP from a host that groups are not kept for")
	// ErrTooMany is wrapped when a host reports more than MaxGroups groups; those that there is room for have been taken.
	ErrTooMany = errors.New("a host reports too many groups")
)

// linkGroups are the groups that every router and host hears without having joined (RFC 5771 §4), so that no memberships are kept.
var linkGroups = netip.PrefixFrom(netip.AddrFrom4([4]byte{224, 0, 0, 0}), 24)

// Router is the machine of a multicast router whose hosts each have a link to it. The zero value knows of no host.
type Router struct {
	hosts   map[netip.Addr]*host
	order   queue.Agenda[*host]
	queries queue.FIFO[netip.Addr]
	changes queue.FIFO[netip.Addr]

	mu      sync.Mutex
	members map[netip.Addr][]netip.Addr // by group; the lists are replaced whole
}

// host is one host and its memberships, soft state.
type host struct {
	addr   netip.Addr
	query  time.Duration // boot time of the next query
	asked  bool
	groups map[netip.Addr]time.Duration // boot times at which memberships end
	timer  queue.Timer[*host]           // due when something is to be done
}

// Listen begins to ask a host and to keep its memberships. One that is known already stays as it is.
func (r *Router) Listen(now link.Instant, addr netip.Addr) {
	if r.hosts[addr] != nil {
		return
	}
	if r.hosts == nil {
		r.hosts = make(map[netip.Addr]*host)
	}
	h := &host{addr: addr, groups: make(map[netip.Addr]time.Duration)}
	h.timer.Of = h
	r.hosts[addr] = h
	r.ask(now.Boot, h)
	r.plan(h)
}

// Forget ends that, and the host's memberships with it.
func (r *Router) Forget(addr netip.Addr) {
	h := r.hosts[addr]
	if h == nil {
		return
	}
	for group := range h.groups {
		r.leave(h, group)
	}
	r.order.Stop(&h.timer)
	delete(r.hosts, addr)
}

// HandleReport takes an IGMP message, the octets behind the IPv4 header, that a host has sent. Errors wrap ErrHost, ErrMessage or
// ErrTooMany.
func (r *Router) HandleReport(now link.Instant, addr netip.Addr, message []byte) error {
	h := r.hosts[addr]
	if h == nil {
		return fmt.Errorf("%w: %v", ErrHost, addr)
	}
	list, err := ParseReports(message)
	if err != nil {
		return fmt.Errorf("host %v: %w", addr, err)
	}
	defer r.plan(h)
	for _, report := range list {
		_, member := h.groups[report.Group]
		switch {
		case linkGroups.Contains(report.Group):
		case !report.Member:
			r.leave(h, report.Group)
		case !member && len(h.groups) >= MaxGroups:
			err = fmt.Errorf("%w: %v, which is in %d", ErrTooMany, addr, len(h.groups))
		default:
			h.groups[report.Group] = now.Boot + MembershipInterval
			if !member {
				r.set(report.Group, append(slices.Clone(r.Members(report.Group)), addr))
			}
		}
	}
	return err
}

// leave ends a membership; without one it changes nothing.
func (r *Router) leave(h *host, group netip.Addr) {
	if _, member := h.groups[group]; !member {
		return
	}
	delete(h.groups, group)
	r.set(group, slices.DeleteFunc(slices.Clone(r.Members(group)), func(a netip.Addr) bool { return a == h.addr }))
}

// set replaces the members of a group.
func (r *Router) set(group netip.Addr, list []netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.members == nil {
		r.members = make(map[netip.Addr][]netip.Addr)
	}
	if len(list) == 0 {
		delete(r.members, group)
	} else {
		r.members[group] = list
	}
	r.changes.Push(group)
}

// Members returns the hosts that are members of the group, nil for none. Nobody may change the list.
func (r *Router) Members(group netip.Addr) []netip.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.members[group]
}

// ask has a query sent to a host and says when the next is due.
func (r *Router) ask(now time.Duration, h *host) {
	r.queries.Push(h.addr)
	h.query = now + QueryInterval
	if !h.asked {
		h.asked, h.query = true, now+StartupInterval
	}
}

// plan notes when something is to be done about a host.
func (r *Router) plan(h *host) {
	due := h.query
	for _, end := range h.groups {
		due = min(due, end)
	}
	r.order.Set(&h.timer, due)
}

// HandleTimeout asks the hosts that are to be asked and ends memberships that nobody has reported for too long.
func (r *Router) HandleTimeout(now link.Instant) {
	for h, due := r.order.Due(now.Boot); due; h, due = r.order.Due(now.Boot) {
		for group, end := range h.groups {
			if end <= now.Boot {
				r.leave(h, group)
			}
		}
		if h.query <= now.Boot {
			r.ask(now.Boot, h)
		}
		r.plan(h)
	}
}

// Deadline returns the boot time at which HandleTimeout wants to be called, and false without hosts.
func (r *Router) Deadline() (time.Duration, bool) { return r.order.Deadline() }

// PollQuery returns the next host that a query (AppendQuery) is to be sent to.
func (r *Router) PollQuery() (netip.Addr, bool) { return r.queries.Pop() }

// PollChange returns the next group whose members have changed.
func (r *Router) PollChange() (netip.Addr, bool) { return r.changes.Pop() }
