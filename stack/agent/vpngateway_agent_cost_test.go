package agent

import (
	"net/netip"
	"testing"

	"go.uber.org/zap"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/suite"
	"mipvpn/mipv4/foreignagent"
	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// halfAgent is halfGateway with a child SA through a foreign agent that has a visitor. home is the sink of its tunnels.
func halfAgent(tb testing.TB) (g *Gateway, flow, home *sink, out *esp.Outbound) {
	tb.Helper()
	g, flow, _, _, _ = halfGateway(tb)
	cfg := agentGateway(tb)
	a, err := newGatewayAgent(gatewayHost{}, &cfg, zap.NewNop(), nil)
	if err != nil {
		tb.Fatal(err)
	}
	home = &sink{}
	g.agent, a.drops, a.loop, a.seal, a.mtu = a, &g.drops, g.loop, g.sealAndSend, 1400
	a.out[tunnel.IPIP] = tunnelPath{path: link.Path{Out: home, MTU: 1480}, mtu: 1480}
	half := func(spi uint32, toClient bool) esp.Parameters {
		p := esp.Parameters{SPI: spi, Encryption: suite.AESGCM128, Key: make([]byte, suite.AESGCM128.KeyLen()),
			Local: []esp.Selector{esp.AnySelector()}, Remote: []esp.Selector{esp.AddrSelector(simnet.LabHomeAddress)}}
		p.Key[0] = byte(spi)
		if !toClient {
			p.Local, p.Remote = p.Remote, p.Local
		}
		return p
	}
	g.install(link.Instant{}, gateway.Event{Session: 2, Address: simnet.LabHomeAddress, HomeAddress: simnet.LabHomeAddress}, ike.ChildInstalled{ID: 1, Inbound: half(1001, true),
		Outbound: half(2001, true), UDPEncapsulation: true, Remote: netip.MustParseAddrPort("192.0.2.78:4500"), GatewayAgent: true}, g.log)
	if out, err = esp.NewOutbound(half(1001, false), nil); err != nil {
		tb.Fatal(err)
	}
	// The registration, for ever.
	now := gatewayHost{}.Now()
	r := &wire.RegistrationRequest{Flags: wire.FlagReverseTunnel, Lifetime: 600, HomeAddress: simnet.LabHomeAddress, HomeAgent: simnet.LabInternalHA,
		CareOfAddress: simnet.LabGatewayInner, Identification: 1}
	sa := association(tb, 1001)
	message := func(p []byte, err error) []byte {
		if err != nil {
			tb.Fatal(err)
		}
		return sa.AppendExtension(p, wire.ExtMobileHomeAuthentication)
	}
	if err := a.machine.HandleRequest(now, foreignagent.Request{Station: foreignagent.Station{Session: 2}, HomeAddress: simnet.LabHomeAddress,
		Source: netip.AddrPortFrom(simnet.LabHomeAddress, 5000), Destination: simnet.LabGatewayInner, TTL: 255, Payload: message(r.Append(nil))}); err != nil {
		tb.Fatal(err)
	}
	if err := a.machine.HandleReply(now, netip.AddrPortFrom(simnet.LabInternalHA, wire.Port), message(r.Reply(0, 600).Append(nil))); err != nil {
		tb.Fatal(err)
	}
	return g, flow, home, out
}

// fromHome returns a batch as it comes out of the flow from the home agent.
func fromHome(n int) *packet.Batch {
	b := innerBatch(n, simnet.LabCorrespondent, simnet.LabHomeAddress)
	for _, p := range b.Bufs {
		p.Peer = netip.AddrPortFrom(simnet.LabInternalHA, 0)
	}
	return b
}

// Shows: MEC-B. Nothing is allocated for a packet on the way through the gateway's foreign agent, in either direction, and packets
// of ordinary SAs in the same batch go their way.
func TestGatewayAgentDataPathDoesNotAllocate(t *testing.T) {
	g, flow, home, out := halfAgent(t)
	const packets = 32
	up := func() {
		b := innerBatch(packets, simnet.LabHomeAddress, simnet.LabCorrespondent)
		out.Apply(b)
		g.receiveNATT(netip.Addr{}, b)
	}
	up()
	g.agent.receiveTunnelled(fromHome(packets), tunnel.IPIP)
	if home.n != packets || flow.n != packets || g.device.(*sink).n != 0 {
		t.Fatalf("%d packets to the home agent, %d to the mobile node, %d to the device; drops %v", home.n, flow.n, g.device.(*sink).n, g.Drops().Snapshot())
	}
	_, _, _, ordinary, inner := halfGateway(t)
	both, more := innerBatch(3, simnet.LabHomeAddress, simnet.LabCorrespondent), innerBatch(2, inner, simnet.LabCorrespondent)
	_, _, _, again := halfAgent(t)
	again.Apply(both)
	ordinary.Apply(more)
	g2, _, home2, _ := halfAgent(t)
	mixed := packet.GetBatch()
	mixed.Bufs = append(mixed.Bufs, both.Bufs[0], more.Bufs[0], both.Bufs[1], both.Bufs[2], more.Bufs[1])
	both.Forget()
	more.Forget()
	g2.receiveNATT(netip.Addr{}, mixed)
	if home2.n != 3 || g2.device.(*sink).n != 2 {
		t.Errorf("of a mixed batch %d went to the home agent and %d to the device, want 3 and 2; drops %v", home2.n, g2.device.(*sink).n, g2.Drops().Snapshot())
	}
	// What the SA's selectors do not let out would not get further either, and the host has no way to the mobile node but by the agent.
	for _, p := range innerBatch(1, inner, simnet.LabCorrespondent).Bufs {
		if r := g2.agent.fromVisitor(0, &visiting{session: 2, home: simnet.LabHomeAddress}, p, new(homeExits)); r != packet.DropNotHomeAddress {
			t.Errorf("another source: %v", r)
		}
		p.Release()
	}
	before := g2.Drops().Of(packet.DropNoBinding)
	g2.forward(innerBatch(1, simnet.LabCorrespondent, simnet.LabHomeAddress))
	if g2.Drops().Of(packet.DropNoBinding) != before+1 {
		t.Errorf("a packet out of the device goes to the mobile node; drops %v", g2.Drops().Snapshot())
	}
	if raceEnabled {
		t.Skip("the race detector's sync.Pool drops buffers at random, so allocations say nothing")
	}
	if n := testing.AllocsPerRun(200, up); n != 0 {
		t.Errorf("%v allocations for %d packets from a mobile node", n, packets)
	}
	if n := testing.AllocsPerRun(200, func() { g.agent.receiveTunnelled(fromHome(packets), tunnel.IPIP) }); n != 0 {
		t.Errorf("%v allocations for %d packets to a mobile node", n, packets)
	}
}

func BenchmarkGatewayAgentToMobileNode(b *testing.B) {
	g, _, _, _ := halfAgent(b)
	b.SetBytes(1380)
	b.ReportAllocs()
	for i := 0; i < b.N; i += 32 {
		g.agent.receiveTunnelled(fromHome(32), tunnel.IPIP)
	}
}

func BenchmarkGatewayAgentFromMobileNode(b *testing.B) {
	g, _, _, out := halfAgent(b)
	b.SetBytes(1380)
	b.ReportAllocs()
	for i := 0; i < b.N; i += 32 {
		batch := innerBatch(32, simnet.LabHomeAddress, simnet.LabCorrespondent)
		b.StopTimer()
		out.Apply(batch)
		b.StartTimer()
		g.receiveNATT(netip.Addr{}, batch)
	}
}
