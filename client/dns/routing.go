package dns

import (
	"net/netip"

	"mipvpn/detect/resolve/query"
)

// Routing says who is asked about which names.
type Routing struct {
	// Domains are the enterprise's, as query.Canonical gives them. Reverse adds those of its prefixes.
	Domains query.Domains
	// Inside are the enterprise's servers, in the order to ask them; none while none is known.
	Inside []netip.Addr
	// Full has the enterprise's servers asked about everything.
	Full bool
}

// Reverse returns the domains with those of the reverse names of the prefixes' addresses.
func Reverse(domains query.Domains, prefixes []netip.Prefix) query.Domains {
	out := append(query.Domains(nil), domains...)
	for _, p := range prefixes {
		out = append(out, query.ReverseDomains(p)...)
	}
	return out
}

// way is where a question goes.
type way uint8

const (
	inside  way = iota // to the enterprise's servers
	outside            // to those of the interface in use
	nowhere            // answered here: there is no such name
)

// decide returns where a question goes.
func (r *Routing) decide(q query.Question) way {
	switch {
	case r.Domains.Contain(q.Name):
		return inside
	case r.Domains.Within(q.Name):
		return nowhere
	case r.Full:
		return inside
	case query.SingleLabel(q.Name) && q.Type != query.TypeNS && q.Type != query.TypeSOA && q.Type != query.TypeDS && q.Type != query.TypeDNSKEY:
		return nowhere // the name of a host without its domain; about top-level domains validators ask these types only
	}
	return outside
}
