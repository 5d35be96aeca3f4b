package agent

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/suite"
	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/tunnel"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// kept is the end of a path that keeps the octets of what is sent, superpackets in segments.
type kept struct {
	packets [][]byte
	bufs    int // before superpackets were cut
}

func (k *kept) Send(b *packet.Batch) error {
	k.bufs += b.Len()
	b.Cut()
	for _, p := range b.Bufs {
		k.packets = append(k.packets, bytes.Clone(p.Bytes()))
	}
	b.Release()
	return nil
}

// keepOut has the home agent's tunnels end in the result.
func keepOut(a *HomeAgent) *kept {
	k := new(kept)
	for i := range a.out {
		a.out[i].path.Out, a.out[i].path.Steps = k, nil
	}
	return k
}

// segmentsOf returns a batch of the superpacket's segments as ordinary packets.
func segmentsOf(p *packet.Buf) *packet.Batch {
	b := packet.One(p)
	b.Cut()
	return b
}

// A superpacket leaves a home agent whole, as the same packets as its segments would one by one; in segments, or their
// fragments, where the tunnel is too narrow.
//
// Shows: DESIGN §2.3, MIP-12.
func TestHomeAgentSuperpackets(t *testing.T) {
	for _, e := range []mobilenode.Encapsulation{mobilenode.EncapsulationIPIP, mobilenode.EncapsulationUDP} {
		homeAgentOnSink(t, e, func(a *HomeAgent, _ *sink) {
			for _, c := range []struct {
				mtu, bufs int
			}{{1500, 1}, {1000, 8}} {
				for i := range a.out {
					a.out[i].mtu = c.mtu
				}
				build := func() *packet.Buf {
					return superpacket(t, 4*1300-200, 1300, simnet.LabCorrespondent, simnet.LabHomeAddress)
				}
				got := keepOut(a)
				a.forward(packet.One(build()))
				want := keepOut(a)
				a.forward(segmentsOf(build()))
				if got.bufs != c.bufs || !slices.EqualFunc(got.packets, want.packets, bytes.Equal) {
					t.Errorf("%v, MTU %d: %d buffers with %d packets, want %d with %d; drops %v", e, c.mtu, got.bufs, len(got.packets),
						c.bufs, len(want.packets), a.drops.Snapshot())
				}
			}
		})
	}
}

// A superpacket whose segments are too long and must not be fragmented is dropped, and its sender told once.
//
// Shows: MIP-12.
func TestHomeAgentSuperpacketTooBig(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		a := startHomeAgent(t, l.InternalHA, internal(t))
		plug(l, l.Office)
		n := coLocated(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), laptop(t, mobilenode.EncapsulationIPIP))
		n.up(enterprise)
		a.out[tunnel.IPIP].mtu = 1000
		var told []packet.IPv4
		stop := l.Core.Tap(func(f simnet.Frame) {
			if ip := packet.IPv4(f.Packet); ip.Valid() && ip.Protocol() == packet.ProtocolICMP && ip.Dst() == simnet.LabCorrespondent {
				told = append(told, bytes.Clone(ip))
			}
		})
		p := superpacket(t, 5*1300, 1300, simnet.LabCorrespondent, simnet.LabHomeAddress)
		p.Bytes()[6] = 0x40 // DF, before the checksum is looked at by anybody
		a.forward(packet.One(p))
		time.Sleep(time.Second)
		stop()
		if a.drops.Of(packet.DropTooBig) != 5 || len(told) != 1 {
			t.Fatalf("drops %v, %d ICMP messages, want 5 and 1", a.drops.Snapshot(), len(told))
		}
		about := packet.IPv4(told[0].Payload()[8:])
		if m := told[0].Payload(); m[0] != tunnel.ICMPUnreachable || m[1] != tunnel.CodeFragmentNeeded || int(m[6])<<8|int(m[7]) != 1000 ||
			about.TotalLen() != 20+20+1300 {
			t.Errorf("ICMP message %x", m)
		}
	})
}

// Shows: MIP-9, DESIGN §2.3 (simultaneous bindings: each care-of address gets a superpacket of its own).
func TestSimultaneousBindingsCopySuperpackets(t *testing.T) {
	homeAgentOnSink(t, mobilenode.EncapsulationIPIP, func(a *HomeAgent, _ *sink) {
		out := keepOut(a)
		first := a.table.Route(simnet.LabHomeAddress).Tunnels[0]
		both := &homeagent.Route{Home: simnet.LabHomeAddress, Tunnels: []*homeagent.Tunnel{first, first}}
		p := superpacket(t, 4*1300, 1300, simnet.LabCorrespondent, simnet.LabHomeAddress)
		segments := cut(p)
		at := binding{table: a.table, home: simnet.LabHomeAddress, route: both}
		batches := exits{packet.GetBatch(), packet.GetBatch()}
		if r := a.route(0, p, &at, &batches); r != packet.NotDropped {
			t.Fatal(r)
		}
		for e, b := range batches[:exitUDP+1] {
			a.send(exit(e), b)
		}
		if out.bufs != 2 || !slices.EqualFunc(out.packets, append(segments, segments...), bytes.Equal) {
			t.Errorf("%d buffers with %d packets, want 2 with the same 4 each", out.bufs, len(out.packets))
		}
	})
}

// A superpacket leaves the gateway as ESP packets that hold its segments, also one that a home agent of the same process has
// put into its tunnel.
//
// Shows: DESIGN §2.3.
func TestGatewaySuperpackets(t *testing.T) {
	g, _, _, _, inner := halfGateway(t)
	out := new(kept)
	g.outers[netip.Addr{}].natt = keptPath{out: out}
	g.choose(inner)
	client, err := esp.NewInbound(esp.Parameters{SPI: 2000, Encryption: suite.AESGCM128, Key: outboundKey(),
		Local: []esp.Selector{esp.AddrSelector(inner)}, Remote: []esp.Selector{esp.PrefixSelector(simnet.LabEnterprise)}})
	if err != nil {
		t.Fatal(err)
	}
	var table esp.Table
	table.Add(client)
	for _, tunnelled := range []bool{false, true} {
		p := superpacket(t, 4*1300, 1300, simnet.LabCorrespondent, inner)
		if tunnelled {
			packet.PushIPv4(p, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolIPIP, Src: simnet.LabInternalHA, Dst: inner})
		}
		want := cut(p)
		*out = kept{}
		g.forward(packet.One(p))
		b := packet.GetBatch()
		for _, o := range out.packets {
			b.Append(packet.From(o))
		}
		var drops packet.Drops
		table.Open(b, &drops)
		var got [][]byte
		for _, p := range b.Bufs {
			got = append(got, bytes.Clone(p.Bytes()))
		}
		b.Release()
		if !slices.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("tunnelled %t: %d packets, want the 4 segments; drops %v, %v", tunnelled, len(got), drops.Snapshot(), g.Drops().Snapshot())
		}
	}
}

// outboundKey is the key of halfGateway's SA to the client.
func outboundKey() []byte {
	k := make([]byte, suite.AESGCM128.KeyLen())
	k[0] = byte(2000 & 0xff)
	return k
}

type keptPath struct {
	link.Flow
	out *kept
}

func (f keptPath) Path(link.Class) link.Path { return link.Path{Out: f.out, MTU: 1472} }
