package linkmon

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Monitor reads the state of the interfaces and watches for hints that it has changed.
type Monitor struct {
	mu sync.Mutex
	// known are the gateways' link-layer addresses seen last: the kernel forgets neighbours that are not in use, which
	// changes nothing about the network.
	known map[neighbour]packet.HardwareAddr
	// six are the IPv6 addresses told last, by interface.
	six map[int]netip.Prefix
}

// neighbour names a gateway as it is reached from one address of one interface. Address and carrier are part of it so that
// what was learned on one network is not believed on the next that uses the same numbers; losing carrier forgets.
type neighbour struct {
	index   int
	carrier uint32 // link.Interface.CarrierChanges
	address netip.Prefix
	gateway netip.Addr
}

// New returns a Monitor. It holds no resources.
func New() *Monitor { return &Monitor{known: make(map[neighbour]packet.HardwareAddr)} }

// connected are the flags of an interface that is administratively up with carrier. IFF_RUNNING follows the carrier a
// little later, and waits also for authentication (RFC 2863's operational status); IFF_LOWER_UP follows it at once.
const connected = unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOWER_UP

// dumpTries is how often a dump is repeated that changes of the tables have interrupted.
const dumpTries = 5

// dump calls list until it gives a consistent answer.
func dump[T any](what string, list func() ([]T, error)) ([]T, error) {
	for try := 1; ; try++ {
		all, err := list()
		if err == nil {
			return all, nil
		}
		if !errors.Is(err, netlink.ErrDumpInterrupted) || try == dumpTries {
			return nil, fmt.Errorf("linkmon: list %s: %w", what, err)
		}
	}
}

// Snapshot returns the state of all interfaces but loopback, TUN devices and those of link.ResolverName, in the order of their indices.
func (m *Monitor) Snapshot() ([]link.Interface, error) {
	links, err := dump("interfaces", kernelLinks)
	if err != nil {
		return nil, err
	}
	addrs, err := dump("addresses", func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, err
	}
	routes, err := dump("routes", func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, err
	}
	routes6, err := routes6()
	if err != nil {
		return nil, err
	}
	neighbours, err := dump("neighbours", func() ([]netlink.Neigh, error) { return netlink.NeighList(0, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, err
	}
	wireless, err := associations()
	if err != nil {
		return nil, err
	}
	var list []link.Interface
	for _, l := range links {
		a := l.Attrs()
		if a.Flags&net.FlagLoopback != 0 || isTUN(l.Link) || a.Name == link.ResolverName || a.Name == link.ResolverPeer {
			continue
		}
		i := link.Interface{
			Index: a.Index, Name: a.Name, MTU: a.MTU,
			Up: a.RawFlags&connected == connected, CarrierChanges: l.carrierChanges,
		}
		if len(a.HardwareAddr) == len(i.Hardware) {
			copy(i.Hardware[:], a.HardwareAddr)
		}
		i.BSSID, i.Wireless = wireless[a.Index]
		i.Address = primary(addrs, a.Index)
		i.Gateway = gateway(routes, a.Index)
		i.Gateway6 = gateway(routes6, a.Index)
		list = append(list, i)
	}
	slices.SortFunc(list, func(a, b link.Interface) int { return a.Index - b.Index })
	m.complete(list, addrs, neighbours)
	return list, nil
}

// isTUN reports whether l carries packets of a tunnel, without a link layer of its own.
func isTUN(l netlink.Link) bool {
	switch t := l.(type) {
	case *netlink.Tuntap:
		return t.Mode == netlink.TUNTAP_MODE_TUN
	case *netlink.Wireguard:
		return true
	}
	return false
}

// primary returns the first address of global scope that is no secondary one.
func primary(addrs []netlink.Addr, index int) netip.Prefix {
	for _, a := range addrs {
		if a.LinkIndex != index || a.Scope != unix.RT_SCOPE_UNIVERSE || a.Flags&unix.IFA_F_SECONDARY != 0 || a.IPNet == nil {
			continue
		}
		if ip, ok := netip.AddrFromSlice(a.IP.To4()); ok {
			ones, _ := a.Mask.Size()
			return netip.PrefixFrom(ip, ones)
		}
	}
	return netip.Prefix{}
}

// gateway returns the next hop of the interface's default route with the least metric.
func gateway(routes []netlink.Route, index int) netip.Addr {
	var best netip.Addr
	metric := 0
	consider := func(hop net.IP, priority int) {
		ip, ok := netip.AddrFromSlice(hop)
		ip = ip.Unmap()
		if ok && (!best.IsValid() || priority < metric) {
			best, metric = ip, priority
		}
	}
	for _, r := range routes {
		if r.Type != unix.RTN_UNICAST {
			continue
		}
		if r.Dst != nil {
			if ones, _ := r.Dst.Mask.Size(); ones != 0 {
				continue
			}
		}
		if r.LinkIndex == index {
			consider(r.Gw, r.Priority)
		}
		for _, hop := range r.MultiPath {
			if hop.LinkIndex == index {
				consider(hop.Gw, r.Priority)
			}
		}
	}
	return best
}

// complete fills in what depends on earlier snapshots: the IPv6 addresses, and the gateways' link-layer addresses from the
// neighbour table, or from what was known of the same gateway while the interface has been up since.
func (m *Monitor) complete(list []link.Interface, addrs []netlink.Addr, neighbours []netlink.Neigh) {
	const valid = unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE | unix.NUD_PERMANENT
	m.mu.Lock()
	defer m.mu.Unlock()
	known, six := make(map[neighbour]packet.HardwareAddr), make(map[int]netip.Prefix)
	for k := range list {
		i := &list[k]
		i.Address6 = primary6(addrs, i.Index, m.six[i.Index])
		six[i.Index] = i.Address6
		router, from := i.Gateway, i.Address
		if !router.IsValid() {
			router, from = i.Gateway6, i.Address6
		}
		if !i.Up || !router.IsValid() {
			continue
		}
		at := neighbour{i.Index, i.CarrierChanges, from, router}
		i.GatewayHardware = m.known[at]
		for _, n := range neighbours {
			if n.LinkIndex != i.Index || n.State&valid == 0 || len(n.HardwareAddr) != len(i.GatewayHardware) {
				continue
			}
			if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap() == router {
				copy(i.GatewayHardware[:], n.HardwareAddr)
			}
		}
		if !i.GatewayHardware.IsZero() {
			known[at] = i.GatewayHardware
		}
	}
	m.known, m.six = known, six
}
