package resolve

import (
	"net/netip"
	"strings"
)

// maxText is how much of a file that names servers is read, in octets.
const maxText = 64 << 10

// maxServers bounds the servers taken from one source.
const maxServers = 8

// ParseResolvConf returns the servers of a resolver configuration as resolv.conf(5) describes it, of the form that the C
// library reads. Lines of any other kind are skipped; it is a total function.
func ParseResolvConf(text string) []netip.Addr {
	var out []netip.Addr
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) >= 2 && f[0] == "nameserver" {
			out = appendServer(out, f[1])
		}
	}
	return out
}

// ParseNetworkdLease returns the servers of a lease as systemd-networkd writes it to /run/systemd/netif/leases: the line
// DNS= with addresses separated by spaces. It is a total function.
func ParseNetworkdLease(text string) []netip.Addr {
	var out []netip.Addr
	for line := range strings.Lines(text) {
		if list, ok := strings.CutPrefix(strings.TrimSpace(line), "DNS="); ok {
			for _, s := range strings.Fields(list) {
				out = appendServer(out, s)
			}
		}
	}
	return out
}

// ParseDhclientLeases returns the servers of the last lease of an interface in a file of dhclient.leases(5). It is a total
// function.
func ParseDhclientLeases(text, iface string) []netip.Addr {
	var out, lease []netip.Addr
	name := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(strings.TrimSpace(line), ";")
		switch {
		case line == "lease {":
			lease, name = nil, ""
		case line == "}":
			if name == iface {
				out = lease
			}
			lease, name = nil, ""
		case strings.HasPrefix(line, "interface "):
			name = strings.Trim(strings.TrimPrefix(line, "interface "), ` "`)
		case strings.HasPrefix(line, "option domain-name-servers "):
			for s := range strings.SplitSeq(strings.TrimPrefix(line, "option domain-name-servers "), ",") {
				lease = appendServer(lease, strings.TrimSpace(s))
			}
		}
	}
	return out
}

// appendServer adds a server if the text is an address and there are not too many.
func appendServer(list []netip.Addr, text string) []netip.Addr {
	a, err := netip.ParseAddr(text)
	if err != nil || len(list) >= maxServers {
		return list
	}
	return append(list, a.Unmap())
}
