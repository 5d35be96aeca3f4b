package resolve

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

const (
	networkdLease = "# This is private data. Do not parse.\nADDRESS=192.168.1.100\nDNS=192.168.1.1 2001:db8::1 192.168.1.2\nDOMAINNAME=hotel.example\n"
	dhclientText  = `lease {
  interface "eth0";
  fixed-address 192.168.1.100;
  option domain-name-servers 192.168.1.9;
}
lease {
  interface "wlan0";
  option domain-name-servers 172.16.0.1;
}
lease {
  interface "eth0";
  option domain-name "hotel.example";
  option domain-name-servers 192.168.1.1,192.168.1.2;
}
`
	resolvConfText = "# a comment with nameserver 1.2.3.4\nsearch hotel.example\nnameserver 192.168.1.1\nnameserver fe80::1%eth0\n nameserver\t192.168.1.2 # second\nnameserver\n"
)

// Shows: HST-3 (the servers of an interface, from leases and resolv.conf)
func TestParsers(t *testing.T) {
	for _, c := range []struct {
		name string
		got  []netip.Addr
		six  string // between the two of IPv4
	}{
		{"networkd", ParseNetworkdLease(networkdLease), "2001:db8::1"}, {"dhclient", ParseDhclientLeases(dhclientText, "eth0"), ""},
		{"resolv.conf", ParseResolvConf(resolvConfText), "fe80::1%eth0"},
	} {
		want := []netip.Addr{netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("192.168.1.2")}
		if c.six != "" {
			want = slices.Insert(want, 1, netip.MustParseAddr(c.six))
		}
		if !slices.Equal(c.got, want) {
			t.Errorf("%s: %v", c.name, c.got)
		}
	}
	if got := ParseDhclientLeases(dhclientText, "eth1"); got != nil {
		t.Errorf("servers of an interface without a lease: %v", got)
	}
	if got := ParseDhclientLeases(strings.TrimSuffix(dhclientText, "}\n"), "eth0"); !slices.Equal(got, []netip.Addr{netip.MustParseAddr("192.168.1.9")}) {
		t.Errorf("of a file that ends in a lease: %v", got)
	}
	if n := len(ParseResolvConf(strings.Repeat("nameserver 192.0.2.1\n", 100))); n != maxServers {
		t.Errorf("%d servers taken from a file of 100", n)
	}
}

// FuzzParsers shows that any text yields a bounded list of addresses.
func FuzzParsers(f *testing.F) {
	for _, s := range []string{networkdLease, dhclientText, resolvConfText, "lease {\n}\n}\ninterface", "DNS=\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, list := range [][]netip.Addr{ParseNetworkdLease(text), ParseDhclientLeases(text, "eth0"), ParseResolvConf(text)} {
			if len(list) > maxServers {
				t.Fatalf("%d servers", len(list))
			}
			for _, a := range list {
				if !a.IsValid() {
					t.Fatalf("server %v", a)
				}
			}
		}
	})
}
