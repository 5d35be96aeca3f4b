package hostnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// lastMetric is that of the unreachable routes: every other route to the same prefix comes before them.
const lastMetric = 1<<31 - 1

// The ports of DHCP (RFC 2131 §4.1) and of DHCPv6 (RFC 8415 §7.2).
const (
	dhcpServer  = 67
	dhcpClient  = 68
	dhcp6Client = 546
	dhcp6Server = 547
)

// setRoutes makes the routes of s the only ones in the table: each prefix into the device, and after that unreachable.
func (n *Network) setRoutes(s link.Settings) error {
	found, err := n.routes()
	if err != nil {
		return err
	}
	var want []netlink.Route
	if len(s.Routes) > 0 {
		l, err := netlink.LinkByName(s.Device)
		if err != nil {
			return fmt.Errorf("find device %s: %w", s.Device, err)
		}
		for _, p := range sorted(s.Routes) {
			r := netlink.Route{
				Family: netlink.FAMILY_V4, Table: n.opts.Table, Protocol: netlink.RouteProtocol(n.opts.Protocol),
				Dst: ipNet(p), Type: unix.RTN_UNICAST, LinkIndex: l.Attrs().Index, Scope: netlink.SCOPE_LINK,
			}
			if s.Address.IsValid() {
				r.Src = s.Address.AsSlice()
			}
			last := r
			last.Type, last.LinkIndex, last.Src, last.Scope = unix.RTN_UNREACHABLE, 0, nil, netlink.SCOPE_UNIVERSE
			last.Priority = lastMetric
			want = append(want, last, r)
		}
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
		if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("remove route %s: %w", key, err)
		}
	}
	for _, r := range want {
		if key := routeKey(r); !have[key] {
			if err := netlink.RouteReplace(&r); err != nil {
				return fmt.Errorf("add route %s to table %d: %w", key, n.opts.Table, err)
			}
		}
	}
	return nil
}

// routes returns the IPv4 routes of the table.
func (n *Network) routes() ([]netlink.Route, error) {
	var err error
	for range 5 { // a dump that changes have interrupted is repeated
		var list []netlink.Route
		list, err = netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: n.opts.Table}, netlink.RT_FILTER_TABLE)
		if err == nil {
			return list, nil
		}
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return nil, fmt.Errorf("list routes of table %d: %w", n.opts.Table, err)
}

// routeKey tells routes of the table apart, as text for people.
func routeKey(r netlink.Route) string {
	dst := "0.0.0.0/0"
	if r.Dst != nil {
		dst = r.Dst.String()
	}
	if r.Type == unix.RTN_UNREACHABLE {
		return fmt.Sprintf("unreachable %s metric %d", dst, r.Priority)
	}
	key := fmt.Sprintf("%s dev %d metric %d", dst, r.LinkIndex, r.Priority)
	if len(r.Src) > 0 {
		key += " src " + r.Src.String()
	}
	return key
}

// setRules makes sure that the policy rules are there, or that they are not. The first leaves DHCP's messages on the
// interface that they are about: the server may stand inside a prefix that is routed into the device. The second sends
// what does not carry one of the process's marks to the table.
func (n *Network) setRules(on bool) error {
	mask := n.opts.MarkMask
	dhcp := netlink.NewRule()
	dhcp.Priority, dhcp.Table = n.opts.Priority-1, unix.RT_TABLE_MAIN
	dhcp.IPProto = packet.ProtocolUDP
	dhcp.Sport, dhcp.Dport = netlink.NewRulePortRange(dhcpClient, dhcpClient), netlink.NewRulePortRange(dhcpServer, dhcpServer)
	unmarked := netlink.NewRule()
	unmarked.Priority, unmarked.Table = n.opts.Priority, n.opts.Table
	unmarked.Invert, unmarked.Mark, unmarked.Mask = true, n.opts.ProtectedMark&mask, &mask
	want := make(map[string]*netlink.Rule)
	order := []*netlink.Rule{dhcp, unmarked}
	for _, r := range order {
		r.Family, r.Protocol = netlink.FAMILY_V4, n.opts.Protocol
		if on {
			want[ruleKey(*r)] = r
		}
	}
	found, err := n.rules()
	if err != nil {
		return err
	}
	for _, r := range found {
		key := ruleKey(r)
		if want[key] != nil {
			delete(want, key)
			continue
		}
		r.Family = netlink.FAMILY_V4
		if err := netlink.RuleDel(&r); err != nil {
			return fmt.Errorf("remove rule %s: %w", key, err)
		}
	}
	for _, r := range order {
		if want[ruleKey(*r)] == nil {
			continue
		}
		if err := netlink.RuleAdd(r); err != nil {
			return fmt.Errorf("add rule %s: %w", ruleKey(*r), err)
		}
	}
	return nil
}

// rules returns the rules that are marked as made here: by protocol number and one of the two priorities.
func (n *Network) rules() ([]netlink.Rule, error) {
	list, err := netlink.RuleList(netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("list rules: %w", err)
	}
	var own []netlink.Rule
	for _, r := range list {
		if r.Protocol == n.opts.Protocol && (r.Priority == n.opts.Priority || r.Priority == n.opts.Priority-1) {
			own = append(own, r)
		}
	}
	return own, nil
}

// ruleKey tells rules apart, as text for people.
func ruleKey(r netlink.Rule) string {
	key := fmt.Sprintf("%d:", r.Priority)
	if r.Invert {
		key += " not"
	}
	if r.Mark != 0 || r.Mask != nil {
		mask := ^uint32(0)
		if r.Mask != nil {
			mask = *r.Mask
		}
		key += fmt.Sprintf(" fwmark %#x/%#x", r.Mark, mask)
	}
	if r.IPProto != 0 {
		key += fmt.Sprintf(" ipproto %d", r.IPProto)
	}
	if r.Sport != nil {
		key += fmt.Sprintf(" sport %d-%d", r.Sport.Start, r.Sport.End)
	}
	if r.Dport != nil {
		key += fmt.Sprintf(" dport %d-%d", r.Dport.Start, r.Dport.End)
	}
	return key + fmt.Sprintf(" lookup %d", r.Table)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}
