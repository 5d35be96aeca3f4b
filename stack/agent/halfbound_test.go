package agent

import (
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/discovery"
	"mipvpn/mipv4/foreignagent"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/tunnel"
	"mipvpn/stack"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// aside attaches with a co-located care-of address whose registrations go to a foreign agent and whose data go past it, both from
// the same port (RFC 3519 §4.4).
type aside struct {
	stack.Attachment // the way of the data
	home, agent      netip.Addr
	registrations    link.Flow
}

// Send implements stack.Attachment.
func (a *aside) Send(message []byte) error { return a.registrations.Send(netip.AddrPort{}, message) }

// Close implements stack.Attachment.
func (a *aside) Close() error {
	err := a.registrations.Close()
	if e := a.Attachment.Close(); err == nil {
		err = e
	}
	return err
}

// keepalive sends one into the tunnel.
func (a *aside) keepalive() error {
	return a.Attachment.Send(tunnel.AppendEchoRequest(nil, a.home, a.agent, 77, 1))
}

// portSpy notes the port of the flow that is opened through a link.
type portSpy struct {
	link.Link
	port uint16
}

// Open implements link.Link.
func (s *portSpy) Open(spec link.FlowSpec, recv link.Receiver) (link.Flow, error) {
	f, err := s.Link.Open(spec, recv)
	if err == nil && spec.Protocol == packet.ProtocolUDP {
		s.port = f.Local().Port()
	}
	return f, err
}

// asideOf makes the layer with the interface's own address as its care-of address, registered through the foreign agent that has
// advertised itself as it wants it.
func asideOf(t *testing.T, host link.Host, index int, careOf netip.Addr, heard stack.Advertisement, ad *discovery.Advertisement, cfg mobilenode.Config) (*node, *aside) {
	t.Helper()
	agent := discovery.Agent{Flags: ad.Flags, CareOfAddresses: ad.CareOfAddresses}
	if !agent.RegistrationRequired() {
		t.Fatalf("advertised %v", ad.Flags)
	}
	cfg.CareOfAddress, cfg.CoLocated, cfg.ForeignAgent, cfg.AgentUDPTunnel = careOf, true, heard.Source, agent.UDPTunnel()
	a := &aside{home: cfg.HomeAddress, agent: cfg.HomeAgent}
	n := newNode(t, host, cfg, func(n *node) (stack.Attachment, error) {
		under, err := host.Underlay(index, careOf)
		if err != nil {
			return nil, err
		}
		spy := &portSpy{Link: under}
		if a.Attachment, err = stack.AttachCoLocated(spy, cfg.HomeAddress, cfg.HomeAgent, &n.drops, func([]byte) {}, n.deliver); err != nil {
			return nil, err
		}
		spec := link.FlowSpec{Protocol: packet.ProtocolUDP, Port: spy.port, Remote: netip.AddrPortFrom(heard.Source, stack.RegistrationPort), TTL: 255}
		a.registrations, err = under.Open(spec, func(b *packet.Batch) {
			for _, p := range b.Bufs {
				n.replied(append([]byte(nil), p.Bytes()...))
			}
			b.Release()
		})
		return a, err
	})
	return n, a
}

// visitCafe starts the x-HA, and a foreign agent in the café, behind its NAT, and has the laptop register its own address through it.
func visitCafe(t *testing.T, l *simnet.Lab) (*HomeAgent, *ForeignAgent, *node, *aside) {
	t.Helper()
	ha := startHomeAgent(t, l.ExternalHA, external(t))
	host := l.NewHost("cafe-fa")
	own := netip.MustParseAddr("192.168.1.40")
	host.AddNIC(simnet.NICConfig{Name: "visit0", Address: netip.PrefixFrom(own, 24), Gateway: netip.MustParseAddr("192.168.1.1")}).Attach(l.Cafe)
	fa, err := StartForeignAgent(host, ForeignAgentConfig{Interface: "visit0", Config: foreignagent.Config{
		CareOfAddress: own, UDPTunnel: foreignagent.UDPTunnelNAT, BehindNAT: true, RegistrationRequired: true,
	}}, nopLog())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fa.Close() })
	l.Plug(l.Wlan0, l.Cafe)
	time.Sleep(100 * time.Millisecond)
	_, heard, ad := agentOn(t, l.Laptop, l.Wlan0.Index())
	n, a := asideOf(t, l.Laptop, l.Wlan0.Index(), l.Wlan0.Address().Addr(), heard, ad, mobilenode.Config{
		HomeAgent: simnet.LabExternalHA, HomeAddress: simnet.LabExternalHomeAddress, Association: association(t, 2001), Lifetime: 10 * time.Minute,
	})
	return ha, fa, n, a
}

// Shows: MIP-7, AGT-1, AGT-4 (RFC 3519 §4.4-§4.6, §4.11: a co-located care-of address registered through a foreign agent behind a
// NAT with the R bit and the U bit; the first keepalive binds the tunnel, and data go past the foreign agent, through renewals)
func TestCoLocatedThroughForeignAgent(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		ha, fa, n, a := visitCafe(t, l)
		reply := n.up(netip.MustParsePrefix("192.0.2.0/24"))
		if got := reply.Tunnel(); !got.UDP() || !got.HalfBound {
			t.Fatalf("tunnel %+v: %s", got, reply.TunnelReason())
		}
		bound := func() bool {
			r := ha.Table().Route(simnet.LabExternalHomeAddress)
			return r != nil && len(r.Tunnels) == 1 && !r.Tunnels[0].HalfBound()
		}
		if bound() {
			t.Fatal("the home agent knows the port before a keepalive has told it")
		}
		far := netip.MustParseAddrPort("192.0.2.10:7")
		echo(t, l.Gateway, far)
		if exchange(t, l.Laptop, simnet.LabExternalHomeAddress, far, 10) {
			t.Error("an answer came back through a tunnel that is not bound")
		}
		for range 2 { // the second time after a renewal
			if err := a.keepalive(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if !bound() {
				t.Fatalf("route %+v; drops %v", ha.Table().Route(simnet.LabExternalHomeAddress), ha.Drops().Snapshot())
			}
			for _, size := range []int{1, 1000, 1440, 4000} {
				if !exchange(t, l.Laptop, simnet.LabExternalHomeAddress, far, size) {
					t.Errorf("%d octets did not come back; drops at the home agent %v, at the laptop %v", size, ha.Drops().Snapshot(), n.drops.Snapshot())
				}
			}
			n.register()
			if e, ok := n.wait(10 * time.Second).(mobilenode.Accepted); !ok || !e.Reply.Tunnel().HalfBound {
				t.Fatalf("renewal: %+v", e)
			}
		}
		if fa.Table().Len() != 1 || fa.Table().Deliver(simnet.LabExternalHomeAddress, simnet.LabExternalHA) != nil {
			t.Errorf("the foreign agent has %d visitors, and carries for them", fa.Table().Len())
		}
		n.deregister()
		if e, ok := n.wait(10 * time.Second).(mobilenode.Deregistered); !ok {
			t.Fatalf("%+v", e)
		}
		if ha.Table().Len() != 0 || fa.Table().Len() != 0 {
			t.Errorf("after deregistration %d bindings and %d visitors", ha.Table().Len(), fa.Table().Len())
		}
	})
}

// Shows: MIP-7 (RFC 3519 §4.6: nobody at another address binds the tunnel)
func TestHalfBoundTunnelIsNotStolen(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		ha, _, n, a := visitCafe(t, l)
		n.up(netip.MustParsePrefix("192.0.2.0/24"))
		thief, err := l.Gateway.Underlay(0, simnet.LabGateway)
		if err != nil {
			t.Fatal(err)
		}
		f, err := thief.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: netip.AddrPortFrom(simnet.LabExternalHA, stack.RegistrationPort)}, (*packet.Batch).Release)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		if err := f.Send(netip.AddrPort{}, tunnel.AppendEchoRequest(nil, a.home, a.agent, 77, 1)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := ha.Table().Route(a.home).Tunnels[0]; !got.HalfBound() || ha.Drops().Of(packet.DropWrongTunnelPeer) != 1 {
			t.Errorf("tunnel %+v, drops %v", got, ha.Drops().Snapshot())
		}
	})
}
