package agent

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync/atomic"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// exchangeLink is a link of one role: of one address on every interface.
type exchangeLink struct {
	link.Link
	host *exchangeHost
}

// Open implements link.Link. Unconnected flows take part in the exchange.
func (l *exchangeLink) Open(spec link.FlowSpec, recv link.Receiver) (link.Flow, error) {
	inner, err := l.Link.Open(spec, recv)
	if err != nil || spec.Remote.IsValid() {
		return inner, err
	}
	f := &exchangeFlow{Flow: inner, host: l.host, spec: spec, recv: recv, door: newDoor(), overhead: packet.IPv4Len}
	if spec.Protocol == packet.ProtocolUDP {
		f.overhead += packet.UDPLen
	}
	if f.spec.TTL == 0 {
		f.spec.TTL = defaultTTL
	}
	f.id.Store(rand.Uint32())
	if spec.Protocol == packet.ProtocolICMP { // which the kernel takes as well
		l.host.mu.Lock()
		defer l.host.mu.Unlock()
		l.host.icmp = append(l.host.icmp, f)
		return f, nil
	}
	l.host.exchange.change(func(t *exchangeTable) { t.flows[f.key()] = f })
	return f, nil
}

// defaultTTL is the time to live of what the kernel sends.
const defaultTTL = 64

// exchangeFlow is an unconnected flow of one role.
type exchangeFlow struct {
	link.Flow
	host     *exchangeHost
	spec     link.FlowSpec
	recv     link.Receiver
	overhead int // octets of the headers that the flow writes
	door     *door
	id       atomic.Uint32 // of the last header
}

func (f *exchangeFlow) key() flowKey {
	l := f.Local()
	return flowKey{addr: l.Addr(), port: l.Port(), protocol: f.spec.Protocol}
}

// Path implements link.Flow.
func (f *exchangeFlow) Path(c link.Class) link.Path {
	p := f.Flow.Path(c)
	if c == link.Protected {
		p.Out = &exchangeSender{f, p.Out}
	}
	return p
}

// Close implements link.Flow, but for that it must not be called from what the exchange calls.
func (f *exchangeFlow) Close() error {
	f.host.exchange.change(func(t *exchangeTable) {
		if k := f.key(); t.flows[k] == f {
			delete(t.flows, k)
		}
	})
	f.host.mu.Lock()
	f.host.icmp = slices.DeleteFunc(f.host.icmp, func(o *exchangeFlow) bool { return o == f })
	f.host.mu.Unlock()
	err := f.Flow.Close()
	f.door.shut()
	return err
}

// head puts the headers of the flow in front of a payload, as the kernel writes them.
func (f *exchangeFlow) head(p *packet.Buf) {
	local, to := f.Local(), p.Peer
	if f.spec.Protocol == packet.ProtocolUDP {
		if f.spec.Unsummed {
			packet.PushUDPUnsummed(p, local, to)
		} else {
			packet.PushUDP(p, local, to)
		}
	}
	n, ttl := uint32(p.Segments()), f.spec.TTL
	if p.TTL != 0 {
		ttl = p.TTL
	}
	packet.PushIPv4(p, packet.IPv4Fields{TOS: p.TOS, ID: uint16(f.id.Add(n) - n), DontFragment: p.Whole(), TTL: ttl,
		Protocol: f.spec.Protocol, Src: local.Addr(), Dst: to.Addr()})
	asNew(p)
}

// exchangeSender is the end of a path over a flow.
type exchangeSender struct {
	flow   *exchangeFlow
	kernel link.Sender
}

// Send implements link.Sender: what is for another role goes to it, in runs that keep the order.
func (s *exchangeSender) Send(b *packet.Batch) error {
	var (
		h      = s.flow.host
		t      = h.exchange.table.Load()
		peer   netip.AddrPort
		flow   *exchangeFlow
		device *exchangeDevice
		run    *packet.Batch
		first  error
	)
	flush := func() {
		if run == nil {
			return
		}
		if err := s.hand(flow, device, run); err != nil && first == nil {
			first = err
		}
		run = nil
	}
	for _, p := range b.Bufs {
		if run == nil || p.Peer != peer {
			peer = p.Peer
			k := flowKey{addr: peer.Addr(), port: peer.Port(), protocol: s.flow.spec.Protocol}
			toFlow, toDevice := t.flow(k, h), (*exchangeDevice)(nil)
			if toFlow == nil {
				toDevice = t.device(peer.Addr(), h)
			}
			if run == nil || toFlow != flow || toDevice != device {
				flush()
				flow, device, run = toFlow, toDevice, packet.GetBatch()
			}
		}
		run.Append(p)
	}
	flush()
	b.Forget()
	return first
}

// hand gives payloads to another role's flow or device, or to the kernel where there is none. It takes ownership.
func (s *exchangeSender) hand(flow *exchangeFlow, device *exchangeDevice, b *packet.Batch) error {
	switch {
	case device != nil:
		return device.into(s.flow, b, s.kernel)
	case flow == nil || !flow.door.enter():
		return s.kernel.Send(b)
	}
	defer flow.door.leave()
	b.Cut()
	for _, p := range b.Bufs {
		tos, ttl, whole := p.TOS, p.TTL, p.Whole()
		asNew(p)
		p.Peer, p.TOS = s.flow.Local(), tos
		if s.flow.spec.Protocol == packet.ProtocolMinimal {
			p.TTL, p.DontFragment = ttl, whole
			p.ID = uint16(s.flow.id.Add(1))
		}
	}
	flow.recv(b)
	return nil
}
