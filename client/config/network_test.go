package config

import (
	"net/netip"
	"strings"
	"testing"
)

// Shows: MIP-9 (a home network in the place of the x-HA's address)
func TestHomeNetwork(t *testing.T) {
	const was = `address = "192.0.2.20"`
	with := func(s string) string { return strings.Replace(minimal, was, s, 1) }
	c, err := parse(with(`network = "198.51.100.0/24"`))
	if err != nil {
		t.Fatal(err)
	}
	if c.External.Network != netip.MustParsePrefix("198.51.100.0/24") || c.External.Address.IsValid() || !c.HasExternal() {
		t.Errorf("%+v", c.External)
	}
	for name, text := range map[string]string{
		"beside an address": with(was + "\nnetwork = \"198.51.100.0/24\""),
		"bits behind":       with(`network = "198.51.100.7/24"`),
		"no broadcast":      with(`network = "198.51.100.0/31"`),
		"everything":        with(`network = "0.0.0.0/0"`),
		"IPv6":              with(`network = "2001:db8::/64"`),
		"an address":        with(`network = "198.51.100.0"`),
		"assigned": strings.Replace(with("network = \"198.51.100.0/24\"\nnai = \"l@corp.example\""),
			`home_address = "198.51.100.100"`, "", 1),
	} {
		if _, err := parse(text); err == nil || !strings.Contains(err.Error(), "external_home_agent.network") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := parse(with("")); err == nil || !strings.Contains(err.Error(), "external_home_agent.address") {
		t.Errorf("neither: %v", err)
	}
}
