package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"mipvpn/detect/resolve/query"
)

const (
	resolvedService = "org.freedesktop.resolve1"
	resolvedManager = resolvedService + ".Manager"
	resolvedPath    = dbus.ObjectPath("/org/freedesktop/resolve1")

	// resolvedLimit is how long systemd-resolved may take.
	resolvedLimit = 5 * time.Second
	// maxDomains bounds the domains given to systemd-resolved, which takes 1024 of a link.
	maxDomains = 512
)

// ErrNoResolved means that systemd-resolved is not running.
var ErrNoResolved = errors.New("dns: systemd-resolved is not running")

// Anchor is the link that systemd-resolved is told about.
type Anchor interface {
	// Make makes the link if it is not there, and returns its index.
	Make(server netip.Addr) (index int, err error)
	// Find returns the link's index, 0 without it.
	Find() (index int, err error)
	// Remove takes the link away.
	Remove() error
}

// Resolved has systemd-resolved ask the Forwarder, by the settings of one link (org.freedesktop.resolve1(5)). These
// go when the link goes.
//
// The enterprise's domains are the link's, to be searched or for routing only. So are the domains that end in one of another
// link's and begin with one of the enterprise's (corp.example.hotel.example): the C library makes such names from the search
// list that the other network has given, and the Forwarder answers them. Domains of the enterprise's, and with Full all, are taken off other links until
// Clear: every link that has one is asked about its names, and believed, and a network calls itself what it likes. This process alone
// knows what it was: after one that was killed, links have theirs when the network tells of them again. What is not the enterprise's
// stays as it is, unless the plan says Full.
type Resolved struct {
	// Bus connects to the system bus; the connection is closed after use.
	Bus func(ctx context.Context) (*dbus.Conn, error)
	// Link is the link that is told about.
	Link Anchor

	last  string              // what has been set, index and all
	taken map[int32]otherLink // those that domains have been taken off, by index
}

// otherLink is a link of others': the domains that it had, and those that it was left.
type otherLink struct{ had, left []wireDomain }

var _ Settings = (*Resolved)(nil)

// Name implements Settings.
func (r *Resolved) Name() string { return resolvedName }

type wireServer struct {
	Family  int32
	Address []byte
}

type wireDomain struct {
	Name        string
	RoutingOnly bool
}

// Set implements Settings. Errors wrap ErrNoResolved, or are the service's.
func (r *Resolved) Set(p Plan) (changed bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), resolvedLimit)
	defer cancel()
	conn, err := r.Bus(ctx)
	if err != nil {
		return false, fmt.Errorf("dns: systemd-resolved: the system bus: %w", err)
	}
	defer conn.Close()
	manager := conn.Object(resolvedService, resolvedPath)
	others, err := otherDomains(ctx, manager)
	if err != nil {
		return false, fmt.Errorf("dns: systemd-resolved: %w", notRunning(err))
	}
	index, err := r.Link.Make(p.Server)
	if err != nil {
		return false, fmt.Errorf("dns: systemd-resolved: its link: %w", err)
	}
	own := others[int32(index)]
	delete(others, int32(index))
	rest := make(map[int32][]wireDomain)
	for i, had := range others {
		rest[i] = slices.DeleteFunc(slices.Clone(had), p.takes)
	}
	domains := linkDomains(p, rest)
	state := fmt.Sprint(index, p.Server, domains, p.Full)
	if state == r.last && sameDomains(own, domains) {
		return r.take(ctx, manager, others, rest)
	}
	server := p.Server.As4()
	for _, call := range []struct {
		method string
		value  any
	}{
		// The server first: a link with domains and no server would have its names asked elsewhere.
		{"SetLinkDNS", []wireServer{{Family: 2, Address: server[:]}}},
		{"SetLinkDomains", domains},
		{"SetLinkDefaultRoute", p.Full},
		// The Forwarder is on this host, and hands answers on with their signatures; enterprises' zones often have none.
		{"SetLinkDNSOverTLS", "no"}, {"SetLinkDNSSEC", "no"},
		// Nothing but the Forwarder is behind this link.
		{"SetLinkLLMNR", "no"}, {"SetLinkMulticastDNS", "no"},
	} {
		if err := tell(ctx, manager, call.method, index, call.value); err != nil {
			return false, fmt.Errorf("dns: systemd-resolved: %s: %w", call.method, notRunning(err))
		}
	}
	_, taken := r.take(ctx, manager, others, rest)
	if err := flush(ctx, manager); err != nil {
		return false, errors.Join(taken, err)
	}
	r.last = state
	return true, taken
}

// flush has systemd-resolved forget what other servers have said about the enterprise's names.
func flush(ctx context.Context, manager dbus.BusObject) error {
	if err := manager.CallWithContext(ctx, resolvedManager+".FlushCaches", dbus.FlagNoAutoStart).Err; err != nil {
		return fmt.Errorf("dns: systemd-resolved: FlushCaches: %w", notRunning(err))
	}
	return nil
}

// takes reports whether a domain of another link is taken off it: one of the enterprise's, and any where all names are asked inside.
func (p *Plan) takes(d wireDomain) bool {
	name, err := query.Canonical(d.Name)
	return p.Full || err == nil && (p.Domains.Contain(name) || p.Reverse.Contain(name))
}

// take leaves the other links the rest of their domains, and reports whether they had more. One link that keeps its own is no reason
// to leave those of the others.
func (r *Resolved) take(ctx context.Context, manager dbus.BusObject, others, rest map[int32][]wireDomain) (changed bool, err error) {
	var errs []error
	for index, had := range others {
		left := rest[index]
		if len(left) == len(had) {
			continue
		}
		err := manager.CallWithContext(ctx, resolvedManager+".SetLinkDomains", dbus.FlagNoAutoStart, index, left).Err
		var e dbus.Error
		switch {
		case errors.As(err, &e) && e.Name == resolvedService+".NoSuchLink":
			continue
		case errors.As(err, &e) && e.Name == resolvedService+".LinkBusy":
			errs = append(errs, fmt.Errorf("dns: systemd-resolved: interface %d has domains whose names are to be asked of the enterprise's servers alone, so that the network's are asked, too: systemd-networkd manages it, where UseDomains= and Domains= must be off", index))
			continue
		case err != nil:
			errs = append(errs, fmt.Errorf("dns: systemd-resolved: SetLinkDomains of interface %d: %w", index, notRunning(err)))
			continue
		}
		if before, again := r.taken[index]; again && sameDomains(had, before.left) {
			had = before.had // more is the enterprise's than before, and nobody has told of the link's domains since
		}
		if r.taken == nil {
			r.taken = make(map[int32]otherLink)
		}
		r.taken[index], changed = otherLink{had, left}, true
	}
	if changed {
		errs = append(errs, flush(ctx, manager))
	}
	return changed, errors.Join(errs...)
}

// giveBack has the other links have again what was taken off them, where nobody has told of their domains since.
func (r *Resolved) giveBack(ctx context.Context, manager dbus.BusObject) {
	now, err := otherDomains(ctx, manager)
	for index, l := range r.taken {
		if err == nil && sameDomains(now[index], l.left) { // the link may be gone
			_ = manager.CallWithContext(ctx, resolvedManager+".SetLinkDomains", dbus.FlagNoAutoStart, index, l.had).Err
		}
	}
	r.taken = nil
}

// tell calls a method about the link. The service may not have heard of a new link yet: it is asked again until it has.
func tell(ctx context.Context, manager dbus.BusObject, method string, index int, value any) error {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		err := manager.CallWithContext(ctx, resolvedManager+"."+method, dbus.FlagNoAutoStart, int32(index), value).Err
		var e dbus.Error
		if !errors.As(err, &e) || e.Name != resolvedService+".NoSuchLink" {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return err
		}
	}
}

// Standing implements Settings.
func (r *Resolved) Standing() (bool, error) {
	index, err := r.Link.Find()
	if err != nil {
		return false, fmt.Errorf("dns: systemd-resolved: its link: %w", err)
	}
	return index != 0, nil
}

// Clear implements Settings.
func (r *Resolved) Clear() error {
	r.last = ""
	index, err := r.Link.Find()
	if err != nil {
		return fmt.Errorf("dns: systemd-resolved: its link: %w", err)
	}
	if index == 0 && len(r.taken) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), resolvedLimit)
	defer cancel()
	if conn, err := r.Bus(ctx); err == nil { // else nobody knows the link, or will once it is gone
		defer conn.Close()
		manager := conn.Object(resolvedService, resolvedPath)
		r.giveBack(ctx, manager)
		_ = manager.CallWithContext(ctx, resolvedManager+".RevertLink", dbus.FlagNoAutoStart, int32(index)).Err
		_ = manager.CallWithContext(ctx, resolvedManager+".FlushCaches", dbus.FlagNoAutoStart).Err
	}
	if err := r.Link.Remove(); err != nil {
		return fmt.Errorf("dns: systemd-resolved: its link: %w", err)
	}
	return nil
}

// otherDomains returns the domains of all links, by index (the manager's property Domains, of type a(isb)).
func otherDomains(ctx context.Context, manager dbus.BusObject) (map[int32][]wireDomain, error) {
	var v dbus.Variant
	err := manager.CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", dbus.FlagNoAutoStart, resolvedManager, "Domains").Store(&v)
	if err != nil {
		return nil, err
	}
	var list []struct {
		Index       int32
		Name        string
		RoutingOnly bool
	}
	if err := dbus.Store([]any{v.Value()}, &list); err != nil {
		return nil, fmt.Errorf("the property Domains: %w", err)
	}
	out := make(map[int32][]wireDomain)
	for _, d := range list {
		out[d.Index] = append(out[d.Index], wireDomain{d.Name, d.RoutingOnly})
	}
	return out, nil
}

// linkDomains returns the domains of our link: the enterprise's, and those that others' search lists make of them.
func linkDomains(p Plan, others map[int32][]wireDomain) []wireDomain {
	var out []wireDomain
	add := func(name string, routingOnly bool) {
		name = strings.TrimSuffix(name, ".")
		known := slices.ContainsFunc(out, func(d wireDomain) bool { return d.Name == name })
		if !known && len(name) <= 253 && len(out) < maxDomains {
			out = append(out, wireDomain{name, routingOnly})
		}
	}
	for _, d := range p.Domains {
		add(d, !p.Search)
	}
	for _, d := range p.Reverse {
		add(d, true)
	}
	if p.Full {
		out = append(out, wireDomain{".", true})
	}
	var tails []string
	for _, list := range others {
		for _, d := range list {
			tail, err := query.Canonical(d.Name)
			if err == nil && !p.Domains.Contain(tail) && !p.Domains.Within(tail) && !p.Reverse.Contain(tail) && !slices.Contains(tails, tail) {
				tails = append(tails, tail)
			}
		}
	}
	slices.Sort(tails)
	for _, tail := range tails {
		for _, d := range p.Domains {
			add(d+tail, true)
		}
	}
	return out
}

// sameDomains reports whether the link has the domains, in any order.
func sameDomains(have, want []wireDomain) bool {
	return len(have) == len(want) && !slices.ContainsFunc(want, func(d wireDomain) bool { return !slices.Contains(have, d) })
}

// notRunning says so when there is no such service.
func notRunning(err error) error {
	var e dbus.Error
	if errors.As(err, &e) && (e.Name == "org.freedesktop.DBus.Error.ServiceUnknown" || e.Name == "org.freedesktop.DBus.Error.NameHasNoOwner") {
		return fmt.Errorf("%w (%w)", ErrNoResolved, err)
	}
	return err
}
