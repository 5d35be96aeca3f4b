package simnet

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// errClosed is net.ErrClosed under a shorter name.
var errClosed = net.ErrClosed

// endpoint is a UDP or raw socket in the host's tables.
type endpoint struct {
	callee
	host     *Host
	protocol uint8
	local    netip.AddrPort // zero Addr: any
	nic      *NIC           // bound to it, nil: any
	remote   netip.AddrPort // zero: unconnected
	// take receives a payload of the packet that begins with head. Mutex held; both are borrowed.
	take func(c *NIC, from netip.AddrPort, head packet.IPv4, payload []byte)
	// end is called when the network closes. Mutex held.
	end func()
}

// match returns how well the endpoint fits a packet that arrived on c (nil: from the host itself or a device), 0 for not
// at all.
func (e *endpoint) match(protocol uint8, c *NIC, from, to netip.AddrPort) int {
	if e.protocol != protocol || e.local.Port() != to.Port() {
		return 0
	}
	score := 1
	if e.nic != nil {
		if e.nic != c {
			return 0
		}
		score += 2
	}
	if e.local.Addr().IsValid() { // one bound to an address of the host does not hear what is to all, as on Linux
		if e.local.Addr() != to.Addr() {
			return 0
		}
		score++
	}
	if e.remote.IsValid() {
		if e.remote != from {
			return 0
		}
		score += 4
	}
	return score
}

// register adds the endpoint, giving it a port where it has none yet.
func (h *Host) register(e *endpoint) error {
	if e.protocol == packet.ProtocolUDP && e.local.Port() == 0 {
		for tries := 0; ; tries++ {
			if h.nextPort++; h.nextPort < 32768 || h.nextPort > 60999 {
				h.nextPort = 32768
			}
			if !slices.ContainsFunc(h.endpoints, func(o *endpoint) bool {
				return o.protocol == packet.ProtocolUDP && o.local.Port() == h.nextPort
			}) {
				break
			}
			if tries > 60999-32768 {
				return ErrPortTaken
			}
		}
		e.local = netip.AddrPortFrom(e.local.Addr(), h.nextPort)
	} else if e.protocol == packet.ProtocolUDP {
		for _, o := range h.endpoints {
			if o.protocol == e.protocol && o.local == e.local && o.nic == e.nic && o.remote == e.remote {
				return ErrPortTaken
			}
		}
	}
	h.endpoints = append(h.endpoints, e)
	return nil
}

func (h *Host) unregister(e *endpoint) {
	h.endpoints = slices.DeleteFunc(h.endpoints, func(o *endpoint) bool { return o == e })
}

// underlay implements link.Link over one interface, or all.
type underlay struct {
	host *Host
	nic  *NIC
	addr netip.Addr
}

// Underlay implements link.Host. For index 0 addr may be the zero Addr, too: any of the host's addresses.
func (h *Host) Underlay(index int, addr netip.Addr) (link.Link, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	u := &underlay{host: h, addr: addr}
	if index != 0 {
		if u.nic = h.nic(index); u.nic == nil {
			return nil, fmt.Errorf("simnet: interface %d of %s: %w", index, h.name, ErrNotFound)
		}
	}
	if err := u.check(); err != nil {
		return nil, fmt.Errorf("simnet: underlay %v on interface %d of %s: %w", addr, index, h.name, err)
	}
	return u, nil
}

// check says whether the link is there: its interface has carrier and its address.
func (u *underlay) check() error {
	switch {
	case u.nic != nil && !u.nic.up():
		return ErrLinkDown
	case u.nic != nil && u.nic.addr.IsValid() && (u.addr == limitedBroadcast || u.host.subnetBroadcast(u.nic, u.addr)):
		return nil // what is sent to all on its wire
	case u.nic != nil && (!u.addr.IsValid() || !u.nic.addr.IsValid() || u.nic.addr.Addr() != u.addr):
		return ErrLinkDown
	case u.addr.IsValid() && !u.host.owns(u.addr):
		return ErrLinkDown
	}
	return nil
}

// Addr implements link.Link.
func (u *underlay) Addr() netip.Addr { return u.addr }

// MTU implements link.Link.
func (u *underlay) MTU() int {
	if u.nic == nil {
		return 1500
	}
	return u.nic.mtu
}

// Open implements link.Link. What Send and packets without Buf.Whole send goes without DF, so that the host and routers on
// the way fragment what is too big.
func (u *underlay) Open(spec link.FlowSpec, recv link.Receiver) (link.Flow, error) {
	n := u.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	fail := func(err error) (link.Flow, error) {
		return nil, fmt.Errorf("simnet: open protocol %d port %d to %v on %s: %w", spec.Protocol, spec.Port, spec.Remote, u.host.name, err)
	}
	if n.closed {
		return fail(errClosed)
	}
	if err := u.check(); err != nil {
		return fail(err)
	}
	if spec.Protocol == packet.ProtocolTCP || spec.Protocol == 0 {
		return fail(fmt.Errorf("protocol not supported"))
	}
	if spec.Protocol != packet.ProtocolUDP {
		spec.Port = 0
		if spec.Remote.IsValid() {
			spec.Remote = netip.AddrPortFrom(spec.Remote.Addr(), 0)
		}
	}
	f := &flow{link: u, ttl: spec.TTL, endpoint: endpoint{
		host: u.host, protocol: spec.Protocol, local: netip.AddrPortFrom(u.addr, spec.Port), nic: u.nic, remote: spec.Remote,
		end: func() {},
	}}
	f.take = func(c *NIC, from netip.AddrPort, head packet.IPv4, payload []byte) {
		p := packet.From(payload)
		p.Peer, p.TOS = from, head.TOS()
		if spec.Protocol == packet.ProtocolMinimal {
			packet.MinimalHeader(p, head)
		}
		if c != nil {
			p.Interface = c.index
		}
		n.deliver(&f.callee, recv, p)
	}
	if err := u.host.register(&f.endpoint); err != nil {
		return fail(err)
	}
	return f, nil
}

// flow implements link.Flow.
type flow struct {
	ttl uint8 // 0: the usual one
	endpoint
	link *underlay
}

// Local implements link.Flow.
func (f *flow) Local() netip.AddrPort { return f.local }

// Remote implements link.Flow.
func (f *flow) Remote() netip.AddrPort { return f.remote }

// Send implements link.Flow.
func (f *flow) Send(to netip.AddrPort, payload []byte) error {
	n := f.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	return f.send(to, packet.IPv4Fields{}, payload, false)
}

// send writes the flow's headers, with the TOS, TTL and DF of head, and sends. Mutex held.
func (f *flow) send(to netip.AddrPort, head packet.IPv4Fields, payload []byte, plaintext bool) error {
	fail := func(err error) error {
		f.host.drops.Count(packet.DropSendFailed, 1)
		return fmt.Errorf("simnet: send protocol %d from %v on %s to %v: %w", f.protocol, shown(f.local), f.host.name, to, err)
	}
	if f.closed || f.host.net.closed {
		return fail(errClosed)
	}
	if !to.Addr().IsValid() {
		to = f.remote
	}
	if !to.Addr().Is4() {
		return fail(fmt.Errorf("an IPv4 destination is needed"))
	}
	if f.remote.IsValid() && to != f.remote {
		return fail(fmt.Errorf("the flow is connected to %v", f.remote))
	}
	if err := f.link.check(); err != nil {
		return fail(err)
	}
	if len(payload) > packet.LargeSize-packet.IPv4Len-packet.UDPLen {
		return fail(ErrTooBig)
	}
	src := f.local.Addr()
	if !src.IsValid() {
		src = to.Addr()
		if !f.host.owns(src) {
			via, ok := f.host.route(to.Addr(), nil, true)
			if !ok {
				return fail(ErrNoRoute)
			}
			src = f.host.sourceFor(via)
		}
	}
	if f.protocol == packet.ProtocolUDP {
		payload = udpSegment(netip.AddrPortFrom(src, f.local.Port()), to, payload)
	}
	if head.TTL == 0 {
		head.TTL = f.ttl
	}
	head.Protocol, head.Src, head.Dst = f.protocol, src, to.Addr()
	pkt := f.host.build(head, payload)
	if err := f.host.output(pkt, f.nic, true, plaintext); err != nil {
		return fail(err)
	}
	return nil
}

// udpSegment returns payload behind a UDP header.
func udpSegment(src, dst netip.AddrPort, payload []byte) []byte {
	b := packet.From(payload)
	defer b.Release()
	packet.PushUDP(b, src, dst)
	return slices.Clone(b.Bytes())
}

// Path implements link.Flow.
func (f *flow) Path(c link.Class) link.Path {
	overhead := packet.IPv4Len
	if f.protocol == packet.ProtocolUDP {
		overhead += packet.UDPLen
	}
	return link.Path{Out: flowSender{f, c}, Overhead: overhead, MTU: f.link.MTU() - overhead}
}

// Close implements link.Flow.
func (f *flow) Close() error {
	f.host.net.mu.Lock()
	f.host.unregister(&f.endpoint)
	f.host.net.mu.Unlock()
	f.host.net.retire(&f.callee)
	return nil
}

// flowSender sends batches of payloads on a flow.
type flowSender struct {
	f *flow
	c link.Class
}

// Send implements link.Sender. The error is that of the first packet that could not be sent; the others are sent.
func (s flowSender) Send(b *packet.Batch) error {
	b.Cut()
	n := s.f.host.net
	n.mu.Lock()
	var first error
	for _, p := range b.Bufs {
		to := p.Peer
		if s.f.remote.IsValid() {
			to = s.f.remote // Peer only counts on an unconnected flow
		}
		if err := s.f.send(to, packet.IPv4Fields{TOS: p.TOS, TTL: p.TTL, DontFragment: p.Whole()}, p.Bytes(), s.c == link.Plaintext); err != nil && first == nil {
			first = err
		}
	}
	n.mu.Unlock()
	b.Release()
	return first
}
