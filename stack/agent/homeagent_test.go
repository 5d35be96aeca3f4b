package agent

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/tunnel"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

var (
	enterprise = simnet.LabEnterprise
	service    = netip.AddrPortFrom(simnet.LabCorrespondent, 7)
)

// inside runs f with the lab, the laptop plugged into the wire.
func inside(t *testing.T, f func(t *testing.T, l *simnet.Lab)) {
	synctest.Test(t, func(t *testing.T) {
		l := simnet.NewLab(1)
		t.Cleanup(func() { _ = l.Close() })
		f(t, l)
	})
}

func plug(l *simnet.Lab, w *simnet.Wire) {
	l.Plug(l.Eth0, w)
	time.Sleep(100 * time.Millisecond)
}

func laptop(t *testing.T, e mobilenode.Encapsulation) mobilenode.Config {
	return mobilenode.Config{
		HomeAgent: simnet.LabInternalHA, HomeAddress: simnet.LabHomeAddress, Association: association(t, 1001),
		Encapsulation: e, Lifetime: 10 * time.Minute,
	}
}

// Shows: AGT-1, AGT-2, MIP-6, MIP-8, MIP-12 (traffic both ways through i-HA and tunnels; sizes that need fragments).
func TestHomeAgentCarriesTraffic(t *testing.T) {
	for _, e := range []mobilenode.Encapsulation{mobilenode.EncapsulationIPIP, mobilenode.EncapsulationUDP} {
		t.Run(e.String(), func(t *testing.T) {
			inside(t, func(t *testing.T, l *simnet.Lab) {
				a := startHomeAgent(t, l.InternalHA, internal(t))
				plug(l, l.Office)
				n := coLocated(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), laptop(t, e))
				reply := n.up(enterprise)
				if !reply.TrustedNetwork() || reply.Tunnel().UDP() != (e == mobilenode.EncapsulationUDP) {
					t.Errorf("TNC %t, tunnel %+v", reply.TrustedNetwork(), reply.Tunnel())
				}
				seen := echo(t, l.Correspondent, service)
				for _, size := range []int{1, 1000, 1440, 1472, 4000} {
					if !exchange(t, l.Laptop, simnet.LabHomeAddress, service, size) {
						t.Errorf("%d octets did not come back; drops at the agent %v, at the laptop %v", size, a.Drops().Snapshot(), n.drops.Snapshot())
						continue
					}
					if from := <-seen; from.Addr() != simnet.LabHomeAddress {
						t.Errorf("the correspondent saw %v", from)
					}
				}
				if _, err := l.Correspondent.Ping(simnet.LabHomeAddress, 100, time.Second); err != nil {
					t.Error(err)
				}
				n.deregister()
				if e, ok := n.wait(5 * time.Second).(mobilenode.Deregistered); !ok {
					t.Fatalf("not deregistered: %+v", e)
				}
				if a.Table().Len() != 0 {
					t.Error("a binding is left")
				}
				if _, err := l.Correspondent.Ping(simnet.LabHomeAddress, 100, time.Second); err == nil {
					t.Error("the home address is reached without a binding")
				}
				if a.Drops().Of(packet.DropNoBinding) == 0 {
					t.Error("the drop was not counted")
				}
			})
		})
	}
}

// Shows: AGT-2 (silence toward networks that are not trusted, and a log entry that names the source).
func TestHomeAgentUntrusted(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		cfg := internal(t)
		cfg.TrustedNetworks = []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24")}
		log, logs := observed()
		a, err := StartHomeAgent(l.InternalHA, cfg, log)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		plug(l, l.Office)
		n := coLocated(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), laptop(t, mobilenode.EncapsulationAuto))
		n.register()
		if e := n.wait(5 * time.Second); e != nil {
			t.Errorf("event %+v, want silence", e)
		}
		entries := logs.FilterMessageSnippet("untrusted network").All()
		if len(entries) != 1 || !strings.Contains(entries[0].ContextMap()["source"].(string), l.Eth0.Address().Addr().String()) {
			t.Errorf("log entries %+v, want one that names the source", entries)
		}
	})
}

// Shows: AGT-1, MIP-8 (RFC 3024 §4.3.2: only what outer and inner source and the form of one binding allow).
func TestHomeAgentIngress(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		a := startHomeAgent(t, l.InternalHA, internal(t))
		plug(l, l.Office)
		n := coLocated(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), laptop(t, mobilenode.EncapsulationIPIP))
		n.up(enterprise)
		seen := echo(t, l.Correspondent, service)
		stranger := func(src netip.Addr) *packet.Buf {
			p := packet.From([]byte("hello"))
			packet.PushUDP(p, netip.AddrPortFrom(src, 5), service)
			packet.PushIPv4(p, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolUDP, Src: src, Dst: service.Addr()})
			return p
		}
		for _, c := range []struct {
			name  string
			e     tunnel.Encapsulation
			peer  netip.AddrPort
			inner netip.Addr
			want  packet.DropReason
		}{
			{"other outer source", tunnel.IPIP, netip.MustParseAddrPort("10.0.2.77:0"), simnet.LabHomeAddress, packet.DropWrongTunnelPeer},
			{"other inner source", tunnel.IPIP, netip.AddrPortFrom(l.Eth0.Address().Addr(), 0), netip.MustParseAddr("10.0.8.7"), packet.DropNoBinding},
			{"signalling in the tunnel", tunnel.IPIP, netip.AddrPortFrom(l.Eth0.Address().Addr(), 0), simnet.LabHomeAddress, packet.DropPolicy},
			{"other encapsulation", tunnel.UDP, netip.AddrPortFrom(l.Eth0.Address().Addr(), 0), simnet.LabHomeAddress, packet.DropWrongTunnelPeer},
		} {
			before := a.Drops().Of(c.want)
			p := stranger(c.inner)
			if c.want == packet.DropPolicy {
				p.Release()
				p = packet.From([]byte{1})
				packet.PushUDP(p, netip.AddrPortFrom(c.inner, 5), netip.AddrPortFrom(simnet.LabInternalHA, 434))
				packet.PushIPv4(p, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolUDP, Src: c.inner, Dst: simnet.LabInternalHA})
			}
			if r := (tunnel.Encapsulator{Encapsulation: c.e}).Encapsulate(p); r != packet.NotDropped {
				t.Fatal(r)
			}
			p.Peer = c.peer
			a.receiveData(packet.One(p), c.e)
			time.Sleep(time.Second)
			if len(seen) != 0 || a.Drops().Of(c.want) != before+1 {
				t.Errorf("%s: drops %v, want one more for %v; %d packets arrived", c.name, a.Drops().Snapshot(), c.want, len(seen))
			}
		}
	})
}

// Shows: AGT-3 (an x-HA for ESP and IKE to the gateway alone), MIP-7 (behind a NAT).
func TestExternalHomeAgentPolicy(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		cfg := external(t)
		cfg.PermittedGateways = []netip.Addr{simnet.LabGateway}
		a := startHomeAgent(t, l.ExternalHA, cfg)
		l.Plug(l.Wlan0, l.Cafe)
		time.Sleep(100 * time.Millisecond)
		n := coLocated(t, l.Laptop, l.Wlan0.Index(), l.Wlan0.Address().Addr(), mobilenode.Config{
			HomeAgent: simnet.LabExternalHA, HomeAddress: simnet.LabExternalHomeAddress, Association: association(t, 2001),
		})
		reply := n.up(netip.MustParsePrefix("192.0.2.0/24"))
		if !reply.Tunnel().UDP() || reply.TrustedNetwork() {
			t.Errorf("behind a NAT: tunnel %+v, TNC %t", reply.Tunnel(), reply.TrustedNetwork())
		}
		if got := a.Table().Route(simnet.LabExternalHomeAddress).Tunnels[0].Remote.Addr(); got != simnet.LabCafeNAT {
			t.Errorf("tunnel to %v, want the NAT's address", got)
		}
		for _, c := range []struct {
			at   *simnet.Host
			to   netip.AddrPort
			want bool
		}{
			{l.Gateway, netip.AddrPortFrom(simnet.LabGateway, 500), true},
			{l.Gateway, netip.AddrPortFrom(simnet.LabGateway, 4500), true},
			{l.Gateway, netip.AddrPortFrom(simnet.LabGateway, 53), false},
			{l.ExternalFA, netip.AddrPortFrom(simnet.LabExternalFA, 4500), false},
		} {
			echo(t, c.at, c.to)
			if got := exchange(t, l.Laptop, simnet.LabExternalHomeAddress, c.to, 100); got != c.want {
				t.Errorf("exchange with %v: %t, want %t", c.to, got, c.want)
			}
		}
		if a.Drops().Of(packet.DropPolicy) < 2 {
			t.Errorf("drops %v", a.Drops().Snapshot())
		}
	})
}

// Shows: MIP-7 (the home agent answers keepalives, into the tunnel they came from).
func TestHomeAgentAnswersKeepalives(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		startHomeAgent(t, l.ExternalHA, external(t))
		l.Plug(l.Wlan0, l.Cafe)
		time.Sleep(100 * time.Millisecond)
		n := coLocated(t, l.Laptop, l.Wlan0.Index(), l.Wlan0.Address().Addr(), mobilenode.Config{
			HomeAgent: simnet.LabExternalHA, HomeAddress: simnet.LabExternalHomeAddress, Association: association(t, 2001),
		})
		n.up(netip.MustParsePrefix("192.0.2.0/24"))
		answers := make(chan packet.IPv4, 1)
		n.attached.(interface {
			HandleAnswers(uint16, func(packet.IPv4))
		}).HandleAnswers(99, func(ip packet.IPv4) { answers <- ip })
		if err := n.attached.Send(tunnel.AppendEchoRequest(nil, simnet.LabExternalHomeAddress, simnet.LabExternalHA, 99, 1)); err != nil {
			t.Fatal(err)
		}
		select {
		case <-answers:
		case <-time.After(5 * time.Second):
			t.Error("no answer")
		}
	})
}

// Shows: MIP-12 (fragmentation needed toward the source when the tunnel's MTU is exceeded, from the agent's address).
func TestHomeAgentFragmentationNeeded(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		a := startHomeAgent(t, l.InternalHA, internal(t))
		plug(l, l.Office)
		n := coLocated(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), laptop(t, mobilenode.EncapsulationUDP))
		n.up(enterprise)
		errors := make(chan packet.IPv4, 10)
		stop := l.Core.Tap(func(f simnet.Frame) {
			ip := packet.IPv4(f.Packet)
			if ip.Valid() && ip.Protocol() == packet.ProtocolICMP && ip.Src() == simnet.LabInternalHA && ip.Dst() == simnet.LabCorrespondent {
				select {
				case errors <- ip:
				default:
				}
			}
		})
		defer stop()
		p := packet.From(make([]byte, 1480))
		packet.PushIPv4(p, packet.IPv4Fields{
			DontFragment: true, TTL: 60, Protocol: packet.ProtocolUDP, Src: simnet.LabCorrespondent, Dst: simnet.LabHomeAddress,
		})
		a.forward(packet.One(p))
		select {
		case ip := <-errors:
			if m := ip.Payload(); m[0] != tunnel.ICMPUnreachable || m[1] != tunnel.CodeFragmentNeeded || int(m[6])<<8|int(m[7]) != 1468 {
				t.Errorf("ICMP message %x", m[:8])
			}
		case <-time.After(time.Second):
			t.Error("no ICMP error")
		}
		if a.Drops().Of(packet.DropTooBig) != 1 {
			t.Errorf("drops %v", a.Drops().Snapshot())
		}
	})
}

func TestHomeAgentStartFails(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		cfg := internal(t)
		if _, err := StartHomeAgent(l.Correspondent, cfg, nopLog()); err == nil {
			t.Error("started on a host that does not have its address")
		}
		a := startHomeAgent(t, l.InternalHA, cfg)
		if _, err := StartHomeAgent(l.InternalHA, cfg, nopLog()); err == nil {
			t.Error("started twice on one host")
		}
		if a.Err() != nil {
			t.Error(a.Err())
		}
	})
}
