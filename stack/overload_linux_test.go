package stack_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/tunnel"
	"mipvpn/stack"
	"mipvpn/stack/underlay"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// The laptop and the far end, which is x-HA and gateway in one.
var (
	laptopCoA  = netip.MustParsePrefix("192.0.2.77/24")
	farAddress = netip.MustParsePrefix("192.0.2.20/24")
	laptopXHoA = netip.MustParseAddr("198.51.100.100")
	gatewayAt  = netip.MustParseAddr("192.0.2.10") // behind the x-HA
	laptopTIA  = netip.MustParseAddr("10.0.9.1")
	sender     = netip.MustParseAddrPort("10.0.1.20:7")
)

// patience is how long the test waits for what must come. Nothing is measured with it.
const patience = 30 * time.Second

func await[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	lost := time.NewTimer(patience)
	defer lost.Stop()
	select {
	case v := <-c:
		return v
	case <-lost.C:
		t.Fatalf("%s does not come", what)
		panic("unreachable")
	}
}

// speaker drives an IKE machine by what arrives alone: it has no timers, so that whatever is lost stays lost.
type speaker struct {
	t      *testing.T
	begin  time.Time
	events chan ike.Event
	send   func(ike.Transmit)

	mu sync.Mutex
	m  *ike.Machine
}

func (s *speaker) now() link.Instant {
	return link.Instant{Boot: time.Hour + time.Since(s.begin), Wall: time.Now()}
}

func (s *speaker) do(f func(now link.Instant) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := f(s.now()); err != nil {
		s.t.Errorf("IKE: %v", err)
	}
	for e, ok := s.m.PollEvent(); ok; e, ok = s.m.PollEvent() {
		s.events <- e
	}
	for m, ok := s.m.PollTransmit(); ok; m, ok = s.m.PollTransmit() {
		s.send(m)
	}
}

func (s *speaker) arrived(local, remote netip.AddrPort, payload []byte) {
	s.do(func(now link.Instant) error {
		return s.m.HandleDatagram(now, ike.Datagram{Local: local, Remote: remote, Payload: payload})
	})
}

// until returns the next event of type E.
func until[E ike.Event](t *testing.T, s *speaker) E {
	t.Helper()
	for {
		if e, ok := await(t, s.events, "an event of IKE").(E); ok {
			return e
		}
	}
}

// policy lets the laptop in.
type policy struct{}

func (policy) Authentication(_, _ ike.Identity) (ike.Requirement, error) {
	key := []byte("a key of this test")
	return ike.Requirement{Own: ike.Proof{PSK: key}, Rounds: []ike.Acceptance{{PSK: key}}}, nil
}
func (policy) Assign(ike.Identity, ike.Request) (ike.Configuration, error) {
	return ike.Configuration{Addresses: []netip.Addr{laptopTIA}}, nil
}
func (policy) Selectors(_ ike.Identity, a []netip.Addr) (local, remote []esp.Selector) {
	return []esp.Selector{esp.AnySelector()}, []esp.Selector{esp.AddrSelector(a[0])}
}

// overloaded is a laptop and a far end on the kernel.
type overloaded struct {
	t            *testing.T
	ns           *os.File // the laptop's
	drops        packet.Drops
	near, far    link.Link // for IKE and ESP
	laptop, gate *speaker
	natt         link.Flow     // of the gateway
	seal         *esp.Outbound // at the gateway

	// The laptop's registration with the x-HA, where there is one.
	registration *mobilenode.Machine
	attachment   *stack.CoLocated
	replies      chan []byte
}

func newOverloaded(t *testing.T) (o *overloaded, a, b link.Link) {
	t.Helper()
	o = &overloaded{t: t, ns: netnstest.New(t), replies: make(chan []byte, 64)}
	other := netnstest.New(t)
	netnstest.Wire(t, o.ns, "eth0", laptopCoA, other, "eth0", farAddress)
	links := map[*os.File]*link.Link{o.ns: &a, other: &b}
	for ns, addr := range map[*os.File]netip.Prefix{o.ns: laptopCoA, other: farAddress} {
		host, err := underlay.NewHost(underlay.Options{Namespace: ns, Drops: &o.drops})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { host.Close() })
		if *links[ns], err = host.Underlay(netnstest.Index(t, ns, "eth0"), addr.Addr()); err != nil {
			t.Fatal(err)
		}
	}
	return o, a, b
}

// toward is the step that says where packets of an unconnected flow go.
type toward struct {
	peer atomic.Pointer[netip.AddrPort]
}

func (s *toward) Apply(b *packet.Batch) {
	for _, p := range b.Bufs {
		p.Peer = *s.peer.Load()
	}
}

// external puts x-MIP below the VPN: IKE and ESP then travel in UDP tunnels (RFC 3519).
func (o *overloaded) external(a, b link.Link) {
	t := o.t
	key := func() *auth.SecurityAssociation {
		s, err := auth.New(auth.Parameters{SPI: 256, Key: []byte("sixteen octets!!")})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	agent, err := homeagent.New(homeagent.Config{Address: farAddress.Addr(), Tolerance: time.Hour, HomeNetworks: []netip.Prefix{netip.PrefixFrom(laptopXHoA, 32)},
		MobileNodes: []homeagent.MobileNode{{HomeAddress: laptopXHoA, Associations: []*auth.SecurityAssociation{key()}}}})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	now := func() link.Instant { return link.Instant{Boot: time.Hour + time.Since(begin), Wall: time.Now()} }
	var (
		flow link.Flow
		mu   sync.Mutex
		step toward
	)
	behind := stack.NewPacketLink(gatewayAt, &o.drops, nil)
	mu.Lock()
	flow, err = b.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 434, Signalling: link.SignallingMobileIP}, func(batch *packet.Batch) {
		batch.Keep(&o.drops, func(p *packet.Buf) packet.DropReason {
			if tunnel.IsData(p.Bytes()) {
				return tunnel.Open(p, tunnel.UDP)
			}
			mu.Lock()
			defer mu.Unlock()
			if err := agent.HandleRequest(now(), homeagent.Request{Source: p.Peer, Payload: p.Bytes()}); err != nil {
				t.Errorf("x-HA: %v", err)
			}
			for m, ok := agent.PollTransmit(); ok; m, ok = agent.PollTransmit() {
				if err := flow.Send(m.To, m.Payload); err != nil {
					t.Errorf("x-HA: %v", err)
				}
			}
			return packet.Delivered
		})
		behind.Deliver(batch)
	})
	mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { flow.Close() })
	behind.SetCarrier(func(c link.Class) link.Path {
		return flow.Path(c).Over(&step, 0, false).Over(tunnel.Encapsulator{Encapsulation: tunnel.UDP, Drops: &o.drops}, tunnel.UDP.Overhead(), false)
	})
	above := stack.NewPacketLink(laptopXHoA, &o.drops, nil)
	o.attachment, err = stack.AttachCoLocated(a, laptopXHoA, farAddress.Addr(), &o.drops, func(m []byte) { o.replies <- m }, above.Deliver)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.attachment.Close() })
	o.registration, err = mobilenode.NewMachine(mobilenode.Config{HomeAgent: farAddress.Addr(), HomeAddress: laptopXHoA,
		CareOfAddress: laptopCoA.Addr(), Association: key(), ReverseTunnel: true}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	reply := o.register(link.Instant{Boot: time.Hour, Wall: begin})
	carrier, err := o.attachment.Carrier(reply.Tunnel())
	if err != nil || !reply.Tunnel().UDP() {
		t.Fatalf("tunnel %+v, %v", reply.Tunnel(), err)
	}
	above.SetCarrier(carrier)
	peer := agent.Table().Route(laptopXHoA).Tunnels[0].Remote
	step.peer.Store(&peer)
	o.near, o.far = above, behind
}

// register registers once more and returns the reply, which is the next thing to arrive.
func (o *overloaded) register(now link.Instant) mobilenode.VerifiedReply {
	o.t.Helper()
	o.registration.Register(now)
	m, ok := o.registration.PollTransmit()
	if !ok {
		o.t.Fatal("no request")
	}
	if err := o.attachment.Send(m.Payload); err != nil {
		o.t.Fatal(err)
	}
	if err := o.registration.HandleReply(now, await(o.t, o.replies, "the x-HA's reply")); err != nil {
		o.t.Fatal(err)
	}
	e, _ := o.registration.PollEvent()
	a, ok := e.(mobilenode.Accepted)
	if !ok {
		o.t.Fatalf("event %+v", e)
	}
	return a.Reply
}

// connect sets up IKE and the SA between near and far.
func (o *overloaded) connect() *stack.VPN {
	t := o.t
	identity := func(s string) ike.Identity {
		id, err := message.NewIdentity(s)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	begin := time.Now()
	o.laptop = &speaker{t: t, begin: begin, events: make(chan ike.Event, 64)}
	o.gate = &speaker{t: t, begin: begin, events: make(chan ike.Event, 64)}
	quiet := ike.Config{Liveness: -1, Keepalive: -1}

	quiet.LocalID = identity("gateway.example")
	var err error
	if o.gate.m, err = ike.NewResponder(ike.ResponderConfig{Config: quiet, Policy: policy{}}, rand.Reader); err != nil {
		t.Fatal(err)
	}
	flows := make(map[uint16]link.Flow)
	o.gate.send = func(m ike.Transmit) {
		payload := m.Payload
		if m.Local.Port() == esp.PortNATT {
			payload = append(make([]byte, esp.MarkerLen), payload...)
		}
		if err := flows[m.Local.Port()].Send(m.Remote, payload); err != nil {
			t.Errorf("gateway: %v", err)
		}
	}
	for port, kind := range map[uint16]link.Signalling{esp.PortIKE: link.SignallingAll, esp.PortNATT: link.SignallingNATTraversal} {
		f, err := o.far.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Port: port, Remote: netip.AddrPortFrom(o.near.Addr(), port), Signalling: kind}, func(b *packet.Batch) {
			for _, p := range b.Bufs {
				payload := p.Bytes()
				if port == esp.PortNATT {
					payload = payload[esp.MarkerLen:]
				}
				o.gate.arrived(netip.AddrPortFrom(o.far.Addr(), port), p.Peer, bytes.Clone(payload))
			}
			b.Release()
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		o.gate.mu.Lock()
		flows[port] = f
		o.gate.mu.Unlock()
	}
	o.natt = flows[esp.PortNATT]

	v, err := stack.OpenVPN(o.near, o.far.Addr(), &o.drops, func(m stack.Message) { o.laptop.arrived(m.Local, m.Remote, m.Payload) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	quiet.LocalID = identity("laptop@example.com")
	o.laptop.m, err = ike.NewInitiator(ike.InitiatorConfig{Config: quiet, Local: netip.AddrPortFrom(o.near.Addr(), esp.PortIKE),
		Remote: netip.AddrPortFrom(o.far.Addr(), esp.PortIKE), PSK: []byte("a key of this test"), RequestAddress: true,
		ForceUDPEncapsulation: true}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	o.laptop.send = func(m ike.Transmit) {
		if err := v.Send(m.Local, m.Remote.Addr(), m.Payload); err != nil {
			t.Errorf("laptop: %v", err)
		}
	}
	o.laptop.do(o.laptop.m.Start)
	in, err := esp.NewInbound(until[ike.ChildInstalled](t, o.laptop).Inbound)
	if err != nil || !v.Install(in) {
		t.Fatalf("installing the SA: %v", err)
	}
	if o.seal, err = esp.NewOutbound(until[ike.ChildInstalled](t, o.gate).Outbound, &o.drops); err != nil {
		t.Fatal(err)
	}
	return v
}

// flood sends n packets to the laptop's address behind the gateway.
func (o *overloaded) flood(n int) {
	o.t.Helper()
	path := o.natt.Path(link.Protected)
	for n > 0 {
		b := packet.GetBatch()
		for range min(n, 32) {
			n--
			p := packet.Get(1200)
			p.Extend(1200)
			packet.PushUDP(p, sender, netip.AddrPortFrom(laptopTIA, 7))
			packet.PushIPv4(p, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolUDP, Src: sender.Addr(), Dst: laptopTIA})
			b.Append(p)
		}
		o.seal.Apply(b)
		if err := path.Send(b); err != nil {
			o.t.Fatal(err)
		}
	}
}

// lost returns how many messages the kernel has dropped for want of room in the laptop's receive buffers.
func (o *overloaded) lost() (n uint64) {
	o.t.Helper()
	netnstest.Inside(o.t, o.ns, func() error {
		f, err := os.Open("/proc/thread-self/net/udp")
		if err != nil {
			return err
		}
		defer f.Close()
		n = 0
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			fields := strings.Fields(lines.Text())
			if d, err := strconv.ParseUint(fields[len(fields)-1], 10, 64); err == nil {
				n += d
			}
		}
		return lines.Err()
	})
	return n
}

// With user data stuck behind a receiver that does nothing any more, and more of it coming than the kernel keeps, the x-HA
// renews every registration and the gateway answers every question whether it lives: alone on the interface (vc), and with
// IKE inside the tunnels of x-MIP (cvc).
func TestSignallingSurvivesOverload(t *testing.T) {
	for _, mode := range []string{"vc", "cvc"} {
		t.Run(mode, func(t *testing.T) {
			o, a, b := newOverloaded(t)
			o.near, o.far = a, b
			if mode == "cvc" {
				o.external(a, b)
			}
			v := o.connect()
			hold, once := make(chan struct{}), sync.Once{}
			release := func() { once.Do(func() { close(hold) }) }
			stuck := make(chan struct{}, 1<<16)
			f, err := v.Link(laptopTIA).Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 7, Remote: sender}, func(b *packet.Batch) {
				stuck <- struct{}{}
				<-hold
				b.Release()
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { err = errors.Join(err, f.Close()) })
			t.Cleanup(release)
			o.flood(32)
			await(t, stuck, "the first data")
			for n := 0; o.lost() == 0; n++ {
				if o.flood(512); n > 1000 {
					t.Fatal("the kernel loses nothing")
				}
			}
			now := o.laptop.now()
			for range 30 {
				before := o.lost()
				o.flood(512)
				if o.lost() == before {
					t.Error("there is room for data again")
				}
				o.laptop.do(o.laptop.m.CheckLiveness)
				until[ike.Alive](t, o.laptop)
				if o.registration != nil {
					now.Boot += time.Minute
					now.Wall = now.Wall.Add(time.Second)
					o.register(now)
				}
			}
			if len(stuck) != 0 {
				t.Errorf("%d batches more have been delivered meanwhile", len(stuck))
			}
			release()
			for o.drops.Snapshot()["queue_full"] == 0 {
				o.flood(32) // which tells of the losses before it, unless it is lost too: then there is still more in front of it
				await(t, stuck, "data")
			}
		})
	}
}
