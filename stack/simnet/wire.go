package simnet

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"mipvpn/tun/packet"
)

// minLatency is the least latency of a wire. With it, everything that is sent at one time has been sent before the first
// of it arrives, whatever the order that goroutines ran in.
const minLatency = time.Microsecond

// Impairment says what a wire does to the frames of one sender. The zero value is a fast wire without faults.
type Impairment struct {
	// Latency from sending to arrival; at least a microsecond is taken.
	Latency time.Duration
	// Jitter is the most that is added to the latency, evenly spread. It does not reorder.
	Jitter time.Duration
	// Loss, Duplicate and Reorder are probabilities, 0 to 1, that a frame is lost, arrives twice, or is held back by
	// ReorderDelay (default 5 ms) so that later ones overtake it.
	Loss, Duplicate, Reorder float64
	// ReorderDelay is how long a reordered frame is held back.
	ReorderDelay time.Duration
	// Rate is in bit/s, 0 for no limit.
	Rate int64
	// Queue is the most octets that wait for the rate, further ones being lost; 0 means 64 KiB.
	Queue int
}

// AddressPool is what a DHCP server on a wire hands out.
type AddressPool struct {
	// First is the first address that is handed out, with the prefix length of the network; the following ones follow.
	First netip.Prefix
	// Gateway is the default router, the zero Addr for none.
	Gateway netip.Addr
	// Delay is the time from attaching to having the address (default 20 ms).
	Delay time.Duration
}

// WireConfig describes a wire.
type WireConfig struct {
	Name string
	// MTU is the largest IPv4 packet in octets, 0 for 1500.
	MTU int
	// Impairment of every sender on the wire.
	Impairment Impairment
	// Pool hands out addresses to the interfaces set to Automatic, nil for none.
	Pool *AddressPool
	// Snoops has the wire bring datagrams to groups outside 224.0.0.0/24 to members alone, as switches do that look into IGMP. An
	// interface becomes a member by link.HomeLink.
	Snoops bool
	// BSSID is what wireless interfaces that are attached report.
	BSSID packet.HardwareAddr
}

// Wire is a broadcast segment: an Ethernet or a wireless network.
type Wire struct {
	net    *Network
	name   string
	mtu    int
	bssid  packet.HardwareAddr
	snoops bool
	all    Impairment
	pool   *AddressPool
	leases map[packet.HardwareAddr]netip.Prefix
	taken  map[netip.Addr]bool
	nics   []*NIC
	ports  map[string]*port // by the interface's full name; kept when it leaves, so that its chances go on
	taps   []*tap
	// Those in the middle of the wire, and who answers ARP in the place of an address's holder.
	middles []*middle
	spoofed map[netip.Addr]*NIC
	// announced are those who were last said to have an address, by gratuitous ARP.
	announced map[netip.Addr]*NIC
}

// port is one sender's side of a wire.
type port struct {
	rng         *rand.Rand
	own         *Impairment
	busyUntil   time.Duration
	lastArrival time.Duration
}

// NewWire adds a wire. It panics when the name is empty or taken, since a topology is part of the program.
func (n *Network) NewWire(cfg WireConfig) *Wire {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.wires {
		if w.name == cfg.Name {
			panic(fmt.Sprintf("simnet: there is a wire %q already", cfg.Name))
		}
	}
	if cfg.Name == "" {
		panic("simnet: a wire needs a name")
	}
	if cfg.MTU == 0 {
		cfg.MTU = 1500
	}
	w := &Wire{
		net: n, name: cfg.Name, mtu: cfg.MTU, bssid: cfg.BSSID, snoops: cfg.Snoops, all: cfg.Impairment, pool: cfg.Pool,
		leases: make(map[packet.HardwareAddr]netip.Prefix), taken: make(map[netip.Addr]bool), ports: make(map[string]*port),
	}
	n.wires = append(n.wires, w)
	return w
}

// Name returns the wire's name.
func (w *Wire) Name() string { return w.name }

// Impair sets what the wire does to the frames of all senders that have no impairment of their own.
func (w *Wire) Impair(i Impairment) {
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	w.all = i
}

// ImpairFrom sets what the wire does to the frames of one sender.
func (w *Wire) ImpairFrom(c *NIC, i Impairment) {
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	w.port(c).own = &i
}

// port returns c's sending side.
func (w *Wire) port(c *NIC) *port {
	p := w.ports[c.fullName()]
	if p == nil {
		p = &port{rng: w.net.random(w.name + "<" + c.fullName())}
		w.ports[c.fullName()] = p
	}
	return p
}

// lease returns the address that the wire's pool has for c, the same each time.
func (w *Wire) lease(c *NIC) netip.Prefix {
	if p, ok := w.leases[c.hw]; ok {
		return p
	}
	for a := w.pool.First.Addr(); w.pool.First.Contains(a); a = a.Next() {
		if w.taken[a] || w.holder(a) != nil || a == broadcastOf(w.pool.First) {
			continue
		}
		w.taken[a] = true
		p := netip.PrefixFrom(a, w.pool.First.Bits())
		w.leases[c.hw] = p
		return p
	}
	return netip.Prefix{}
}

// holder returns the interface on the wire whose host would answer ARP for addr: any that has the address on any of its
// interfaces, and does not shield it (RFC 1122 §3.3.4.2, the weak model), or that answers in the place of another (HomeLink). Of
// several it is the one that was last announced.
func (w *Wire) holder(addr netip.Addr) *NIC {
	if c := w.spoofed[addr]; c != nil && c.wire == w {
		return c
	}
	if c := w.announced[addr]; c != nil && c.wire == w && !c.host.asleep && (c.addr.Addr() == addr || c.answers(addr)) {
		return c
	}
	var weak *NIC
	for _, c := range w.nics {
		switch {
		case c.host.asleep:
		case weak == nil && c.answers(addr):
			weak = c
		case c.host.shielded[addr]:
		case c.addr.IsValid() && c.addr.Addr() == addr:
			return c
		case weak == nil && c.host.owns(addr):
			weak = c
		}
	}
	return weak
}

// frame is an IPv4 packet on a wire. Nobody changes it.
type frame struct {
	src, dst packet.HardwareAddr
	packet   []byte
}

// transmit sends f from c. Mutex held.
func (w *Wire) transmit(c *NIC, f frame, plaintext bool) {
	n := w.net
	now := n.now()
	if len(f.packet) > w.mtu {
		c.host.drops.Count(packet.DropTooBig, 1)
		return
	}
	p := w.port(c)
	imp := w.all
	if p.own != nil {
		imp = *p.own
	}
	lost := imp.Loss > 0 && p.rng.Float64() < imp.Loss
	depart := now
	if imp.Rate > 0 {
		queue := imp.Queue
		if queue == 0 {
			queue = 64 << 10
		}
		start := max(now, p.busyUntil)
		if int64(start-now)*imp.Rate/8/int64(time.Second) > int64(queue) {
			lost = true
		} else {
			depart = start + time.Duration(int64(len(f.packet)+14)*8*int64(time.Second)/imp.Rate)
			p.busyUntil = depart
		}
	}
	w.tapped(now, c, f, plaintext, lost)
	if lost {
		return
	}
	if len(w.middles) == 0 {
		w.carry(c, p, imp, f, depart, 0)
		return
	}
	for _, r := range w.intercepted(now, c, f, plaintext) {
		if len(r.Packet) <= w.mtu {
			w.carry(c, p, imp, frame{r.Source, r.Destination, r.Packet}, depart, r.Delay)
		}
	}
}

// carry brings f, which leaves c at the time depart, to its receivers, with what the wire does to it and a delay that later
// frames do not wait for. Mutex held.
func (w *Wire) carry(c *NIC, p *port, imp Impairment, f frame, depart, delay time.Duration) {
	n := w.net
	copies := 1
	if imp.Duplicate > 0 && p.rng.Float64() < imp.Duplicate {
		copies = 2
	}
	for range copies {
		t := depart + max(imp.Latency, minLatency) + delay
		if imp.Jitter > 0 {
			t += time.Duration(p.rng.Int64N(int64(imp.Jitter) + 1))
		}
		if imp.Reorder > 0 && p.rng.Float64() < imp.Reorder {
			d := imp.ReorderDelay
			if d == 0 {
				d = 5 * time.Millisecond
			}
			t += d
		} else if delay == 0 {
			t = max(t, p.lastArrival)
			p.lastArrival = t
		}
		n.at(t, c.host.lane, func() { w.arrive(c, f) })
	}
}

// arrive gives f to the interfaces that it is for and that are on the wire now.
func (w *Wire) arrive(from *NIC, f frame) {
	group := f.dst[0]&1 != 0
	var members netip.Addr // the group that alone is served
	if ip := packet.IPv4(f.packet); w.snoops && group && ip.Valid() && ip.Dst().IsMulticast() && !ip.Dst().IsLinkLocalMulticast() {
		members = ip.Dst()
	}
	for _, c := range slices.Clone(w.nics) {
		if c != from && (group || c.hw == f.dst) && (!members.IsValid() || c.joined(members)) {
			c.receive(f)
		}
	}
}

func broadcastOf(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		a[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(a)
}
