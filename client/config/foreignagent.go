package config

import (
	"fmt"
	"net/netip"
	"slices"
)

// tableForeign is the table of what is shared with foreign agents, which may be left out.
const tableForeign = "foreign_agent"

// ForeignAgent is the mobility security association with foreign agents, table [foreign_agent]. The zero value is none.
type ForeignAgent struct {
	// Networks are the addresses, as they advertise themselves, of the foreign agents that have it; at least one with a Key.
	Networks []netip.Prefix
	// SPI is its security parameter index, over 255, in host order.
	SPI uint32
	// Algorithm authenticates the registration messages to and from these agents.
	Algorithm Algorithm
	// KeyFile names the file of the key: hexadecimal digits, white space ignored; Key is what it holds.
	KeyFile string
	Key     Secret
}

// Shares reports whether the foreign agent with that address has the security association.
func (f ForeignAgent) Shares(agent netip.Addr) bool {
	return len(f.Key) > 0 && slices.ContainsFunc(f.Networks, func(p netip.Prefix) bool { return p.Contains(agent) })
}

// foreignAgentFields are the keys of [foreign_agent].
func foreignAgentFields() []field {
	return []field{
		{key: tableForeign + ".networks", valid: vPrefixes, required: true, about: "addresses of the foreign agents that share a key with the laptop, which authenticates registrations through them (RFC 5944 section 3.5.3): as they advertise themselves. Nothing is registered through one of them that does not prove that it has the key",
			set: prefixes(1, func(c *Config) *[]netip.Prefix { return &c.ForeignAgent.Networks })},
		{key: tableForeign + ".spi", valid: vInteger(256, 1<<32-1), required: true, about: "security parameter index of that key, for every home address of the laptop",
			set: integer(256, 1<<32-1, func(c *Config, n int64) { c.ForeignAgent.SPI = uint32(n) })},
		{key: tableForeign + ".algorithm", valid: vOneOf(algorithms), standard: `"hmac-md5"`, about: "algorithm of the Mobile-Foreign authentication",
			set: oneOf(algorithms, func(c *Config) *Algorithm { return &c.ForeignAgent.Algorithm })},
		{key: tableForeign + ".key_file", valid: vKeyFile, required: true, about: "file (0600) with the key in hexadecimal digits, 16 octets or more",
			set: text(4096, nil, func(c *Config) *string { return &c.ForeignAgent.KeyFile })},
	}
}

// foreignKey reads the key that foreign agents share.
func (r *reader) foreignKey() {
	f := &r.config.ForeignAgent
	if f.KeyFile == "" {
		return
	}
	const name = tableForeign + ".key_file"
	data, ok := r.secret(name, f.KeyFile)
	if !ok {
		return
	}
	defer clear(data)
	key, err := ParseKey(data)
	if err != nil {
		r.fail(name, err.Error(), "a file of hexadecimal digits, two for each octet of the key")
		return
	}
	if f.Key = key; len(key) < minKey {
		r.warn(name, fmt.Sprintf("the key has only %d bits: who finds it out can pass for these foreign agents", len(key)*8))
	}
}

// optional reports whether a table may be left out although it has required keys.
func optional(table string) bool { return table == tableExternal || table == tableForeign }
