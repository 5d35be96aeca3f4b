package config

import (
	"net/netip"
	"strings"
	"testing"
)

// Shows: MIP-2 (the key that foreign agents share, and with which of them)
func TestForeignAgentKey(t *testing.T) {
	const table = `
[foreign_agent]
networks = ["10.0.3.0/24", "172.16.5.1/32"]
spi = 300
key_file = "i-ha.key"
`
	c, err := parse(minimal + table)
	if err != nil {
		t.Fatal(err)
	}
	f := c.ForeignAgent
	if len(f.Key) != 16 || f.SPI != 300 || f.Algorithm != AlgorithmHMACMD5 || len(c.Warnings) != 0 {
		t.Errorf("%+v, warnings %v", f, c.Warnings)
	}
	for agent, want := range map[string]bool{"10.0.3.1": true, "172.16.5.1": true, "172.16.5.2": false, "10.0.1.1": false} {
		if f.Shares(netip.MustParseAddr(agent)) != want {
			t.Errorf("%s shares the key: %v", agent, !want)
		}
	}
	if f.Shares(netip.Addr{}) || (ForeignAgent{Networks: f.Networks}).Shares(netip.MustParseAddr("10.0.3.1")) {
		t.Error("somebody shares a key that is not there")
	}
	key := f.Key
	if c.Wipe(); key[1] != 0 {
		t.Error("the key is there after Wipe")
	}
	for name, c := range map[string]struct{ from, to, want string }{
		"no networks": {`networks = ["10.0.3.0/24", "172.16.5.1/32"]`, "", "foreign_agent.networks"},
		"none of":     {`["10.0.3.0/24", "172.16.5.1/32"]`, "[]", "foreign_agent.networks"},
		"no SPI":      {"spi = 300", "", "foreign_agent.spi"},
		"low SPI":     {"spi = 300", "spi = 255", "foreign_agent.spi"},
		"no key":      {`key_file = "i-ha.key"`, "", "foreign_agent.key_file"},
		"not a key":   {`"i-ha.key"`, `"not.key"`, "foreign_agent.key_file"},
		"no file":     {`"i-ha.key"`, `"missing.key"`, "foreign_agent.key_file"},
	} {
		if _, err := parse(minimal + strings.Replace(table, c.from, c.to, 1)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if c, err := parse(minimal + strings.Replace(table, "i-ha.key", "short.key", 1)); err != nil || len(c.Warnings) != 1 || c.Warnings[0].Key != "foreign_agent.key_file" {
		t.Errorf("a short key: %v", err)
	}
}
