package resolve

import (
	"net/netip"
	"strings"
)

// scutilServers returns the name servers of an interface from what darwin's `scutil --dns` writes: those of the resolvers that are scoped
// to it, in their order. Any text may be given; what it does not have is left out.
func scutilServers(text, iface string) (list []netip.Addr) {
	_, scoped, found := strings.Cut(text, "DNS configuration (for scoped queries)")
	if !found {
		return nil
	}
	var servers []netip.Addr
	for line := range strings.Lines(scoped) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch {
		case strings.HasPrefix(key, "resolver #"):
			servers = nil
		case !ok:
		case strings.HasPrefix(key, "nameserver["):
			if a, err := netip.ParseAddr(value); err == nil {
				servers = append(servers, a)
			}
		case key == "if_index": // "4 (en0)"
			_, name, _ := strings.Cut(value, "(")
			if strings.TrimSuffix(name, ")") == iface {
				list = append(list, servers...)
			}
		}
	}
	return list
}

// usable leaves out servers that cannot be asked through an interface, and this program's own, which would go round in a circle.
func usable(list, own []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, e := range Endpoints(list) {
		mine := false
		for _, o := range own {
			mine = mine || o == e.Addr()
		}
		if !mine {
			out = append(out, e.Addr())
		}
	}
	return out
}
