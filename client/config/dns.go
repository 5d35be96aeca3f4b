package config

import (
	"fmt"
	"net/netip"
	"slices"
)

// DNS says how names are resolved while the client is up, table [dns]. With neither Domains nor Full nothing is changed.
type DNS struct {
	// Mode is how the host's resolver is changed: "auto", "resolved", "resolv.conf" or "off".
	Mode string
	// Domains are the enterprise's, in lower case without a last dot.
	Domains []string
	// GatewayDomains has the domains that the gateway tells of (RFC 8598) treated like Domains.
	GatewayDomains bool
	// Servers are the enterprise's name servers, within the enterprise prefixes; the gateway may tell of more.
	Servers []netip.Addr
	// Full has the enterprise's servers asked about all names.
	Full bool
	// Search has the Domains appended to names of one label.
	Search bool
	// Listen is the loopback address of the forwarder.
	Listen netip.Addr
}

// Used reports whether the client is to change how names are resolved.
func (d DNS) Used() bool { return d.Mode != "off" && (d.Full || len(d.Domains) > 0) }

var dnsModes = []string{"auto", "resolved", "resolv.conf", "off"}

const (
	vServers  = `a list of IPv4 addresses within the enterprise prefixes such as ["10.0.1.53"]`
	vLoopback = `a loopback address in quotes, such as "127.0.77.53"`
)

// defaultListen is the forwarder's address: one that nothing else is known to use.
var defaultListen = netip.AddrFrom4([4]byte{127, 0, 77, 53})

func dnsDefaults() DNS {
	return DNS{Mode: "auto", GatewayDomains: true, Search: true, Listen: defaultListen}
}

// dnsFields are the keys of [dns].
var dnsFields = []field{
	{key: "dns.mode", valid: vOneOf(dnsModes), standard: `"auto"`, about: "how the host's resolver is changed while the client is up: auto is systemd-resolved where /etc/resolv.conf is its, else that file",
		set: oneOf(dnsModes, func(c *Config) *string { return &c.DNS.Mode })},
	{key: "dns.domains", valid: vDomains, standard: "[]", about: "the enterprise's domains: their names, and those of the enterprise prefixes' addresses, are asked of the enterprise's name servers and nowhere else, and not resolved while these cannot be reached; without domains and dns.full nothing is changed",
		set: domains(func(c *Config) *[]string { return &c.DNS.Domains })},
	{key: "dns.gateway_domains", valid: vBool, standard: "true", about: "treat the domains that the gateway tells of like dns.domains (RFC 8598); top-level domains are not taken from it",
		set: boolean(func(c *Config) *bool { return &c.DNS.GatewayDomains })},
	{key: "dns.servers", valid: vServers, standard: "[]", about: "the enterprise's name servers; those that the gateway tells of are asked before them",
		set: servers(func(c *Config) *[]netip.Addr { return &c.DNS.Servers })},
	{key: "dns.full", valid: vBool, standard: "false", about: "ask the enterprise's name servers about all names",
		set: boolean(func(c *Config) *bool { return &c.DNS.Full })},
	{key: "dns.search", valid: vBool, standard: "true", about: "append dns.domains to names of one label",
		set: boolean(func(c *Config) *bool { return &c.DNS.Search })},
	{key: "dns.listen", valid: vLoopback, standard: `"` + defaultListen.String() + `"`, about: "address of the client's own name server, on port 53, which the host's resolver is told to ask; not one that another program uses",
		set: loopback(func(c *Config) *netip.Addr { return &c.DNS.Listen })},
}

// servers takes a list of IPv4 addresses.
func servers(of func(*Config) *[]netip.Addr) setter {
	return setter{listShape(0, 0, false, addressShape), func(c *Config, v any) error {
		items, ok := v.([]any)
		if !ok {
			return found(v)
		}
		var out []netip.Addr
		if err := each(items, func(i any) error {
			s, ok := i.(string)
			a, err := netip.ParseAddr(s)
			if !ok || err != nil || !a.Is4() {
				return fmt.Errorf("found %s in the list", describe(i))
			}
			out = append(out, a)
			return nil
		}); err != nil {
			return err
		}
		*of(c) = out
		return nil
	}}
}

// loopback takes an IPv4 loopback address that systemd-resolved does not use itself.
func loopback(of func(*Config) *netip.Addr) setter {
	return setter{shape{Type: "string", Pattern: `^127(\.[0-9]{1,3}){3}$`}, func(c *Config, v any) error {
		s, ok := v.(string)
		a, err := netip.ParseAddr(s)
		if !ok || err != nil || !a.Is4() || !a.IsLoopback() {
			return found(v)
		}
		if b := a.As4(); b == [4]byte{127, 0, 0, 53} || b == [4]byte{127, 0, 0, 54} {
			return fmt.Errorf("found %v, which is systemd-resolved's", a)
		}
		*of(c) = a
		return nil
	}}
}

// dns checks the keys of [dns] against the rest.
func (r *reader) dns() {
	c := r.config
	for _, s := range c.DNS.Servers {
		if !r.spoilt("enterprise.prefixes") && !slices.ContainsFunc(c.Enterprise.Prefixes, func(p netip.Prefix) bool { return p.Contains(s) }) {
			r.fail("dns.servers", fmt.Sprintf("found %v in the list, which is in none of enterprise.prefixes: the enterprise's names would be asked outside the tunnel", s), vServers)
		}
	}
	switch {
	case !c.DNS.Used():
	case len(c.DNS.Servers) == 0 && !c.Gateway.RequestDNS:
		r.warn("dns", "there is no name server to ask about the enterprise's names: set dns.servers, or gateway.request_dns to true")
	case len(c.DNS.Servers) == 0:
		r.warn("dns.servers", "without it the enterprise's names are resolved only once the gateway has told of a name server, so not where the laptop comes up inside")
	}
}
