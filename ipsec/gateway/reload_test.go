package gateway

import (
	"errors"
	"net/netip"
	"testing"

	"mipvpn/ipsec/eap"
	"mipvpn/ipsec/ike"
)

// TestReload shows which sessions survive another configuration: those that it grants all they have. Nobody else notices.
func TestReload(t *testing.T) {
	for _, x := range []struct {
		name   string
		change func(*Config)
		closed int // of the two, laptop 0 first
	}{
		{"nothing", func(*Config) {}, 0},
		{"another peer", func(c *Config) {
			c.Peers = append(c.Peers, Peer{Identity: identity(t, "new@corp.example"), PSK: []byte("x")})
		}, 0},
		{"more networks", func(c *Config) { c.Networks = append(c.Networks, netip.MustParsePrefix("172.16.0.0/12")) }, 0},
		{"a wider network", func(c *Config) { c.Networks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }, 0},
		{"other servers", func(c *Config) { c.DNS = []netip.Addr{netip.MustParseAddr("10.0.2.2")} }, 0},
		{"a wider pool", func(c *Config) { c.Pool = netip.MustParsePrefix("10.0.8.0/23") }, 0},
		{"a peer gone", func(c *Config) { c.Peers = c.Peers[1:] }, 1},
		{"a peer's key", func(c *Config) { c.Peers[0].PSK = []byte("another") }, 1},
		{"a peer's address", func(c *Config) { c.Peers[0].Address = netip.MustParseAddr("10.0.9.99") }, 1},
		{"its address for another", func(c *Config) {
			c.Peers = append(c.Peers, Peer{Identity: identity(t, "new@corp.example"), PSK: []byte("x"), Address: netip.MustParseAddr("10.0.9.1")})
		}, 1},
		{"another pool", func(c *Config) { c.Pool = netip.MustParsePrefix("10.0.11.0/24") }, 2},
		{"a narrower network", func(c *Config) { c.Networks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/17")} }, 2},
	} {
		t.Run(x.name, func(t *testing.T) {
			n := newNet(t, config(t, 2))
			clients := []*client{n.client(0, nil), n.client(1, nil)}
			for _, c := range clients {
				n.connect(c)
			}
			cfg := config(t, 2)
			x.change(&cfg)
			closed, err := n.g.Reload(n.now, cfg)
			if err != nil || closed != x.closed {
				t.Fatalf("%d closed, %v; want %d", closed, err, x.closed)
			}
			n.settle()
			for i, c := range clients {
				if gone := c.m.Err() != nil; gone != (i < x.closed) {
					t.Errorf("laptop %d: %v", i, c.m.Err())
				}
				if i < x.closed {
					continue
				}
				// It can do all that it could: rekey both SAs, and resume.
				if err := c.m.RekeyIKE(n.now); err != nil {
					t.Error(err)
				}
				c.pump()
				n.settle()
				up, _ := last[ike.ChildInstalled](c.events)
				if err := c.m.RekeyChild(n.now, up.ID); err != nil {
					t.Error(err)
				}
				c.pump()
				n.settle()
				if again, _ := last[ike.ChildInstalled](c.events); again.Replaces != up.ID || c.m.Err() != nil {
					t.Errorf("laptop %d cannot rekey: %+v, %v", i, again, c.m.Err())
				}
			}
			if got := len(n.g.Sessions()); got != 2-x.closed {
				t.Errorf("%d sessions are left", got)
			}
			for _, v := range n.g.provisions {
				if len(v.pool.owner) != 2-x.closed {
					t.Errorf("addresses taken: %v", v.pool.owner)
				}
			}
		})
	}
}

// TestReloadKeepsAddresses shows that a client that comes again after a reload has the address that it had.
func TestReloadKeepsAddresses(t *testing.T) {
	n := newNet(t, config(t, 2))
	first := n.client(1, nil)
	n.connect(first)
	before, _ := first.assigned()
	first.m.Delete(n.now)
	first.pump()
	n.settle()
	if _, err := n.g.Reload(n.now, config(t, 2)); err != nil {
		t.Fatal(err)
	}
	other, again := n.client(0, nil), n.client(1, nil)
	n.connect(again)
	n.connect(other)
	after, _ := again.assigned()
	if len(before.Addresses) != 1 || len(after.Addresses) != 1 || before.Addresses[0] != after.Addresses[0] {
		t.Errorf("%v, then %v", before.Addresses, after.Addresses)
	}
}

// TestReloadRefusesBadConfigurations shows that a mistake leaves all as it was.
func TestReloadRefusesBadConfigurations(t *testing.T) {
	n := newNet(t, config(t, 1))
	c := n.client(0, nil)
	n.connect(c)
	bad := config(t, 0)
	bad.Networks = nil
	if _, err := n.g.Reload(n.now, bad); !errors.Is(err, ErrConfig) {
		t.Errorf("%v", err)
	}
	n.settle()
	again := n.client(0, nil)
	n.connect(again)
	if _, ok := again.assigned(); !ok {
		t.Errorf("the peer is not known any more: %v", again.m.Err())
	}
}

// TestReloadUsers shows the same for users and machines that come by rules, and that one who logs in meanwhile is judged by what
// is in force when that is done.
func TestReloadUsers(t *testing.T) {
	password := []eap.Type{eap.TypeMSCHAPv2}
	for _, x := range []struct {
		name   string
		during bool
		change func(*Config)
		gone   bool
	}{
		{"nothing", false, func(*Config) {}, false},
		{"nothing, during the login", true, func(*Config) {}, false},
		{"another user", false, func(c *Config) { c.Users = append(c.Users, User{Name: "dave", Password: []byte("x")}) }, false},
		{"the user is gone", false, func(c *Config) { c.Users = c.Users[1:] }, true},
		{"the user is gone, during the login", true, func(c *Config) { c.Users = c.Users[1:] }, true},
		{"the user's policy is another", false, func(c *Config) { c.Users[0].Policy = "" }, true},
		{"the policy reaches less", false, func(c *Config) { c.Policies[0].Networks = []netip.Prefix{netip.MustParsePrefix("10.1.2.0/24")} }, true},
		{"the policy reaches less, during the login", true, func(c *Config) { c.Policies[0].Networks = []netip.Prefix{netip.MustParsePrefix("10.1.2.0/24")} }, false}, // that is what the user gets
		{"the rule wants more", false, func(c *Config) { c.Rules[2].Rounds = []Round{ByCertificate, ByEAP} }, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := newCompany(t, staffed)
			reload := func() {
				cfg := config(t, 2)
				cfg.Certificates, cfg.Authorities = c.own.Certificates(), c.anchors.Hashes()
				cfg.Policies = c.net.g.cfg.Policies
				cfg.Policies = append([]Policy(nil), cfg.Policies...)
				staffed(c, &cfg)
				x.change(&cfg)
				if _, err := c.net.g.Reload(c.net.now, cfg); err != nil {
					t.Fatal(err)
				}
			}
			if x.during {
				answer, done := c.net.answer, false
				c.net.answer = func(e Event) {
					if _, signing := e.Event.(ike.SignatureWanted); signing && !done {
						done = true
						reload()
					}
					answer(e)
				}
			}
			k := c.call(&caller{idi: "alice@corp.example", user: "alice@corp.example", password: "secret", eap: password})
			c.net.settle()
			if _, ok := k.assigned(); !ok && !x.during {
				t.Fatalf("not connected: %v", k.m.Err())
			}
			if !x.during {
				reload()
			}
			c.net.settle()
			if gone := k.m.Err() != nil; gone != x.gone {
				t.Errorf("the session is gone: %t (%v), want %t", gone, k.m.Err(), x.gone)
			}
			want := 1
			if x.gone {
				want = 0
			}
			taken := 0
			for _, v := range c.net.g.provisions {
				taken += len(v.pool.owner)
			}
			if got := len(c.net.g.Sessions()); got != want || taken != want {
				t.Errorf("%d sessions, %d addresses, want %d", got, taken, want)
			}
		})
	}
}
