package config

import (
	"net/netip"
	"strings"
	"testing"
)

func TestDNSErrors(t *testing.T) {
	for _, lines := range []string{
		`mode = "dnsmasq"`, `domains = ["corp..example"]`, `servers = ["2001:db8::1"]`, `servers = [1]`, `servers = "10.0.1.53"`, `servers = ["ns.corp.example"]`,
		`full = "yes"`, `listen = "10.0.1.53"`, `listen = "127.0.0.53"`, `listen = "127.0.0.54"`, `listen = "::1"`, `listen = 1`,
		`servers = ["192.0.2.53"]`,
	} {
		if c, err := parse(with("dns", lines)); err == nil {
			t.Errorf("%s: accepted: %+v", lines, c.DNS)
		} else if key, _, _ := strings.Cut(lines, " "); !strings.Contains(err.Error(), "dns."+key) {
			t.Errorf("%s: %v", lines, err)
		}
	}
}

func TestDNSUsed(t *testing.T) {
	for lines, want := range map[string]struct {
		used bool
		warn string
	}{
		"":                            {},
		`servers = ["10.0.1.53"]`:     {},
		`domains = ["corp.example"]`:  {true, "dns.servers"},
		`full = true`:                 {true, "dns.servers"},
		"full = true\nmode = \"off\"": {},
		"domains = [\"corp.example\"]\nservers = [\"10.0.1.53\"]": {true, ""},
	} {
		c, err := parse(with("dns", lines))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, w := range c.Warnings {
			got = w.Key
		}
		if c.DNS.Used() != want.used || got != want.warn {
			t.Errorf("%q: used %v, warning about %q", lines, c.DNS.Used(), got)
		}
	}
	c, err := parse(strings.Replace(with("dns", `domains = ["corp.example"]`), "[gateway]", "[gateway]\nrequest_dns = false", 1))
	if err != nil || len(c.Warnings) != 1 || c.Warnings[0].Key != "dns" {
		t.Errorf("without any server: %+v, %v", c.Warnings, err)
	}
	c, err = parse(with("dns", `servers = ["10.0.1.53", "10.0.2.53"]`))
	if err != nil || len(c.DNS.Servers) != 2 || c.DNS.Servers[0] != netip.MustParseAddr("10.0.1.53") {
		t.Errorf("%+v, %v", c.DNS, err)
	}
}
