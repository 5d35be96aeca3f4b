package gateway

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
)

// Shows: IKE-4. A gateway with pools of both families assigns from both, tells of servers, networks and internal domains, and
// narrows the child SA to both addresses; they are free again when the client goes.
func TestBothFamilies(t *testing.T) {
	c := config(t, 3)
	c.Pool6 = netip.MustParsePrefix("2001:db8:9::/64")
	c.Networks = append(c.Networks, netip.MustParsePrefix("2001:db8:1::/48"))
	c.DNS = append(c.DNS, netip.MustParseAddr("2001:db8:1::53"))
	c.Domains = []ike.Domain{{Name: "corp.example"}}
	n := newNet(t, c)
	both := func(i *ike.InitiatorConfig) { i.RequestAddress6, i.RequestDomains = true, true }
	got := make(map[netip.Addr]bool)
	for i := range 3 {
		client := n.client(i, both)
		n.connect(client)
		n.settle()
		var up ike.Established
		var child ike.ChildInstalled
		for _, e := range client.events {
			switch e := e.(type) {
			case ike.Established:
				up = e
			case ike.ChildInstalled:
				child = e
			}
		}
		a := up.Configuration.Addresses
		if len(a) != 2 || !a[0].Is4() || !c.Pool6.Contains(a[1]) || got[a[0]] || got[a[1]] {
			t.Fatalf("client %d: addresses %v", i, a)
		}
		got[a[0]], got[a[1]] = true, true
		if !slices.Equal(up.Configuration.DNS, c.DNS) || !slices.Equal(up.Configuration.Subnets, c.Networks) || len(up.Configuration.Domains) != 1 {
			t.Errorf("client %d: %+v", i, up.Configuration)
		}
		if want := []esp.Selector{esp.AddrSelector(a[0]), esp.AddrSelector(a[1])}; !slices.Equal(child.Inbound.Local, want) {
			t.Errorf("client %d: selectors %v, want %v", i, child.Inbound.Local, want)
		}
		client.m.Delete(n.now)
		client.pump()
		n.settle()
	}
	if len(n.g.provisions[""].pool.owner)+len(n.g.provisions[""].pool6.owner) != 0 {
		t.Errorf("addresses are still taken: %v, %v", n.g.provisions[""].pool.owner, n.g.provisions[""].pool6.owner)
	}
}

// A pool gives each address once and not the first and last one, in prefixes of any length and either family.
func TestPoolOfAnyLength(t *testing.T) {
	for prefix, want := range map[string]int{
		"10.0.9.0/30": 2, "10.0.9.0/31": 2, "10.0.9.4/32": 1, "2001:db8::/126": 2, "2001:db8::/127": 2, "2001:db8::7/128": 1, "2001:db8::/64": 50, "2001:db8::/32": 50,
		"255.255.255.252/30": 2, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffc/126": 2,
	} {
		p := newPool(netip.MustParsePrefix(prefix), nil)
		seen := make(map[netip.Addr]bool)
		for i := range 50 {
			a, err := p.assign(identity(t, fmt.Sprintf("laptop%d@corp.example", i)), netip.Addr{})
			if err != nil {
				if !errors.Is(err, ErrPoolExhausted) {
					t.Fatal(err)
				}
				break
			}
			if seen[a] || !p.prefix.Contains(a) {
				t.Errorf("%s: %v", prefix, a)
			}
			seen[a] = true
		}
		if len(seen) != want {
			t.Errorf("%s: %d addresses, want %d", prefix, len(seen), want)
		}
	}
}
