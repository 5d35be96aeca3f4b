package gateway

import (
	"net/netip"
	"testing"
	"time"

	"mipvpn/ipsec/ike"
)

// Shows: IKE-8, IKE-7. Two clients take each other's address. Who they are, their keys and their SAs go by what they have proved,
// and no update concerns SAs of another one; then a third comes from an address that was a client's, with its own key.
func TestClientsSwapAddresses(t *testing.T) {
	cfg := config(t, 3)
	cfg.IKE.MOBIKE = &ike.MOBIKE{}
	n := newNet(t, cfg)
	mobile := func(c *ike.InitiatorConfig) { c.MOBIKE = &ike.MOBIKE{} }
	a, b := n.client(0, mobile), n.client(1, mobile)
	n.connect(a)
	n.connect(b)
	before := n.g.Sessions()
	if len(before) != 2 || before[0].Remote.Addr() != a.addr || before[1].Remote.Addr() != b.addr {
		t.Fatalf("%+v", before)
	}
	n.events = nil
	a.addr, b.addr = b.addr, a.addr
	for _, c := range []*client{a, b} {
		for _, port := range []uint16{500, 4500} {
			n.clients[netip.AddrPortFrom(c.addr, port)] = c
		}
		if err := c.m.SetAddresses(n.now, []netip.Addr{c.addr}); err != nil {
			t.Fatal(err)
		}
		c.pump()
	}
	n.advance(10 * time.Second)
	after := n.g.Sessions()
	for i, c := range []*client{a, b} {
		want := before[i]
		want.Remote = netip.AddrPortFrom(c.addr, 4500)
		if len(after) != 2 || after[i].ID != want.ID || after[i].Identity != want.Identity || after[i].Address != want.Address || after[i].Remote != want.Remote {
			t.Errorf("client %d: %+v, want %+v", i, after, want)
		}
		moved := 0
		for _, e := range n.events {
			if u, ok := e.Event.(ike.EndpointChanged); ok && e.Session == want.ID {
				moved++
				if u.Update.Remote() != want.Remote || e.Identity != want.Identity {
					t.Errorf("client %d: an update of %v to %v", i, e.Identity, u.Update.Remote())
				}
			}
		}
		if moved == 0 {
			t.Errorf("client %d has not moved", i)
		}
	}

	third := netip.MustParseAddr("203.0.113.200")
	if err := a.m.SetAddresses(n.now, []netip.Addr{third}); err != nil {
		t.Fatal(err)
	}
	left := a.addr
	a.addr = third
	n.clients[netip.AddrPortFrom(third, 4500)] = a
	a.pump()
	n.advance(5 * time.Second)
	c := n.client(2, func(c *ike.InitiatorConfig) { c.Local = netip.AddrPortFrom(left, 500) })
	c.addr = left
	for _, port := range []uint16{500, 4500} {
		n.clients[netip.AddrPortFrom(left, port)] = c
	}
	n.connect(c)
	s := n.g.Sessions()
	if len(s) != 3 || s[2].Identity != identity(t, "laptop2@corp.example") || s[2].Remote.Addr() != left || s[0].Remote.Addr() != third {
		t.Errorf("%+v", s)
	}
}

// Shows: IKE-7. The gateway's addresses change: clients with MOBIKE hear of it and the others stay.
func TestGatewayTellsItsAddresses(t *testing.T) {
	second := netip.MustParseAddr("192.0.2.11")
	cfg := config(t, 3)
	cfg.IKE.MOBIKE = &ike.MOBIKE{Addresses: []netip.Addr{gatewayAddr}}
	n := newNet(t, cfg)
	mobile, fixed := n.client(0, func(c *ike.InitiatorConfig) { c.MOBIKE = &ike.MOBIKE{} }), n.client(1, nil)
	n.connect(mobile)
	n.connect(fixed)
	if err := n.g.SetAddresses(n.now, []netip.Addr{gatewayAddr, second}); err != nil {
		t.Fatal(err)
	}
	n.settle()
	if told, ok := last[ike.PeerAddresses](mobile.events); !ok || len(told.Addresses) != 2 || told.Addresses[1] != second {
		t.Errorf("the client was told %+v", told)
	}
	if told, ok := last[ike.PeerAddresses](fixed.events); ok {
		t.Errorf("a client without MOBIKE was told %+v", told)
	}
	later := n.client(2, func(c *ike.InitiatorConfig) { c.MOBIKE = &ike.MOBIKE{} })
	n.connect(later)
	if told, ok := last[ike.PeerAddresses](later.events); !ok || len(told.Addresses) != 2 || told.Addresses[1] != second {
		t.Errorf("a later client was told %+v", told)
	}
	if len(n.g.Sessions()) != 3 {
		t.Errorf("%+v", n.g.Sessions())
	}

	cfg.IKE.MOBIKE = nil
	if err := newNet(t, cfg).g.SetAddresses(n.now, []netip.Addr{second}); err == nil {
		t.Error("a gateway without MOBIKE takes addresses")
	}
}
