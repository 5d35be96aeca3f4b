package config

import (
	"net/netip"
	"strings"
	"testing"
)

// Shows: HST-3 (home agents and gateway by name; the i-HA by address alone)
func TestEndpoints(t *testing.T) {
	for text, want := range map[string]struct {
		addr, name string
	}{
		`"GW.corp.example"`: {"", "gw.corp.example"}, `"192.0.2.77"`: {"192.0.2.77", ""}, `"gw"`: {}, `"gw..example"`: {}, `"192.0.2.300"`: {}, `"gw.corp.example."`: {},
		`"2001:db8::1"`: {}, `"-a.example"`: {}, `5`: {}, `""`: {}, `"224.0.0.1"`: {},
	} {
		for place, of := range map[string]func(*Config) (netip.Addr, string){
			`"192.0.2.10"`: func(c *Config) (netip.Addr, string) { return c.Gateway.Address, c.Gateway.Name },
			`"192.0.2.20"`: func(c *Config) (netip.Addr, string) { return c.External.Address, c.External.Name },
		} {
			c, err := parse(replaced(t, place, text))
			if want == (struct{ addr, name string }{}) {
				if err == nil || !strings.Contains(err.Error(), vEndpoint) {
					t.Errorf("%s for %s: %v", text, place, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s for %s: %v", text, place, err)
				continue
			}
			addr, name := of(c)
			if got := strings.TrimPrefix(addr.String(), "invalid IP"); got != want.addr || name != want.name {
				t.Errorf("%s for %s: %q, %q", text, place, got, name)
			}
		}
		if c, err := parse(replaced(t, `"10.0.1.10"`, text)); want.name != "" && err == nil {
			t.Errorf("%s for the i-HA: accepted: %+v", text, c.Internal)
		}
	}
}

// Shows: DET-18 (the gateway's IPv6 address)
func TestAddress6(t *testing.T) {
	for text, want := range map[string]string{
		`"2001:db8::10"`: "2001:db8::10", `"fd00::10"`: "fd00::10", `"192.0.2.10"`: "", `"fe80::1"`: "", `"fe80::1%eth0"`: "", `"::ffff:192.0.2.10"`: "", `"::"`: "", `"ff02::1"`: "", `5`: "",
	} {
		c, err := parse(replaced(t, "[gateway]\n", "[gateway]\naddress6 = "+text+"\n"))
		switch {
		case want == "" && (err == nil || !strings.Contains(err.Error(), vAddress6)):
			t.Errorf("%s: %v", text, err)
		case want != "" && (err != nil || c.Gateway.Address6.String() != want):
			t.Errorf("%s: %v", text, err)
		}
	}
}
