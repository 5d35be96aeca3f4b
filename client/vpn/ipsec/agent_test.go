package ipsec

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/vpn"
	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike/message"
	"mipvpn/mipv4/discovery"
	"mipvpn/mipv4/foreignagent"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
)

// Shows: MEC-B (the VPN's side: a home address that is offered becomes the tunnel's where the gateway has an agent for it, with the
// advertisement; rekeyings stay with the agent; without an offer, or where the gateway does not agree, the address is the gateway's)
func TestOffer(t *testing.T) {
	for name, c := range map[string]struct {
		offered, bound bool
	}{"agreed": {true, true}, "not offered": {false, true}, "for another": {true, false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := worldOf(t, func(cfg *config.Config) { cfg.Gateway.ChildLifetime = 20 * time.Second }, func(g *agent.GatewayConfig) {
					home := simnet.LabHomeAddress
					if !c.bound {
						home = home.Next()
					}
					id, err := message.NewIdentity("laptop@corp.example")
					if err != nil {
						t.Fatal(err)
					}
					g.Agent = &gateway.Agent{MobileNodes: []gateway.MobileNode{{Identity: id, HomeAddress: home}}}
					g.ForeignAgent = &foreignagent.Config{CareOfAddress: simnet.LabGatewayInner,
						PermittedHomeAgents: []netip.Prefix{netip.PrefixFrom(simnet.LabInternalHA, 32)}}
				})
				if c.offered {
					a.do(func(link.Instant) { a.access.Offer(simnet.LabHomeAddress) })
				}
				a.dial()
				time.Sleep(time.Second)
				through := func() (yes bool) {
					a.do(func(link.Instant) { yes = a.tunnel.Carries() && a.tunnel.ThroughAgent() })
					return yes
				}
				var up vpn.Up
				a.do(func(link.Instant) {
					for _, e := range a.events {
						if u, ok := e.(vpn.Up); ok {
							up = u
						}
					}
				})
				agreed := c.offered && c.bound
				if through() != agreed || (up.Address == simnet.LabHomeAddress) != agreed || !up.Address.IsValid() {
					t.Fatalf("through the agent: %v, address %v", through(), up.Address)
				}
				if agreed {
					got, err := discovery.HandedOver(link.Instant{}, up.Agent)
					if err != nil || got.Address != simnet.LabGatewayInner {
						t.Errorf("advertisement of %v, %v", got.Address, err)
					}
				} else if !c.offered && up.Agent != nil {
					t.Errorf("an advertisement that was not asked for: %x", up.Agent)
				}
				time.Sleep(time.Minute)
				if a.encapsulation() == "" || through() != agreed {
					t.Errorf("after rekeyings: through the agent %v", through())
				}
			})
		})
	}
}
