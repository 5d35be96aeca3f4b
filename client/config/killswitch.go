package config

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// Tunnel says what goes into the tunnel.
type Tunnel string

// The tunnels.
const (
	// TunnelSplit sends what is for the enterprise's prefixes into the tunnel, and leaves the rest alone.
	TunnelSplit Tunnel = "split"
	// TunnelFull sends everything into the tunnel. Nothing else leaves but what KillSwitch has exceptions for.
	TunnelFull Tunnel = "full"
)

// tunnels are the values of enterprise.tunnel.
var tunnels = []string{string(TunnelSplit), string(TunnelFull)}

// KillSwitch is about the line that the kernel holds, table [kill_switch].
type KillSwitch struct {
	// AllowLocal lets packets to the local network out beside a full tunnel: private addresses of networks that an interface
	// is connected to and groups such as mDNS's, but never those of the enterprise's prefixes.
	AllowLocal bool
}

// everything and everything6 are what a full tunnel is for.
var (
	everything  = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	everything6 = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
)

const vPrefixes6 = `a list of IPv6 prefixes such as ["2001:db8::/32"]`

// tunnelFields are the keys about what goes into the tunnel.
func tunnelFields() []field {
	return []field{
		{key: "enterprise.prefixes6", valid: vPrefixes6, standard: "[]", about: "IPv6 destinations of the enterprise: nothing carries them, and they are never let out beside the tunnel",
			set: prefixes6(func(c *Config) *[]netip.Prefix { return &c.Enterprise.Prefixes6 })},
		{key: "enterprise.tunnel", valid: vOneOf(tunnels), standard: `"split"`, about: "what goes through the client: the prefixes, or everything; with a full tunnel IPv6 is blocked",
			set: oneOf(tunnels, func(c *Config) *Tunnel { return &c.Enterprise.Tunnel })},
		{key: "kill_switch.allow_local", valid: vBool, standard: "false", about: "with a full tunnel, let private addresses of the local network be reached beside it (printers, mDNS), but never enterprise prefixes",
			set: boolean(func(c *Config) *bool { return &c.KillSwitch.AllowLocal })},
	}
}

// prefixes6 takes a list of IPv6 prefixes.
func prefixes6(of func(*Config) *[]netip.Prefix) setter {
	return setter{listShape(0, 0, false, shape{Type: "string", Pattern: "^[0-9A-Fa-f:.]+/[0-9]{1,3}$"}), func(c *Config, v any) error {
		items, ok := v.([]any)
		if !ok {
			return found(v)
		}
		var out []netip.Prefix
		if err := each(items, func(i any) error {
			s, ok := i.(string)
			if !ok {
				return fmt.Errorf("found %s in the list", describe(i))
			}
			p, err := netip.ParsePrefix(s)
			if err != nil || !p.Addr().Is6() || p.Addr().Is4In6() {
				return fmt.Errorf("found %s in the list", describe(i))
			}
			if p != p.Masked() {
				return fmt.Errorf("found %q in the list, which has bits behind its length; its network is %q", s, p.Masked())
			}
			out = append(out, p)
			return nil
		}); err != nil {
			return err
		}
		*of(c) = out
		return nil
	}}
}

// tunnel checks what goes into the tunnel against the rest.
func (r *reader) tunnel() {
	c := r.config
	full := c.Enterprise.Tunnel == TunnelFull || r.spoilt("enterprise.tunnel")
	for _, p := range c.Enterprise.Prefixes {
		if p == everything && !full {
			r.fail("enterprise.prefixes", fmt.Sprintf("found %v, which is everything", p), `tunnel = "full", and here the enterprise's own networks`)
		}
	}
	for _, p := range c.Enterprise.Prefixes6 {
		if p == everything6 && !full {
			r.fail("enterprise.prefixes6", fmt.Sprintf("found %v, which is everything", p), `tunnel = "full", and here the enterprise's own networks`)
		}
	}
	if c.KillSwitch.AllowLocal && !full {
		r.warn("kill_switch.allow_local", `has no effect with tunnel = "split": what is not for the enterprise is left alone`)
	}
	if len(c.Gateway.RemoteSubnets) == 0 {
		c.Gateway.RemoteSubnets = c.Enterprise.Prefixes
		if full {
			c.Gateway.RemoteSubnets = []netip.Prefix{everything}
		}
	}
}

// placeholderSecret stands for secrets that are not read: it is a good key of every kind, and never used.
const placeholderSecret = "0x00112233445566778899aabbccddeeff"

// LoadPublic reads the configuration file without the secrets that it names, in whose places stands something useless. It is
// for what needs none of them, such as the kill switch at the system's start. Errors are as Load's.
func LoadPublic(path string) (*Config, error) {
	data, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return nil, notOpened(err)
	}
	return Parse(path, data, placeholder)
}

// placeholder is a SecretReader that reads nothing.
func placeholder(string) ([]byte, error) { return []byte(placeholderSecret), nil }
