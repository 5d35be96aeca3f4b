package hostnet

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// RivalKind says where a Rival was found.
type RivalKind string

// The kinds.
const (
	// RivalRule is a policy rule that is asked before those of Apply.
	RivalRule RivalKind = "rule"
	// RivalTunnel is a tunnel of another program that takes everything: a route of it covers half of the addresses at least.
	RivalTunnel RivalKind = "tunnel"
	// RivalFirewall is an nftables chain of another program that drops what this host sends unless a rule of it lets it pass.
	RivalFirewall RivalKind = "firewall"
	// RivalIPsec is an IPsec policy of the kernel for what this host sends.
	RivalIPsec RivalKind = "ipsec"
)

// Rival is something of another program in the kernel's network that may decide about packets before the client does, or against
// it. Whether it does is not known.
type Rival struct {
	// Kind says where it was found.
	Kind RivalKind
	// Name names it: the rule's priority, the interface, the table and chain, the policy's destination.
	Name string
	// Text says in a few words what it does.
	Text string
}

// Rivals returns what of other programs is in the network of the calling thread's namespace. Firewalls and IPsec policies are told
// to who has CAP_NET_ADMIN alone: the error joins what could not be read, and the list has the rest.
func (n *Network) Rivals() ([]Rival, error) {
	var all []Rival
	var errs []error
	for _, find := range []func() ([]Rival, error){n.rivalRules, n.rivalTunnels, n.rivalChains, rivalPolicies} {
		list, err := find()
		all, errs = append(all, list...), append(errs, err)
	}
	return all, errors.Join(errs...)
}

// rivalRules finds rules before those of Apply. The local table's, and that of VRFs, which binds packets of their interfaces alone,
// are the kernel's.
func (n *Network) rivalRules() (found []Rival, err error) {
	for _, family := range families {
		list, err := netlink.RuleList(family)
		if err != nil {
			if without6(family, err) {
				continue
			}
			return found, fmt.Errorf("hostnet: list policy rules: %w", err)
		}
		for _, r := range list {
			ours := r.Protocol == n.opts.Protocol
			if r.Priority > n.opts.Priority || ours || r.Table == unix.RT_TABLE_LOCAL || r.Protocol == unix.RTPROT_KERNEL {
				continue
			}
			r.Family = family
			found = append(found, Rival{RivalRule, fmt.Sprint(r.Priority), ruleKey(r)})
		}
	}
	return found, nil
}

// tunnelKinds are the kernel's names of interfaces that other VPNs make.
var tunnelKinds = []string{"tuntap", "tun", "wireguard", "ppp", "vti", "vti6", "xfrm", "gre", "ip6gre", "ipip", "ip6tnl", "sit", "ipsec"}

// rivalTunnels finds tunnels with a route that covers half of the addresses of its version, or of those of IPv6 that are global.
func (n *Network) rivalTunnels() (found []Rival, err error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("hostnet: list interfaces: %w", err)
	}
	for _, family := range families {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		if err != nil {
			if without6(family, err) {
				continue
			}
			return found, fmt.Errorf("hostnet: list routes: %w", err)
		}
		for _, r := range routes {
			at := slices.IndexFunc(links, func(l netlink.Link) bool { return l.Attrs().Index == r.LinkIndex })
			if at < 0 || !slices.Contains(tunnelKinds, links[at].Type()) || uint8(r.Protocol) == n.opts.Protocol || !wide(r.Dst, family) {
				continue
			}
			rival := Rival{RivalTunnel, links[at].Attrs().Name, fmt.Sprintf("%s, takes %s in table %d", links[at].Type(), destination(r.Dst), r.Table)}
			if !slices.ContainsFunc(found, func(f Rival) bool { return f.Name == rival.Name }) {
				found = append(found, rival)
			}
		}
	}
	return found, nil
}

// wide reports whether a destination covers half of the addresses.
func wide(dst *net.IPNet, family int) bool {
	if dst == nil {
		return true
	}
	bits, _ := dst.Mask.Size()
	if family == netlink.FAMILY_V6 {
		return bits <= 3 // 2000::/3
	}
	return bits <= 1
}

func destination(dst *net.IPNet) string {
	if dst == nil {
		return "everything"
	}
	return dst.String()
}

// rivalChains finds chains that drop what this host sends by default.
func (n *Network) rivalChains() (found []Rival, err error) {
	c, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("hostnet: open nftables: %w", err)
	}
	for _, family := range []struct {
		family nftables.TableFamily
		name   string
	}{{nftables.TableFamilyINet, "inet"}, {nftables.TableFamilyIPv4, "ip"}, {nftables.TableFamilyIPv6, "ip6"}} {
		chains, err := c.ListChainsOfTableFamily(family.family)
		if err != nil {
			return found, fmt.Errorf("hostnet: list nftables chains: %w", err)
		}
		for _, chain := range chains {
			drops := chain.Policy != nil && *chain.Policy == nftables.ChainPolicyDrop
			if drops && chain.Hooknum != nil && *chain.Hooknum == *nftables.ChainHookOutput && chain.Table.Name != n.opts.Name {
				found = append(found, Rival{RivalFirewall, fmt.Sprintf("%s %s %s", family.name, chain.Table.Name, chain.Name), "drops what this host sends unless a rule of it lets it pass"})
			}
		}
	}
	return found, nil
}

// rivalPolicies finds IPsec policies for what this host sends that are not of one socket alone.
func rivalPolicies() (found []Rival, err error) {
	list, err := netlink.XfrmPolicyList(netlink.FAMILY_ALL)
	if err != nil {
		if errors.Is(err, unix.EPROTONOSUPPORT) { // the kernel has no IPsec
			return nil, nil
		}
		return nil, fmt.Errorf("hostnet: list IPsec policies: %w", err)
	}
	for _, p := range list {
		if p.Dir != netlink.XFRM_DIR_OUT {
			continue
		}
		var ends []string
		for _, t := range p.Tmpls {
			ends = append(ends, t.Dst.String())
		}
		text := "for packets there"
		if len(ends) > 0 {
			text += ", to " + strings.Join(ends, ", ")
		}
		found = append(found, Rival{RivalIPsec, destination(p.Dst), text})
	}
	return found, nil
}
