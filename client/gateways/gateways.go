package gateways

import (
	"net/netip"
	"slices"
	"time"

	"mipvpn/tun/link"
)

// Peer is one gateway: an address, or a name.
type Peer struct {
	Address netip.Addr
	Name    string
}

// List chooses among gateways.
type List struct {
	peers []Peer
	known map[string][]netip.Addr // by name
	back  time.Duration

	in       netip.Addr // in use or tried last
	trying   bool       // it has not come up yet
	tried    []netip.Addr
	away     time.Duration // boot time since when another one than the first is in use, 0 while it is the first
	redirect netip.Addr    // where the gateway has sent us
}

// New returns a List. back is how long after the first gateway was left it is tried first again; 0 never.
func New(peers []Peer, back time.Duration) *List {
	return &List{peers: slices.Clone(peers), known: make(map[string][]netip.Addr), back: back}
}

// Names returns the names that are to be resolved.
func (l *List) Names() []string {
	var out []string
	for _, p := range l.peers {
		if p.Name != "" && !slices.Contains(out, p.Name) {
			out = append(out, p.Name)
		}
	}
	return out
}

// Resolved tells what a name leads to now, in the order to try.
func (l *List) Resolved(name string, addresses []netip.Addr) { l.known[name] = slices.Clone(addresses) }

// Known tells whether an address of the name is known.
func (l *List) Known(name string) bool { return len(l.known[name]) > 0 }

// NamesOf returns the names that lead to an address, none where it is configured or the gateway has sent us there.
func (l *List) NamesOf(address netip.Addr) []string {
	return slices.DeleteFunc(l.Names(), func(name string) bool { return !slices.Contains(l.known[name], address) })
}

// Addresses returns all addresses that are known, in their order and each once.
func (l *List) Addresses() []netip.Addr {
	var out []netip.Addr
	add := func(a netip.Addr) {
		if a.IsValid() && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	for _, p := range l.peers {
		add(p.Address)
		for _, a := range l.known[p.Name] {
			add(a)
		}
	}
	return out
}

// Begin returns the address for an attempt that begins now: the one in use, or the next one when the last attempt did not come
// up. It is false while no address is known.
func (l *List) Begin(now link.Instant) (netip.Addr, bool) {
	all := l.Addresses()
	switch {
	case l.redirect.IsValid():
		l.in, l.redirect = l.redirect, netip.Addr{}
	case len(all) == 0:
		return netip.Addr{}, false
	case l.away != 0 && l.back > 0 && now.Since(l.away) >= l.back:
		l.in, l.away, l.tried = all[0], 0, nil
	case l.trying || !slices.Contains(all, l.in):
		l.in = l.next(all)
	}
	l.trying = true
	if !slices.Contains(l.tried, l.in) {
		l.tried = append(l.tried, l.in)
	}
	switch first := l.first(all); {
	case l.in == first:
		l.away = 0
	case l.away == 0:
		l.away = now.Boot
	}
	return l.in, true
}

func (l *List) first(all []netip.Addr) netip.Addr {
	if len(all) == 0 {
		return netip.Addr{}
	}
	return all[0]
}

// next returns the first address behind the one tried last that has not been tried; when all have been, a new round begins.
func (l *List) next(all []netip.Addr) netip.Addr {
	from := slices.Index(all, l.in) + 1
	for i := range all {
		if a := all[(from+i)%len(all)]; !slices.Contains(l.tried, a) {
			return a
		}
	}
	l.tried = nil
	return all[from%len(all)]
}

// Up tells that the gateway in use works.
func (l *List) Up() { l.trying, l.tried = false, nil }

// Rejected tells that the gateway in use works but will not do: another one is tried next, as far as there is one.
func (l *List) Rejected() { l.trying = true }

// Another tells whether an attempt that begins now tries an address that has not been tried since one worked: there is no need for
// a pause before.
func (l *List) Another() bool {
	return l.redirect.IsValid() || l.trying && slices.ContainsFunc(l.Addresses(), func(a netip.Addr) bool { return !slices.Contains(l.tried, a) })
}

// Failing tells whether the last attempt has not come up.
func (l *List) Failing() bool { return l.trying }

// Redirected tells that the gateway in use wants another one to be used.
func (l *List) Redirected(to netip.Addr) { l.redirect = to }

// Current returns the address in use or tried last, the zero Addr before the first attempt.
func (l *List) Current() netip.Addr { return l.in }
