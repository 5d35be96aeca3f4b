package stack

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"

	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/tunnel"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// RegistrationPort is the UDP port of Mobile IP registration and of UDP tunnelling (RFC 5944 §3.3, RFC 3519 §4).
const RegistrationPort = 434

// Attachment is how one Mobile IPv4 layer reaches its home agent through the link below: where its registration messages
// go, and how packets from the home address are carried once a registration has been accepted.
type Attachment interface {
	// Send sends a registration message to the home agent or the foreign agent.
	Send(message []byte) error
	// Carrier returns how packets from the home address are carried in the tunnel that a reply has granted.
	Carrier(granted mobilenode.Tunnel) (Carrier, error)
	// Close gives the flows back; packets that still arrive are dropped.
	Close() error
}

// CoLocated attaches with a co-located care-of address (RFC 5944 §1.5): the address of the link below. The mobile node
// is the end of the tunnel itself.
type CoLocated struct {
	below   link.Link
	agent   netip.AddrPort
	drops   *packet.Drops
	udp     link.Flow
	replies func([]byte)
	inner   link.Receiver
	home    netip.Addr
	// fromUDP takes packets out of UDP tunnelling.
	fromUDP tunnel.Decapsulator

	// aside is where registrations go that go through a foreign agent, nil where they go straight to the home agent.
	aside *aside

	answers atomic.Pointer[answers]
	// listener is shared by all forms of the tunnel.
	listener atomic.Pointer[tunnel.Listener]

	mu    sync.Mutex
	other [tunnel.NumEncapsulations]link.Flow // but UDP; opened when a reply grants them
	// gre are the optional fields that other[tunnel.GRE] was opened with.
	gre tunnel.GREOptions
	// switching is what zero-overhead tunnelling goes by, and switched what it went by before.
	switching *Switching
	switched  []*Switching
}

// answers is where the home agent's answers to keepalives go.
type answers struct {
	id      uint16
	deliver func(packet.IPv4)
}

// AttachCoLocated attaches the home address to its home agent through the link below. replies is called with each message
// that is no tunnelled data, and owns it; inner receives the decapsulated packets. Both must not block.
func AttachCoLocated(below link.Link, home, agent netip.Addr, drops *packet.Drops, replies func([]byte), inner link.Receiver) (*CoLocated, error) {
	return attachCoLocated(below, home, agent, 0, drops, replies, inner)
}

// attachCoLocated attaches by the UDP port given, 0 for any.
func attachCoLocated(below link.Link, home, agent netip.Addr, port uint16, drops *packet.Drops, replies func([]byte), inner link.Receiver) (*CoLocated, error) {
	a := &CoLocated{
		below: below, agent: netip.AddrPortFrom(agent, RegistrationPort), home: home, drops: drops, replies: replies, inner: inner,
		fromUDP: tunnel.Decapsulator{Encapsulation: tunnel.UDP, Peer: netip.AddrPortFrom(agent, RegistrationPort), Inner: home, Drops: drops},
	}
	a.fromUDP.Listener = &a.listener
	var err error
	if a.udp, err = below.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Port: port, Remote: a.agent, Signalling: link.SignallingMobileIP}, a.receiveUDP); err != nil {
		return nil, fmt.Errorf("stack: attach %v to home agent %v: %w", home, agent, err)
	}
	return a, nil
}

// Listen has broadcasts of the home network taken out of the tunnel too, for a mobile node that has asked for them; nil ends that.
// What the receiver makes of them is for Engine.Listen.
func (a *CoLocated) Listen(l *tunnel.Listener) { a.listener.Store(l) }

// Send implements Attachment.
func (a *CoLocated) Send(message []byte) error {
	if a.aside != nil && !tunnel.IsData(message) {
		return a.aside.request.Send(netip.AddrPort{}, message)
	}
	return a.udp.Send(a.agent, message)
}

// Carrier implements Attachment. UDP tunnelling goes over the flow of the registrations, so that a NAT maps both alike
// (RFC 3519 §4.2).
func (a *CoLocated) Carrier(granted mobilenode.Tunnel) (Carrier, error) {
	flow := a.udp
	if !granted.UDP() {
		a.mu.Lock()
		defer a.mu.Unlock()
		var err error
		if flow, err = a.flow(granted.Encapsulation, granted.GRE); err != nil {
			return nil, err
		}
	}
	step := tunnel.Encapsulator{Encapsulation: granted.Encapsulation, GRE: granted.GRE, Drops: a.drops}
	if granted.Encapsulation != tunnel.Minimal {
		return func(c link.Class) link.Path { return flow.Path(c).Over(step, step.Overhead(), false) }, nil
	}
	rest, err := a.flow(tunnel.IPIP, granted.GRE)
	if err != nil {
		return nil, err
	}
	return func(c link.Class) link.Path { return minimalPath(flow.Path(c), rest.Path(c), step) }, nil
}

// flow returns the flow of an encapsulation that is not UDP, opened if it was not. a.mu is held.
func (a *CoLocated) flow(e tunnel.Encapsulation, o tunnel.GREOptions) (link.Flow, error) {
	if f := a.other[e]; f != nil && (e != tunnel.GRE || o == a.gre) {
		return f, nil
	} else if f != nil {
		if err := f.Close(); err != nil {
			return nil, err
		}
		a.other[e] = nil
	}
	peer := netip.AddrPortFrom(a.agent.Addr(), 0)
	d := &tunnel.Decapsulator{Encapsulation: e, GRE: o, Peer: peer, Inner: a.home, Listener: &a.listener, Drops: a.drops}
	f, err := a.below.Open(link.FlowSpec{Protocol: e.Protocol(), Remote: peer}, func(b *packet.Batch) { a.receive(d, b) })
	if err != nil {
		return nil, fmt.Errorf("stack: encapsulation %v to home agent %v: %w", e, a.agent.Addr(), err)
	}
	if a.other[e] = f; e == tunnel.GRE {
		a.gre = o
	}
	return f, nil
}

// Close implements Attachment.
func (a *CoLocated) Close() error {
	err := a.udp.Close()
	if a.aside != nil {
		if e := a.aside.close(); err == nil {
			err = e
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, f := range a.other {
		if f == nil {
			continue
		}
		if e := f.Close(); err == nil {
			err = e
		}
	}
	for _, s := range append(a.switched, a.switching) {
		if s == nil {
			continue
		}
		if e := s.close(); err == nil {
			err = e
		}
	}
	return err
}

func (a *CoLocated) receiveUDP(b *packet.Batch) { a.receive(&a.fromUDP, b) }

// receive takes packets out of a tunnel. On the port of UDP tunnelling it tells them from registration messages (RFC 3519
// §3.3).
func (a *CoLocated) receive(d *tunnel.Decapsulator, b *packet.Batch) {
	to := a.answers.Load()
	b.Keep(a.drops, func(p *packet.Buf) packet.DropReason {
		if d.Encapsulation == tunnel.UDP && !tunnel.IsData(p.Bytes()) {
			a.replies(append([]byte(nil), p.Bytes()...))
			return packet.Delivered
		}
		if r := d.Decapsulate(p); r != packet.NotDropped {
			return r
		}
		return a.answer(to, p)
	})
	if b.Len() == 0 {
		b.Release()
		return
	}
	a.inner(b)
}

// HandleAnswers has the home agent's ICMP echo replies with the identifier id, the answers to keepalives (RFC 3519 §4.9),
// given to deliver, which owns them and must not block, and not to anybody else.
func (a *CoLocated) HandleAnswers(id uint16, deliver func(packet.IPv4)) {
	a.answers.Store(&answers{id, deliver})
}

// answer takes the packet if it is the answer to a keepalive.
func (a *CoLocated) answer(to *answers, p *packet.Buf) packet.DropReason {
	ip := packet.IPv4(p.Bytes())
	if to == nil || ip.Protocol() != packet.ProtocolICMP || ip.Src() != a.agent.Addr() {
		return packet.NotDropped
	}
	if typ, id, _, ok := tunnel.ParseEcho(ip); !ok || typ != tunnel.ICMPEchoReply || id != to.id {
		return packet.NotDropped
	}
	to.deliver(packet.IPv4(append([]byte(nil), ip...)))
	return packet.Delivered
}

// ViaForeignAgent attaches with a foreign agent's care-of address (RFC 5944 §1.5) and its direct delivery style (RFC 3024
// §5.1): the agent is the end of the tunnel, and packets go to it as they are.
type ViaForeignAgent struct {
	segment  *Segment
	visit    *PacketLink
	flow     link.Flow
	listener atomic.Pointer[tunnel.Listener]
}

// Listen has what is sent to groups, and to all of the home network, go to the home agent in unicast datagrams (RFC 5944 §4.4), since
// the foreign agent forwards nothing else; nil ends that. Carriers that Carrier returns from then on know of it.
func (a *ViaForeignAgent) Listen(l *tunnel.Listener) { a.listener.Store(l) }

// toAgent returns the path p with the step for what is sent to groups and to all before it, for a mobile node that listens. What it
// makes fits into the foreign agent's tunnel too, whatever its form: in fragments the home agent would not know it.
func toAgent(p link.Path, l *tunnel.Listener, drops *packet.Drops) link.Path {
	if l == nil {
		return p
	}
	return p.Over(tunnel.ToAgent{Listener: l, MTU: p.MTU - tunnel.UDP.TotalOverhead(), Drops: drops}, 0, false)
}

// AttachViaForeignAgent attaches the home address through the foreign agent, whose address and link-layer address an
// advertisement on the segment gave. mtu is the interface's. replies is called with each message from the agent and owns
// it; what else comes for the home address goes to inner.
func AttachViaForeignAgent(s *Segment, home, agent netip.Addr, hardware packet.HardwareAddr, mtu int,
	replies func([]byte), inner link.Receiver) (*ViaForeignAgent, error) {
	a := &ViaForeignAgent{segment: s, visit: s.Visit(home, hardware, mtu, inner)}
	if err := a.open(agent, replies); err != nil {
		return nil, err
	}
	return a, nil
}

// open opens the flow of registration messages to agent.
func (a *ViaForeignAgent) open(agent netip.Addr, replies func([]byte)) (err error) {
	s := a.segment
	a.flow, err = a.visit.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Port: s.nextPort(), Remote: netip.AddrPortFrom(agent, RegistrationPort), TTL: 255},
		func(b *packet.Batch) {
			for _, p := range b.Bufs {
				replies(append([]byte(nil), p.Bytes()...))
			}
			b.Release()
		})
	if err != nil {
		s.Leave(a.visit)
		return fmt.Errorf("stack: attach %v on the link layer to agent %v: %w", a.visit.Addr(), agent, err)
	}
	return nil
}

// Send implements Attachment.
func (a *ViaForeignAgent) Send(message []byte) error { return a.flow.Send(netip.AddrPort{}, message) }

// Carrier implements Attachment.
func (a *ViaForeignAgent) Carrier(mobilenode.Tunnel) (Carrier, error) {
	l := a.listener.Load()
	return func(c link.Class) link.Path {
		p, up := a.visit.Path(c)
		if !up {
			return link.Path{Out: discard{a.segment.drops}}
		}
		return toAgent(p, l, a.segment.drops)
	}, nil
}

// Close implements Attachment.
func (a *ViaForeignAgent) Close() error {
	err := a.flow.Close()
	a.segment.Leave(a.visit)
	return err
}
