package stack

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mipvpn/mipv4/tunnel"
	"mipvpn/stack/gate"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

const (
	// holdPackets is how many packets wait, at most, while a change of mode leaves no pipeline, and holdOctets how much memory
	// they may lie in; the oldest go first.
	holdPackets = 256
	holdOctets  = 1 << 20
	// holdTime is how long a packet may have waited when it is sent after all.
	holdTime = time.Second
)

// Engine owns the TUN device: it reads what applications send and passes it through the current pipeline, and writes
// what arrives for the home address.
type Engine struct {
	dev   link.Device
	clock link.Clock
	home  netip.Addr
	drops *packet.Drops

	current atomic.Pointer[Pipeline]   // nil: no pipeline
	copies  atomic.Pointer[duplicates] // nil: no copies are expected
	routes  atomic.Uint32              // given out so far
	// listener is what is taken beside what is for the home address, nil for nothing.
	listener atomic.Pointer[tunnel.Listener]

	wake atomic.Pointer[func()] // set while Await waits

	mu         sync.Mutex
	holding    bool
	held       []heldPacket
	heldOctets int

	measurement atomic.Pointer[Measurement]
	ping        atomic.Pointer[Measurement]
	lastRefusal atomic.Int64 // boot time
	errors      limiter

	txPackets, txBytes, txLong, rxPackets, rxBytes atomic.Uint64
}

type heldPacket struct {
	buf   *packet.Buf
	since time.Duration
}

// octets returns the memory that the packet lies in.
func (h heldPacket) octets() int { return h.buf.Room() + h.buf.Len() + len(h.buf.Free()) }

// Traffic counts what an Engine has carried: IPv4 packets of the home address as they are on the wire, superpackets as their
// segments, and their octets.
type Traffic struct {
	TxPackets, TxBytes, RxPackets, RxBytes uint64
	// TxLong are those of TxPackets that are longer than LongPacket.
	TxLong uint64
}

// Plus returns the sum of both.
func (t Traffic) Plus(o Traffic) Traffic {
	return Traffic{t.TxPackets + o.TxPackets, t.TxBytes + o.TxBytes, t.RxPackets + o.RxPackets, t.RxBytes + o.RxBytes, t.TxLong + o.TxLong}
}

// NewEngine returns an engine for the device whose own address is home. It has no pipeline yet and drops everything.
func NewEngine(dev link.Device, clock link.Clock, home netip.Addr, drops *packet.Drops) *Engine {
	return &Engine{dev: dev, clock: clock, home: home, drops: drops}
}

// Run reads the device until it is closed, and returns nil then.
func (e *Engine) Run() error {
	for {
		b := packet.GetBatch()
		if err := e.dev.Read(b); err != nil {
			b.Release()
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		e.send(b)
	}
}

// Current returns the pipeline in use, nil without one.
func (e *Engine) Current() *Pipeline { return e.current.Load() }

// Swap makes p the pipeline and sends what waited for it; packets that the host sends meanwhile go after those. A nil p
// drops everything from now on.
func (e *Engine) Swap(p *Pipeline) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.wake.Store(nil)
	held := e.held
	e.held, e.heldOctets, e.holding = nil, 0, false
	now := e.clock.Now().Boot
	b := packet.GetBatch()
	for _, h := range held {
		if p == nil || now-h.since > holdTime {
			e.drops.Count(packet.DropNoPath, h.buf.Segments())
			h.buf.Release()
			continue
		}
		b.Append(h.buf)
	}
	if b.Len() > 0 {
		e.through(p, b) // under mu, where send waits: order is kept
	} else {
		b.Release()
	}
	e.current.Store(p)
}

// Hold takes the pipeline away and lets a little of what applications send wait for the next one.
func (e *Engine) Hold() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.wake.Store(nil)
	e.current.Store(nil)
	e.holding = true
}

// Await is Hold with a call of wake when the first packet comes, from an application or, in the clear, from the network:
// once, from the goroutine that carries the packet, so that it must not block. Swap and Hold take it back.
func (e *Engine) Await(wake func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.current.Store(nil)
	e.holding = true
	e.wake.Store(&wake)
}

// rouse calls what Await was given.
func (e *Engine) rouse() {
	if e.wake.Load() == nil {
		return
	}
	if w := e.wake.Swap(nil); w != nil {
		(*w)()
	}
}

// Traffic returns the counters.
func (e *Engine) Traffic() Traffic {
	return Traffic{e.txPackets.Load(), e.txBytes.Load(), e.rxPackets.Load(), e.rxBytes.Load(), e.txLong.Load()}
}

// send takes a batch from the device. The pipeline is read once for all of it.
func (e *Engine) send(b *packet.Batch) {
	if p := e.current.Load(); p != nil {
		e.through(p, b)
		return
	}
	b.Keep(e.drops, e.outbound)
	if b.Len() == 0 {
		b.Release()
		return
	}
	e.mu.Lock()
	if p := e.current.Load(); p != nil { // a Swap came between
		e.mu.Unlock()
		e.through(p, b)
		return
	}
	defer e.mu.Unlock()
	if !e.holding {
		b.Drop(e.drops, packet.DropNoPath)
		return
	}
	e.keep(b)
	e.rouse()
}

// keep lets the packets wait. The caller holds mu.
func (e *Engine) keep(b *packet.Batch) {
	now := e.clock.Now().Boot
	for _, p := range b.Bufs {
		h := heldPacket{p, now}
		e.held = append(e.held, h)
		e.heldOctets += h.octets()
	}
	b.Forget()
	gone := 0
	for ; len(e.held)-gone > holdPackets || e.heldOctets > holdOctets; gone++ {
		h := e.held[gone]
		e.heldOctets -= h.octets()
		e.drops.Count(packet.DropNoPath, h.buf.Segments())
		h.buf.Release()
	}
	e.held = slices.Delete(e.held, 0, gone)
}

// outbound judges one packet from the device: nothing but the home address's own IPv4 leaves (never fail open).
func (e *Engine) outbound(p *packet.Buf) packet.DropReason {
	ip := packet.IPv4(p.Bytes())
	if !ip.Valid() {
		return packet.DropUnsupported // IPv6 among others
	}
	if ip.Src() != e.home {
		return packet.DropNotHomeAddress
	}
	return packet.NotDropped
}

// tally counts packets as they are on the wire.
type tally struct{ packets, octets, long int }

// add counts one, with all of its segments.
func (t *tally) add(p *packet.Buf) {
	n := p.Segments()
	t.packets += n
	t.octets += p.Len() + (n-1)*p.SegmentHeaderLen()
	t.long += long(p)
}

// long returns how many of the packet's segments are longer than LongPacket.
func long(p *packet.Buf) int {
	if p.SegmentLen() <= LongPacket {
		return 0
	}
	n := p.Segments()
	last := p.Len() - (n-1)*p.SegmentSize()
	if last > LongPacket {
		return n
	}
	return n - 1
}

// through sends a batch through the pipeline: judged, cut to its MTU and counted, in one pass where nothing has to be cut.
func (e *Engine) through(p *Pipeline, b *packet.Batch) {
	var t tally
	mtu, over := p.MTU(), false
	b.Keep(e.drops, func(q *packet.Buf) packet.DropReason {
		if r := e.outbound(q); r != packet.NotDropped {
			return r
		}
		ip := packet.IPv4(q.Bytes())
		q.TOS, q.DontFragment = ip.TOS(), ip.DontFragment()
		if !fits(q, mtu) {
			if q.DontFragment && !q.Super() {
				return e.tooBig(q, mtu)
			}
			over = true
			return packet.NotDropped
		}
		ClampMSS(ip, mtu)
		t.add(q)
		return packet.NotDropped
	})
	if over {
		e.cut(b, mtu, &t)
	}
	if b.Len() == 0 {
		b.Release()
		return
	}
	if err := p.path.Send(b); err != nil { // the sender has counted what it dropped
		if errors.Is(err, link.ErrTooBig) {
			e.refused()
		}
		return
	}
	e.txPackets.Add(uint64(t.packets))
	e.txBytes.Add(uint64(t.octets))
	if t.long > 0 {
		e.txLong.Add(uint64(t.long))
	}
}

// Inbound returns the receiver for packets that came out of the VPN: they must bear the mark of the ESP security
// association that authenticated them. The IPv4 header has been checked by what took the packet out of its tunnel.
func (e *Engine) Inbound() link.Receiver {
	return func(b *packet.Batch) { e.receive(b, routeVPN) }
}

// PlaintextInbound returns the receiver for packets that came without ESP through the interface in that epoch: they pass
// only while the gate allows (DET-4, both ways). The IPv4 header has been checked by what took the packet out of its tunnel,
// or by the link.
func (e *Engine) PlaintextInbound(g *gate.Gate, iface int, epoch uint64) link.Receiver {
	via := 1 + route(e.routes.Add(1)%(numRoutes-1))
	guarded := g.GuardReceiver(iface, epoch, func(b *packet.Batch) { e.receive(b, via) }, e.drops)
	return func(b *packet.Batch) {
		e.rouse()
		guarded(b)
	}
}

// receive judges what came in by the route and writes it to the device.
func (e *Engine) receive(b *packet.Batch, via route) {
	mtu := 0
	if pipe := e.current.Load(); pipe != nil {
		mtu = pipe.MTU()
	}
	var t tally
	copies, listener := e.copies.Load(), e.listener.Load()
	b.Keep(e.drops, func(p *packet.Buf) packet.DropReason {
		if via == routeVPN && p.SA == 0 {
			return packet.DropPolicy
		}
		ip := packet.IPv4(p.Bytes())
		if !ip.Valid() {
			return packet.DropMalformed
		}
		if listener != nil {
			if r := listener.Take(p); r != packet.NotDropped {
				return r
			}
			ip = packet.IPv4(p.Bytes())
		} else if ip.Dst() != e.home {
			return packet.DropNotHomeAddress
		}
		if copies != nil && copies.second(ip, via) {
			return packet.DropDuplicate
		}
		n := ip.TotalLen()
		p.Trim(n)
		switch ip.Protocol() {
		case packet.ProtocolICMP:
			if e.answers(ip) {
				return packet.Delivered
			}
		case packet.ProtocolTCP:
			if mtu != 0 {
				ClampMSS(ip[:n], mtu)
			}
		}
		t.add(p)
		return packet.NotDropped
	})
	if b.Len() == 0 {
		b.Release()
		return
	}
	if e.dev.Write(b) != nil {
		return // the device has counted what it dropped
	}
	e.rxPackets.Add(uint64(t.packets))
	e.rxBytes.Add(uint64(t.octets))
}

// Listen has broadcasts of the home network taken in too, for a mobile node that has asked for them (RFC 5944 §4.3): they pass what
// packets for the home address pass, the gate and the mark of ESP. Nil ends that. The listener's home address is the engine's.
func (e *Engine) Listen(l *tunnel.Listener) { e.listener.Store(l) }

// Deduplicate says whether a home agent may send each packet to several care-of addresses (RFC 5944 §4.2.3), so that second
// copies have to be dropped.
func (e *Engine) Deduplicate(on bool) {
	switch {
	case !on:
		e.copies.Store(nil)
	case e.copies.Load() == nil:
		e.copies.Store(newDuplicates())
	}
}
