package agent

import (
	"bytes"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike"
	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/discovery"
	"mipvpn/mipv4/foreignagent"
	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// otherHome is the home address of laptop 1.
var otherHome = netip.MustParseAddr("10.0.8.101")

// agentGateway is gatewayConfig with a foreign agent, for laptop 0 and laptop 1.
func agentGateway(t testing.TB) GatewayConfig {
	c := gatewayConfig(t)
	c.Agent = &gateway.Agent{MobileNodes: []gateway.MobileNode{{Identity: c.Peers[0].Identity, HomeAddress: simnet.LabHomeAddress}, {Identity: c.Peers[1].Identity, HomeAddress: otherHome}}}
	c.ForeignAgent = &foreignagent.Config{CareOfAddress: simnet.LabGatewayInner, NAI: "agent@corp.example",
		PermittedHomeAgents: []netip.Prefix{netip.PrefixFrom(simnet.LabInternalHA, 32)}}
	return c
}

// twoNodes is the lab's i-HA with both laptops.
func twoNodes(t testing.TB) HomeAgentConfig {
	c := internal(t)
	c.MobileNodes = append(c.MobileNodes, homeagent.MobileNode{HomeAddress: otherHome, Associations: []*auth.SecurityAssociation{association(t, 1002)}})
	return c
}

// agentNode is a mobile node driven by hand: a VPN client whose child SA goes through the gateway's agent.
type agentNode struct {
	*vpnClient
	host    link.Host
	home    netip.Addr
	careOf  netip.Addr // the agent's
	spi     uint32
	replies chan *wire.RegistrationReply
}

func newAgentNode(t *testing.T, host link.Host, index int, own netip.Addr, number int, change ...func(*ike.InitiatorConfig)) *agentNode {
	t.Helper()
	n := &agentNode{host: host, careOf: simnet.LabGatewayInner, home: []netip.Addr{simnet.LabHomeAddress, otherHome, simnet.LabHomeAddress}[number], spi: uint32(1001 + number), replies: make(chan *wire.RegistrationReply, 100)}
	n.vpnClient = newVPNClient(t, host, index, own, number, func(c *ike.InitiatorConfig) {
		c.GatewayAgent, c.UseGatewayAgent, c.WantedAddress = true, true, n.home
		for _, f := range change {
			f(c)
		}
	})
	n.tap = func(ip packet.IPv4) {
		u := packet.UDP(ip.Payload())
		if ip.Protocol() != packet.ProtocolUDP || ip.FragmentOffset() != 0 || !u.Valid() || u.SrcPort() != wire.Port || ip.Src() != n.careOf {
			return
		}
		if r, err := wire.ParseRegistrationReply(u.Payload()); err == nil {
			n.replies <- r
		}
	}
	return n
}

// up connects; all that the host has for the company goes through this SA then. Somebody listens where replies go to, so that they are
// not answered.
func (n *agentNode) up() netip.Addr {
	n.t.Helper()
	if err := n.host.Apply(link.Settings{}); err != nil {
		n.t.Fatal(err)
	}
	inner := n.vpnClient.up()
	if h, ok := n.host.(*simnet.Host); ok {
		if c, err := h.ListenUDP(netip.AddrPortFrom(n.home, 5000)); err == nil { // or an earlier one listens
			n.t.Cleanup(func() { _ = c.Close() })
		}
	}
	return inner
}

// inject sends an inner packet through the SA.
func (n *agentNode) inject(src, dst netip.AddrPort, ttl uint8, payload []byte) {
	p := packet.From(payload)
	packet.PushUDP(p, src, dst)
	packet.PushIPv4(p, packet.IPv4Fields{TTL: ttl, Protocol: packet.ProtocolUDP, Src: src.Addr(), Dst: dst.Addr()})
	r := n.out.Load()
	_ = r.path.Over(r.out, 0, true).Send(packet.One(p))
}

// ask sends a registration request for 600 s, changed, and returns the reply, nil when there is none within two seconds.
func (n *agentNode) ask(change func(*wire.RegistrationRequest)) *wire.RegistrationReply {
	n.t.Helper()
	r := &wire.RegistrationRequest{Flags: wire.FlagReverseTunnel, Lifetime: 600, HomeAddress: n.home, HomeAgent: simnet.LabInternalHA,
		CareOfAddress: n.careOf, Identification: wire.IdentificationAt(n.host.Now().Wall)}
	if change != nil {
		change(r)
	}
	p, err := r.Append(nil)
	if err != nil {
		n.t.Fatal(err)
	}
	p = association(n.t, n.spi).AppendExtension(p, wire.ExtMobileHomeAuthentication)
	n.inject(netip.AddrPortFrom(n.home, 5000), netip.AddrPortFrom(n.careOf, wire.Port), 255, p)
	select {
	case r := <-n.replies:
		return r
	case <-time.After(2 * time.Second):
		return nil
	}
}

func (n *agentNode) register() {
	n.t.Helper()
	for range 5 { // a request may be lost while a kernel resolves link-layer addresses
		if r := n.ask(nil); r != nil {
			if !r.Code.Accepted() {
				n.t.Fatalf("reply %+v", r)
			}
			return
		}
	}
	n.t.Fatal("no reply")
}

// len returns the number of routes.
func (r *routeTable[K]) len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.m)
}

// hairpins counts the IP-in-IP packets between the agent and the home agent, each way, and datagrams for the service that the
// gateway has sent by itself.
type hairpins struct{ up, down, bare atomic.Int64 }

func (h *hairpins) watch(l *simnet.Lab) {
	l.Core.Tap(func(f simnet.Frame) {
		ip := packet.IPv4(f.Packet)
		switch {
		case !ip.Valid():
		case ip.Protocol() == packet.ProtocolIPIP && ip.Src() == simnet.LabGatewayInner && ip.Dst() == simnet.LabInternalHA:
			h.up.Add(1)
		case ip.Protocol() == packet.ProtocolIPIP && ip.Src() == simnet.LabInternalHA && ip.Dst() == simnet.LabGatewayInner:
			h.down.Add(1)
		case f.Source == l.GatewayInner.Hardware() && simnet.LabHomeNetwork.Contains(ip.Src()):
			h.bare.Add(1)
		}
	})
}

// Shows: MEC-B, MOD-vf (the advertisement in IKE, registration through the tunnel without the D bit, then data both ways from
// i-HoA through the i-HA: the gateway sends nothing of it by itself; only after a relayed successful reply)
func TestGatewayAgent(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		startHomeAgent(t, l.InternalHA, internal(t))
		g := startGateway(t, l.Gateway, agentGateway(t))
		var seen hairpins
		seen.watch(l)
		plug(l, l.Cafe)
		n := newAgentNode(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), 0)
		if inner := n.up(); inner != simnet.LabHomeAddress {
			t.Fatalf("inner address %v", inner)
		}
		correspondent := echo(t, l.Correspondent, service)
		if exchange(t, l.Laptop, n.home, service, 10) || g.Drops().Of(packet.DropNoBinding) == 0 || seen.up.Load() != 0 {
			t.Fatalf("data went before registration; drops %v", g.Drops().Snapshot())
		}
		n.register()
		if s := g.Figures(); g.Visitors() != 1 || len(s) != 1 || s[0].HomeAddress != n.home {
			t.Errorf("%d visitors, figures %+v", g.Visitors(), s)
		}
		for _, size := range []int{1, 100, 1352, 4000} {
			if !exchange(t, l.Laptop, n.home, service, size) {
				t.Fatalf("%d octets did not come back; drops at the gateway %v, at the laptop %v", size, g.Drops().Snapshot(), n.drops.Snapshot())
			}
			if from := <-correspondent; from.Addr() != n.home {
				t.Errorf("the correspondent saw %v", from)
			}
		}
		if _, err := l.Correspondent.Ping(n.home, 100, time.Second); err != nil {
			t.Errorf("from inside: %v", err)
		}
		if up, down := seen.up.Load(), seen.down.Load(); up < 5 || down < 5 || seen.bare.Load() != 0 {
			t.Errorf("%d packets tunnelled to the home agent, %d from it, %d sent without", up, down, seen.bare.Load())
		}
		// Deregistration ends it, and so does the end of the lifetime.
		if r := n.ask(func(r *wire.RegistrationRequest) { r.Lifetime = 0 }); r == nil || !r.Code.Accepted() {
			t.Fatalf("reply %+v", r)
		}
		if exchange(t, l.Laptop, n.home, service, 10) {
			t.Error("data goes after deregistration")
		}
		n.ask(func(r *wire.RegistrationRequest) { r.Lifetime = 5 })
		if !exchange(t, l.Laptop, n.home, service, 10) {
			t.Error("no data after another registration")
		}
		time.Sleep(5 * time.Second)
		if exchange(t, l.Laptop, n.home, service, 10) || g.Visitors() != 0 {
			t.Error("data goes after the lifetime")
		}
	})
}

// Shows: MEC-B (what is handed over is the RFC 5944 advertisement with its extensions, its sequence numbers counting)
func TestGatewayAgentAdvertises(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		cfg := agentGateway(t)
		cfg.ForeignAgent.Extensions, cfg.ForeignAgent.Prefix, cfg.ForeignAgent.MaxLifetime = []byte{200, 2, 1, 2}, 24, 10*time.Minute
		startGateway(t, l.Gateway, cfg)
		plug(l, l.Cafe)
		for sequence := range uint16(2) {
			n := newAgentNode(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), 0)
			n.loop.post(func(now link.Instant) { _ = n.machine.Start(now) })
			up := next[ike.Established](n.vpnClient)
			ad, err := discovery.ParseAdvertisement(up.Advertisement)
			if err != nil || ad.CareOfAddresses[0] != simnet.LabGatewayInner || ad.Routers[0].Address != simnet.LabGatewayInner || ad.NAI != "agent@corp.example" ||
				ad.RegistrationLifetime != 600 || ad.Networks()[0] != netip.MustParsePrefix("10.0.1.0/24") || ad.Sequence != sequence ||
				!ad.Flags.Has(discovery.FlagForeignAgent|discovery.FlagReverseTunnel) || !bytes.Contains(up.Advertisement, cfg.ForeignAgent.Extensions) {
				t.Fatalf("advertisement %+v, %v", ad, err)
			}
			n.command(func(now link.Instant) error { n.machine.Delete(now); return nil })
			time.Sleep(time.Second)
			for _, f := range n.flows {
				for _, f := range f {
					_ = f.Close()
				}
			}
		}
	})
}

// Shows: MEC-B (each refusal: another home address in the request, another source, another home agent, a co-located care-of address,
// a tunnel from elsewhere, packets for a mobile node without a binding or without an SA: dropped, and counted)
func TestGatewayAgentRefuses(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		startHomeAgent(t, l.InternalHA, twoNodes(t))
		g := startGateway(t, l.Gateway, agentGateway(t))
		plug(l, l.Cafe)
		n := newAgentNode(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), 0)
		n.up()
		for name, c := range map[string]struct {
			change func(*wire.RegistrationRequest)
			want   wire.Code
		}{
			"another's home address": {func(r *wire.RegistrationRequest) { r.HomeAddress = otherHome }, wire.CodeFAProhibited},
			"another home agent":     {func(r *wire.RegistrationRequest) { r.HomeAgent = simnet.LabExternalHA }, wire.CodeFAProhibited},
			"co-located": {func(r *wire.RegistrationRequest) {
				r.Flags |= wire.FlagDecapsulation
				r.CareOfAddress = simnet.LabHomeAddress
			}, wire.CodeFAInvalidCareOfAddress},
			"no reverse tunnel": {func(r *wire.RegistrationRequest) { r.Flags = 0 }, wire.CodeFAReverseTunnelMandatory},
			"too long":          {func(r *wire.RegistrationRequest) { r.Lifetime = 60000 }, wire.CodeRequestedLifetimeTooLong},
		} {
			time.Sleep(time.Second) // denials are limited to one a second
			if r := n.ask(c.change); r == nil || r.Code != c.want {
				t.Errorf("%s: reply %+v, want code %v", name, r, c.want)
			}
		}
		counted := func(what string, reason packet.DropReason, do func()) {
			t.Helper()
			before := g.Drops().Of(reason)
			do()
			time.Sleep(time.Second)
			if got := g.Drops().Of(reason); got != before+1 {
				t.Errorf("%s: %d packets dropped as %v, want 1; drops %v", what, got-before, reason, g.Drops().Snapshot())
			}
		}
		to, from := netip.AddrPortFrom(simnet.LabCorrespondent, 9), netip.AddrPortFrom(n.home, 5000)
		counted("data before registration", packet.DropNoBinding, func() { n.inject(from, to, 64, []byte("x")) })
		n.register()
		n.inject(netip.AddrPortFrom(otherHome, 5000), to, 64, []byte("x")) // the client's own SA does not let it out
		counted("other data for the agent", packet.DropPolicy, func() { n.inject(from, netip.AddrPortFrom(simnet.LabGatewayInner, 7), 64, []byte("x")) })
		counted("a reply for the agent", packet.DropUnsupported, func() { n.inject(from, netip.AddrPortFrom(simnet.LabGatewayInner, wire.Port), 64, []byte{3, 0}) })
		counted("at its end", packet.DropTTL, func() { n.inject(from, to, 1, []byte("x")) })

		tunnelled := func(host *simnet.Host, address, home netip.Addr) func() {
			return func() {
				under, err := host.Underlay(0, address)
				if err != nil {
					t.Fatal(err)
				}
				f, err := under.Open(link.FlowSpec{Protocol: packet.ProtocolIPIP}, (*packet.Batch).Release)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				p := packet.From([]byte("12345678"))
				packet.PushIPv4(p, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolUDP, Src: simnet.LabCorrespondent, Dst: home})
				if err := f.Send(netip.AddrPortFrom(simnet.LabGatewayInner, 0), p.Bytes()); err != nil {
					t.Fatal(err)
				}
			}
		}
		counted("a tunnel from elsewhere", packet.DropNoBinding, tunnelled(l.InternalFA, simnet.LabInternalFA, n.home))
		counted("for a mobile node without a binding", packet.DropNoBinding, tunnelled(l.InternalFA, simnet.LabInternalFA, otherHome))
		if _, err := l.Correspondent.Ping(n.home, 56, time.Second); err != nil {
			t.Fatal(err)
		}
		n.command(func(now link.Instant) error { n.machine.Delete(now); return nil })
		time.Sleep(time.Second)
		if g.agent.sends.len() != 0 || g.Visitors() != 1 {
			t.Errorf("%d routes, %d visitors, want 0 and 1", g.agent.sends.len(), g.Visitors())
		}
		counted("for a mobile node without an SA", packet.DropNoBinding, func() { _, _ = l.Correspondent.Ping(n.home, 56, time.Second) })
	})
}

// Shows: MEC-B (no short cut: what one mobile node sends to another one of the same gateway goes to the i-HA and back, and where the
// other one is inside meanwhile, its registration through the agent being stale, there; the SA is kept, and good again after
// another registration)
func TestGatewayAgentNoShortCut(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		startHomeAgent(t, l.InternalHA, twoNodes(t))
		g := startGateway(t, l.Gateway, agentGateway(t))
		var seen hairpins
		seen.watch(l)
		l.Plug(l.Wlan0, l.Cafe)
		time.Sleep(100 * time.Millisecond)
		a := newAgentNode(t, l.Laptop, l.Wlan0.Index(), l.Wlan0.Address().Addr(), 0)
		a.up()
		a.register()
		b := newAgentNode(t, l.ExternalFA, 0, simnet.LabExternalFA, 1)
		b.up()
		b.register()
		at := netip.AddrPortFrom(a.home, 7)
		echo(t, l.Laptop, at)
		if !exchange(t, l.ExternalFA, b.home, at, 100) || seen.up.Load() != 2 || seen.down.Load() != 2 {
			t.Fatalf("%d tunnelled to the home agent, %d from it, want 2 each; drops %v", seen.up.Load(), seen.down.Load(), g.Drops().Snapshot())
		}
		// Laptop 0 comes inside and registers there.
		plug(l, l.Office)
		in := coLocated(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), laptop(t, mobilenode.EncapsulationIPIP))
		var direct atomic.Int64
		if err := l.Laptop.Apply(link.Settings{}); err != nil {
			t.Fatal(err)
		}
		in.up(enterprise)
		l.Office.Tap(func(f simnet.Frame) {
			if ip := packet.IPv4(f.Packet); ip.Valid() && ip.Protocol() == packet.ProtocolIPIP && ip.Src() == simnet.LabInternalHA {
				direct.Add(1)
			}
		})
		down := seen.down.Load()
		if !exchange(t, l.ExternalFA, b.home, at, 100) || direct.Load() != 1 || seen.down.Load() != down+1 {
			t.Errorf("%d packets inside, %d more from the home agent to the gateway, want 1 and 1", direct.Load(), seen.down.Load()-down)
		}
		if g.Visitors() != 2 || len(g.Sessions()) != 2 {
			t.Errorf("%d visitors, sessions %+v", g.Visitors(), g.Sessions())
		}
		// It leaves again: the same SA.
		a.register()
		if err := l.Laptop.Apply(link.Settings{}); err != nil {
			t.Fatal(err)
		}
		if err := l.Laptop.Apply(link.Settings{Device: a.device.Name(), Address: a.home, Routes: []netip.Prefix{enterprise}}); err != nil {
			t.Fatal(err)
		}
		if !exchange(t, l.ExternalFA, b.home, at, 100) || direct.Load() != 1 {
			t.Errorf("outside again: %d packets inside; drops %v", direct.Load(), g.Drops().Snapshot())
		}
		// Without its SA nothing goes to it, and not through that of another either.
		a.command(func(now link.Instant) error { a.machine.Delete(now); return nil })
		time.Sleep(time.Second)
		before := g.Drops().Of(packet.DropNoBinding)
		if exchange(t, l.ExternalFA, b.home, at, 100) || g.Drops().Of(packet.DropNoBinding) != before+1 {
			t.Errorf("without an SA: drops %v", g.Drops().Snapshot())
		}
	})
}

// Shows: MEC-B (rekeying keeps it all; after reauthentication only what was registered through the new IKE SA is served)
func TestGatewayAgentRekeyAndReauthentication(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		startHomeAgent(t, l.InternalHA, internal(t))
		cfg := agentGateway(t)
		cfg.IKE.Lifetimes = ike.Lifetimes{Child: 20 * time.Second, IKE: 45 * time.Second, Grace: 30 * time.Second}
		g := startGateway(t, l.Gateway, cfg)
		l.Plug(l.Wlan0, l.Cafe)
		plug(l, l.Internet)
		l.Eth0.SetAddress(netip.MustParsePrefix("192.0.2.77/24"), netip.MustParseAddr("192.0.2.1"))
		time.Sleep(100 * time.Millisecond)
		old := newAgentNode(t, l.Laptop, l.Wlan0.Index(), l.Wlan0.Address().Addr(), 0)
		old.up()
		old.register()
		echo(t, l.Correspondent, service)
		for range 60 {
			if !exchange(t, l.Laptop, old.home, service, 100) {
				t.Fatalf("drops at the gateway %v, at the laptop %v", g.Drops().Snapshot(), old.drops.Snapshot())
			}
			time.Sleep(2 * time.Second)
		}
		fresh := newAgentNode(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), 0)
		fresh.up()
		if exchange(t, l.Laptop, fresh.home, service, 100) {
			t.Error("the new SA carries data before registration through it")
		}
		if v := g.agent.table.Deliver(old.home, simnet.LabInternalHA); v == nil || g.agent.sends.len() != 2 {
			t.Errorf("visitor %+v, %d sessions", v, g.agent.sends.len())
		}
		fresh.register()
		old.command(func(now link.Instant) error { old.machine.Delete(now); return nil })
		time.Sleep(15 * time.Second)
		if !exchange(t, l.Laptop, fresh.home, service, 100) || g.agent.sends.len() != 1 {
			t.Errorf("%d sessions; drops %v", g.agent.sends.len(), g.Drops().Snapshot())
		}
	})
}

// Shows: MEC-B (the inner packet is judged against the SA's MTU: its sender hears of one that is too large)
func TestGatewayAgentTooBig(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		startHomeAgent(t, l.InternalHA, internal(t))
		g := startGateway(t, l.Gateway, agentGateway(t))
		plug(l, l.Cafe)
		n := newAgentNode(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), 0)
		n.up()
		n.register()
		told := make(chan int, 10)
		l.Core.Tap(func(f simnet.Frame) {
			ip := packet.IPv4(f.Packet)
			if m := ip.Payload(); ip.Valid() && ip.Src() == simnet.LabGatewayInner && ip.Dst() == simnet.LabCorrespondent && ip.Protocol() == packet.ProtocolICMP && m[0] == 3 && m[1] == 4 {
				told <- int(m[6])<<8 | int(m[7])
			}
		})
		p := packet.From(make([]byte, g.agent.mtu-packet.IPv4Len+1))
		packet.PushIPv4(p, packet.IPv4Fields{TTL: 64, DontFragment: true, Protocol: packet.ProtocolUDP, Src: simnet.LabCorrespondent, Dst: n.home})
		p.Peer = netip.AddrPortFrom(simnet.LabInternalHA, 0)
		g.agent.receiveTunnelled(packet.One(p), tunnel.IPIP)
		time.Sleep(time.Second)
		if len(told) != 1 || <-told != g.agent.mtu || g.Drops().Of(packet.DropTooBig) != 1 {
			t.Errorf("told %d times; drops %v", len(told), g.Drops().Snapshot())
		}
	})
}
