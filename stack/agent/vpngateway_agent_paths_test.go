package agent

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/zap"

	"mipvpn/ipsec/ike"
	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

func TestGatewayAgentConfig(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		for name, change := range map[string]func(*GatewayConfig){
			"no mobile nodes":        func(c *GatewayConfig) { c.Agent = nil },
			"no home agents":         func(c *GatewayConfig) { c.ForeignAgent.PermittedHomeAgents = nil },
			"outer address":          func(c *GatewayConfig) { c.ForeignAgent.CareOfAddress = c.Address },
			"care-of out of reach":   func(c *GatewayConfig) { c.Agent.Networks = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")} },
			"broken extensions":      func(c *GatewayConfig) { c.ForeignAgent.Extensions = []byte{1} },
			"no address":             func(c *GatewayConfig) { c.ForeignAgent.CareOfAddress = netip.Addr{} },
			"another host's":         func(c *GatewayConfig) { c.ForeignAgent.CareOfAddress = simnet.LabInternalHA },
			"home address in a pool": func(c *GatewayConfig) { c.Agent.MobileNodes[0].HomeAddress = netip.MustParseAddr("10.0.9.9") },
		} {
			cfg := agentGateway(t)
			change(&cfg)
			if g, err := StartGateway(l.Gateway, cfg, zap.NewNop()); err == nil {
				t.Errorf("%s: started", name)
				_ = g.Close()
			}
		}
		// Who may use the agent can be changed while it runs, the agent itself not.
		g := startGateway(t, l.Gateway, agentGateway(t))
		cfg := agentGateway(t)
		cfg.Agent.MobileNodes = cfg.Agent.MobileNodes[:1]
		if _, err := g.Reload(cfg); err != nil {
			t.Error(err)
		}
		for name, change := range map[string]func(*GatewayConfig){
			"gone":        func(c *GatewayConfig) { c.Agent, c.ForeignAgent = nil, nil },
			"another NAI": func(c *GatewayConfig) { c.ForeignAgent.NAI = "other@corp.example" },
			"another home agent": func(c *GatewayConfig) {
				c.ForeignAgent.PermittedHomeAgents = []netip.Prefix{netip.PrefixFrom(simnet.LabExternalHA, 32)}
			},
		} {
			cfg := agentGateway(t)
			change(&cfg)
			if _, err := g.Reload(cfg); !errors.Is(err, ErrRestart) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// Shows: MEC-B, MEC-C (the client moves with MOBIKE under an SA through the agent: nothing is registered again)
func TestGatewayAgentFollowsMOBIKE(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		startHomeAgent(t, l.InternalHA, internal(t))
		cfg := agentGateway(t)
		withMOBIKE(&cfg)
		g := startGateway(t, l.Gateway, cfg)
		l.Plug(l.Wlan0, l.Cafe)
		plug(l, l.Internet)
		l.Eth0.SetAddress(netip.MustParsePrefix("192.0.2.77/24"), netip.MustParseAddr("192.0.2.1"))
		time.Sleep(100 * time.Millisecond)
		wlan, eth := l.Wlan0.Address().Addr(), l.Eth0.Address().Addr()
		n := newAgentNode(t, l.Laptop, l.Wlan0.Index(), wlan, 0, func(c *ike.InitiatorConfig) { c.MOBIKE = &ike.MOBIKE{Addresses: []netip.Addr{wlan}} })
		n.up()
		n.register()
		echo(t, l.Correspondent, service)
		n.moveTo(l.Eth0.Index(), eth)
		time.Sleep(2 * time.Second)
		l.Unplug(l.Wlan0)
		if !exchange(t, l.Laptop, n.home, service, 1000) {
			t.Errorf("no data; drops at the gateway %v, at the laptop %v", g.Drops().Snapshot(), n.drops.Snapshot())
		}
		if len(n.replies) != 0 {
			t.Error("it was registered again")
		}
	})
}

// Shows: MEC-B (multicast and broadcast: from the mobile node to the i-HA like all else; to it in a second tunnel to the home address,
// which the agent passes on, RFC 5944 §4.3)
func TestGatewayAgentMulticast(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		startHomeAgent(t, l.InternalHA, internal(t))
		g := startGateway(t, l.Gateway, agentGateway(t))
		var seen hairpins
		seen.watch(l)
		plug(l, l.Cafe)
		n := newAgentNode(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), 0)
		n.up()
		n.register()
		from := netip.AddrPortFrom(n.home, 5000)
		for _, group := range []string{"224.0.0.251:5353", "255.255.255.255:68"} {
			before := seen.up.Load()
			n.inject(from, netip.MustParseAddrPort(group), 64, []byte("to all"))
			time.Sleep(time.Second)
			if seen.up.Load() != before+1 {
				t.Errorf("%s: %d packets to the home agent, want 1; drops %v", group, seen.up.Load()-before, g.Drops().Snapshot())
			}
		}
		group := netip.MustParseAddr("239.1.2.3")
		got := make(chan packet.IPv4, 10)
		n.tap = func(ip packet.IPv4) {
			if inner := packet.IPv4(ip.Payload()); ip.Protocol() == packet.ProtocolIPIP && ip.Dst() == n.home && ip.TTL() == 63 && inner.Valid() {
				got <- append(packet.IPv4(nil), inner...)
			}
		}
		p := packet.From([]byte("for the group"))
		packet.PushIPv4(p, packet.IPv4Fields{TTL: 5, Protocol: packet.ProtocolUDP, Src: simnet.LabCorrespondent, Dst: group})
		packet.PushIPv4(p, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolIPIP, Src: simnet.LabInternalHA, Dst: n.home})
		p.Peer = netip.AddrPortFrom(simnet.LabInternalHA, 0)
		g.agent.receiveTunnelled(packet.One(p), tunnel.IPIP)
		time.Sleep(time.Second)
		if len(got) != 1 {
			t.Fatalf("%d packets came; drops %v", len(got), g.Drops().Snapshot())
		}
		if ip := <-got; ip.Dst() != group || ip.TTL() != 5 || string(ip.Payload()) != "for the group" {
			t.Errorf("came %v", ip)
		}
	})
}

// Shows: MEC-B, AGT-7 (the home agent runs beside the gateway in one process: what they have for each other is handed over in memory)
func TestGatewayAgentBesideHomeAgent(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		beside := netip.MustParsePrefix("10.0.1.31/24")
		l.Gateway.AddNIC(simnet.NICConfig{Name: "eth2", Address: beside}).Attach(l.Core)
		l.Firewall.AddRoute(simnet.Route{Prefix: netip.PrefixFrom(simnet.LabHomeAddress, 32), Via: beside.Addr()})
		x := NewExchange()
		ha := internal(t)
		ha.Address = beside.Addr()
		h := startHomeAgent(t, x.Host(l.Gateway), ha)
		cfg := agentGateway(t)
		cfg.ForeignAgent.PermittedHomeAgents = []netip.Prefix{netip.PrefixFrom(beside.Addr(), 32)}
		g := startGateway(t, x.Host(l.Gateway), cfg)
		tunnelled := 0
		l.Core.Tap(func(f simnet.Frame) {
			if ip := packet.IPv4(f.Packet); ip.Valid() && ip.Protocol() == packet.ProtocolIPIP {
				tunnelled++
			}
		})
		plug(l, l.Cafe)
		n := newAgentNode(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), 0)
		n.up()
		if r := n.ask(func(r *wire.RegistrationRequest) { r.HomeAgent = beside.Addr() }); r == nil || !r.Code.Accepted() {
			t.Fatalf("reply %+v", r)
		}
		echo(t, l.Correspondent, service)
		for _, size := range []int{1, 1000, 4000} {
			if !exchange(t, l.Laptop, n.home, service, size) {
				t.Errorf("%d octets did not come back; drops at the gateway %v, at the home agent %v", size, g.Drops().Snapshot(), h.Drops().Snapshot())
			}
		}
		if tunnelled != 0 {
			t.Errorf("%d tunnel packets on the wire", tunnelled)
		}
	})
}
