package link

import (
	"net/netip"
	"slices"
)

var (
	local4 = parsePrefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "224.0.0.0/24", "239.255.255.250/32", "255.255.255.255/32")
	local6 = parsePrefixes("fe80::/10", "fc00::/7", "ff02::/16")
)

func parsePrefixes(texts ...string) (list []netip.Prefix) {
	for _, t := range texts {
		list = append(list, netip.MustParsePrefix(t))
	}
	return list
}

// Local4 returns the IPv4 destinations of the exception for the local network (Settings.Local): addresses that nobody has on the
// Internet (RFC 1918, RFC 3927), and groups and the broadcast address, which no router forwards (RFC 5771 §4), among them those of
// mDNS and, of its own, SSDP. A network that gives out other addresses as local gets no exception, so that it cannot claim the
// Internet's (TunnelCrack, LocalNet). The caller owns the slice.
func Local4() []netip.Prefix { return slices.Clone(local4) }

// Local6 returns the IPv6 destinations of that exception: link-local and unique local addresses (RFC 4291 §2.5.6, RFC 4193) and
// groups of link-local scope (RFC 4291 §2.7). The caller owns the slice.
func Local6() []netip.Prefix { return slices.Clone(local6) }
