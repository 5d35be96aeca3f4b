package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/tunnel"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// sink is the end of a path or a device that throws everything away.
type sink struct {
	link.Device
	n int
}

func (s *sink) Send(b *packet.Batch) error {
	s.n += b.Len()
	b.Release()
	return nil
}

func (s *sink) Write(b *packet.Batch) error { return s.Send(b) }

// packets returns a batch of n packets of 1200 octets.
func packets(n int, src, dst netip.Addr) *packet.Batch {
	b := packet.GetBatch()
	for range n {
		p := packet.GetSmall()
		clear(p.Extend(1180))
		packet.PushIPv4(p, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolUDP, Src: src, Dst: dst})
		b.Append(p)
	}
	return b
}

// homeAgentOnSink starts a home agent with a binding of the laptop whose data goes nowhere, and calls f.
func homeAgentOnSink(t *testing.T, e mobilenode.Encapsulation, f func(a *HomeAgent, out *sink)) {
	synctest.Test(t, func(t *testing.T) {
		l := simnet.NewLab(1)
		t.Cleanup(func() { _ = l.Close() })
		a := startHomeAgent(t, l.InternalHA, internal(t))
		plug(l, l.Office)
		n := coLocated(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), laptop(t, e))
		n.register()
		if e, ok := n.wait(5 * time.Second).(mobilenode.Accepted); !ok {
			t.Fatalf("not accepted: %+v", e)
		}
		out := &sink{Device: a.device}
		for i := range a.out {
			a.out[i].path.Out, a.out[i].path.Steps = out, nil
		}
		device := a.device
		a.device = out
		f(a, out)
		a.device = device
	})
}

// Shows: DESIGN §2.3 (no allocation a packet) for the home agent, both ways, both encapsulations.
func TestHomeAgentDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("allocations cannot be counted under the race detector")
	}
	const n = 64
	for _, e := range []mobilenode.Encapsulation{mobilenode.EncapsulationIPIP, mobilenode.EncapsulationUDP} {
		homeAgentOnSink(t, e, func(a *HomeAgent, out *sink) {
			route := a.table.Route(simnet.LabHomeAddress).Tunnels[0]
			down := testing.AllocsPerRun(20, func() { a.forward(packets(n, simnet.LabCorrespondent, simnet.LabHomeAddress)) })
			up := testing.AllocsPerRun(20, func() {
				b := packets(n, simnet.LabHomeAddress, simnet.LabCorrespondent)
				(tunnel.Encapsulator{Encapsulation: route.Encapsulation}).Apply(b)
				for _, p := range b.Bufs {
					p.Peer = route.Remote
				}
				a.receiveData(b, route.Encapsulation)
			})
			if want := 2 * 21 * n; out.n != want {
				t.Errorf("%v: %d packets got through, want %d; drops %v", e, out.n, want, a.drops.Snapshot())
			}
			t.Logf("%v: allocations a batch of %d: %v toward the mobile node, %v from it", e, n, down, up)
			// One or two a batch may be a pool's; one a packet would be 64.
			if down > 4 || up > 4 {
				t.Errorf("%v: %v allocations a batch of %d toward the mobile node, %v from it", e, down, n, up)
			}
		})
	}
}

// Shows: AGT-1, MIP-9 (simultaneous bindings: a copy for each care-of address).
func TestSimultaneousBindingsCopy(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		cfg := internal(t)
		cfg.SimultaneousBindings = 2
		a := startHomeAgent(t, l.InternalHA, cfg)
		plug(l, l.Office)
		shared := association(t, 1001)
		request := func(e mobilenode.Encapsulation) mobilenode.Config {
			c := laptop(t, e)
			c.Association, c.Simultaneous = shared, true
			return c
		}
		l.Plug(l.Wlan0, l.Office)
		time.Sleep(100 * time.Millisecond)
		first := coLocated(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), request(mobilenode.EncapsulationIPIP))
		second := coLocated(t, l.Laptop, l.Wlan0.Index(), l.Wlan0.Address().Addr(), request(mobilenode.EncapsulationUDP))
		for _, n := range []*node{first, second} {
			n.register()
			if e, ok := n.wait(5 * time.Second).(mobilenode.Accepted); !ok || e.Reply.Code() != 0 {
				t.Fatalf("not accepted with code 0: %+v", e)
			}
		}
		got := make(map[netip.Addr]int)
		stop := l.Office.Tap(func(f simnet.Frame) {
			if ip := packet.IPv4(f.Packet); ip.Valid() && ip.Src() == simnet.LabInternalHA {
				got[ip.Dst()]++
			}
		})
		a.forward(packets(3, simnet.LabCorrespondent, simnet.LabHomeAddress))
		time.Sleep(time.Second)
		stop()
		if len(got) != 2 || got[l.Eth0.Address().Addr()] != 3 || got[l.Wlan0.Address().Addr()] != 3 {
			t.Errorf("packets by care-of address %v, want 3 for each of two; drops %v", got, a.drops.Snapshot())
		}
	})
}

// Shows: MIP-12 (RFC 2003 §5: whoever sends into a tunnel whose end is not reached is told so, and the packet goes in all the same,
// until something comes out; a tunnel that is too long gets a greater time to live)
func TestTunnelReachability(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		a := startHomeAgent(t, l.InternalHA, internal(t))
		plug(l, l.Office)
		careOf := l.Eth0.Address().Addr()
		n := coLocated(t, l.Laptop, l.Eth0.Index(), careOf, laptop(t, mobilenode.EncapsulationIPIP))
		n.up(enterprise)
		var mu sync.Mutex // of what follows
		var told []string // what the correspondent is told
		var lives []uint8 // of outer headers
		t.Cleanup(l.Core.Tap(func(f simnet.Frame) {
			mu.Lock()
			defer mu.Unlock()
			switch ip := packet.IPv4(f.Packet); {
			case ip.Protocol() == packet.ProtocolICMP && ip.Src() == simnet.LabInternalHA && ip.Dst() == simnet.LabCorrespondent:
				told = append(told, fmt.Sprintf("%d %d", ip.Payload()[0], ip.Payload()[1]))
			case ip.Protocol() == packet.ProtocolIPIP && ip.Dst() == careOf && ip.Src() == simnet.LabInternalHA:
				lives = append(lives, ip.TTL())
			}
		}))
		fails := func(typ, code uint8) {
			p := packet.From(make([]byte, 20)) // nothing of the packet within, as from most routers
			packet.PushIPv4(p, packet.IPv4Fields{TTL: 1, Protocol: packet.ProtocolIPIP, Src: simnet.LabInternalHA, Dst: careOf})
			a.receiveICMP(packet.One(packet.From(tunnel.AppendICMPError(nil, typ, code, 0, packet.IPv4(p.Bytes())))))
			p.Release()
			time.Sleep(10 * time.Second)
		}
		enters := func(what string, ttl uint8, want ...string) {
			t.Helper()
			mu.Lock()
			told, lives = nil, nil
			mu.Unlock()
			a.forward(packets(1, simnet.LabCorrespondent, simnet.LabHomeAddress))
			synctest.Wait()
			time.Sleep(time.Second)
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(told, want) || len(lives) != 1 || lives[0] != ttl {
				t.Errorf("%s: told %q, sent with the times to live %v; want %q and one with %d; drops %v", what, told, lives, want, ttl, a.drops.Snapshot())
			}
		}
		enters("at first", 64)
		fails(tunnel.ICMPUnreachable, tunnel.CodeNetUnreachable)
		enters("the network is not reached", 64, "3 0")
		echo(t, l.Correspondent, service)
		if !exchange(t, l.Laptop, simnet.LabHomeAddress, service, 100) {
			t.Fatal("nothing came back")
		}
		enters("something has come out", 64)
		fails(tunnel.ICMPTimeExceeded, tunnel.CodeTTL)
		enters("too long", 255)
		fails(tunnel.ICMPTimeExceeded, tunnel.CodeTTL)
		enters("it goes round", 255, "3 1")
	})
}

// Shows: MIP-12 (RFC 2003 §4.1 and §5.1: an ICMP error from within the tunnel teaches its MTU and reaches the sender).
func TestTunnelSoftState(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		a := startHomeAgent(t, l.InternalHA, internal(t))
		plug(l, l.Office)
		n := coLocated(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), laptop(t, mobilenode.EncapsulationIPIP))
		n.up(enterprise)
		answers := make(chan packet.IPv4, 10)
		stop := l.Core.Tap(func(f simnet.Frame) {
			if ip := packet.IPv4(f.Packet); ip.Valid() && ip.Protocol() == packet.ProtocolICMP && ip.Dst() == simnet.LabCorrespondent {
				answers <- ip
			}
		})
		defer stop()
		b := packets(1, simnet.LabCorrespondent, simnet.LabHomeAddress)
		packet.PushIPv4(b.Bufs[0], packet.IPv4Fields{
			TTL: 60, Protocol: packet.ProtocolIPIP, Src: simnet.LabInternalHA, Dst: l.Eth0.Address().Addr(),
		})
		about := packet.IPv4(b.Bufs[0].Bytes())
		// What a router in the tunnel would send about it: 1100 octets at most.
		a.receiveICMP(packet.One(packet.From(tunnel.AppendICMPError(nil, tunnel.ICMPUnreachable, tunnel.CodeFragmentNeeded, 1100, about))))
		time.Sleep(100 * time.Millisecond)
		if got := a.table.Route(simnet.LabHomeAddress).Tunnels[0].State.MTU.Of(l.InternalHA.Now().Boot, 1480); got != 1080 {
			t.Errorf("the tunnel's MTU is %d, want 1100 - 20", got)
		}
		select {
		case ip := <-answers:
			if m := ip.Payload(); m[0] != 3 || m[1] != 4 || int(m[6])<<8|int(m[7]) != 1080 {
				t.Errorf("relayed %x", m[:8])
			}
		default:
			t.Error("the error was not relayed")
		}
		b.Release()
		// From now on packets without DF are cut to that before they enter the tunnel.
		echo(t, l.Correspondent, service)
		if !exchange(t, l.Laptop, simnet.LabHomeAddress, service, 1400) {
			t.Error("1400 octets did not come back")
		}
	})
}
