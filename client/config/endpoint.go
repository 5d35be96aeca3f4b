package config

import (
	"fmt"
	"net/netip"
	"strings"
)

// vEndpoint is what is valid for a peer that may have a name.
const vEndpoint = `an IPv4 address or a domain name in quotes, such as "192.0.2.10" or "gw.corp.example"`

// vAddress6 is what is valid for a peer's IPv6 address.
const vAddress6 = `a global IPv6 address in quotes, such as "2001:db8::10"`

// address6 sets an IPv6 address that a host elsewhere can have.
func address6(of func(*Config) *netip.Addr) setter {
	return setter{shape{Type: "string", Pattern: "^[0-9A-Fa-f:.]+$"}, func(c *Config, v any) error {
		s, ok := v.(string)
		if !ok {
			return found(v)
		}
		a, err := netip.ParseAddr(s)
		if err != nil || !a.Is6() || a.Is4In6() || a.Zone() != "" || !a.IsGlobalUnicast() {
			return found(v)
		}
		*of(c) = a
		return nil
	}}
}

// endpoint takes an IPv4 address, or a domain name of two labels or more.
func endpoint(of func(*Config) (*netip.Addr, *string)) setter {
	return setter{endpointShape, func(c *Config, v any) error {
		addr, name := of(c)
		if s, ok := v.(string); ok && domainName(s) && hostName(s) {
			*name = strings.ToLower(s)
			return nil
		}
		return address(func(*Config) *netip.Addr { return addr }).take(c, v)
	}}
}

// endpoints sets a list of peers that may have names.
func endpoints(of func(*Config) *[]Endpoint) setter {
	return setter{listShape(0, 0, false, endpointShape), func(c *Config, v any) error {
		items, ok := v.([]any)
		if !ok {
			return found(v)
		}
		var out []Endpoint
		if err := each(items, func(i any) error {
			var e Endpoint
			if err := endpoint(func(*Config) (*netip.Addr, *string) { return &e.Address, &e.Name }).take(c, i); err != nil {
				return fmt.Errorf("found %s in the list", describe(i))
			}
			out = append(out, e)
			return nil
		}); err != nil {
			return err
		}
		*of(c) = out
		return nil
	}}
}

// hostName reports whether a domain name has two labels or more, and a last one that is no number, so that a mistyped address
// is none.
func hostName(s string) bool {
	i := strings.LastIndexByte(s, '.')
	return i > 0 && strings.Trim(s[i+1:], "0123456789") != ""
}

// vNetwork is what a home network is.
const vNetwork = `an IPv4 prefix such as "198.51.100.0/24", of 30 bits or less`

// network takes a network that has a broadcast address.
func network(of func(*Config) *netip.Prefix) setter {
	return setter{shape{Type: "string", Pattern: `^[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}$`}, func(c *Config, v any) error {
		s, ok := v.(string)
		if !ok {
			return found(v)
		}
		p, err := netip.ParsePrefix(s)
		if err != nil || !p.Addr().Is4() || p.Bits() > 30 || p.Bits() == 0 || p != p.Masked() {
			return found(v)
		}
		*of(c) = p
		return nil
	}}
}

// homeAgentAddress is the key of a home agent's address. The i-HA has no name: it would have to be asked for in every network
// that the laptop comes to, and its address is not to depend on the answer.
func homeAgentAddress(table, agent string, of func(*Config) *HomeAgent) field {
	if table == "internal_home_agent" {
		return field{key: table + ".address", valid: vAddress, required: true, about: "address of the " + agent + "; a name is not possible: it would be asked for in every network",
			set: address(func(c *Config) *netip.Addr { return &of(c).Address })}
	}
	return field{key: table + ".address", valid: vEndpoint, required: true, unless: "network", about: "address of the " + agent + ", or its name, which is resolved through each interface with its own name servers",
		set: endpoint(func(c *Config) (*netip.Addr, *string) { return &of(c).Address, &of(c).Name })}
}
