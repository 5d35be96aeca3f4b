package agent

import (
	"net/netip"
	"testing"

	"go.uber.org/zap"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/suite"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// gatewayHost, gatewayFlow and gatewayDevice are where a gateway's data path ends: they count packets.
type gatewayHost struct{ link.Host }

// Now implements link.Clock.
func (gatewayHost) Now() link.Instant { return link.Instant{Boot: 1} }

type gatewayFlow struct {
	link.Flow
	out *sink
}

// Path implements link.Flow.
func (f gatewayFlow) Path(link.Class) link.Path { return link.Path{Out: f.out, MTU: 1472} }

// halfGateway returns a gateway with one child SA and no sockets, the ends of
// its data path, and the client's sending half of the SA.
func halfGateway(tb testing.TB) (g *Gateway, flow, device *sink, out *esp.Outbound, inner netip.Addr) {
	tb.Helper()
	flow, device, inner = &sink{}, &sink{}, netip.MustParseAddr("10.0.9.1")
	g = &Gateway{host: gatewayHost{}, log: zap.NewNop(),
		outers: map[netip.Addr]*outer{{}: {natt: gatewayFlow{out: flow}, esp: gatewayFlow{out: flow}}},
		device: device, notices: make(notices), children: newChildren(),
		loop: &loop{inbox: make(chan func(link.Instant), inboxSize)}}
	half := func(spi uint32, toClient bool) esp.Parameters {
		p := esp.Parameters{SPI: spi, Encryption: suite.AESGCM128, Key: make([]byte, suite.AESGCM128.KeyLen()),
			Local: []esp.Selector{esp.PrefixSelector(simnet.LabEnterprise)}, Remote: []esp.Selector{esp.AddrSelector(inner)}}
		p.Key[0] = byte(spi)
		if !toClient {
			p.Local, p.Remote = p.Remote, p.Local
		}
		return p
	}
	g.install(link.Instant{}, gateway.Event{Session: 1, Address: inner}, ike.ChildInstalled{ID: 1, Inbound: half(1000, true), Outbound: half(2000, true),
		UDPEncapsulation: true, Remote: netip.MustParseAddrPort("192.0.2.77:4500")}, g.log)
	var err error
	if out, err = esp.NewOutbound(half(1000, false), nil); err != nil {
		tb.Fatal(err)
	}
	return g, flow, device, out, inner
}

func innerBatch(n int, src, dst netip.Addr) *packet.Batch {
	b := packet.GetBatch()
	for range n {
		p := packet.GetSmall()
		p.Extend(1360)
		packet.PushIPv4(p, packet.IPv4Fields{TTL: 64, Protocol: 254, Src: src, Dst: dst})
		b.Append(p)
	}
	return b
}

// Nothing is allocated for a packet on the way through the gateway, in either direction.
func TestGatewayDataPathDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's sync.Pool drops buffers at random, so allocations say nothing")
	}
	g, flow, device, out, inner := halfGateway(t)
	const packets = 32
	outbound := testing.AllocsPerRun(200, func() { g.forward(innerBatch(packets, simnet.LabCorrespondent, inner)) })
	inbound := testing.AllocsPerRun(200, func() {
		b := innerBatch(packets, inner, simnet.LabCorrespondent)
		out.Apply(b)
		g.receiveNATT(netip.Addr{}, b)
	})
	if outbound != 0 || inbound != 0 {
		t.Errorf("%v allocations for %d packets to a client, %v from one", outbound, packets, inbound)
	}
	if flow.n == 0 || flow.n != device.n {
		t.Errorf("%d packets left to the client, %d came from it; drops %v", flow.n, device.n, g.Drops().Snapshot())
	}
}

func BenchmarkGatewayToClient(b *testing.B) {
	g, _, _, _, inner := halfGateway(b)
	b.SetBytes(1380)
	b.ReportAllocs()
	for i := 0; i < b.N; i += 32 {
		g.forward(innerBatch(32, simnet.LabCorrespondent, inner))
	}
}

func BenchmarkGatewayFromClient(b *testing.B) {
	g, _, _, out, inner := halfGateway(b)
	b.SetBytes(1380)
	b.ReportAllocs()
	for i := 0; i < b.N; i += 32 {
		batch := innerBatch(32, inner, simnet.LabCorrespondent)
		b.StopTimer()
		out.Apply(batch)
		b.StartTimer()
		g.receiveNATT(netip.Addr{}, batch)
	}
}
