package mobilenode_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/tunnel"
)

// vendor is the private enterprise number for documentation (RFC 5612).
const vendor = 32473

var gateway = netip.MustParseAddr("192.0.2.4")

func switching(c *homeagent.Config) {
	c.ZeroOverhead = homeagent.ZeroOverhead{Vendor: vendor, Destinations: []netip.Addr{gateway}}
}

func newSwitchingPair(t *testing.T, e mobilenode.Encapsulation, ha func(*homeagent.Config)) *pair {
	p := newPair(t, e, "a key of the home agent", ha)
	if err := p.mn.SetZeroOverhead(mobilenode.ZeroOverhead{Vendor: vendor, Destination: gateway}); err != nil {
		t.Fatal(err)
	}
	return p
}

// What both ends agree on where the mobile node asks for zero-overhead tunnelling.
//
// Shows: MEC-D (granted with a co-located care-of address and no NAT; otherwise what would have been granted anyway)
func TestPairAgreesOnZeroOverhead(t *testing.T) {
	forced := mobilenode.Tunnel{Encapsulation: tunnel.UDP, KeepAlive: 110 * time.Second}
	for _, c := range []struct {
		name string
		e    mobilenode.Encapsulation
		ha   func(*homeagent.Config)
		nat  bool
		want mobilenode.Tunnel
	}{
		{"auto", mobilenode.EncapsulationAuto, switching, false, mobilenode.Tunnel{Switched: gateway}},
		{"IP-in-IP", mobilenode.EncapsulationIPIP, switching, false, mobilenode.Tunnel{Switched: gateway}},
		{"where there is a NAT", mobilenode.EncapsulationNAT, switching, false, mobilenode.Tunnel{Switched: gateway}},
		{"auto, NAT", mobilenode.EncapsulationAuto, switching, true, forced},
		{"auto, an agent without it", mobilenode.EncapsulationAuto, nil, false, forced},
		{"auto, an agent without it, NAT", mobilenode.EncapsulationAuto, nil, true, forced},
		{"IP-in-IP, an agent without it", mobilenode.EncapsulationIPIP, nil, false, mobilenode.Tunnel{}},
		{"auto, another vendor", mobilenode.EncapsulationAuto, func(c *homeagent.Config) {
			c.ZeroOverhead = homeagent.ZeroOverhead{Vendor: 1, Destinations: []netip.Addr{gateway}}
		}, false, forced},
		{"auto, another gateway", mobilenode.EncapsulationAuto, func(c *homeagent.Config) {
			c.ZeroOverhead = homeagent.ZeroOverhead{Vendor: vendor, Destinations: []netip.Addr{netip.MustParseAddr("192.0.2.5")}}
		}, false, forced},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newSwitchingPair(t, c.e, c.ha)
			if c.nat {
				p.source = natted
			}
			p.mn.Register(p.now(0, 0))
			p.run(time.Second)
			if len(p.events) != 1 {
				t.Errorf("events %+v, expected the acceptance alone", p.events)
			}
			v := last[mobilenode.Accepted](p).Reply
			if v.Tunnel() != c.want || v.SwitchReason() == "" {
				t.Fatalf("tunnel %+v (%s), want %+v", v.Tunnel(), v.SwitchReason(), c.want)
			}
			route := p.ha.Table().Route(home)
			if route == nil || route.Tunnels[0].Switched != c.want.Switched {
				t.Fatalf("route %+v", route)
			}
			s := p.ha.Table().Switched(local)
			if (s != nil) != c.want.Switched.IsValid() || s != nil && (s.Home != home || s.Tunnel != route.Tunnels[0]) {
				t.Errorf("by care-of address: %+v", s)
			}
			p.mn.Deregister(p.now(2*time.Second, 0))
			p.drain(2 * time.Second)
			p.run(5 * time.Second)
			if p.ha.Table().Switched(local) != nil || p.ha.Table().Len() != 0 {
				t.Error("something is left after the deregistration")
			}
		})
	}
}

// A home agent that begins or ceases to switch addresses, and a gateway that changes: each renewal says anew what holds.
//
// Shows: MEC-D (renewal, withdrawal, re-picked when it works again)
func TestZeroOverheadIsAskedEachTime(t *testing.T) {
	p := newSwitchingPair(t, mobilenode.EncapsulationAuto, switching)
	with := p.ha
	p.mn.Register(p.now(0, 0))
	p.run(time.Second)
	expect := func(when string, want mobilenode.Tunnel) {
		t.Helper()
		if v := last[mobilenode.Accepted](p).Reply; v.Tunnel() != want {
			t.Fatalf("%s: tunnel %+v (%s), want %+v", when, v.Tunnel(), v.SwitchReason(), want)
		}
	}
	expect("first", mobilenode.Tunnel{Switched: gateway})
	p.run(10 * time.Minute)
	expect("renewed", mobilenode.Tunnel{Switched: gateway})

	p.ha = newPair(t, mobilenode.EncapsulationAuto, "a key of the home agent", nil).ha
	p.run(20 * time.Minute)
	expect("restarted without it", mobilenode.Tunnel{Encapsulation: tunnel.UDP, KeepAlive: 110 * time.Second})
	p.ha = with
	p.run(40 * time.Minute)
	expect("with it again", mobilenode.Tunnel{Switched: gateway})

	if err := p.mn.SetZeroOverhead(mobilenode.ZeroOverhead{}); err != nil {
		t.Fatal(err)
	}
	p.mn.Register(p.now(40*time.Minute, 0))
	p.drain(40 * time.Minute)
	p.run(41 * time.Minute)
	expect("taken back", mobilenode.Tunnel{Encapsulation: tunnel.UDP, KeepAlive: 110 * time.Second})
	if p.ha.Table().Switched(local) != nil {
		t.Error("the home agent goes on switching")
	}
}

// Loss of any one message changes nothing of the outcome.
func TestZeroOverheadWithLoss(t *testing.T) {
	for i := range 4 {
		p := newSwitchingPair(t, mobilenode.EncapsulationAuto, switching)
		p.lost = func(n int) bool { return n == i }
		p.mn.Register(p.now(0, 0))
		p.run(10 * time.Second)
		if v := last[mobilenode.Accepted](p).Reply; v.Tunnel().Switched != gateway {
			t.Errorf("message %d lost: %+v", i, v.Tunnel())
		}
	}
}

func TestZeroOverheadConfig(t *testing.T) {
	p := newPair(t, mobilenode.EncapsulationAuto, "a key of the home agent", nil)
	for name, z := range map[string]mobilenode.ZeroOverhead{
		"no vendor":           {Destination: gateway},
		"a vendor of 25 bits": {Vendor: 1 << 24, Destination: gateway},
		"the home agent":      {Vendor: vendor, Destination: agent},
		"the home address":    {Vendor: vendor, Destination: home},
		"IPv6":                {Vendor: vendor, Destination: netip.MustParseAddr("2001:db8::1")},
	} {
		if err := p.mn.SetZeroOverhead(z); !errors.Is(err, mobilenode.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	p = newPair(t, mobilenode.EncapsulationUDP, "a key of the home agent", nil)
	if err := p.mn.SetZeroOverhead(mobilenode.ZeroOverhead{Vendor: vendor, Destination: gateway}); !errors.Is(err, mobilenode.ErrConfig) {
		t.Errorf("UDP by force: %v", err)
	}
}
