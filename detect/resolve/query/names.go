package query

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// Domains is a set of domains: names of the form that Canonical gives.
type Domains []string

// Contain reports whether the name is one of the domains or lies in one.
func (d Domains) Contain(name string) bool {
	return slices.ContainsFunc(d, func(domain string) bool { return name == domain || strings.HasSuffix(name, "."+domain) })
}

// Within reports whether the name spells one of the domains before its end, as a name to which a resolver has appended a
// domain of its search list does: wiki.corp.example.hotel.example for corp.example.
func (d Domains) Within(name string) bool {
	return slices.ContainsFunc(d, func(domain string) bool {
		return strings.HasPrefix(name, domain) && name != domain || strings.Contains(name, "."+domain) && !strings.HasSuffix(name, "."+domain)
	})
}

// reverseZone is the zone of IPv4 addresses' names (RFC 1035 §3.5).
const reverseZone = "in-addr.arpa."

// ReverseDomains returns the domains that the names of a prefix's addresses lie in: one where the prefix ends with an octet,
// else one for each value of the octet that it ends in.
func ReverseDomains(p netip.Prefix) Domains {
	if !p.IsValid() || !p.Addr().Is4() {
		return nil
	}
	p = p.Masked()
	a := p.Addr().As4()
	whole, rest := p.Bits()/8, p.Bits()%8
	tail := reverseZone
	for _, octet := range a[:whole] {
		tail = strconv.Itoa(int(octet)) + "." + tail
	}
	if rest == 0 {
		return Domains{tail}
	}
	var out Domains
	for n := range 1 << (8 - rest) {
		out = append(out, strconv.Itoa(int(a[whole])+n)+"."+tail)
	}
	return out
}

// SingleLabel reports whether the name has one label only, such as "wiki.".
func SingleLabel(name string) bool { return dns.CountLabel(name) == 1 }

func rcodeName(code int) string {
	if s, ok := dns.RcodeToString[code]; ok {
		return s
	}
	return fmt.Sprintf("RCODE %d", code)
}
