package gateway

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
)

var (
	home0, home1 = netip.MustParseAddr("10.0.5.10"), netip.MustParseAddr("10.0.5.11")
	anywhere     = []esp.Selector{esp.AnySelector()}
)

// agentConfig binds laptop 0 and 1 to home addresses.
func agentConfig(t testing.TB) Config {
	c := config(t, 3)
	c.Agent = &Agent{MobileNodes: []MobileNode{{c.Peers[0].Identity, home0}, {c.Peers[1].Identity, home1}},
		Advertise: func() []byte { return []byte("advertisement") }}
	return c
}

func asking(home netip.Addr) func(*ike.InitiatorConfig) {
	return func(i *ike.InitiatorConfig) { i.GatewayAgent, i.UseGatewayAgent, i.WantedAddress = true, true, home }
}

// installed returns the child SA that the client has made last.
func (c *client) installed() ike.ChildInstalled {
	c.net.t.Helper()
	v, ok := last[ike.ChildInstalled](c.events)
	if !ok {
		c.net.t.Fatal("no child SA")
	}
	return v
}

// Shows: MEC-B (an IKE identity may claim only its configured i-HoA, which is no address of the pool; whoever else asks has an
// ordinary child SA; DNS and networks are told as ever)
func TestAgent(t *testing.T) {
	n := newNet(t, agentConfig(t))
	c := n.client(0, asking(home0))
	n.connect(c)
	up, _ := last[ike.Established](c.events)
	if v := c.installed(); !v.GatewayAgent || !slices.Equal(v.Inbound.Local, []esp.Selector{esp.AddrSelector(home0)}) || !slices.Equal(v.Inbound.Remote, anywhere) {
		t.Fatalf("child SA %+v", v)
	}
	if string(up.Advertisement) != "advertisement" || len(up.Configuration.DNS) != 1 || len(up.Configuration.Subnets) != 1 {
		t.Errorf("%+v", up)
	}
	if s := n.g.Sessions(); len(s) != 1 || s[0].HomeAddress != home0 || s[0].Address != home0 {
		t.Errorf("sessions %+v", s)
	}
	if e := of[ike.ChildInstalled](n.events); len(e) != 1 || e[0].HomeAddress != home0 || !e[0].Event.(ike.ChildInstalled).GatewayAgent {
		t.Errorf("events %+v", e)
	}
	for number, home := range map[int]netip.Addr{1: home0, 2: home0} { // another's, and one who has none
		o := n.client(number, asking(home))
		n.connect(o)
		up, _ := last[ike.Established](o.events)
		if v := o.installed(); v.GatewayAgent || !n.g.cfg.Pool.Contains(up.Configuration.Addresses[0]) || slices.Equal(v.Inbound.Remote, anywhere) {
			t.Errorf("laptop %d has %v, child SA %+v", number, up.Configuration.Addresses, v)
		}
		if advertised := up.Advertisement != nil; advertised != (number == 1) || !up.GatewayAgent {
			t.Errorf("laptop %d: %+v", number, up)
		}
	}
}

// Shows: MEC-B (the agent beside reauthentication and after it; an ordinary IKE SA first, for who learns the home address through it,
// as B.6 says)
func TestAgentReauthentication(t *testing.T) {
	n := newNet(t, agentConfig(t))
	ordinary := n.client(0, func(i *ike.InitiatorConfig) { i.GatewayAgent = true })
	n.connect(ordinary)
	up, _ := last[ike.Established](ordinary.events)
	if ordinary.installed().GatewayAgent || up.Advertisement == nil {
		t.Fatalf("%+v", up)
	}
	before := ordinary
	for range 2 {
		next := n.client(0, asking(home0))
		n.connect(next)
		if !next.installed().GatewayAgent || before.m.Err() != nil || len(n.g.byInbound) != 2 {
			t.Fatalf("child SA %+v; the one before: %v; %d inbound", next.installed(), before.m.Err(), len(n.g.byInbound))
		}
		before.m.Delete(n.now)
		before.pump()
		n.settle()
		before = next
	}
	if len(n.g.byInbound) != 1 || len(n.g.Sessions()) != 1 {
		t.Errorf("%d inbound SAs, sessions %+v", len(n.g.byInbound), n.g.Sessions())
	}
	if free := n.g.provisions[""].pool.owner; len(free) != 0 {
		t.Errorf("addresses of the pool are still owned: %v", free)
	}
}

// Shows: MEC-B (a session through the agent ends when another configuration does not grant it any more, and else lives on)
func TestAgentReload(t *testing.T) {
	for name, x := range map[string]struct {
		change func(*Config)
		closed int
	}{
		"nothing": {func(*Config) {}, 0},
		"another mobile node": {func(c *Config) {
			c.Agent.MobileNodes = append(c.Agent.MobileNodes, MobileNode{c.Peers[2].Identity, netip.MustParseAddr("10.0.5.12")})
		}, 0},
		"another home address": {func(c *Config) { c.Agent.MobileNodes[0].HomeAddress = netip.MustParseAddr("10.0.5.99") }, 1},
		"no mobile node":       {func(c *Config) { c.Agent.MobileNodes = c.Agent.MobileNodes[1:] }, 1},
		"narrower networks":    {func(c *Config) { c.Agent.Networks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }, 1},
		"no agent":             {func(c *Config) { c.Agent = nil }, 1},
	} {
		n := newNet(t, agentConfig(t))
		c, other := n.client(0, asking(home0)), n.client(2, nil)
		n.connect(c)
		n.connect(other)
		cfg := agentConfig(t)
		x.change(&cfg)
		closed, err := n.g.Reload(n.now, cfg)
		n.settle()
		if err != nil || closed != x.closed || (c.m.Err() != nil) != (x.closed == 1) || other.m.Err() != nil {
			t.Errorf("%s: %d closed, %v; %v, %v", name, closed, err, c.m.Err(), other.m.Err())
		}
		if x.closed == 0 {
			if err := c.m.RekeyChild(n.now, c.installed().ID); err != nil {
				t.Fatal(err)
			}
			c.pump()
			n.settle()
			if v := c.installed(); !v.GatewayAgent || v.Replaces == 0 {
				t.Errorf("%s: after rekeying: %+v", name, v)
			}
		}
	}
}

func TestAgentConfig(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no identity":            func(c *Config) { c.Agent.MobileNodes[0].Identity = ike.Identity{} },
		"one identity twice":     func(c *Config) { c.Agent.MobileNodes[1].Identity = c.Agent.MobileNodes[0].Identity },
		"one address twice":      func(c *Config) { c.Agent.MobileNodes[1].HomeAddress = home0 },
		"an address of IPv6":     func(c *Config) { c.Agent.MobileNodes[0].HomeAddress = netip.MustParseAddr("2001:db8::1") },
		"a group":                func(c *Config) { c.Agent.MobileNodes[0].HomeAddress = netip.MustParseAddr("224.0.0.1") },
		"an address of the pool": func(c *Config) { c.Agent.MobileNodes[0].HomeAddress = netip.MustParseAddr("10.0.9.7") },
		"a client's":             func(c *Config) { c.Peers[2].Address = home0 },
		"IPv6 networks":          func(c *Config) { c.Agent.Networks = []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")} },
	} {
		c := agentConfig(t)
		change(&c)
		if _, err := New(c, source(1)); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
