package agent

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/stack/simnet"
	"mipvpn/stack/tcpflow"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

func identity(t testing.TB, s string) ike.Identity {
	t.Helper()
	id, err := message.NewIdentity(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func gatewayConfig(t testing.TB) GatewayConfig {
	c := GatewayConfig{Address: simnet.LabGateway, Config: gateway.Config{
		IKE:  ike.Config{LocalID: identity(t, "gateway.corp.example")},
		Pool: simnet.LabInnerPool, Networks: []netip.Prefix{simnet.LabEnterprise},
		DNS: []netip.Addr{netip.MustParseAddr("10.0.1.1")},
	}}
	for i := range 3 {
		c.Peers = append(c.Peers, gateway.Peer{Identity: identity(t, fmt.Sprintf("laptop%d@corp.example", i)), PSK: []byte(fmt.Sprintf("key %d", i))})
	}
	return c
}

func startGateway(t *testing.T, host link.Host, cfg GatewayConfig) *Gateway {
	t.Helper()
	g, err := StartGateway(host, cfg, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// vpnClient is a plain VPN client: flows of an interface, and a TUN device with the inner address. It runs on any host.
type vpnClient struct {
	t              *testing.T
	host           link.Host
	machine        *ike.Machine
	ike, natt, raw link.Flow
	loop           *loop
	device         link.Device
	drops          packet.Drops
	events         chan ike.Event

	inbound  esp.Table
	children map[ike.ChildID]ike.ChildInstalled // of the loop
	outs     map[ike.ChildID]*esp.Outbound
	flows    map[netip.Addr][3]link.Flow // ike, natt and raw of each address
	using    ike.ChildID
	out      atomic.Pointer[clientRoute]
	tcp      atomic.Pointer[tcpflow.Flow]
	gateway  netip.Addr
	tap      func(packet.IPv4) // of what arrives, when set
	holding  atomic.Bool       // what comes of IKE on port 4500 goes to held, unread
	held     chan ike.Datagram
}

func newVPNClient(t *testing.T, host link.Host, index int, own netip.Addr, number int, change func(*ike.InitiatorConfig)) *vpnClient {
	t.Helper()
	c := &vpnClient{t: t, host: host, events: make(chan ike.Event, 1000), held: make(chan ike.Datagram, 100), children: make(map[ike.ChildID]ike.ChildInstalled), outs: make(map[ike.ChildID]*esp.Outbound), flows: make(map[netip.Addr][3]link.Flow)}
	cfg := ike.InitiatorConfig{
		Config: ike.Config{LocalID: identity(t, fmt.Sprintf("laptop%d@corp.example", number))},
		Local:  netip.AddrPortFrom(own, esp.PortIKE), Remote: netip.AddrPortFrom(simnet.LabGateway, esp.PortIKE),
		RemoteID: identity(t, "gateway.corp.example"), PSK: []byte(fmt.Sprintf("key %d", number)), RequestAddress: true,
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if c.machine, err = ike.NewInitiator(cfg, rand.Reader); err != nil {
		t.Fatal(err)
	}
	if c.device, err = host.OpenDevice("", 1400); err != nil {
		t.Fatal(err)
	}
	c.gateway = cfg.Remote.Addr()
	c.loop = newLoop(host, c.machine, c.drain)
	c.openFlows(index, own)
	t.Cleanup(func() {
		c.loop.close()
		_ = c.device.Close()
	})
	return c
}

// openFlows opens the flows of an interface's address, and sends through them from now on.
func (c *vpnClient) openFlows(index int, own netip.Addr) {
	c.t.Helper()
	under, err := c.host.Underlay(index, own)
	if err != nil {
		c.t.Fatal(err)
	}
	open := func(spec link.FlowSpec, recv link.Receiver) link.Flow {
		f, err := under.Open(spec, recv)
		if err != nil {
			c.t.Fatal(err)
		}
		c.t.Cleanup(func() { _ = f.Close() })
		return f
	}
	ikeFlow := open(link.FlowSpec{Protocol: packet.ProtocolUDP, Port: esp.PortIKE, Remote: netip.AddrPortFrom(c.gateway, esp.PortIKE)},
		func(b *packet.Batch) { c.message(netip.AddrPortFrom(own, esp.PortIKE), b) })
	natt := open(link.FlowSpec{Protocol: packet.ProtocolUDP, Port: esp.PortNATT, Remote: netip.AddrPortFrom(c.gateway, esp.PortNATT)},
		func(b *packet.Batch) { c.message(netip.AddrPortFrom(own, esp.PortNATT), b) })
	raw := open(link.FlowSpec{Protocol: packet.ProtocolESP, Remote: netip.AddrPortFrom(c.gateway, 0)}, c.opened)
	c.flows[own] = [3]link.Flow{ikeFlow, natt, raw}
	c.sendFrom(own)
}

// sendFrom sends from the address from now on; what arrives at others is still taken.
func (c *vpnClient) sendFrom(own netip.Addr) {
	c.command(func(link.Instant) error {
		c.ike, c.natt, c.raw = c.flows[own][0], c.flows[own][1], c.flows[own][2]
		return nil
	})
}

// moveTo moves the client to another interface and leaves the address that it had.
func (c *vpnClient) moveTo(index int, own netip.Addr) {
	c.t.Helper()
	if _, open := c.flows[own]; open {
		c.sendFrom(own)
	} else {
		c.openFlows(index, own)
	}
	c.command(func(now link.Instant) error { return c.machine.SetAddresses(now, []netip.Addr{own}) })
}

func (c *vpnClient) message(local netip.AddrPort, b *packet.Batch) {
	b.Keep(&c.drops, func(p *packet.Buf) packet.DropReason {
		payload := p.Bytes()
		if local.Port() == esp.PortNATT {
			if esp.Classify(payload) == esp.KindESP {
				return packet.NotDropped
			}
			payload = payload[min(esp.MarkerLen, len(payload)):]
		}
		d := ike.Datagram{Local: local, Remote: p.Peer, Payload: bytes.Clone(payload)}
		if c.holding.Load() && local.Port() == esp.PortNATT {
			c.held <- d
			return packet.Delivered
		}
		c.loop.post(func(now link.Instant) { _ = c.machine.HandleDatagram(now, d) })
		return packet.Delivered
	})
	c.opened(b)
}

func (c *vpnClient) opened(b *packet.Batch) {
	c.inbound.Open(b, &c.drops)
	for _, p := range b.Bufs {
		spi := p.SA
		c.loop.post(func(now link.Instant) { c.machine.HandleTraffic(now, spi) })
		if c.tap != nil {
			c.tap(p.Bytes())
		}
	}
	_ = c.device.Write(b)
}

func (c *vpnClient) drain() {
	for e, ok := c.machine.PollEvent(); ok; e, ok = c.machine.PollEvent() {
		switch v := e.(type) {
		case ike.ChildInstalled:
			in, err := esp.NewInbound(v.Inbound)
			if err != nil {
				c.t.Error(err)
				return
			}
			c.inbound.Add(in)
			c.children[v.ID] = v
			if !v.Standby {
				c.use(v)
			}
		case ike.ChildActivated:
			c.use(c.children[v.ID])
		case ike.ChildRemoved:
			c.inbound.Remove(v.Inbound)
		case ike.EndpointChanged:
			for id, child := range c.children {
				if v.Update.Concerns(id) {
					child.UDPEncapsulation, child.TCP = v.Update.UDPEncapsulation(), v.Update.TCP()
					c.children[id] = child
				}
			}
			c.use(c.children[c.using])
		}
		c.events <- e
	}
	for t, ok := c.machine.PollTransmit(); ok; t, ok = c.machine.PollTransmit() {
		switch {
		case t.TCP:
			_ = c.tcp.Load().Send(t.Remote, append(make([]byte, esp.MarkerLen), t.Payload...))
		case t.Local.Port() == esp.PortIKE:
			_ = c.ike.Send(netip.AddrPort{}, t.Payload)
		case t.Keepalive:
			_ = c.natt.Send(netip.AddrPort{}, t.Payload)
		default:
			_ = c.natt.Send(netip.AddrPort{}, append(make([]byte, esp.MarkerLen), t.Payload...))
		}
	}
}

// use sends through the child SA from now on, as its endpoints are.
func (c *vpnClient) use(v ike.ChildInstalled) {
	out := c.outs[v.ID]
	if out == nil {
		var err error
		if out, err = esp.NewOutbound(v.Outbound, &c.drops); err != nil {
			c.t.Error(err)
			return
		}
		c.outs[v.ID] = out
	}
	c.using = v.ID
	r := &clientRoute{out: out, path: c.raw.Path(link.Protected)}
	if v.UDPEncapsulation {
		r.path = c.natt.Path(link.Protected)
	}
	if v.TCP {
		r.path = c.tcp.Load().Path(link.Protected)
	}
	c.out.Store(r)
}

// next returns the next event of type T within a minute of virtual time.
func next[T ike.Event](c *vpnClient) T {
	c.t.Helper()
	timeout := time.After(time.Minute)
	for {
		select {
		case e := <-c.events:
			if want, ok := e.(T); ok {
				return want
			}
			if end, ok := e.(ike.Closed); ok {
				c.t.Fatalf("the machine closed: %v", end.Err)
			}
		case <-timeout:
			c.t.Fatalf("no %T", *new(T))
		}
	}
}

// up connects and carries what the host routes to the company. It returns the inner address.
func (c *vpnClient) up() netip.Addr {
	c.t.Helper()
	c.loop.post(func(now link.Instant) {
		if err := c.machine.Start(now); err != nil {
			c.t.Error(err)
		}
	})
	inner := next[ike.Established](c).Configuration.Addresses[0]
	next[ike.ChildInstalled](c)
	if err := c.host.Apply(link.Settings{Device: c.device.Name(), Address: inner, Routes: []netip.Prefix{simnet.LabEnterprise}}); err != nil {
		c.t.Fatal(err)
	}
	go func() {
		for {
			b := packet.GetBatch()
			if c.device.Read(b) != nil {
				b.Release()
				return
			}
			r := c.out.Load()
			_ = r.path.Over(r.out, 0, true).Send(b)
		}
	}()
	return inner
}

// command runs f on the client's loop.
func (c *vpnClient) command(f func(link.Instant) error) {
	c.t.Helper()
	result := make(chan error, 1)
	c.loop.post(func(now link.Instant) { result <- f(now) })
	if err := <-result; err != nil {
		c.t.Fatal(err)
	}
}

// onWire counts the packets of a protocol on a wire, and those in which an address of the company's networks shows.
type onWire struct {
	mu          sync.Mutex
	esp, natt   int
	unprotected int
}

func (o *onWire) see(f simnet.Frame) {
	o.mu.Lock()
	defer o.mu.Unlock()
	ip := packet.IPv4(f.Packet)
	if !ip.Valid() {
		return
	}
	switch {
	case simnet.LabEnterprise.Contains(ip.Src()) || simnet.LabEnterprise.Contains(ip.Dst()):
		o.unprotected++
	case ip.Protocol() == packet.ProtocolESP:
		o.esp++
	case ip.Protocol() == packet.ProtocolUDP && ip.FragmentOffset() == 0:
		u := packet.UDP(ip.Payload())
		if u.Valid() && (u.SrcPort() == esp.PortNATT || u.DstPort() == esp.PortNATT) && esp.Classify(u.Payload()) == esp.KindESP {
			o.natt++
		}
	}
}

func (o *onWire) counts() (espPackets, nattPackets, unprotected int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.esp, o.natt, o.unprotected
}

// Shows: IKE-6, IKE-8, IKE-9. A client connects from the Internet (ESP as protocol 50), with encapsulation forced, and
// from behind a NAT; traffic goes both ways, and nothing of it in the clear outside.
func TestGatewayCarriesTraffic(t *testing.T) {
	for _, c := range []struct {
		name   string
		wire   func(l *simnet.Lab) *simnet.Wire
		force  bool
		native bool
	}{
		{"native ESP", func(l *simnet.Lab) *simnet.Wire { return l.Internet }, false, true},
		{"forced encapsulation", func(l *simnet.Lab) *simnet.Wire { return l.Internet }, true, false},
		{"behind a NAT", func(l *simnet.Lab) *simnet.Wire { return l.Cafe }, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			inside(t, func(t *testing.T, l *simnet.Lab) {
				g := startGateway(t, l.Gateway, gatewayConfig(t))
				var seenOutside onWire
				l.Internet.Tap(seenOutside.see)
				if c.wire(l) == l.Internet {
					l.Eth0.SetAddress(netip.MustParsePrefix("192.0.2.77/24"), netip.MustParseAddr("192.0.2.1"))
				}
				plug(l, c.wire(l))
				client := newVPNClient(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), 0, func(cfg *ike.InitiatorConfig) { cfg.ForceUDPEncapsulation = c.force })
				inner := client.up()
				if !simnet.LabInnerPool.Contains(inner) {
					t.Errorf("inner address %v", inner)
				}
				seen := echo(t, l.Correspondent, service)
				for _, size := range []int{1, 100, 1372, 4000} {
					if !exchange(t, l.Laptop, inner, service, size) {
						t.Fatalf("%d octets did not come back; drops at the gateway %v, at the laptop %v", size, g.Drops().Snapshot(), client.drops.Snapshot())
					}
					if from := <-seen; from.Addr() != inner {
						t.Errorf("the correspondent saw %v", from)
					}
				}
				if _, err := l.Correspondent.Ping(inner, 100, time.Second); err != nil {
					t.Errorf("from inside: %v", err)
				}
				native, encapsulated, unprotected := seenOutside.counts()
				if (native > 0) != c.native || (encapsulated > 0) == c.native || unprotected != 0 {
					t.Errorf("on the Internet: %d ESP, %d ESP in UDP, %d in the clear", native, encapsulated, unprotected)
				}
				if s := g.Sessions(); len(s) != 1 || s[0].Address != inner {
					t.Errorf("sessions %+v", s)
				}
			})
		})
	}
}

// Shows: IKE-5, IKE-10. Rekeying from either end under traffic loses nothing; a client that leaves is forgotten.
func TestGatewayRekeysUnderTraffic(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		cfg := gatewayConfig(t)
		cfg.IKE.Lifetimes = ike.Lifetimes{Child: 20 * time.Second, IKE: 45 * time.Second, Grace: 30 * time.Second}
		g := startGateway(t, l.Gateway, cfg)
		plug(l, l.Cafe)
		client := newVPNClient(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), 1, func(cfg *ike.InitiatorConfig) {
			cfg.Lifetimes = ike.Lifetimes{Child: 30 * time.Second, IKE: time.Minute, Grace: 30 * time.Second}
		})
		inner := client.up()
		seen := echo(t, l.Correspondent, service)
		conn, err := l.Laptop.ListenUDP(netip.AddrPortFrom(inner, 0))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		const count = 1500 // ten a second
		buf := make([]byte, 2000)
		for i := range count {
			sent := fmt.Sprintf("datagram %d", i)
			if _, err := conn.WriteToAddrPort([]byte(sent), service); err != nil {
				t.Fatal(err)
			}
			if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
			n, _, err := conn.ReadFromAddrPort(buf)
			if err != nil || string(buf[:n]) != sent {
				t.Fatalf("%s: %q, %v; drops at the gateway %v, at the laptop %v", sent, buf[:n], err, g.Drops().Snapshot(), client.drops.Snapshot())
			}
			<-seen
			time.Sleep(100 * time.Millisecond)
		}
		var children, rekeyed int
		for len(client.events) > 0 {
			switch (<-client.events).(type) {
			case ike.ChildInstalled:
				children++
			case ike.IKERekeyed:
				rekeyed++
			}
		}
		if children < 6 || rekeyed < 2 {
			t.Errorf("in %v only %d child SAs and %d IKE SAs were made anew", count*100*time.Millisecond, children, rekeyed)
		}
		client.command(func(now link.Instant) error { client.machine.Delete(now); return nil })
		time.Sleep(time.Minute)
		if s := g.Sessions(); len(s) != 0 {
			t.Errorf("sessions %+v", s)
		}
		if n := g.inbound.Len(); n != 0 || g.routes.of(inner) != nil || len(g.noted.m) != 0 {
			t.Errorf("%d inbound SAs, route %v, %d traffic notes are left", n, g.routes.of(inner), len(g.noted.m))
		}
	})
}

// Shows: IKE-8. What an authenticated client sends with another inner source does not get in, nor what it sends to
// addresses outside of the networks.
func TestGatewayChecksInnerAddresses(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		g := startGateway(t, l.Gateway, gatewayConfig(t))
		plug(l, l.Cafe)
		client := newVPNClient(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), 0, nil)
		inner := client.up()
		var child ike.ChildInstalled
		client.command(func(link.Instant) error {
			for _, c := range client.children {
				child = c
			}
			return nil
		})
		// A client that does not keep to its selectors, in place of the honest half, which has sent nothing yet.
		loose := child.Outbound
		loose.Local, loose.Remote = []esp.Selector{esp.AnySelector()}, []esp.Selector{esp.AnySelector()}
		out, err := esp.NewOutbound(loose, nil)
		if err != nil {
			t.Fatal(err)
		}
		seen := echo(t, l.Correspondent, service)
		for _, c := range []struct{ src, dst netip.Addr }{
			{netip.MustParseAddr("10.0.9.200"), simnet.LabCorrespondent}, {simnet.LabHomeAddress, simnet.LabCorrespondent},
			{simnet.LabInternalHA, simnet.LabCorrespondent}, {inner, simnet.LabExternalHA},
		} {
			before := g.Drops().Of(packet.DropSelector)
			p := packet.From([]byte("hello"))
			packet.PushUDP(p, netip.AddrPortFrom(c.src, 5), netip.AddrPortFrom(c.dst, service.Port()))
			packet.PushIPv4(p, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolUDP, Src: c.src, Dst: c.dst})
			if err := client.natt.Path(link.Protected).Over(out, 0, true).Send(packet.One(p)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if len(seen) != 0 || g.Drops().Of(packet.DropSelector) != before+1 {
				t.Errorf("%v to %v: drops %v; %d arrived", c.src, c.dst, g.Drops().Snapshot(), len(seen))
			}
		}
	})
}

// Two clients behind one NAT are told apart by SPIs alone, and reach each other through the gateway when the networks
// allow it.
func TestGatewayTwoClientsBehindOneNAT(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		startGateway(t, l.Gateway, gatewayConfig(t))
		plug(l, l.Cafe)
		other := l.NewHost("other laptop")
		nic := other.AddNIC(simnet.NICConfig{Name: "eth0", Automatic: true})
		nic.Attach(l.Cafe)
		time.Sleep(100 * time.Millisecond)
		first := newVPNClient(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), 0, nil)
		second := newVPNClient(t, other, nic.Index(), nic.Address().Addr(), 1, nil)
		a, b := first.up(), second.up()
		if a == b {
			t.Fatalf("both have the inner address %v", a)
		}
		echo(t, l.Correspondent, service)
		if !exchange(t, l.Laptop, a, service, 100) || !exchange(t, other, b, service, 100) {
			t.Error("one of them does not get through")
		}
		if _, err := l.Laptop.Ping(b, 100, time.Second); err != nil {
			t.Errorf("from one client to the other: %v", err)
		}
	})
}

// The gateway says DELETE when it leaves, and gives the host back as it was.
func TestGatewayCloses(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		g, err := StartGateway(l.Gateway, gatewayConfig(t), zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		plug(l, l.Cafe)
		client := newVPNClient(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), 2, nil)
		client.up()
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
		if err := g.Close(); err != nil {
			t.Errorf("closing again: %v", err)
		}
		time.Sleep(time.Second)
		var end error
		client.command(func(link.Instant) error { end = client.machine.Err(); return nil })
		if !errors.Is(end, ike.ErrDeletedByPeer) {
			t.Errorf("the client's machine: %v", end)
		}
		// The ports are free again.
		startGateway(t, l.Gateway, gatewayConfig(t))
	})
}

// A wrong key and a stranger are told in the log, with the peer's address and a bound on how often.
func TestGatewayReportsRefusals(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		log, logs := observed()
		g, err := StartGateway(l.Gateway, gatewayConfig(t), log)
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		plug(l, l.Cafe)
		client := newVPNClient(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), 0, func(cfg *ike.InitiatorConfig) { cfg.PSK = []byte("another key") })
		client.loop.post(func(now link.Instant) { _ = client.machine.Start(now) })
		time.Sleep(2 * time.Minute)
		entries := logs.FilterMessage("IKE message rejected").All()
		if len(entries) == 0 || !strings.Contains(fmt.Sprint(entries[0].ContextMap()["remote"]), simnet.LabCafeNAT.String()) {
			t.Errorf("log entries %+v", entries)
		}
		for _, e := range logs.All() {
			if text := fmt.Sprint(e.ContextMap()); strings.Contains(text, "key 0") || strings.Contains(text, "another key") {
				t.Errorf("a key is in the log: %s %s", e.Message, text)
			}
		}
		if s := g.Sessions(); len(s) != 0 {
			t.Errorf("sessions %+v", s)
		}
	})
}

func TestGatewayRefusesBadConfiguration(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		cfg := gatewayConfig(t)
		cfg.Networks = nil
		if _, err := StartGateway(l.Gateway, cfg, zap.NewNop()); !errors.Is(err, gateway.ErrConfig) {
			t.Errorf("no networks: %v", err)
		}
		cfg = gatewayConfig(t)
		cfg.Address = netip.MustParseAddr("203.0.113.1")
		if _, err := StartGateway(l.Gateway, cfg, zap.NewNop()); err == nil {
			t.Error("an address that is not the host's is taken")
		}
	})
}
