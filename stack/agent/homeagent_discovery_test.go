package agent

import (
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/wire"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// asker registers a home address with whatever home agent answers.
type asker struct {
	t       *testing.T
	host    link.Host
	machine *mobilenode.Machine
	flow    link.Flow
	replies chan []byte
	from    chan netip.AddrPort
	// instead is where a router on the way sends what is for the network's broadcast address (RFC 5944 §3.8.2.1), the zero Addr for there.
	instead netip.Addr
}

// inquire has a mobile node send its requests to a broadcast address of the home network, and to the home agent that it learns of.
func inquire(t *testing.T, host link.Host, index int, own, to netip.Addr, cfg mobilenode.Config) *asker {
	t.Helper()
	cfg.HomeAgent, cfg.DynamicHomeAgent, cfg.CareOfAddress = to, mobilenode.HomeAgentResolved, own
	a := &asker{t: t, host: host, replies: make(chan []byte, 16), from: make(chan netip.AddrPort, 16)}
	under, err := host.Underlay(index, own)
	if err != nil {
		t.Fatal(err)
	}
	a.flow, err = under.Open(link.FlowSpec{Protocol: packet.ProtocolUDP}, func(b *packet.Batch) {
		for _, p := range b.Bufs {
			a.from <- p.Peer
			a.replies <- append([]byte(nil), p.Bytes()...)
		}
		b.Release()
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.flow.Close() })
	if a.machine, err = mobilenode.NewMachine(cfg, constant{}); err != nil {
		t.Fatal(err)
	}
	a.machine.Register(host.Now())
	return a
}

// constant is randomness that a test can do with.
type constant struct{}

func (constant) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 7
	}
	return len(p), nil
}

// next returns the next event.
func (a *asker) next(patience time.Duration) mobilenode.Event {
	a.t.Helper()
	for end := time.Now().Add(patience); ; {
		for q, ok := a.machine.PollTransmit(); ok; q, ok = a.machine.PollTransmit() {
			to := q.To
			if a.instead.IsValid() && to.Addr() == a.machine.Config().HomeAgent {
				to = netip.AddrPortFrom(a.instead, to.Port())
			}
			if err := a.flow.Send(to, q.Payload); err != nil {
				a.t.Fatal(err)
			}
		}
		if e, ok := a.machine.PollEvent(); ok {
			return e
		}
		select {
		case reply := <-a.replies:
			_ = a.machine.HandleReply(a.host.Now(), reply) // what it cannot use says nothing
		case <-time.After(100 * time.Millisecond):
			if time.Now().After(end) {
				a.t.Fatalf("nothing happens for %v", patience)
			}
			if at, armed := a.machine.Deadline(); armed && at <= a.host.Now().Boot {
				a.machine.HandleTimeout(a.host.Now())
			}
		}
	}
}

// finds checks that the home agent with the address is found, and serves.
func (a *asker) finds(agent netip.Addr) {
	a.t.Helper()
	e, ok := a.next(20 * time.Second).(mobilenode.Refused)
	if !ok || e.Code != wire.CodeUnknownHomeAgent || e.HomeAgent != agent || !e.Retrying {
		a.t.Fatalf("%+v, expected %v to name itself", e, agent)
	}
	if got := (<-a.from); got != netip.AddrPortFrom(agent, wire.Port) {
		a.t.Errorf("the denial came from %v", got)
	}
	if e, ok := a.next(20 * time.Second).(mobilenode.Accepted); !ok || e.Reply.HomeAgent() != agent {
		a.t.Fatalf("%+v", e)
	}
}

// A mobile node that knows its home network alone finds the home agent there: of a virtual home network by its broadcast address, which
// is routed to the home agent, and on a home link by that and by 255.255.255.255.
//
// Shows: MIP-9, MIP-4, AGT-1 (dynamic home agent address resolution, RFC 5944 §3.6.1.2, §3.8.2.1: code 136 with the agent's address)
func TestHomeAgentResolution(t *testing.T) {
	t.Run("virtual", func(t *testing.T) {
		inside(t, func(t *testing.T, l *simnet.Lab) {
			a := startHomeAgent(t, l.ExternalHA, external(t))
			plug(l, l.Campus)
			inquire(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), netip.MustParseAddr("198.51.100.255"), mobilenode.Config{
				HomeAddress: simnet.LabExternalHomeAddress, Association: association(t, 2001), Lifetime: time.Minute, ReverseTunnel: true,
			}).finds(simnet.LabExternalHA)
			if a.Table().Len() != 1 {
				t.Errorf("%d bindings", a.Table().Len())
			}
			// A stranger learns nothing, and what is no request goes nowhere.
			under, err := l.Laptop.Underlay(l.Eth0.Index(), l.Eth0.Address().Addr())
			if err != nil {
				t.Fatal(err)
			}
			answered := false
			f, err := under.Open(link.FlowSpec{Protocol: packet.ProtocolUDP}, func(b *packet.Batch) { answered = true; b.Release() })
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = f.Close() })
			stranger := wire.RegistrationRequest{HomeAddress: netip.MustParseAddr("198.51.100.77"), HomeAgent: netip.MustParseAddr("198.51.100.255"), CareOfAddress: l.Eth0.Address().Addr(), Lifetime: 60}
			b, err := stranger.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, payload := range [][]byte{b, nil, {4, 4, 0, 0}, b[:10]} {
				if err := f.Send(netip.MustParseAddrPort("198.51.100.255:434"), payload); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(5 * time.Second)
			if answered || a.Table().Len() != 1 {
				t.Errorf("a stranger was answered: %v; %d bindings", answered, a.Table().Len())
			}
		})
	})
	for name, instead := range map[string]netip.Addr{"link": {}, "link, limited broadcast": limitedBroadcast} {
		t.Run(name, func(t *testing.T) {
			inside(t, func(t *testing.T, _ *simnet.Lab) {
				_, server, peer := homeLinkLab(t)
				logger, logs := observed()
				ha, err := StartHomeAgent(server, onHomeLink(t, "home0"), logger)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					_ = ha.Close()
					if t.Failed() {
						t.Log(logs.All())
					}
				})
				cfg := laptop(t, mobilenode.EncapsulationIPIP)
				cfg.HomeAddress, cfg.ReverseTunnel = homeLinkNode, true
				a := inquire(t, peer, 1, netip.MustParseAddr("10.1.0.7"), netip.MustParseAddr("10.1.0.255"), cfg)
				a.instead = instead
				e, ok := a.next(20 * time.Second).(mobilenode.Refused)
				if !ok || e.Code != wire.CodeUnknownHomeAgent || e.HomeAgent != homeLinkAgent {
					t.Fatalf("%+v", e)
				}
			})
		})
	}
}

// FuzzDiscovery: whatever comes out of the device for a broadcast address, at most a request is taken out of it.
func FuzzDiscovery(f *testing.F) {
	to := netip.MustParseAddr("198.51.100.255")
	q := packet.From([]byte{1, 0})
	packet.PushUDP(q, netip.MustParseAddrPort("192.0.2.1:1000"), netip.AddrPortFrom(to, wire.Port))
	packet.PushIPv4(q, packet.IPv4Fields{TTL: 9, Protocol: packet.ProtocolUDP, Src: netip.MustParseAddr("192.0.2.1"), Dst: to})
	f.Add([]byte(q.Bytes()))
	f.Add([]byte{0x45})
	f.Fuzz(func(t *testing.T, p []byte) {
		ip := packet.IPv4(p)
		if !ip.Valid() {
			return // the device hands on nothing of the kind
		}
		a := &HomeAgent{}
		a.resolution.set([]netip.Prefix{simnet.LabExternalHomeNetwork})
		payload, source, ok := a.resolution.request(ip[:ip.TotalLen()])
		if !ok {
			return
		}
		if ip.Dst() != to || ip.Protocol() != packet.ProtocolUDP || len(payload) > len(p) || source.Addr() != ip.Src() {
			t.Errorf("% x from %v is taken out of % x", payload, source, p)
		}
	})
}
