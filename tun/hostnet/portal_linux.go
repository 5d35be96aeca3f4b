package hostnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// The way to a captive portal is a third nftables table, named after Options.Name with this suffix, and a routing table and
// policy rule of its own. The table's chains, in the order in which a packet of the browser meets them:
//
//   - output, of type route, before all others: packets of the way's processes (cage) go to "confine", which rejects what
//     is not to be reached and marks the rest with PortalMark. The mark leads it to the portal's interface by the policy
//     rule, and past the kill switch as far as its own sets "portal" say so too. DNS queries get a mark of their own.
//   - names, of type nat: DNS queries go to this host's own forwarder, wherever they were going.
//   - source, of type nat: the source becomes the interface's address, since the socket may have taken the TUN device's.
//
// What may be reached stands in the set "reach", whose elements have a time to live as those of the kill switch have: when
// the daemon dies, the kernel closes the way.
const portalSuffix = "-portal"

// The chains and the set of the table.
const (
	portalOutput  = "output"  // inet, route
	portalConfine = "confine" // what the way's processes send
	portalNames   = "names"   // inet, nat
	portalSource  = "source"  // inet, nat
	reachSet      = "reach"   // destination address and TCP port
)

// dnsPort is the port of name servers (RFC 1035 §4.2).
const dnsPort = 53

// closeTries and closePause say how long Close waits for killed processes to end.
const (
	closeTries = 100
	closePause = 20 * time.Millisecond
)

var reachKey = nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService)

// PortalWay is an open way to a captive portal. It implements link.PortalWay for the network namespace of the calling thread.
type PortalWay struct {
	network *Network
	portal  link.Portal
	cage    cage

	admitted map[netip.Addr]bool // under the network's mutex
}

// ErrPortalClosed is returned for what is asked of a way that has been closed.
var ErrPortalClosed = errors.New("hostnet: the way to the portal is closed")

func (n *Network) portalTable() *nftables.Table {
	return &nftables.Table{Name: n.opts.Name + portalSuffix, Family: nftables.TableFamilyINet}
}

func (n *Network) reach() *nftables.Set {
	return &nftables.Set{
		Table: n.portalTable(), Name: reachSet, KeyType: reachKey, Concatenation: true, HasTimeout: true, Timeout: permitDefault,
	}
}

// portalRoutes is the number of the routing table, and of the rule's priority: behind the rule that leads unmarked packets
// into the device.
func (n *Network) portalRoutes() int { return n.opts.Table + 1 }
func (n *Network) portalRule() int   { return n.opts.Priority + 1 }

// namesMark is the mark of the way's DNS queries. It is one of the client's own by MarkMask, so that the kill switch's output
// chain, for which a query still goes where the socket sent it, lets it pass to the forwarder; on the way out of an interface
// it is nobody's.
func (n *Network) namesMark() uint32 { return n.opts.PortalMark ^ 0x100 }

// OpenPortal opens a way that leads nowhere yet, in the place of any other; what a crashed run left is taken away. Errors:
// there is no kill switch, the interface has no address, or this kernel knows processes by neither kind of cgroup.
func (n *Network) OpenPortal(p link.Portal) (*PortalWay, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	w, err := n.openPortal(p)
	if err != nil {
		return nil, fmt.Errorf("hostnet: open the way to a portal on %s: %w", p.Interface.Name, err)
	}
	return w, nil
}

func (n *Network) openPortal(p link.Portal) (*PortalWay, error) {
	if !p.Interface.Address.IsValid() || p.Interface.Index <= 0 {
		return nil, errors.New("the interface has no address")
	}
	for _, f := range p.Forbidden {
		if !f.IsValid() || !f.Addr().Is4() {
			return nil, fmt.Errorf("forbidden prefix %v: expected IPv4", f)
		}
	}
	if err := n.dropPortal(); err != nil {
		return nil, err
	}
	c, err := nftables.New()
	if err != nil {
		return nil, err
	}
	lines, err := c.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(lines, func(t *nftables.Table) bool { return t.Name == n.inetTable().Name }) {
		return nil, errors.New("there is no kill switch: a client that is up has one")
	}
	var errs []error
	for _, newCage := range cages {
		g, err := newCage(n.opts)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if err := n.writePortal(p, g); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", g.name(), err), g.remove())
			continue
		}
		if err := n.routePortal(p.Interface); err != nil {
			return nil, errors.Join(err, n.dropPortal())
		}
		n.way = &PortalWay{network: n, portal: p, cage: g, admitted: make(map[netip.Addr]bool)}
		return n.way, nil
	}
	return nil, errors.Join(errs...)
}

// writePortal writes the table, in one transaction.
func (n *Network) writePortal(p link.Portal, g cage) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	t := n.portalTable()
	c.AddTable(t) // so that there is one to delete
	c.DelTable(t)
	c.AddTable(t)
	if err := c.AddSet(n.reach(), nil); err != nil {
		return err
	}
	output, nat := *nftables.ChainPriorityMangle, *nftables.ChainPriorityNATDest
	source := *nftables.ChainPriorityNATSource
	for _, chain := range []struct {
		chain nftables.Chain
		rules []lineRule
	}{
		{nftables.Chain{Name: portalConfine}, n.confineRules(p)},
		{nftables.Chain{Name: portalOutput, Type: nftables.ChainTypeRoute, Hooknum: nftables.ChainHookOutput, Priority: &output},
			[]lineRule{{g.comment(), append(g.match(), to(portalConfine).exprs...)}}},
		{nftables.Chain{Name: portalNames, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookOutput, Priority: &nat},
			[]lineRule{{"queries for names: to the forwarder", append(append(marked(n.namesMark()), destinationPort(packet.ProtocolUDP, dnsPort)...),
				&expr.Immediate{Register: 1, Data: be16(p.Resolver)}, &expr.Redir{RegisterProtoMin: 1, Flags: unix.NF_NAT_RANGE_PROTO_SPECIFIED})}}},
		{nftables.Chain{Name: portalSource, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: &source},
			[]lineRule{{"out of the interface: from its address", append(append(marked(n.opts.PortalMark),
				meta(expr.MetaKeyOIFNAME, interfaceName(p.Interface.Name))...), &expr.Masq{})}}},
	} {
		chain.chain.Table = t
		made := c.AddChain(&chain.chain)
		for _, r := range chain.rules {
			c.AddRule(&nftables.Rule{Table: t, Chain: made, Exprs: r.exprs, UserData: comment(r.text)})
		}
	}
	return c.Flush()
}

// confineRules judge what the way's processes send. A query for a name passes wherever it goes, since it is led to this
// host's forwarder; this host's other services are not reached.
func (n *Network) confineRules(p link.Portal) []lineRule {
	mark := func(mark uint32) verdict {
		return verdict{"mark", []expr.Any{
			&expr.Immediate{Register: 1, Data: native(mark)},
			&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1},
			&expr.Verdict{Kind: expr.VerdictAccept},
		}}
	}
	rules := []lineRule{
		rule("IPv6", refuse, meta(expr.MetaKeyNFPROTO, []byte{unix.NFPROTO_IPV6})),
		rule("queries for names", mark(n.namesMark()), destinationPort(packet.ProtocolUDP, dnsPort)),
		rule("this host itself", refuse, []expr.Any{
			&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: native(unix.RTN_LOCAL)},
		}),
	}
	for _, f := range sorted(p.Forbidden) {
		rules = append(rules, rule("to "+f.String(), refuse, masked(network, 16, f.Masked())))
	}
	named := append(meta(expr.MetaKeyL4PROTO, []byte{packet.ProtocolTCP}),
		// Registers 8 and 9 are the first two words of register 1.
		&expr.Payload{DestRegister: 8, Base: network, Offset: 16, Len: 4},
		&expr.Payload{DestRegister: 9, Base: transport, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: 8, SetName: reachSet},
	)
	return append(rules, rule("named by the set", mark(n.opts.PortalMark), named), rule("anything else", refuse, nil))
}

// marked fits packets with the mark.
func marked(mark uint32) []expr.Any { return meta(expr.MetaKeyMARK, native(mark)) }

// destinationPort fits packets of the transport protocol to the port.
func destinationPort(protocol uint8, port uint16) []expr.Any {
	return append(meta(expr.MetaKeyL4PROTO, []byte{protocol}), field(transport, 2, be16(port))...)
}

// routePortal leads marked packets to the interface.
func (n *Network) routePortal(i link.Interface) error {
	routes := []*netlink.Route{{Dst: ipNet(i.Address.Masked()), LinkIndex: i.Index, Scope: netlink.SCOPE_LINK}}
	if i.Gateway.IsValid() {
		routes = append(routes, &netlink.Route{
			Dst: ipNet(netip.PrefixFrom(netip.IPv4Unspecified(), 0)), LinkIndex: i.Index, Gw: i.Gateway.AsSlice(), Flags: int(netlink.FLAG_ONLINK),
		})
	}
	// The last resort: without it marked packets would go on to the main table when the interface has lost its routes.
	routes = append(routes, &netlink.Route{
		Dst: ipNet(netip.PrefixFrom(netip.IPv4Unspecified(), 0)), Type: unix.RTN_UNREACHABLE, Priority: lastMetric,
	})
	for _, r := range routes {
		r.Family, r.Table, r.Protocol = netlink.FAMILY_V4, n.portalRoutes(), netlink.RouteProtocol(n.opts.Protocol)
		if err := netlink.RouteReplace(r); err != nil {
			return fmt.Errorf("add route %s to table %d: %w", routeKey(*r), r.Table, err)
		}
	}
	if err := netlink.RuleAdd(n.newPortalRule()); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add rule for the portal's mark: %w", err)
	}
	return nil
}

func (n *Network) newPortalRule() *netlink.Rule {
	r := netlink.NewRule()
	all := ^uint32(0)
	r.Family, r.Priority, r.Table, r.Mark, r.Mask, r.Protocol = netlink.FAMILY_V4, n.portalRule(), n.portalRoutes(), n.opts.PortalMark, &all, n.opts.Protocol
	return r
}

// dropStalePortal takes away the way to a portal that another run has left; with all set, also one of this Network's.
func (n *Network) dropStalePortal(all bool) error {
	if n.way != nil && !all {
		return nil
	}
	return n.dropPortal()
}

// dropPortal takes any way to a portal away, also one of a run that has crashed, whose processes are killed. The rules go
// last: a process that does not end stays confined.
func (n *Network) dropPortal() error {
	n.way = nil
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return fmt.Errorf("list nftables tables: %w", err)
	}
	if slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == n.portalTable().Name }) {
		c.FlushSet(n.reach())
		if err := c.Flush(); err != nil {
			return fmt.Errorf("close the way to a portal: %w", err)
		}
		rules, err := c.GetRules(n.portalTable(), &nftables.Chain{Name: portalOutput, Table: n.portalTable()})
		if err != nil {
			return fmt.Errorf("read the way to a portal: %w", err)
		}
		for _, r := range rules {
			text, _ := userdata.GetString(r.UserData, userdata.TypeComment)
			if g, ok := knownCage(text); ok {
				if err := g.remove(); err != nil {
					return fmt.Errorf("end what uses the way to a portal: %w", err)
				}
			}
		}
		c.DelTable(n.portalTable())
		if err := c.Flush(); err != nil {
			return fmt.Errorf("remove the way to a portal: %w", err)
		}
	}
	return n.unroutePortal()
}

// unroutePortal takes the rule and the routes away.
func (n *Network) unroutePortal() error {
	rules, err := netlink.RuleList(netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list rules: %w", err)
	}
	for _, r := range rules {
		if r.Protocol == n.opts.Protocol && r.Priority == n.portalRule() && r.Table == n.portalRoutes() {
			if err := netlink.RuleDel(n.newPortalRule()); err != nil && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("remove rule for the portal's mark: %w", err)
			}
		}
	}
	var routes []netlink.Route
	for range 5 { // a dump that changes have interrupted is repeated
		routes, err = netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: n.portalRoutes()}, netlink.RT_FILTER_TABLE)
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("list routes of table %d: %w", n.portalRoutes(), err)
	}
	for _, r := range routes {
		if r.Protocol != netlink.RouteProtocol(n.opts.Protocol) {
			continue // somebody else's table
		}
		if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("remove route %s: %w", routeKey(r), err)
		}
	}
	return nil
}

// Confinement implements link.PortalWay.
func (w *PortalWay) Confinement() string { return w.cage.name() }

// Join implements link.PortalWay.
func (w *PortalWay) Join(pid int, user uint32) error {
	w.network.mu.Lock()
	defer w.network.mu.Unlock()
	if w.network.way != w {
		return ErrPortalClosed
	}
	if err := joinCage(w.cage, pid, user); err != nil {
		return fmt.Errorf("hostnet: put process %d on the way to a portal: %w", pid, err)
	}
	return nil
}

// Admit implements link.PortalWay. The time is kept in whole milliseconds by the kernel itself.
func (w *PortalWay) Admit(addresses []netip.Addr, remaining time.Duration) error {
	w.network.mu.Lock()
	defer w.network.mu.Unlock()
	if w.network.way != w {
		return ErrPortalClosed
	}
	remaining = remaining.Truncate(time.Millisecond)
	if remaining <= 0 {
		return fmt.Errorf("hostnet: admit to the way to a portal: %v remain, expected at least 1ms", remaining)
	}
	for _, a := range addresses {
		if !a.Is4() || slices.ContainsFunc(w.portal.Forbidden, func(p netip.Prefix) bool { return p.Contains(a) }) {
			return fmt.Errorf("hostnet: admit to the way to a portal: %v is forbidden", a)
		}
	}
	if err := w.network.admit(w.portal, addresses, remaining); err != nil {
		return fmt.Errorf("hostnet: admit to the way to a portal: %w", err)
	}
	for _, a := range addresses {
		w.admitted[a] = true
	}
	return nil
}

// admit makes the elements for the addresses live for the time that remains, or removes them for 0, in one transaction; how,
// setPermit says. In the kill switch's inet table an element names the interface that the route before the mark led to, for
// that is what an output hook sees after a packet has been led elsewhere; so each of this host's interfaces gets one. Its
// netdev table, which sees the packet where it leaves, names the portal's alone.
func (n *Network) admit(p link.Portal, addresses []netip.Addr, remaining time.Duration) error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	var reach, inet, netdev [][]byte
	// An element that is taken away twice in one transaction is an error the second time.
	addresses = slices.Compact(slices.SortedFunc(slices.Values(addresses), netip.Addr.Compare))
	for _, a := range addresses {
		for _, port := range p.Ports {
			reach = append(reach, reachElement(a, port))
			netdev = append(netdev, portalElement(p.Interface.Index, a, port))
			for _, l := range links {
				inet = append(inet, portalElement(l.Attrs().Index, a, port))
			}
		}
	}
	if len(reach) == 0 {
		return nil
	}
	c, err := nftables.New()
	if err != nil {
		return err
	}
	sets := n.portals()
	for _, s := range []struct {
		set  *nftables.Set
		keys [][]byte
	}{{n.reach(), reach}, {sets[0], inet}, {sets[1], netdev}} {
		elements := make([]nftables.SetElement, len(s.keys))
		for i, k := range s.keys {
			elements[i].Key = k
		}
		if err := errors.Join(c.SetAddElements(s.set, elements), c.SetDeleteElements(s.set, elements)); err != nil {
			return err
		}
		if remaining == 0 {
			continue
		}
		timed := slices.Clone(elements)
		for i := range timed {
			timed[i].Timeout = remaining
		}
		if err := c.SetAddElements(s.set, timed); err != nil {
			return err
		}
	}
	return c.Flush()
}

// reachElement is a key of "reach", portalElement one of the kill switch's sets (portalKey): fields padded to four octets.
func reachElement(a netip.Addr, port uint16) []byte {
	return append(a.AsSlice(), byte(port>>8), byte(port), 0, 0)
}

func portalElement(index int, a netip.Addr, port uint16) []byte {
	key := binary.NativeEndian.AppendUint32(nil, uint32(index))
	key = append(key, a.AsSlice()...)
	return append(key, packet.ProtocolTCP, 0, 0, 0, byte(port>>8), byte(port), 0, 0)
}

// Close implements link.PortalWay. When processes do not end, the rules that confine them stay and the error says so.
func (w *PortalWay) Close() error {
	w.network.mu.Lock()
	defer w.network.mu.Unlock()
	if w.network.way != w {
		return nil // another has taken its place, or it has been taken back
	}
	var all []netip.Addr
	for a := range w.admitted {
		all = append(all, a)
	}
	err := w.network.admit(w.portal, all, 0)
	if errors.Is(err, unix.ENOENT) { // the kill switch, or the way, has been replaced or lifted
		err = nil
	}
	if err := errors.Join(err, w.network.dropPortal()); err != nil {
		return fmt.Errorf("hostnet: close the way to a portal: %w", err)
	}
	return nil
}
