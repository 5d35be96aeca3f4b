package simnet

import (
	"net/netip"
	"slices"
	"time"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// NICConfig describes an interface.
type NICConfig struct {
	Name string
	// Wireless marks a wireless interface.
	Wireless bool
	// Address is its static address with the prefix length; the zero Prefix for none.
	Address netip.Prefix
	// Gateway is the default router of a static address, the zero Addr for none.
	Gateway netip.Addr
	// Automatic takes address and gateway from the pool of the wire it is attached to, in place of static ones. On a
	// wire without a pool the interface stays without an address.
	Automatic bool
	// MTU in octets, 0 for 1500.
	MTU int
}

// NIC is a network interface of a host.
type NIC struct {
	host      *Host
	index     int
	name      string
	hw        packet.HardwareAddr
	wireless  bool
	automatic bool
	mtu       int
	wire      *Wire
	carrier   uint32 // how often the interface was attached or detached
	addr      netip.Prefix
	gateway   netip.Addr
	gatewayHW packet.HardwareAddr
	carried   bool // to its wire by Carry
	lease     *event
	frames    []*frames
	homeLinks []*homeLink
}

// AddNIC adds an interface that is not attached to a wire.
func (h *Host) AddNIC(cfg NICConfig) *NIC {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.nextIndex++
	c := &NIC{
		host: h, index: h.nextIndex, name: cfg.Name, wireless: cfg.Wireless, automatic: cfg.Automatic, mtu: cfg.MTU,
		addr: cfg.Address, gateway: cfg.Gateway,
		// Locally administered, unicast (IEEE 802): 02, the host, the interface.
		hw: packet.HardwareAddr{0x02, 0x5e, 0, byte(h.lane >> 8), byte(h.lane), byte(h.nextIndex)},
	}
	if c.mtu == 0 {
		c.mtu = 1500
	}
	h.nics = append(h.nics, c)
	h.hint()
	return c
}

// Index returns the interface's index.
func (c *NIC) Index() int { return c.index }

// Name returns the interface's name on its host.
func (c *NIC) Name() string { return c.name }

// Host returns the host that has the interface.
func (c *NIC) Host() *Host { return c.host }

// Hardware returns the interface's link-layer address.
func (c *NIC) Hardware() packet.HardwareAddr { return c.hw }

// Address returns the address that the interface has now, the zero Prefix while it has none.
func (c *NIC) Address() netip.Prefix {
	c.host.net.mu.Lock()
	defer c.host.net.mu.Unlock()
	return c.addr
}

// Wire returns the wire that the interface is attached to, nil for none.
func (c *NIC) Wire() *Wire {
	c.host.net.mu.Lock()
	defer c.host.net.mu.Unlock()
	return c.wire
}

func (c *NIC) fullName() string { return c.host.name + "/" + c.name }

// Attach plugs the interface into the wire, out of any other first. Watchers get a hint now and, with an automatic
// address, another when it has come.
func (c *NIC) Attach(w *Wire) {
	n := c.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	c.detach()
	c.wire = w
	c.carrier++
	w.nics = append(w.nics, c)
	c.host.hint()
	if c.automatic && w.pool != nil {
		c.askLease()
	} else if !c.automatic {
		c.learnGateway()
	}
}

// askLease has the wire's pool give an address after its delay.
func (c *NIC) askLease() {
	n, w := c.host.net, c.wire
	delay := w.pool.Delay
	if delay == 0 {
		delay = 20 * time.Millisecond
	}
	c.lease = n.at(n.now()+delay, c.host.lane, func() {
		c.host.awake(func() {
			if c.wire == w {
				c.addr, c.gateway = w.lease(c), w.pool.Gateway
				c.learnGateway()
				c.host.hint()
			}
		})
	})
}

// learnGateway fills the neighbour entry of the default router.
func (c *NIC) learnGateway() {
	c.gatewayHW = packet.HardwareAddr{}
	if c.wire != nil && c.gateway.IsValid() {
		if g := c.wire.holder(c.gateway); g != nil && g != c {
			c.gatewayHW = g.hw
		}
	}
}

// Detach takes the interface off its wire: no carrier, and an automatic address is gone. Frames still under way to it
// are lost.
func (c *NIC) Detach() {
	n := c.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.wire != nil {
		c.detach()
		c.host.hint()
	}
}

func (c *NIC) detach() {
	w := c.wire
	if w == nil {
		return
	}
	c.host.net.cancel(c.lease)
	c.lease = nil
	i := slices.Index(w.nics, c)
	w.nics = slices.Delete(w.nics, i, i+1)
	c.wire, c.carried = nil, false
	c.carrier++
	c.gatewayHW = packet.HardwareAddr{}
	if c.automatic {
		c.addr, c.gateway = netip.Prefix{}, netip.Addr{}
	}
}

// Carry moves the interface to another wire without any sign to the host: carrier, address and the default router's
// hardware address are as before, as when a switch is told to put a port into another network.
func (c *NIC) Carry(w *Wire) {
	n := c.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.wire == nil || c.wire == w {
		return
	}
	i := slices.Index(c.wire.nics, c)
	c.wire.nics = slices.Delete(c.wire.nics, i, i+1)
	n.cancel(c.lease)
	c.lease = nil
	c.wire, c.carried = w, true
	w.nics = append(w.nics, c)
}

// SetAddress gives the interface a static address and default router, or with the zero values takes them away.
func (c *NIC) SetAddress(addr netip.Prefix, gateway netip.Addr) {
	n := c.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cancel(c.lease)
	c.lease = nil
	c.addr, c.gateway, c.automatic = addr, gateway, false
	c.learnGateway()
	c.host.hint()
}

// Remove takes the interface out of the host, as a card that is pulled. It must not be used afterwards.
func (c *NIC) Remove() {
	n := c.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	c.detach()
	c.host.nics = slices.DeleteFunc(c.host.nics, func(o *NIC) bool { return o == c })
	c.host.hint()
}

func (c *NIC) up() bool { return c.wire != nil }

func (c *NIC) snapshot() link.Interface {
	if c.gatewayHW.IsZero() {
		c.learnGateway() // it may have come to the wire after c
	}
	i := link.Interface{
		Index: c.index, Name: c.name, Hardware: c.hw, MTU: c.mtu, Up: c.up(), CarrierChanges: c.carrier, Wireless: c.wireless,
		Address: c.addr, Gateway: c.gateway, GatewayHardware: c.gatewayHW,
	}
	if c.wireless && c.wire != nil {
		i.BSSID = c.wire.bssid
	}
	return i
}

// receive takes a frame off the wire. Mutex held.
func (c *NIC) receive(f frame) {
	h := c.host
	if h.asleep {
		return
	}
	for _, s := range c.frames {
		p := packet.From(f.packet)
		p.Hardware, p.Interface = f.src, c.index
		h.net.deliver(&s.callee, s.recv, p)
	}
	h.input(c, nil, slices.Clone(f.packet))
}

// Interfaces implements link.Host.
func (h *Host) Interfaces() ([]link.Interface, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	var all []link.Interface
	for _, c := range h.nics {
		all = append(all, c.snapshot())
	}
	return all, nil
}

// watcher is a function that hints are given to.
type watcher struct {
	f       func()
	stopped bool
}

// Watch implements link.Host.
func (h *Host) Watch(f func()) (stop func(), err error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	w := &watcher{f: f}
	h.watchers = append(h.watchers, w)
	return func() {
		h.net.mu.Lock()
		defer h.net.mu.Unlock()
		w.stopped = true
		h.watchers = slices.DeleteFunc(slices.Clone(h.watchers), func(o *watcher) bool { return o == w })
	}, nil
}

// hint tells the watchers that something about the interfaces may have changed. Mutex held.
func (h *Host) hint() {
	if len(h.watchers) == 0 {
		return
	}
	h.net.at(h.net.now(), h.lane, func() {
		h.awake(func() {
			for _, w := range h.watchers {
				h.net.calls = append(h.net.calls, call{run: func() {
					h.net.mu.Lock()
					stopped := w.stopped
					h.net.mu.Unlock()
					if !stopped {
						w.f()
					}
				}})
			}
		})
	})
}
