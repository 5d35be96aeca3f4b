package portal

import (
	"net/netip"
	"slices"
	"strings"
)

// Forbidden is what no portal may name and no browser of a portal may reach.
type Forbidden struct {
	// Prefixes are the enterprise's.
	Prefixes []netip.Prefix
	// Addresses are those of home agents, home addresses and the VPN gateway.
	Addresses []netip.Addr
}

// Admits reports whether the way to a portal may lead to the address: an IPv4 unicast address that another host can have,
// and that is not forbidden.
func (f Forbidden) Admits(a netip.Addr) bool {
	if !a.Is4() || a.IsUnspecified() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.As4()[0] == 0 || a.As4()[0] >= 224 {
		return false
	}
	return !slices.Contains(f.Addresses, a) && !slices.ContainsFunc(f.Prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// maxHost is the greatest length of a name in octets (RFC 1035 §2.3.4).
const maxHost = 253

// validHost reports whether the host of a URL is a name, or an IPv4 address in its usual form. Names whose last label begins
// with a digit are refused: browsers read such as 0x0a000001 and 10.1 as IPv4 addresses.
func validHost(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Is4()
	}
	if host == "" || len(host) > maxHost {
		return false
	}
	labels := strings.Split(strings.TrimSuffix(host, "."), ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || strings.ContainsFunc(l, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
		}) {
			return false
		}
	}
	last := labels[len(labels)-1]
	return last[0] < '0' || last[0] > '9'
}

// Networks returns what is forbidden as prefixes, those of IPv4.
func (f Forbidden) Networks() (list []netip.Prefix) {
	for _, p := range f.Prefixes {
		if p.Addr().Is4() {
			list = append(list, p)
		}
	}
	for _, a := range f.Addresses {
		if a.Is4() {
			list = append(list, netip.PrefixFrom(a, 32))
		}
	}
	return list
}
