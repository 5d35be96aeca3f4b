package agent

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mipvpn/mipv4/discovery"
	"mipvpn/mipv4/foreignagent"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/tunnel"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// protocols counts what passes on a wire by IP protocol.
type protocols struct {
	mu    sync.Mutex
	count map[uint8]int
}

func watch(t *testing.T, w *simnet.Wire) *protocols {
	p := &protocols{count: make(map[uint8]int)}
	t.Cleanup(w.Tap(func(f simnet.Frame) {
		ip := packet.IPv4(f.Packet)
		if !ip.Valid() {
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.count[ip.Protocol()]++
	}))
	return p
}

// take returns what has passed since the last call.
func (p *protocols) take() map[uint8]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.count
	p.count = make(map[uint8]int)
	return c
}

var forms = []struct {
	name     string
	asked    mobilenode.Encapsulation
	offered  tunnel.Offered
	want     tunnel.Encapsulation
	protocol uint8
}{
	{"minimal", mobilenode.EncapsulationMinimal, tunnel.Offered{Minimal: true}, tunnel.Minimal, packet.ProtocolMinimal},
	{"GRE", mobilenode.EncapsulationGRE, tunnel.Offered{GRE: true}, tunnel.GRE, packet.ProtocolGRE},
	{"GRE with key and checksum", mobilenode.EncapsulationGRE, tunnel.Offered{GRE: true, Options: tunnel.GREOptions{Keyed: true, Key: 77, Checksum: true}}, tunnel.GRE, packet.ProtocolGRE},
	{"minimal, not offered", mobilenode.EncapsulationMinimal, tunnel.Offered{GRE: true}, tunnel.IPIP, packet.ProtocolIPIP},
	{"GRE, not offered", mobilenode.EncapsulationGRE, tunnel.Offered{Minimal: true}, tunnel.IPIP, packet.ProtocolIPIP},
}

// carries sends datagrams of several lengths from the laptop's home address and back, and checks which protocols have tunnelled
// them on the wire: fragments go IP-in-IP where the tunnel is one of minimal encapsulation.
func carries(t *testing.T, l *simnet.Lab, on *protocols, want tunnel.Encapsulation, protocol uint8) {
	t.Helper()
	on.take()
	for _, size := range []int{1, 1000, 1440} {
		if !exchange(t, l.Laptop, simnet.LabHomeAddress, service, size) {
			t.Errorf("%d octets did not come back", size)
		}
	}
	got := on.take()
	if got[protocol] != 6 {
		t.Errorf("packets by protocol %v, want 6 of %d", got, protocol)
	}
	for _, other := range []uint8{packet.ProtocolIPIP, packet.ProtocolMinimal, packet.ProtocolGRE} {
		if other != protocol && got[other] != 0 {
			t.Errorf("packets by protocol %v, want none of %d", got, other)
		}
	}
	if !exchange(t, l.Laptop, simnet.LabHomeAddress, service, 4000) {
		t.Error("4000 octets did not come back")
	}
	if got = on.take(); want == tunnel.Minimal && (got[packet.ProtocolMinimal] != 0 || got[packet.ProtocolIPIP] < 6) {
		t.Errorf("fragments by protocol %v, want them all in protocol %d", slices.Collect(maps.Keys(got)), packet.ProtocolIPIP)
	}
}

// Shows: MIP-6, MIP-12, AGT-1 (minimal encapsulation and GRE through the home agent, both ways; fragments of the former IP-in-IP, RFC
// 2004 §3; where the home agent does not offer them, code 139 has the mobile node ask for IP-in-IP)
func TestFormsThroughHomeAgent(t *testing.T) {
	for _, c := range forms {
		t.Run(c.name, func(t *testing.T) {
			inside(t, func(t *testing.T, l *simnet.Lab) {
				cfg := internal(t)
				cfg.Encapsulations = c.offered
				a := startHomeAgent(t, l.InternalHA, cfg)
				plug(l, l.Office)
				mn := laptop(t, c.asked)
				mn.GRE = c.offered.Options
				n := coLocated(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), mn)
				n.register()
				if e, ok := n.wait(10 * time.Second).(mobilenode.Refused); ok != (c.want == tunnel.IPIP) || ok && (e.Code != 139 || !e.Retrying) {
					t.Fatalf("the first answer: %+v", e)
				}
				reply := n.up(enterprise)
				if reply.Tunnel().Encapsulation != c.want {
					t.Fatalf("tunnel %+v, want %v: %s", reply.Tunnel(), c.want, reply.TunnelReason())
				}
				echo(t, l.Correspondent, service)
				carries(t, l, watch(t, l.Core), c.want, c.protocol)
				if a.Drops().Of(packet.DropUnsupported) != 0 {
					t.Errorf("drops %v", a.Drops().Snapshot())
				}
			})
		})
	}
}

// Shows: MIP-6, AGT-4 (the same through a foreign agent: it advertises the M and G bits, asks the home agent for nothing that it has
// not got, and denies with code 72 what the mobile node should not have asked for)
func TestFormsThroughForeignAgent(t *testing.T) {
	for _, c := range forms {
		t.Run(c.name, func(t *testing.T) {
			inside(t, func(t *testing.T, l *simnet.Lab) {
				cfg := internal(t)
				cfg.Encapsulations = c.offered
				startHomeAgent(t, l.InternalHA, cfg)
				fa, err := StartForeignAgent(l.InternalFA, ForeignAgentConfig{Interface: "visit0",
					Config: foreignagent.Config{CareOfAddress: simnet.LabInternalFA, Encapsulations: c.offered}}, nopLog())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = fa.Close() })
				plug(l, l.OfficeFA)
				s, heard, ad := agentOn(t, l.Laptop, l.Eth0.Index())
				if (ad.Flags&discovery.FlagMinimal != 0) != c.offered.Minimal || (ad.Flags&discovery.FlagGRE != 0) != c.offered.GRE {
					t.Errorf("advertised flags %v, offered is %+v", ad.Flags, c.offered)
				}
				mn := laptop(t, c.asked)
				mn.AgentMinimal, mn.AgentGRE = true, true // as if all were advertised
				n := viaForeignAgent(t, l.Laptop, s, heard, ad, mn)
				n.register()
				if e, ok := n.wait(10 * time.Second).(mobilenode.Refused); ok != (c.want == tunnel.IPIP) || ok && (e.Code != 72 || !e.ByForeignAgent || !e.Retrying) {
					t.Fatalf("the first answer: %+v", e)
				}
				n.up(enterprise)
				echo(t, l.Correspondent, service)
				carries(t, l, watch(t, l.Core), c.want, c.protocol)
			})
		})
	}
}

// Shows: MIP-12 (RFC 2003 §3.1: DF is copied into the tunnel's header once it is known what the path carries, and as long as that
// counts; a packet without DF never gets it)
func TestHomeAgentCopiesDF(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		a := startHomeAgent(t, l.InternalHA, internal(t))
		plug(l, l.Office)
		careOf := l.Eth0.Address().Addr()
		n := coLocated(t, l.Laptop, l.Eth0.Index(), careOf, laptop(t, mobilenode.EncapsulationIPIP))
		n.up(enterprise)
		bears := make(chan bool, 10)
		t.Cleanup(l.Core.Tap(func(f simnet.Frame) {
			if ip := packet.IPv4(f.Packet); ip.Valid() && ip.Protocol() == packet.ProtocolIPIP && ip.Src() == simnet.LabInternalHA {
				bears <- ip.DontFragment()
			}
		}))
		send := func(when string, whole, want bool) {
			t.Helper()
			p := packet.From(make([]byte, 100))
			packet.PushIPv4(p, packet.IPv4Fields{TTL: 60, DontFragment: whole, Protocol: packet.ProtocolUDP, Src: simnet.LabCorrespondent, Dst: simnet.LabHomeAddress})
			a.forward(packet.One(p))
			if got := <-bears; got != want {
				t.Errorf("%s: DF of a packet with DF %t is %t in the tunnel", when, whole, got)
			}
		}
		send("nothing known", true, false)
		home := netip.AddrPortFrom(simnet.LabInternalHA, 0)
		a.receiveICMP(packet.One(packet.From(tunnel.AppendTooBig(nil, tunnel.IPIP, tunnel.GREOptions{}, home, netip.AddrPortFrom(careOf, 0), 1300))))
		time.Sleep(time.Second)
		send("1300 octets", true, true)
		send("1300 octets", false, false)
		time.Sleep(tunnel.PathMTUAge)
		n.up(enterprise)
		send("forgotten", true, false)
	})
}

// Shows: MIP-7, AGT-4 (a foreign agent's UDP tunnel to the home agent, RFC 3519 §4.5: everything both ways in UDP, and keepalives that
// are answered and that the visitor does not see)
func TestForeignAgentUDPTunnel(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		ha := internal(t)
		ha.KeepAlive = 20 * time.Second
		startHomeAgent(t, l.InternalHA, ha)
		fa, err := StartForeignAgent(l.InternalFA, ForeignAgentConfig{Interface: "visit0",
			Config: foreignagent.Config{CareOfAddress: simnet.LabInternalFA, UDPTunnel: foreignagent.UDPTunnelForced}}, nopLog())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = fa.Close() })
		plug(l, l.OfficeFA)
		s, heard, ad := agentOn(t, l.Laptop, l.Eth0.Index())
		n := viaForeignAgent(t, l.Laptop, s, heard, ad, laptop(t, mobilenode.EncapsulationAuto))
		n.up(enterprise)
		echo(t, l.Correspondent, service)
		on := watch(t, l.Core)
		for _, size := range []int{1, 1000, 1440, 4000} {
			if !exchange(t, l.Laptop, simnet.LabHomeAddress, service, size) {
				t.Errorf("%d octets did not come back; drops %v", size, fa.Drops().Snapshot())
			}
		}
		if got := on.take(); got[packet.ProtocolIPIP] != 0 {
			t.Errorf("packets by protocol %v", got)
		}
		var requests, replies, visited atomic.Int32
		t.Cleanup(l.Core.Tap(func(f simnet.Frame) {
			ip := packet.IPv4(f.Packet)
			if !ip.Valid() || ip.Protocol() != packet.ProtocolUDP || !tunnel.IsData(packet.UDP(ip.Payload()).Payload()) {
				return
			}
			typ, _, _, ok := tunnel.ParseEcho(packet.UDP(ip.Payload()).Payload()[tunnel.DataHeaderLen:])
			switch {
			case ok && typ == tunnel.ICMPEchoRequest && ip.Src() == simnet.LabInternalFA:
				requests.Add(1)
			case ok && typ == tunnel.ICMPEchoReply && ip.Dst() == simnet.LabInternalFA:
				replies.Add(1)
			}
		}))
		t.Cleanup(l.OfficeFA.Tap(func(f simnet.Frame) {
			if ip := packet.IPv4(f.Packet); ip.Valid() && ip.Protocol() == packet.ProtocolICMP && ip.Dst() == simnet.LabHomeAddress {
				visited.Add(1)
			}
		}))
		time.Sleep(65 * time.Second)
		if requests.Load() != 3 || replies.Load() != 3 || visited.Load() != 0 {
			t.Errorf("%d keepalives, %d answered, %d seen by the visitor; want 3, 3 and none", requests.Load(), replies.Load(), visited.Load())
		}
	})
}
