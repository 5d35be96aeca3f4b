package hint

import "strings"

// maxText is how much of a lease file is read, in octets.
const maxText = 256 << 10

// ParseNetworkdLease returns the domain name of a lease as systemd-networkd keeps it under /run/systemd/netif/leases: the
// line DOMAINNAME=. It is empty without one. It is a total function.
func ParseNetworkdLease(text string) (domain string) {
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "DOMAINNAME="); ok {
			domain = strings.Trim(v, `"`)
		}
	}
	return name(domain)
}

// ParseDhclientLeases returns the domain name of the last lease of an interface in a file of dhclient.leases(5), empty
// without one. It is a total function.
func ParseDhclientLeases(text, iface string) (domain string) {
	of, found := "", ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(strings.TrimSpace(line), ";")
		if line == "lease {" {
			of, found = "", ""
			continue
		}
		if line == "}" {
			if of == iface {
				domain = found
			}
			of, found = "", ""
			continue
		}
		if v, ok := strings.CutPrefix(line, "interface "); ok {
			of = strings.Trim(v, ` "`)
		} else if v, ok := strings.CutPrefix(line, "option domain-name "); ok {
			found = strings.Trim(v, ` "`)
		}
	}
	return name(domain)
}

// name returns s when it can be a domain name, or else nothing: a lease is what a server wrote whom nobody knows.
func name(s string) string {
	s = strings.TrimSuffix(strings.TrimRight(s, "\x00"), ".")
	if len(s) > maxName || strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_')
	}) {
		return ""
	}
	return s
}
