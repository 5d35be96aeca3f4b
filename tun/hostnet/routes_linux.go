package hostnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/tun/link"
)

// lastMetric is that of the unreachable routes: every other route to the same prefix comes before them. firstMetric is that
// of the routes that leave a prefix to the rules behind the table.
const (
	lastMetric  = 1<<31 - 1
	firstMetric = 1
)

// everything and everything6 are what a full tunnel routes.
var (
	everything  = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	everything6 = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	linkLocal6  = netip.MustParsePrefix("fe80::/10")
)

// setRoutes makes the routes of s the only ones in the table: each IPv4 prefix into the device, if there is one, and after
// that unreachable; each blocked IPv6 prefix unreachable; and in a full tunnel the local network left to the main table,
// where Settings.Local says so. The device may be missing when they are loaded.
func (n *Network) setRoutes(s link.Settings, load bool) error {
	want, err := n.wantedRoutes(s, load)
	if err != nil {
		return err
	}
	found, err := n.routes()
	if err != nil {
		return err
	}
	have := make(map[string]bool)
	for _, r := range want {
		have[routeKey(r)] = false
	}
	for _, r := range found {
		key := routeKey(r)
		if _, wanted := have[key]; wanted {
			have[key] = true
			continue
		}
		n.step("remove route " + key)
		if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("remove route %s: %w", key, err)
		}
	}
	for _, r := range want {
		if key := routeKey(r); !have[key] {
			n.step("add route " + key)
			if err := netlink.RouteReplace(&r); err != nil && !without6(r.Family, err) {
				return fmt.Errorf("add route %s to table %d: %w", key, n.opts.Table, err)
			}
			n.added++
		}
	}
	return nil
}

// wantedRoutes returns the routes of s, the unreachable ones first.
func (n *Network) wantedRoutes(s link.Settings, load bool) (want []netlink.Route, err error) {
	prefixes, unreachable6 := sorted(s.Routes), sorted(s.Blocked)
	left := []netip.Prefix(nil)
	if s.Full {
		prefixes = sorted(append(prefixes, everything))
		unreachable6 = sorted(append(unreachable6, everything6))
		left = []netip.Prefix{linkLocal6} // whoever may send there, it is on the link
		if s.Local {
			connected, err := connectedPrefixes(s.Device)
			if err != nil {
				return nil, err
			}
			left = append(left, localPrefixes(connected, s.Routes, s.Blocked)...)
		}
	}
	special := func(p netip.Prefix, kind, metric int) netlink.Route {
		return netlink.Route{
			Family: family(p), Table: n.opts.Table, Protocol: netlink.RouteProtocol(n.opts.Protocol), Dst: ipNet(p), Type: kind, Priority: metric,
		}
	}
	for _, p := range slices.Concat(prefixes, unreachable6) {
		want = append(want, special(p, unix.RTN_UNREACHABLE, lastMetric))
	}
	for _, p := range left {
		want = append(want, special(p, unix.RTN_THROW, firstMetric))
	}
	for home := range n.homes {
		r, err := n.homeRoute(home)
		if err != nil {
			return nil, err
		}
		want = append(want, r)
	}
	if len(prefixes) == 0 || s.Device == "" {
		return want, nil
	}
	l, err := netlink.LinkByName(s.Device)
	var gone netlink.LinkNotFoundError
	if errors.As(err, &gone) && load {
		return want, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find device %s: %w", s.Device, err)
	}
	for _, p := range prefixes {
		r := special(p, unix.RTN_UNICAST, 0)
		r.LinkIndex, r.Scope = l.Attrs().Index, netlink.SCOPE_LINK
		if slices.ContainsFunc(s.Broadcasts, func(a netip.Addr) bool { return p == netip.PrefixFrom(a, 32) }) {
			r.Type = unix.RTN_BROADCAST // what comes for it is for this host, too
		}
		if s.Address.IsValid() {
			r.Src = s.Address.AsSlice()
		}
		want = append(want, r)
	}
	return want, nil
}

// localPrefixes returns those prefixes of networks that this host is connected to, and multicast, that the exception for the
// local network is for: what lies in local4 or local6 and is neither the enterprise's nor part of that. Where the enterprise
// has a part of such a network, the route to that part is the more specific one.
func localPrefixes(connected, enterprise, blocked []netip.Prefix) (local []netip.Prefix) {
	within := func(p netip.Prefix, list []netip.Prefix) bool {
		return slices.ContainsFunc(list, func(o netip.Prefix) bool { return o.Bits() <= p.Bits() && o.Overlaps(p) })
	}
	for _, p := range slices.Concat(connected, multicast4) {
		if within(p, slices.Concat(local4, local6)) && !within(p, enterprise) && !within(p, blocked) && !within(p, []netip.Prefix{linkLocal6}) {
			local = append(local, p)
		}
	}
	return sorted(local)
}

// multicast4 are the groups and the broadcast address among local4, which no interface's prefix says. Those of IPv6 stand in
// the kernel's local table, which comes first.
var multicast4 = slices.DeleteFunc(slices.Clone(local4), func(p netip.Prefix) bool { return p.Addr().Is4() && p.Addr().As4()[0] < 224 })

// connectedPrefixes returns the prefixes of the addresses of all interfaces but loopback and the device.
func connectedPrefixes(device string) (list []netip.Prefix, err error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	for _, l := range links {
		if a := l.Attrs(); a.Flags&net.FlagLoopback != 0 || a.Name == device {
			continue
		}
		addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			return nil, fmt.Errorf("list addresses of %s: %w", l.Attrs().Name, err)
		}
		for _, a := range addrs {
			ip, ok := netip.AddrFromSlice(a.IP)
			bits, _ := a.Mask.Size()
			if ok && bits > 0 {
				list = append(list, netip.PrefixFrom(ip.Unmap(), bits).Masked())
			}
		}
	}
	return list, nil
}

// routes returns the routes of the table.
func (n *Network) routes() (list []netlink.Route, err error) {
	for _, family := range families {
		var part []netlink.Route
		for range 5 { // a dump that changes have interrupted is repeated
			part, err = netlink.RouteListFiltered(family, &netlink.Route{Table: n.opts.Table}, netlink.RT_FILTER_TABLE)
			if !errors.Is(err, netlink.ErrDumpInterrupted) {
				break
			}
		}
		if err != nil && !without6(family, err) {
			return nil, fmt.Errorf("list routes of table %d: %w", n.opts.Table, err)
		}
		for i := range part {
			part[i].Family = family
		}
		list = append(list, part...)
	}
	return list, nil
}

// families are the address families in which there are routes and rules.
var families = []int{netlink.FAMILY_V4, netlink.FAMILY_V6}

// without6 reports whether the error of an operation of the family says that this kernel has no IPv6.
func without6(family int, err error) bool {
	return family == netlink.FAMILY_V6 && (errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP))
}

func family(p netip.Prefix) int {
	if p.Addr().Is6() {
		return netlink.FAMILY_V6
	}
	return netlink.FAMILY_V4
}

// routeKey tells routes of the table apart, as text for people.
func routeKey(r netlink.Route) string {
	dst := everything.String()
	switch {
	case r.Dst != nil:
		dst = r.Dst.String()
	case r.Family == netlink.FAMILY_V6:
		dst = everything6.String()
	}
	switch r.Type {
	case unix.RTN_UNREACHABLE:
		return fmt.Sprintf("unreachable %s metric %d", dst, r.Priority)
	case unix.RTN_THROW:
		return fmt.Sprintf("throw %s metric %d", dst, r.Priority)
	}
	key := fmt.Sprintf("%s dev %d metric %d", dst, r.LinkIndex, r.Priority)
	if r.Type == unix.RTN_BROADCAST {
		key = "broadcast " + key
	}
	if len(r.Src) > 0 {
		key += " src " + r.Src.String()
	}
	return key
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
