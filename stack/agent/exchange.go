package agent

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"mipvpn/tun/link"
)

// Exchange hands packets over between the roles of one process that share a host, in memory (DESIGN §4): what one role gives
// to the host that is for a flow of another role goes straight to that flow's receiver, and what one role sends on a flow that
// the host would route into another role's device goes straight to that role, without TUN devices and sockets in between.
//
// It decides as the kernel would: a flow is found by address, protocol and port; a device by the routes that its role has
// applied; headers are written and checked as a socket does. Whatever is out of the ordinary is left to the kernel: fragments,
// IPv4 options, wrong lengths and checksums, protocols and ports that no role has opened, ICMP, sources that are not routed
// into the device that they come out of, and signalling (Flow.Send). What the roles themselves refuse stays refused. The host's
// packet filter does not see what is handed over.
//
// The next role is called from the goroutine that the packet arrived on, with no lock held. Calls that nest without end, of
// tunnels that lead into one another, end in the kernel (door).
type Exchange struct {
	mu     sync.Mutex // of changes
	places int
	table  atomic.Pointer[exchangeTable]
}

// exchangeTable is what an Exchange looks packets up in. It is not changed once it is in use.
type exchangeTable struct {
	flows map[flowKey]*exchangeFlow
	// local are the addresses of the flows: the host's own.
	local []netip.Addr
	// routes are in the order in which the host's rules are asked: that of the roles.
	routes []exchangeRoute
}

// flowKey names an unconnected flow as the packets for it do.
type flowKey struct {
	addr     netip.Addr
	port     uint16 // 0 without ports
	protocol uint8
}

// exchangeRoute is what the host routes into one device.
type exchangeRoute struct {
	device   *exchangeDevice
	prefixes []netip.Prefix
}

// contains reports whether the address is routed into the device.
func (r *exchangeRoute) contains(a netip.Addr) bool {
	return slices.ContainsFunc(r.prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// NewExchange returns an exchange without roles.
func NewExchange() *Exchange {
	x := new(Exchange)
	x.table.Store(&exchangeTable{})
	return x
}

// Host returns h as the host for the next role: what is opened on it takes part in the exchange. Roles come in the order in
// which the policy rules of their hosts are asked. All must be the same machine under different marks.
func (x *Exchange) Host(h link.Host) link.Host {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.places++
	own := &exchangeHost{Host: h, exchange: x, place: x.places}
	if streams, able := h.(link.StreamHost); able {
		return exchangeStreamHost{own, streams}
	}
	return own
}

// exchangeStreamHost is an exchangeHost that has TCP connections: they stay out of the exchange.
type exchangeStreamHost struct {
	*exchangeHost
	link.StreamHost
}

// change replaces the table by a copy that f has changed.
func (x *Exchange) change(f func(*exchangeTable)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	old := x.table.Load()
	next := &exchangeTable{flows: make(map[flowKey]*exchangeFlow), routes: slices.Clone(old.routes)}
	maps.Copy(next.flows, old.flows)
	f(next)
	for k := range next.flows {
		if !slices.Contains(next.local, k.addr) {
			next.local = append(next.local, k.addr)
		}
	}
	x.table.Store(next)
}

// flow returns the flow of another role than the host's that k names, nil for none.
func (t *exchangeTable) flow(k flowKey, from *exchangeHost) *exchangeFlow {
	if f := t.flows[k]; f != nil && f.host != from {
		return f
	}
	return nil
}

// device returns the device of another role than the host's that packets for the address are routed into, nil for none. An
// address of the host itself is routed nowhere.
func (t *exchangeTable) device(a netip.Addr, from *exchangeHost) *exchangeDevice {
	if slices.Contains(t.local, a) {
		return nil
	}
	for i := range t.routes {
		if r := &t.routes[i]; r.device.host != from && r.contains(a) {
			return r.device
		}
	}
	return nil
}

// owns reports whether the address is routed into the device.
func (t *exchangeTable) owns(d *exchangeDevice, a netip.Addr) bool {
	for i := range t.routes {
		if r := &t.routes[i]; r.device == d {
			return r.contains(a)
		}
	}
	return false
}

// exchangeHost is the host of one role.
type exchangeHost struct {
	link.Host
	exchange *Exchange
	place    int

	mu      sync.Mutex
	devices []*exchangeDevice // open ones
	icmp    []*exchangeFlow   // open ones
}

// Underlay implements link.Host. Links of one interface stay out of the exchange.
func (h *exchangeHost) Underlay(index int, addr netip.Addr) (link.Link, error) {
	l, err := h.Host.Underlay(index, addr)
	if err != nil || index != 0 {
		return l, err
	}
	return &exchangeLink{l, h}, nil
}

// OpenDevice implements link.Host.
func (h *exchangeHost) OpenDevice(name string, mtu int) (link.Device, error) {
	d, err := h.Host.OpenDevice(name, mtu)
	if err != nil {
		return nil, err
	}
	e := &exchangeDevice{Device: d, host: h, door: newDoor()}
	e.mtu.Store(int64(mtu))
	h.mu.Lock()
	defer h.mu.Unlock()
	h.devices = append(h.devices, e)
	return e, nil
}

// Apply implements link.Host: routes into a device hold in the exchange once they hold in the kernel, and no longer.
func (h *exchangeHost) Apply(s link.Settings) error {
	h.exchange.change(func(t *exchangeTable) {
		t.routes = slices.DeleteFunc(t.routes, func(r exchangeRoute) bool { return r.device.host == h })
	})
	if err := h.Host.Apply(s); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range h.devices {
		if d.Name() != s.Device {
			continue
		}
		if s.MTU != 0 {
			d.mtu.Store(int64(s.MTU))
		}
		h.exchange.change(func(t *exchangeTable) {
			t.routes = append(t.routes, exchangeRoute{d, slices.Clone(s.Routes)})
			slices.SortStableFunc(t.routes, func(a, b exchangeRoute) int { return a.device.host.place - b.device.host.place })
		})
	}
	return nil
}

// OpenHomeLink implements link.HomeLinkHost where the host does. What is intercepted there stays out of the exchange.
func (h *exchangeHost) OpenHomeLink(index int, device string) (link.HomeLink, error) {
	host, able := h.Host.(link.HomeLinkHost)
	if !able {
		return nil, errNoHomeLink
	}
	return host.OpenHomeLink(index, device)
}
