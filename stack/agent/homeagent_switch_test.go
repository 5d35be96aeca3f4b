package agent

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/tunnel"
	"mipvpn/stack"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// vendor is the private enterprise number for documentation (RFC 5612).
const vendor = 32473

// switchingHA returns the configuration of an x-HA that switches addresses for the lab's gateway.
func switchingHA(t testing.TB) HomeAgentConfig {
	cfg := external(t)
	cfg.ZeroOverhead = homeagent.ZeroOverhead{Vendor: vendor, Destinations: []netip.Addr{simnet.LabGateway}}
	cfg.PermittedGateways = []netip.Addr{simnet.LabGateway}
	return cfg
}

// received keeps what a flow receives.
type received struct {
	mu  sync.Mutex
	all [][]byte
}

func (r *received) take(b *packet.Batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range b.Bufs {
		r.all = append(r.all, bytes.Clone(p.Bytes()))
	}
	b.Release()
}

func (r *received) last() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		return nil
	}
	return r.all[len(r.all)-1]
}

// switchedLab is a laptop on the campus that is registered with an x-HA which switches addresses, and the gateway's flows.
type switchedLab struct {
	*simnet.Lab
	t        *testing.T
	agent    *HomeAgent
	node     *node
	home     *stack.PacketLink
	attached *stack.CoLocated
	drops    packet.Drops
	near     map[tunnel.Switched]link.Flow // between x-HoA and gateway
	far      map[tunnel.Switched]link.Flow
	atNear   map[tunnel.Switched]*received
	atFar    map[tunnel.Switched]*received
}

// onCampus runs f with such a laptop.
func onCampus(t *testing.T, f func(l *switchedLab)) {
	synctest.Test(t, func(t *testing.T) {
		lab := simnet.NewLab(1)
		t.Cleanup(func() { _ = lab.Close() })
		l := &switchedLab{Lab: lab, t: t, agent: startHomeAgent(t, lab.ExternalHA, switchingHA(t)), near: map[tunnel.Switched]link.Flow{},
			far: map[tunnel.Switched]link.Flow{}, atNear: map[tunnel.Switched]*received{}, atFar: map[tunnel.Switched]*received{}}
		plug(lab, lab.Campus)
		l.home = stack.NewPacketLink(simnet.LabExternalHomeAddress, &l.drops, nil)
		careOf := lab.Eth0.Address().Addr()
		n := newNode(t, lab.Laptop, mobilenode.Config{
			HomeAgent: simnet.LabExternalHA, HomeAddress: simnet.LabExternalHomeAddress, CareOfAddress: careOf, Association: association(t, 2001),
			Lifetime: 10 * time.Minute, ReverseTunnel: true, ZeroOverhead: mobilenode.ZeroOverhead{Vendor: vendor, Destination: simnet.LabGateway},
		}, func(n *node) (stack.Attachment, error) {
			under, err := lab.Laptop.Underlay(lab.Eth0.Index(), careOf)
			if err != nil {
				return nil, err
			}
			l.attached, err = stack.AttachCoLocated(under, simnet.LabExternalHomeAddress, simnet.LabExternalHA, &l.drops, n.replied, l.home.Deliver)
			return l.attached, err
		})
		l.node = n
		n.register()
		e, ok := n.wait(5 * time.Second).(mobilenode.Accepted)
		if !ok || e.Reply.Tunnel().Switched != simnet.LabGateway {
			t.Fatalf("%+v", e)
		}
		carrier, err := l.attached.Carrier(e.Reply.Tunnel())
		if err != nil {
			t.Fatal(err)
		}
		l.home.SetCarrier(carrier)
		s, err := l.attached.Switch(l.home, e.Reply.Tunnel().Switched)
		if err != nil {
			t.Fatal(err)
		}
		l.home.SetSwitching(s)
		gateway, err := lab.Gateway.Underlay(0, simnet.LabGateway)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range switchedKinds {
			l.atNear[k], l.atFar[k] = new(received), new(received)
			protocol := uint8(packet.ProtocolUDP)
			if k == tunnel.SwitchedESP {
				protocol = packet.ProtocolESP
			}
			if l.near[k], err = l.home.Open(link.FlowSpec{Protocol: protocol, Port: k.Port(), Remote: netip.AddrPortFrom(simnet.LabGateway, k.Port())}, l.atNear[k].take); err != nil {
				t.Fatal(err)
			}
			if l.far[k], err = gateway.Open(link.FlowSpec{Protocol: protocol, Port: k.Port()}, l.atFar[k].take); err != nil {
				t.Fatal(err)
			}
		}
		f(l)
	})
}

// toGateway sends a payload from the x-HoA, toHome one from the gateway.
func (l *switchedLab) toGateway(k tunnel.Switched, payload []byte) {
	l.t.Helper()
	if err := l.near[k].Send(netip.AddrPort{}, payload); err != nil {
		l.t.Fatal(err)
	}
	settle()
}

func (l *switchedLab) toHome(k tunnel.Switched, payload []byte) {
	l.t.Helper()
	if err := l.far[k].Send(netip.AddrPortFrom(simnet.LabExternalHomeAddress, k.Port()), payload); err != nil {
		l.t.Fatal(err)
	}
	settle()
}

// settle lets everything arrive, and what has been seen of it be read.
func settle() {
	time.Sleep(time.Second)
	synctest.Wait()
}

// onWire counts the packets between laptop and x-HA on the campus by protocol, but for registration.
func (l *switchedLab) onWire() (count map[uint8]int, stop func()) {
	count = make(map[uint8]int)
	return count, l.Campus.Tap(func(f simnet.Frame) {
		if ip := packet.IPv4(f.Packet); ip.Valid() && (ip.Dst() == simnet.LabExternalHA || ip.Src() == simnet.LabExternalHA) {
			count[ip.Protocol()]++
		}
	})
}

// Shows: MEC-D (address switching at both ends, both directions, each kind of packet; what would become fragments travels in the
// tunnel, and arrives)
func TestSwitchedBothWays(t *testing.T) {
	onCampus(t, func(l *switchedLab) {
		count, stop := l.onWire()
		defer stop()
		for _, k := range switchedKinds {
			for _, n := range []int{40, 1400} {
				up, down := bytes.Repeat([]byte{1}, n), bytes.Repeat([]byte{2}, n)
				clear(count)
				l.toGateway(k, up)
				l.toHome(k, down)
				if !bytes.Equal(l.atFar[k].last(), up) || !bytes.Equal(l.atNear[k].last(), down) {
					t.Errorf("kind %d, %d octets: %.8x at the gateway, %.8x at the laptop; drops %v, %v", k, n, l.atFar[k].last(), l.atNear[k].last(),
						l.agent.Drops().Snapshot(), l.drops.Snapshot())
				}
				if count[packet.ProtocolIPIP] != 0 || count[packet.ProtocolESP]+count[packet.ProtocolUDP] != 2 {
					t.Errorf("kind %d, %d octets: %v by protocol on the way, want 2 with switched addresses", k, n, count)
				}
			}
			up, down := bytes.Repeat([]byte{3}, 1900), bytes.Repeat([]byte{4}, 4000)
			clear(count)
			l.toGateway(k, up)
			l.toHome(k, down)
			if !bytes.Equal(l.atFar[k].last(), up) || !bytes.Equal(l.atNear[k].last(), down) {
				t.Errorf("kind %d, fragments: %.8x at the gateway, %.8x at the laptop; drops %v, %v", k, l.atFar[k].last(), l.atNear[k].last(),
					l.agent.Drops().Snapshot(), l.drops.Snapshot())
			}
			if count[packet.ProtocolIPIP] < 4 || count[packet.ProtocolESP]+count[packet.ProtocolUDP] != 0 {
				t.Errorf("kind %d: fragments by protocol: %v", k, count)
			}
		}
		if to, from := l.agent.SwitchedPackets(); to != 6 || from != 6 {
			t.Errorf("%d packets switched to the laptop, %d from it, want 6 each", to, from)
		}
	})
}

// Shows: MEC-D (the x-HA believes the care-of address of a live binding and nobody else; other destinations than the default one
// cannot be reached this way, and what comes from elsewhere is not switched)
func TestSwitchedSpoofed(t *testing.T) {
	onCampus(t, func(l *switchedLab) {
		stranger := l.NewHost("stranger")
		stranger.AddNIC(simnet.NICConfig{Name: "eth0", Address: netip.MustParsePrefix("203.0.113.77/24"), Gateway: netip.MustParseAddr("203.0.113.1")}).Attach(l.Campus)
		under, err := stranger.Underlay(0, netip.MustParseAddr("203.0.113.77"))
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range []link.FlowSpec{{Protocol: packet.ProtocolESP}, {Protocol: packet.ProtocolUDP, Port: 500}, {Protocol: packet.ProtocolUDP, Port: 4500}} {
			f, err := under.Open(spec, func(b *packet.Batch) { b.Release() })
			if err != nil {
				t.Fatal(err)
			}
			before := l.agent.Drops().Of(packet.DropWrongTunnelPeer)
			if err := f.Send(netip.AddrPortFrom(simnet.LabExternalHA, spec.Port), make([]byte, 60)); err != nil {
				t.Fatal(err)
			}
			settle()
			if l.agent.Drops().Of(packet.DropWrongTunnelPeer) != before+1 {
				t.Errorf("protocol %d, port %d: drops %v", spec.Protocol, spec.Port, l.agent.Drops().Snapshot())
			}
			// To the home address itself, which the stranger may send to, but not as the gateway: the policy is for gateways.
			if err := f.Send(netip.AddrPortFrom(simnet.LabExternalHomeAddress, spec.Port), make([]byte, 60)); err != nil {
				t.Fatal(err)
			}
			settle()
		}
		for _, k := range switchedKinds {
			if got := l.atFar[k].last(); got != nil {
				t.Errorf("kind %d: the gateway got %x", k, got)
			}
			if got := l.atNear[k].last(); got != nil {
				t.Errorf("kind %d: the laptop got %x", k, got)
			}
		}
		if to, from := l.agent.SwitchedPackets(); to != 0 || from != 0 {
			t.Errorf("%d and %d packets were switched", to, from)
		}
		// A binding that has gone switches nothing any more.
		l.node.deregister()
		settle()
		l.toGateway(tunnel.SwitchedESP, make([]byte, 60))
		if l.atFar[tunnel.SwitchedESP].last() != nil {
			t.Error("switched without a binding")
		}
	})
}

// Shows: MEC-D (ICMP: an error about a switched packet teaches the path's MTU, and the gateway hears of its own packet)
func TestSwitchedTooBig(t *testing.T) {
	onCampus(t, func(l *switchedLab) {
		var told []packet.IPv4
		stop := l.Internet.Tap(func(f simnet.Frame) {
			if ip := packet.IPv4(f.Packet); ip.Valid() && ip.Protocol() == packet.ProtocolICMP && ip.Dst() == simnet.LabGateway {
				told = append(told, bytes.Clone(ip))
			}
		})
		defer stop()
		send := func(n int, whole bool) {
			t.Helper()
			p := packet.From(bytes.Repeat([]byte{9}, n))
			p.Peer, p.DontFragment = netip.AddrPortFrom(simnet.LabExternalHomeAddress, 0), whole
			if err := l.far[tunnel.SwitchedESP].Path(link.Protected).Send(packet.One(p)); err != nil {
				t.Fatal(err)
			}
			settle()
		}
		careOf := l.Eth0.Address().Addr()
		about := packet.From(make([]byte, 1300))
		packet.PushIPv4(about, packet.IPv4Fields{DontFragment: true, TTL: 60, Protocol: packet.ProtocolESP, Src: simnet.LabExternalHA, Dst: careOf})
		router := tunnel.ICMPError(netip.MustParseAddr("203.0.113.1"), tunnel.ICMPUnreachable, tunnel.CodeFragmentNeeded, 1200, about.Bytes())
		router.Pull(packet.IPv4Len)
		l.agent.receiveICMP(packet.One(router))
		settle()
		if len(told) != 1 {
			t.Fatalf("the gateway was told %d times", len(told))
		}
		m := told[0].Payload()
		quote := packet.IPv4(m[8:])
		if m[0] != tunnel.ICMPUnreachable || m[1] != tunnel.CodeFragmentNeeded || binary.BigEndian.Uint16(m[6:]) != 1200 ||
			quote.Src() != simnet.LabGateway || quote.Dst() != simnet.LabExternalHomeAddress || quote.TotalLen() != 1320 || packet.Checksum(m, 0) != 0 ||
			packet.Checksum(quote[:packet.IPv4Len], 0) != 0 {
			t.Errorf("ICMP message %x", m)
		}
		send(1180, true)
		if got := l.atNear[tunnel.SwitchedESP].last(); len(got) != 1180 {
			t.Errorf("a packet that fits: %d octets arrived; drops %v; %x", len(got), l.agent.Drops().Snapshot(), told[len(told)-1])
		}
		send(1181, true)
		if len(told) != 2 || binary.BigEndian.Uint16(told[1].Payload()[6:]) != 1200 {
			t.Errorf("one octet more: %d messages", len(told))
		}
		send(1400, false)
		if got := l.atNear[tunnel.SwitchedESP].last(); len(got) != 1400 {
			t.Errorf("without DF: %d octets arrived; drops %v", len(got), l.agent.Drops().Snapshot())
		}
	})
}

// Shows: MEC-D (a home agent's configuration that cannot work is refused)
func TestSwitchingNeedsPermittedGateways(t *testing.T) {
	cfg := switchingHA(t)
	cfg.PermittedGateways = []netip.Addr{netip.MustParseAddr("192.0.2.99")}
	if err := cfg.Check(); err == nil {
		t.Error("a default destination that the policy drops")
	}
}

// Shows: DESIGN §2.3 (no allocation a packet), MEC-D
func TestSwitchingAgentDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("allocations cannot be counted under the race detector")
	}
	onCampus(t, func(l *switchedLab) {
		const n = 64
		a, careOf := l.agent, l.Eth0.Address().Addr()
		out := &sink{Device: a.device}
		for i := range a.out {
			a.out[i].path.Out, a.out[i].path.Steps = out, nil
		}
		device := a.device
		a.device = out
		defer func() { a.device = device }()
		down := testing.AllocsPerRun(20, func() {
			b := packet.GetBatch()
			for range n {
				p := packet.GetSmall()
				clear(p.Extend(1180))
				packet.PushIPv4(p, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolESP, Src: simnet.LabGateway, Dst: simnet.LabExternalHomeAddress})
				b.Append(p)
			}
			a.forward(b)
		})
		up := testing.AllocsPerRun(20, func() {
			b := packet.GetBatch()
			for range n {
				p := packet.GetSmall()
				clear(p.Extend(1180))
				p.Peer = netip.AddrPortFrom(careOf, 0)
				b.Append(p)
			}
			a.receiveSwitched(b, tunnel.SwitchedESP)
		})
		if out.n != 2*21*n {
			t.Errorf("%d packets got through, want %d; drops %v", out.n, 2*21*n, a.drops.Snapshot())
		}
		if down > 4 || up > 4 { // one or two a batch may be a pool's; one a packet would be 64
			t.Errorf("%v allocations a batch of %d toward the mobile node, %v from it", down, n, up)
		}
	})
}
