package stack

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// packetFlow is a flow of a PacketLink. It is a link.Step too: the one that writes the flow's headers.
type packetFlow struct {
	link     *PacketLink
	key      flowKey
	port     uint16 // local UDP port
	remote   netip.AddrPort
	ttl      uint8
	unsummed bool // of data: link.FlowSpec
	// signalling is of the flow that carries the packets with switched addresses.
	signalling link.Signalling
	recv       link.Receiver
	closed     atomic.Bool
}

// Local implements link.Flow.
func (f *packetFlow) Local() netip.AddrPort { return netip.AddrPortFrom(f.link.addr, f.port) }

// Remote implements link.Flow.
func (f *packetFlow) Remote() netip.AddrPort { return f.remote }

// Send implements link.Flow.
func (f *packetFlow) Send(to netip.AddrPort, payload []byte) error {
	if to.IsValid() && to != f.remote {
		return fmt.Errorf("stack: flow to %v cannot send to %v", f.remote, to)
	}
	if f.closed.Load() {
		return fmt.Errorf("stack: flow to %v: %w", f.remote, net.ErrClosed)
	}
	if len(payload) > packet.SmallSize {
		return fmt.Errorf("stack: flow to %v: a payload of %d octets is over %d", f.remote, len(payload), packet.SmallSize)
	}
	if _, up := f.link.Path(link.Protected); !up {
		return ErrLinkDown
	}
	if s := f.link.switching.Load(); s != nil {
		if d := s.flow(f); d != nil && len(payload) <= d.Path(link.Protected).MTU {
			err := d.Send(netip.AddrPort{}, payload)
			if m := f.link.meter.Load(); m != nil && err == nil {
				m.sent(message(headersOf(f.key.protocol, f.link.addr), payload))
			}
			return err
		}
	}
	return f.path(link.Protected, f).Send(packet.One(packet.From(payload)))
}

// Path implements link.Flow. On a link that is down the path drops everything.
func (f *packetFlow) Path(c link.Class) link.Path {
	if f.unsummed {
		return f.path(c, unsummed{f})
	}
	return f.path(c, f)
}

// path returns the path that begins with headers, the step that writes the flow's.
func (f *packetFlow) path(c link.Class, headers link.Step) link.Path {
	below, up := f.link.Path(c)
	if !up {
		below = link.Path{Out: discard{f.link.drops}}
	}
	p := below.Over(headers, headersOf(f.key.protocol, f.link.addr), false)
	if s := f.link.switching.Load(); up && c == link.Protected && s != nil {
		if d := s.flow(f); d != nil {
			return f.switched(d, c, p)
		}
	}
	return p
}

// Close implements link.Flow.
func (f *packetFlow) Close() error {
	f.closed.Store(true)
	f.link.mu.Lock()
	defer f.link.mu.Unlock()
	flows := maps.Clone(*f.link.flows.Load())
	if flows[f.key] == f {
		delete(flows, f.key)
		f.link.flows.Store(&flows)
	}
	return nil
}

func (f *packetFlow) deliver(b *packet.Batch) {
	if f.closed.Load() {
		b.Drop(f.link.drops, packet.DropNoFlow)
		return
	}
	f.recv(b)
}

// Apply implements link.Step: it writes the flow's UDP header, if it has one, and IPv4 header.
func (f *packetFlow) Apply(b *packet.Batch) { f.headers(b, packet.PushUDP) }

// unsummed is the step that writes a flow's headers without a UDP checksum.
type unsummed struct{ flow *packetFlow }

// Apply implements link.Step.
func (u unsummed) Apply(b *packet.Batch) { u.flow.headers(b, packet.PushUDPUnsummed) }

// headers writes the flow's headers, that of UDP by push. Each packet on the wire gets an identification of its own. A
// superpacket takes the headers once, as the template of its segments, but for one that has an IPv4 header of another flow in
// front already: that is cut.
func (f *packetFlow) headers(b *packet.Batch, push func(b *packet.Buf, src, dst netip.AddrPort)) {
	if slices.ContainsFunc(b.Bufs, (*packet.Buf).Templated) {
		b.Cut()
	}
	udp, local := f.key.protocol == packet.ProtocolUDP, f.Local()
	fields := packet.IPv4Fields{Protocol: f.key.protocol, Src: f.link.addr, Dst: f.remote.Addr()}
	n := uint32(b.Segments())
	fields.ID = uint16(f.link.ipID.Add(n) - n + 1)
	for _, p := range b.Bufs {
		if udp {
			push(p, local, f.remote)
		}
		fields.TOS, fields.TTL, fields.DontFragment = p.TOS, f.ttl, p.Whole()
		if p.TTL != 0 {
			fields.TTL = p.TTL
		}
		packet.PushIPv4(p, fields)
		fields.ID += uint16(p.Segments())
	}
}

// discard is the sender of a link that is down.
type discard struct{ drops *packet.Drops }

// Send implements link.Sender.
func (d discard) Send(b *packet.Batch) error {
	b.Drop(d.drops, packet.DropNoPath)
	return nil
}
