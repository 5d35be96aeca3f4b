package agent

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"mipvpn/mipv4/tunnel"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// exchangeDevice is the TUN device of one role.
type exchangeDevice struct {
	link.Device
	host *exchangeHost
	mtu  atomic.Int64
	take atomic.Pointer[taker] // nil until the role is ready
	door *door
}

// taker is how a role takes packets as if it had read them from its device.
type taker struct {
	forward func(*packet.Batch)
	// head and tail are the room in octets that it needs around a packet; the kernel's reader leaves Headroom and Tailroom.
	head, tail int
	// super says that it takes superpackets in front of which a header has been pushed.
	super bool
}

// takeFrom has the role take what the exchange hands over, where the device takes part in one.
func takeFrom(d link.Device, t taker) {
	if e, ok := d.(*exchangeDevice); ok {
		e.take.Store(&t)
	}
}

// Close implements link.Device. Nothing is handed over to the role any more once it has returned. It must not be called from
// what the exchange calls.
func (d *exchangeDevice) Close() error {
	h := d.host
	h.exchange.change(func(t *exchangeTable) {
		t.routes = slices.DeleteFunc(t.routes, func(r exchangeRoute) bool { return r.device == d })
	})
	h.mu.Lock()
	h.devices = slices.DeleteFunc(h.devices, func(e *exchangeDevice) bool { return e == d })
	h.mu.Unlock()
	d.door.shut()
	return d.Device.Close()
}

// Write implements link.Device: what is for another role's flow goes to its receiver, in runs that keep the order.
func (d *exchangeDevice) Write(b *packet.Batch) error {
	var (
		t     = d.host.exchange.table.Load()
		l     = localDelivery{device: d, table: t}
		to    *exchangeFlow
		run   *packet.Batch
		first error
	)
	flush := func() {
		if run == nil {
			return
		}
		if err := d.deliver(to, run); err != nil && first == nil {
			first = err
		}
		run = nil
	}
	for _, p := range b.Bufs {
		if f := l.flow(p); run == nil || f != to {
			flush()
			to, run = f, packet.GetBatch()
		}
		run.Append(p)
	}
	flush()
	b.Forget()
	return first
}

// deliver gives whole packets to a flow's receiver, or to the kernel where there is none. It takes ownership.
func (d *exchangeDevice) deliver(f *exchangeFlow, b *packet.Batch) error {
	if f == nil || !f.door.enter() {
		return d.Device.Write(b)
	}
	for _, p := range b.Bufs {
		strip(p)
	}
	f.recv(b)
	f.door.leave()
	return nil
}

// strip takes the headers off a packet that localDelivery has found whole, as a socket does.
func strip(p *packet.Buf) {
	ip := packet.IPv4(p.Bytes())
	src, port, tos, udp := ip.Src(), uint16(0), ip.TOS(), ip.Protocol() == packet.ProtocolUDP
	minimal := ip.Protocol() == packet.ProtocolMinimal
	p.Pull(packet.IPv4Len)
	if udp {
		port = packet.UDP(p.Bytes()).SrcPort()
		p.Pull(packet.UDPLen)
	}
	asNew(p)
	p.Peer, p.TOS = netip.AddrPortFrom(src, port), tos
	if minimal {
		packet.MinimalHeader(p, ip)
	}
}

// asNew clears what the last role has noted about a packet.
func asNew(p *packet.Buf) {
	p.Peer, p.Hardware, p.Interface, p.TOS, p.TTL, p.ID, p.SA = netip.AddrPort{}, packet.HardwareAddr{}, 0, 0, 0, 0, 0
	p.DontFragment, p.Probe = false, false
}

// localDelivery finds the flows that packets of one batch out of a device are for. It remembers the last one.
type localDelivery struct {
	device *exchangeDevice
	table  *exchangeTable
	src    netip.Addr // the last source that is routed into the device
	key    flowKey
	last   *exchangeFlow
}

// flow returns the flow of another role that the kernel would deliver the packet to, nil when it is none or anything about
// the packet is out of the ordinary.
func (l *localDelivery) flow(p *packet.Buf) *exchangeFlow {
	ip := packet.IPv4(p.Bytes())
	if p.Super() || !ip.Valid() || ip.HeaderLen() != packet.IPv4Len || ip.TotalLen() != p.Len() ||
		ip.MoreFragments() || ip.FragmentOffset() != 0 {
		return nil
	}
	k := flowKey{addr: ip.Dst(), protocol: ip.Protocol()}
	switch k.protocol {
	case packet.ProtocolUDP:
		u := packet.UDP(ip.Payload())
		if !u.Valid() || u.Length() != len(u) {
			return nil
		}
		k.port = u.DstPort()
	case packet.ProtocolIPIP, packet.ProtocolESP, packet.ProtocolGRE, packet.ProtocolMinimal:
	default:
		return nil
	}
	if k != l.key {
		l.key, l.last = k, l.table.flow(k, l.device.host)
	}
	if l.last == nil || !ip.ChecksumOK() {
		return nil
	}
	if src := ip.Src(); src != l.src {
		if !l.table.owns(l.device, src) {
			return nil
		}
		l.src = src
	}
	if k.protocol == packet.ProtocolUDP && !summed(p, ip) {
		return nil
	}
	return l.last
}

// summed reports whether the checksum of the UDP datagram in p is right or absent.
func summed(p *packet.Buf, ip packet.IPv4) bool {
	u := packet.UDP(ip.Payload())
	if sum, ok := p.Sum(); ok && u.Checksum() != 0 {
		// The IPv4 header with its right checksum sums to nothing.
		return packet.Checksum(nil, packet.PartialSum(ip[12:20], uint32(packet.ProtocolUDP)+uint32(len(u))+uint32(sum))) == 0
	}
	return u.ChecksumOK(ip.Src(), ip.Dst())
}

// into hands payloads of a flow to the role behind the device, with headers as the kernel writes them. It takes ownership.
// What does not fit is cut, or goes by the kernel; what is too long for the device and must stay whole is dropped, and the
// flow's role is told by ICMP.
func (d *exchangeDevice) into(f *exchangeFlow, b *packet.Batch, kernel link.Sender) error {
	take := d.take.Load()
	if take == nil || !d.door.enter() {
		return kernel.Send(b)
	}
	defer d.door.leave()
	var (
		out, rest = packet.GetBatch(), packet.GetBatch()
		mtu       = int(d.mtu.Load())
		first     error
	)
	if !take.super || slices.ContainsFunc(b.Bufs, func(p *packet.Buf) bool { return p.SegmentLen()+f.overhead > mtu }) {
		b.Cut()
	}
	for _, p := range b.Bufs {
		n := p.SegmentLen() + f.overhead
		if p.Room() < f.overhead+take.head || len(p.Free()) < take.tail || p.Templated() || n > math.MaxUint16 {
			rest.Append(p)
			continue
		}
		whole := p.Whole()
		f.head(p)
		switch {
		case n <= mtu:
			out.Append(p)
		case !whole && tunnel.Fragment(p, mtu, out) == packet.NotDropped:
		default:
			err := fmt.Errorf("agent: %d octets do not go into device %s of %d, and the sender of the packet was told", n, d.Name(), mtu)
			if !f.host.tooBig(packet.IPv4(p.Bytes()), mtu) {
				err = fmt.Errorf("agent: %w: %d octets into device %s of %d", link.ErrTooBig, n, d.Name(), mtu)
			}
			p.Release()
			if first == nil {
				first = err
			}
		}
	}
	b.Forget()
	if rest.Len() > 0 {
		if err := kernel.Send(rest); err != nil && first == nil {
			first = err
		}
	} else {
		rest.Release()
	}
	if out.Len() > 0 {
		take.forward(out)
	} else {
		out.Release()
	}
	return first
}

// tooBig tells the role of the host that its packet is too long for the device that it is routed into, as a router does
// (RFC 1191 §4). It reports whether the role listens.
func (h *exchangeHost) tooBig(about packet.IPv4, mtu int) bool {
	h.mu.Lock()
	var to *exchangeFlow
	for _, f := range h.icmp {
		if f.Local().Addr() == about.Src() {
			to = f
		}
	}
	h.mu.Unlock()
	if to == nil || !to.door.enter() {
		return false
	}
	defer to.door.leave()
	if e := tunnel.ICMPError(about.Src(), tunnel.ICMPUnreachable, tunnel.CodeFragmentNeeded, uint16(mtu), about); e != nil {
		strip(e)
		to.recv(packet.One(e))
	}
	return true
}

// doorLimit is how many calls are inside a role at once at most: more than there are goroutines to make them, so that only
// calls that nest without end meet it.
const doorLimit = 32

// door lets calls into a role until it is shut.
type door struct {
	inside atomic.Int64 // far below zero once it is shut
	once   sync.Once
	empty  chan struct{} // closed when it is shut and the last call has left
}

const doorShut = math.MinInt64 / 2

func newDoor() *door { return &door{empty: make(chan struct{})} }

// enter reports whether the call is let in; then leave must follow.
func (d *door) enter() bool {
	if n := d.inside.Add(1); n > 0 && n <= doorLimit {
		return true
	}
	d.leave()
	return false
}

func (d *door) leave() {
	if d.inside.Add(-1) == doorShut {
		d.once.Do(func() { close(d.empty) })
	}
}

// shut lets nobody in any more and waits until all have left. It is called once, and not by one who is inside.
func (d *door) shut() {
	if d.inside.Add(doorShut) == doorShut {
		d.once.Do(func() { close(d.empty) })
	}
	<-d.empty
}
