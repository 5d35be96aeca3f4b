package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// trafficInterval is how often the IKE machine hears of traffic on one SA, which tells it that the peer lives.
const trafficInterval = time.Second

// clientRoute is how packets for one inner address leave. It is not changed once it is in use.
type clientRoute struct {
	inbound uint32 // SPI of the other half
	out     *esp.Outbound
	remote  netip.AddrPort // of ESP: with the port in UDP, without as protocol 50
	path    link.Path
	end     *endpoint
}

// routeTable finds routes by what they lead to.
type routeTable[K comparable] struct {
	mu sync.RWMutex
	m  map[K]*clientRoute
}

func (r *routeTable[K]) of(to K) *clientRoute {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.m[to]
}

// set makes route the route; nil takes it away.
func (r *routeTable[K]) set(to K, route *clientRoute) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if route == nil {
		delete(r.m, to)
		return
	}
	if r.m == nil {
		r.m = make(map[K]*clientRoute)
	}
	r.m[to] = route
}

// traffic is what is minded about inbound packets of each SA.
type traffic struct {
	mu sync.RWMutex
	m  map[uint32]*heard // by SPI
}

// heard is what is minded about one SA.
type heard struct {
	last atomic.Int64  // boot time of the last notice to the IKE machine
	seen atomic.Uint64 // packets that were authentic, when it was looked last
	end  atomic.Pointer[endpoint]
	// visiting is set when the SA goes through the foreign agent in the gateway.
	visiting *visiting
}

// visit has the SA go through the foreign agent, before it is in use.
func (t *traffic) visit(spi uint32, v *visiting) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.m[spi].visiting = v
}

// begin makes end the endpoint of the SA with the SPI.
func (t *traffic) begin(spi uint32, end *endpoint) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = make(map[uint32]*heard)
	}
	h := t.m[spi]
	if h == nil {
		h = &heard{}
		h.last.Store(-int64(trafficInterval))
		t.m[spi] = h
	}
	h.end.Store(end)
}

// of returns what is minded about the SA, nil when it is gone.
func (t *traffic) of(spi uint32) *heard {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.m[spi]
}

// due reports whether a packet at the boot time now is to be told of: thinned out.
func (h *heard) due(now time.Duration) bool {
	before := h.last.Load()
	return now-time.Duration(before) >= trafficInterval && h.last.CompareAndSwap(before, int64(now))
}

func (t *traffic) forget(spi uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.m, spi)
}

// receiveIKE takes what arrives on port 500.
func (g *Gateway) receiveIKE(local netip.Addr, b *packet.Batch) {
	for _, p := range b.Bufs {
		g.handleMessage(netip.AddrPortFrom(local, esp.PortIKE), p.Peer, p.Bytes())
	}
	b.Release()
}

// receiveNATT tells keepalives, IKE and ESP apart (RFC 3948 §2.2, §2.3).
func (g *Gateway) receiveNATT(local netip.Addr, b *packet.Batch) {
	b.Keep(&g.drops, func(p *packet.Buf) packet.DropReason {
		switch esp.Classify(p.Bytes()) {
		case esp.KindKeepalive:
			return packet.Delivered
		case esp.KindIKE:
			g.handleMessage(netip.AddrPortFrom(local, esp.PortNATT), p.Peer, p.Bytes()[esp.MarkerLen:])
			return packet.Delivered
		case esp.KindESP:
			return packet.NotDropped
		case esp.KindInvalid:
		}
		return packet.DropMalformed
	})
	g.receiveESP(local, b)
}

// arrival is a run of ESP packets of one SA from one endpoint, before they are opened.
type arrival struct {
	spi     uint32
	from    netip.AddrPort
	packets int
	octets  int64
}

// arrivals returns the runs of the batch, in list.
func arrivals(b *packet.Batch, list []arrival) []arrival {
	for _, p := range b.Bufs {
		if p.Len() < 4 {
			continue
		}
		spi := binary.BigEndian.Uint32(p.Bytes())
		if n := len(list); n == 0 || list[n-1].spi != spi || list[n-1].from != p.Peer {
			list = append(list, arrival{spi: spi, from: p.Peer})
		}
		last := &list[len(list)-1]
		last.packets++
		last.octets += int64(p.Len())
	}
	return list
}

// receiveESP opens ESP packets and gives what was in them to the host to forward. Their inner source can only be the
// client's own address, and their destination only a network behind the gateway: the selectors of the SA say so, and are
// checked after decryption (RFC 4301 §5.2). Either form of ESP is taken for any SA (RFC 7296 §2.23). Dummy packets show where a
// client is as others do.
func (g *Gateway) receiveESP(local netip.Addr, b *packet.Batch) {
	var list [packet.BatchSize]arrival
	runs := arrivals(b, list[:0])
	g.inbound.Open(b, &g.drops)
	now := g.host.Now().Boot
	for i := range runs {
		g.hear(local, &runs[i], now)
	}
	if g.agent != nil {
		g.agent.take(b, &g.noted)
	}
	n := b.Len()
	if n == 0 {
		b.Release()
		return
	}
	if err := g.device.Write(b); err != nil {
		g.drops.Count(packet.DropSendFailed, n)
	}
}

// hear counts packets of one SA, and tells the IKE machine what it has to know of those that were authentic. Packets from
// elsewhere do not show that the client knows where the gateway sends to (RFC 4555 §3.12).
func (g *Gateway) hear(local netip.Addr, run *arrival, now time.Duration) {
	spi := run.spi
	h, in := g.noted.of(spi), g.inbound.Lookup(spi)
	if h == nil || in == nil {
		return
	}
	end, s := h.end.Load(), in.Source()
	elsewhere := end.elsewhere(s)
	end.take(run.from, run.packets, run.octets)
	if elsewhere {
		at := netip.AddrPortFrom(local, esp.PortNATT)
		g.post(func(now link.Instant) { g.machine.HandleSource(now, at, s) })
	}
	n := in.Usage().Packets
	if h.seen.Swap(n) == n {
		return // nothing that was authentic
	}
	if s.From().Addr() == end.remote.Addr() && h.due(now) {
		g.post(func(now link.Instant) {
			g.machine.HandleTraffic(now, spi)
			g.heardThrough(spi)
		})
	}
	if in.LifeOver() {
		exhausted := in.Exhausted()
		g.post(func(now link.Instant) { g.machine.HandleSpent(now, spi, exhausted) })
	}
}

// read takes what the host routes to clients out of the device until that is closed.
func (g *Gateway) read() {
	for {
		b := packet.GetBatch()
		if err := g.device.Read(b); err != nil {
			b.Release()
			if !errors.Is(err, net.ErrClosed) {
				g.fail(fmt.Errorf("agent: VPN gateway %v reads device %s: %w", g.cfg.Address, g.device.Name(), err))
			}
			return
		}
		g.forward(b)
	}
}

// forward sends packets to their clients: runs of packets for one client stay together and in order. Superpackets stay whole
// until they are sealed.
func (g *Gateway) forward(b *packet.Batch) {
	var (
		to  netip.Addr
		run *packet.Batch
	)
	flush := func() {
		if run != nil {
			g.send(to, run)
			run = nil
		}
	}
	for _, p := range b.Bufs {
		ip := packet.IPv4(p.Bytes())
		if !ip.Valid() {
			g.drops.Count(packet.DropMalformed, p.Segments())
			p.Release()
			continue
		}
		if dst := ip.Dst(); run == nil || dst != to {
			flush()
			to, run = dst, packet.GetBatch()
		}
		if !p.Super() {
			p.Trim(ip.TotalLen())
		}
		run.Append(p)
	}
	flush()
	b.Forget()
}

// send sends packets to one client. It takes ownership.
func (g *Gateway) send(to netip.Addr, b *packet.Batch) {
	r := g.routes.of(to)
	if r == nil {
		g.drops.Count(packet.DropNoBinding, b.Segments())
		b.Release()
		return
	}
	g.sealAndSend(r, b)
}

// sealAndSend seals packets for the client of a route and sends them. It takes ownership.
func (g *Gateway) sealAndSend(r *clientRoute, b *packet.Batch) {
	r.out.Apply(b)
	r.end.bound(b, &g.drops)
	n := b.Len()
	if n == 0 {
		b.Release()
	} else {
		for _, p := range b.Bufs {
			p.Peer = r.remote
		}
		if err := r.path.Send(b); err != nil {
			g.drops.Count(packet.DropSendFailed, n)
		}
	}
	if r.out.LifeOver() {
		spi, exhausted := r.inbound, r.out.Exhausted()
		g.post(func(now link.Instant) { g.machine.HandleSpent(now, spi, exhausted) })
	}
}
