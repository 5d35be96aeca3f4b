package interop

import (
	"bytes"
	"net/netip"
	"testing"

	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike"
	"mipvpn/tun/link"
)

// homeAddress is the client's, of no pool.
var homeAddress = netip.MustParseAddr("10.0.8.100")

// Shows: MEC-B, IKE-10 (strongSwan as the gateway of our client: it ignores Vendor ID and notify of a foreign agent in the gateway, and
// gives an ordinary child SA, with rekeyings and data)
func TestCharonHasNoForeignAgent(t *testing.T) {
	l := newLab(t, "", "")
	cfg := l.config()
	cfg.GatewayAgent, cfg.UseGatewayAgent, cfg.WantedAddress = true, true, homeAddress
	c := newClient(t, l.outside, cfg)
	c.start()
	up := wait[ike.Established](c)
	if a := up.Configuration.Addresses; up.GatewayAgent || up.Advertisement != nil || len(a) != 1 || a[0] == homeAddress {
		t.Errorf("%+v", up)
	}
	if v := wait[ike.ChildInstalled](c); v.GatewayAgent {
		t.Error("the child SA is said to go through an agent")
	}
	c.data()
	c.command(func(now link.Instant) error { return c.machine.RekeyIKE(now) })
	wait[ike.IKERekeyed](c)
	c.command(func(now link.Instant) error { return c.machine.RekeyChild(now, c.using.child) })
	wait[ike.ChildInstalled](c)
	c.data()
}

// Shows: MEC-B, IKE-10 (strongSwan as the client of our gateway: a gateway with a foreign agent, in which its identity has a home
// address, is to it one like any other)
func TestCharonUsesNoForeignAgent(t *testing.T) {
	r := &recorder{TB: t}
	on := mustGround(r, t, strongSwan60, responder)
	g := newGame(r, on, plainCase(strongSwan60, responder))
	g.load()
	cfg := g.gatewayConfig()
	var nodes []gateway.MobileNode
	for _, p := range cfg.Peers {
		nodes = append(nodes, gateway.MobileNode{Identity: p.Identity, HomeAddress: homeAddress})
	}
	if len(nodes) != 1 {
		t.Fatalf("%d peers", len(nodes))
	}
	asked := 0
	cfg.Agent = &gateway.Agent{MobileNodes: nodes, Advertise: func() []byte { asked++; return bytes.Repeat([]byte{9}, 40) }}
	ours := newGate(r, on.gate, cfg, gatewayAddr)
	done := g.initiate()
	up := wait[ike.Established](ours)
	child := wait[ike.ChildInstalled](ours)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if a := up.Configuration.Addresses; up.GatewayAgent || child.GatewayAgent || len(a) != 1 || a[0] == homeAddress || asked != 0 {
		t.Errorf("%+v, child SA %+v, asked %d times", up, child, asked)
	}
	newTraveller(r, on.client, up.Configuration.Addresses[0]).data()
}
