package hostnet

import (
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// The ports of DHCP (RFC 2131 §4.1) and of DHCPv6 (RFC 8415 §7.2).
const (
	dhcpServer  = 67
	dhcpClient  = 68
	dhcp6Client = 546
	dhcp6Server = 547
)

// setRules makes sure that the policy rules of s are there and no others. The first of a family leaves DHCP's messages on
// the interface that they are about: the server may stand inside a prefix that is routed into the device. An agent's prefixes
// have no servers, and a rule with ports costs each packet that the host receives a look into its headers. The second sends
// what does not carry one of the marks to the table; of IPv6, which nothing carries, what this host itself sends, whatever its
// mark; a socket that is bound to an interface, as the client's are, finds no unreachable route of IPv6 there, and goes by the
// tables behind. What it forwards is left to the kill switch: the answer to an unreachable route would quote it to whatever source it
// seems to have.
func (n *Network) setRules(s link.Settings) error {
	mask := n.opts.MarkMask
	dhcp := netlink.NewRule()
	dhcp.Priority, dhcp.Table = n.opts.Priority-1, unix.RT_TABLE_MAIN
	dhcp.IPProto = packet.ProtocolUDP
	dhcp.Sport, dhcp.Dport = netlink.NewRulePortRange(dhcpClient, dhcpClient), netlink.NewRulePortRange(dhcpServer, dhcpServer)
	unmarked := netlink.NewRule()
	unmarked.Priority, unmarked.Table = n.opts.Priority, n.opts.Table
	unmarked.Invert, unmarked.Mark, unmarked.Mask = true, n.opts.ProtectedMark&mask, &mask
	dhcp6, all6 := netlink.NewRule(), netlink.NewRule()
	dhcp6.Priority, dhcp6.Table, dhcp6.IPProto = dhcp.Priority, dhcp.Table, dhcp.IPProto
	dhcp6.Sport, dhcp6.Dport = netlink.NewRulePortRange(dhcp6Client, dhcp6Client), netlink.NewRulePortRange(dhcp6Server, dhcp6Server)
	all6.Priority, all6.Table = unmarked.Priority, unmarked.Table
	all6.IifName = "lo" // sent by this host
	dhcp.Family, unmarked.Family, dhcp6.Family, all6.Family = netlink.FAMILY_V4, netlink.FAMILY_V4, netlink.FAMILY_V6, netlink.FAMILY_V6
	want := make(map[string]*netlink.Rule)
	order := []*netlink.Rule{dhcp, unmarked, dhcp6, all6}
	for _, r := range order {
		r.Protocol = n.opts.Protocol
		if r == dhcp && s.Forward {
			continue
		}
		if r.Family == netlink.FAMILY_V4 && (len(s.Routes) > 0 || s.Full || n.homeDevice != "") || r.Family == netlink.FAMILY_V6 && (len(s.Blocked) > 0 || s.Full) {
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
		n.step("remove rule " + key)
		if err := netlink.RuleDel(&r); err != nil {
			return fmt.Errorf("remove rule %s: %w", key, err)
		}
	}
	for _, r := range order {
		if want[ruleKey(*r)] == nil {
			continue
		}
		n.step("add rule " + ruleKey(*r))
		if err := netlink.RuleAdd(r); err != nil && !without6(r.Family, err) {
			return fmt.Errorf("add rule %s: %w", ruleKey(*r), err)
		}
		n.added++
	}
	return nil
}

// rules returns the rules that are marked as made here: by protocol number and one of the two priorities.
func (n *Network) rules() (own []netlink.Rule, err error) {
	for _, family := range families {
		list, err := netlink.RuleList(family)
		if err != nil && !without6(family, err) {
			return nil, fmt.Errorf("list rules: %w", err)
		}
		for _, r := range list {
			if r.Protocol == n.opts.Protocol && (r.Priority == n.opts.Priority || r.Priority == n.opts.Priority-1) {
				r.Family = family
				own = append(own, r)
			}
		}
	}
	return own, nil
}

// ruleKey tells rules apart, as text for people.
func ruleKey(r netlink.Rule) string {
	key := fmt.Sprintf("%d:", r.Priority)
	if r.Family == netlink.FAMILY_V6 {
		key += " IPv6"
	}
	if r.Invert {
		key += " not"
	}
	if r.IifName != "" {
		key += " iif " + r.IifName
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
