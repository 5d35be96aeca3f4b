package homeagent

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/auth"
)

func TestConfig(t *testing.T) {
	good := func() Config {
		return Config{
			Address: agent, HomeNetworks: []netip.Prefix{netip.MustParsePrefix("10.0.8.0/24")},
			MobileNodes: []MobileNode{{HomeAddress: home, Associations: []*auth.SecurityAssociation{association(t, 1000)}}},
		}
	}
	if _, err := New(good()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"no address":         func(c *Config) { c.Address = netip.Addr{} },
		"group address":      func(c *Config) { c.Address = netip.MustParseAddr("224.0.0.1") },
		"ipv6 address":       func(c *Config) { c.Address = netip.MustParseAddr("2001:db8::1") },
		"host bits":          func(c *Config) { c.HomeNetworks[0] = netip.MustParsePrefix("10.0.8.1/24") },
		"home elsewhere":     func(c *Config) { c.MobileNodes[0].HomeAddress = careOf },
		"home is agent":      func(c *Config) { c.Address = home },
		"home twice":         func(c *Config) { c.MobileNodes = append(c.MobileNodes, c.MobileNodes[0]) },
		"no association":     func(c *Config) { c.MobileNodes[0].Associations = nil },
		"SPI twice":          func(c *Config) { n := &c.MobileNodes[0]; n.Associations = append(n.Associations, n.Associations[0]) },
		"trusted not inside": func(c *Config) { c.TrustedNetworks = c.HomeNetworks },
		"tolerance":          func(c *Config) { c.Tolerance = time.Second },
		"lifetime":           func(c *Config) { c.MaxLifetime = 24 * time.Hour },
		"keepalive":          func(c *Config) { c.KeepAlive = -1 },
		"reverse tunnels":    func(c *Config) { c.NoReverseTunnel, c.RequireReverseTunnel = true, true },
		"foreign agent twice": func(c *Config) {
			c.ForeignAgents = []ForeignAgent{{faAddr, association(t, 300)}, {faAddr, association(t, 301)}}
		},
		"foreign agent empty": func(c *Config) { c.ForeignAgents = []ForeignAgent{{Address: faAddr}} },
	} {
		c := good()
		change(&c)
		if _, err := New(c); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: error %v, want %v", name, err, ErrConfig)
		}
	}
}
