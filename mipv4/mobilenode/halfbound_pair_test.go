package mobilenode_test

import (
	mathrand "math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/discovery"
	"mipvpn/mipv4/foreignagent"
	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
)

// nattedAgent is what the home agent sees of the foreign agent behind the NAT, nattedData of the mobile node's tunnel.
var nattedAgent, nattedData = netip.MustParseAddrPort("192.0.2.30:1434"), netip.MustParseAddrPort("192.0.2.30:61000")

// behindNAT is a trio whose foreign agent asks for UDP tunnels, has the R bit set, and the U bit where it is said to be behind a NAT.
// The mobile node registers its own address as the advertisement wants it.
func behindNAT(t *testing.T, u bool) *trio {
	t.Helper()
	x := newTrio(t, "", nil)
	x.from = nattedAgent
	var err error
	if x.fa, err = foreignagent.New(foreignagent.Config{
		Address: visited, CareOfAddress: agentCo, UDPTunnel: foreignagent.UDPTunnelNAT, BehindNAT: u, RegistrationRequired: true,
	}, x.now, mathrand.NewChaCha8([32]byte{1})); err != nil {
		t.Fatal(err)
	}
	ad, err := discovery.ParseAdvertisement(x.fa.Advertisement())
	if err != nil {
		t.Fatal(err)
	}
	heard := discovery.Agent{Flags: ad.Flags, CareOfAddresses: ad.CareOfAddresses}
	if !heard.RegistrationRequired() || heard.UDPTunnel() != u {
		t.Fatalf("advertised %v", ad.Flags)
	}
	if x.mn, err = mobilenode.NewMachine(mobilenode.Config{
		HomeAgent: agent, HomeAddress: home, CareOfAddress: local, CoLocated: true, ForeignAgent: visited, AgentUDPTunnel: heard.UDPTunnel(),
		Association: associate(t, "a key of the home agent", auth.Timestamps), Lifetime: 10 * time.Minute, ReverseTunnel: true,
	}, mathrand.NewChaCha8([32]byte{2})); err != nil {
		t.Fatal(err)
	}
	return x
}

// Our mobile node registers its own address through our foreign agent with our home agent, which binds the tunnel with the first
// keepalive; a renewal and a NAT that maps the tunnel anew go on; the foreign agent adds no request of its own and carries nothing.
//
// Shows: MIP-7, AGT-4 (RFC 3519 §4.4-§4.6, §4.11)
func TestTrioHalfBound(t *testing.T) {
	x := behindNAT(t, true)
	register := func() mobilenode.VerifiedReply {
		t.Helper()
		x.events = nil
		x.mn.Register(x.now)
		x.settle()
		if len(x.events) != 1 {
			t.Fatalf("events %+v", x.events)
		}
		return x.events[0].(mobilenode.Accepted).Reply
	}
	if v := register(); !v.Tunnel().UDP() || !v.Tunnel().HalfBound || v.NAT() {
		t.Fatalf("tunnel %+v, NAT %t", v.Tunnel(), v.NAT())
	}
	r := x.ha.Table().Route(home)
	if len(r.Tunnels) != 1 || !r.Tunnels[0].HalfBound() || r.Tunnels[0].Remote.Addr() != nattedAgent.Addr() {
		t.Fatalf("route %+v", r)
	}
	if v := x.fa.Table().Deliver(home, agent); v != nil || x.fa.Table().Len() != 1 {
		t.Errorf("of %d visitors the foreign agent carries packets for %+v", x.fa.Table().Len(), v)
	}
	if _, sends := x.fa.Deadline(); !sends {
		t.Error("the foreign agent does not keep the registration")
	}
	x.ha.HandleKeepalive(x.now, home, nattedData)
	if got := x.ha.Table().Route(home).Tunnels[0].Remote; got != nattedData {
		t.Fatalf("bound to %v, want %v", got, nattedData)
	}
	x.now = x.now.Add(time.Minute)
	if v := register(); !v.Tunnel().HalfBound {
		t.Errorf("renewed: tunnel %+v", v.Tunnel())
	}
	if got := x.ha.Table().Route(home).Tunnels; len(got) != 1 || got[0].Remote != nattedData {
		t.Errorf("renewed: %+v", got)
	}
	x.events = nil
	x.now = x.now.Add(time.Minute)
	x.mn.Deregister(x.now)
	x.settle()
	if x.ha.Table().Len() != 0 || x.fa.Table().Len() != 0 {
		t.Errorf("after deregistration the home agent has %d bindings and the foreign agent %d visitors", x.ha.Table().Len(), x.fa.Table().Len())
	}
}

// Without the U bit no UDP tunnel is asked for, which would end at the foreign agent, and the home agent refuses what it cannot
// tell from a registration behind a NAT unless it is told otherwise.
//
// Shows: MIP-7 (RFC 3519 §4.4, §4.11)
func TestTrioAsideWithoutU(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		x := behindNAT(t, false)
		var err error
		if x.ha, err = homeagent.New(homeagent.Config{
			Address: agent, HomeNetworks: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}, AllowRelayedCoLocated: allowed,
			MobileNodes: []homeagent.MobileNode{{HomeAddress: home, Associations: []*auth.SecurityAssociation{associate(t, "a key of the home agent", auth.Timestamps)}}},
		}); err != nil {
			t.Fatal(err)
		}
		x.mn.Register(x.now)
		x.settle()
		if !allowed {
			if e, ok := x.events[0].(mobilenode.Refused); !ok || e.Code != wire.CodeProhibited || e.Retrying || x.ha.Table().Len() != 0 {
				t.Errorf("events %+v", x.events)
			}
			continue
		}
		v := x.events[0].(mobilenode.Accepted).Reply
		if got := x.ha.Table().Route(home).Tunnels[0]; v.Tunnel() != (mobilenode.Tunnel{}) || got.Encapsulation != tunnel.IPIP || got.Remote.Addr() != local {
			t.Errorf("tunnel %+v, at the home agent %+v", v.Tunnel(), got)
		}
	}
}
