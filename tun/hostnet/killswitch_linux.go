package hostnet

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/tun/link"
)

// The two tables of the kill switch are named after Options.Name with this suffix: an inet one, whose hooks see what the
// kernel's own IP layer sends and forwards on whatever interface, and a netdev one, whose egress hooks see everything that
// an interface is given to send, packet sockets and neighbour queues included.
const killSwitchSuffix = "-killswitch"

// The chains and the sets of the two tables.
const (
	outputChain  = "output"  // inet
	forwardChain = "forward" // inet
	egressChain  = "egress"  // netdev: on every interface, or with "-" and an interface's name on that

	// Chains without a hook, which the ones above jump to.
	portalChain = "portal" // inet: what a captive portal's browser sends
	sixChain    = "six"    // inet: IPv6
	judgeChain  = "judge"  // netdev: IPv4
	judge6Chain = "judge6" // netdev: IPv6
	frameChain  = "frame"  // netdev: every egress chain goes to it
	taggedChain = "tagged" // netdev: frames with a VLAN tag that their sender has put into them

	permitSet = "permit" // netdev: indices of interfaces that plaintext may leave by, each with its remaining time
	portalSet = "portal" // both: what a portal's browser may reach, by interface
)

// killSwitchTries is how often the tables are written anew because an interface has gone meanwhile.
const killSwitchTries = 5

func (n *Network) inetTable() *nftables.Table {
	return &nftables.Table{Name: n.opts.Name + killSwitchSuffix, Family: nftables.TableFamilyINet}
}

func (n *Network) netdevTable() *nftables.Table {
	return &nftables.Table{Name: n.opts.Name + killSwitchSuffix, Family: nftables.TableFamilyNetdev}
}

// writeKillSwitch replaces the kill switch by that of s, in one transaction: there is no moment without it, and no permit of
// an earlier run is left. Where the kernel can (Linux 6.16), and no nft is here that would hang at it, one egress chain stands on every
// interface, those to come included, whether a process of ours runs or not. Else each interface gets a chain of its own, a new one by
// Cover.
func (n *Network) writeKillSwitch(s link.Settings) error {
	n.step("write the kill switch")
	if n.pattern() {
		if n.replaceKillSwitch(s, nil) == nil {
			n.lineDevice, n.covered = s.Device, nil
			return nil
		}
	}
	var err error
	for range killSwitchTries {
		var names []string
		if names, err = coverable(s.Device); err != nil {
			return err
		}
		if err = n.replaceKillSwitch(s, names); err == nil {
			n.lineDevice, n.covered = s.Device, make(map[string]bool)
			for _, name := range names {
				n.covered[name] = true
			}
			return nil
		}
		if !errors.Is(err, unix.ENOENT) {
			break
		}
	}
	return fmt.Errorf("write the kill switch (it needs nftables with netdev egress chains, Linux 5.16): %w", err)
}

// replaceKillSwitch writes the tables with an egress chain for each of the names, or one for all interfaces when names is nil.
func (n *Network) replaceKillSwitch(s link.Settings, names []string) error {
	inet, netdev := n.inetTable(), n.netdevTable()
	t := new(transaction)
	t.replaceTable(inet)
	t.replaceTable(netdev)
	for i, set := range append(n.portals(), n.permits()) {
		t.set(set, uint32(i+1))
	}
	l := n.newLine(s)
	// A chain is made before the ones that jump to it.
	chains := []*nftables.Chain{
		{Name: portalChain, Table: inet}, {Name: sixChain, Table: inet},
		{Name: judgeChain, Table: netdev}, {Name: judge6Chain, Table: netdev}, {Name: taggedChain, Table: netdev}, {Name: frameChain, Table: netdev},
		{Name: outputChain, Table: inet, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter},
		{Name: forwardChain, Table: inet, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter},
	}
	for _, name := range names {
		chains = append(chains, n.egress(name))
	}
	if names == nil {
		chains = append(chains, n.egress(""))
	}
	for _, chain := range chains {
		t.chain(chain)
		t.rules(chain, l.rules(chain.Name))
	}
	return t.commit()
}

// egress is the egress chain of an interface, of all for the empty name.
func (n *Network) egress(name string) *nftables.Chain {
	c := &nftables.Chain{
		Name: egressChain, Table: n.netdevTable(), Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookEgress, Priority: nftables.ChainPriorityFilter, Device: name,
	}
	if name != "" {
		c.Name += "-" + name
	}
	return c
}

// deleteKillSwitch lifts the line.
func (n *Network) deleteKillSwitch() error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	for _, t := range []*nftables.Table{n.inetTable(), n.netdevTable()} {
		found, err := c.ListTablesOfFamily(t.Family)
		if err != nil {
			return fmt.Errorf("list nftables tables: %w", err)
		}
		if slices.ContainsFunc(found, func(f *nftables.Table) bool { return f.Name == t.Name }) {
			c.DelTable(t)
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("lift the kill switch: %w", err)
	}
	n.lineDevice, n.covered = "", nil
	return nil
}

// Cover makes sure that the kill switch, where there is one, stands on these interfaces too, before they are used, and that
// the exception for the local network is for the networks that they are connected to now. names are those that exist; what
// was known of others is forgotten.
func (n *Network) Cover(names []string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.local != nil {
		if err := n.setRoutes(*n.local, true); err != nil {
			return wrap(err)
		}
	}
	if n.covered == nil {
		return nil
	}
	for name := range n.covered {
		if !slices.Contains(names, name) {
			delete(n.covered, name)
		}
	}
	var errs []error
	for _, name := range names {
		if n.covered[name] || name == n.lineDevice {
			continue
		}
		if err := n.cover(name); err != nil {
			errs = append(errs, fmt.Errorf("hostnet: put the kill switch on %s: %w", name, err))
			continue
		}
		n.covered[name] = true
	}
	return errors.Join(errs...)
}

// cover gives one interface its egress chain. A chain of an interface that had the name before goes first: whether it is
// still there, and stands on the new one, differs between kernels.
func (n *Network) cover(name string) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyNetdev)
	if err != nil {
		return err
	}
	t, egress := new(transaction), n.egress(name)
	for _, chain := range chains {
		if chain.Table.Name == egress.Table.Name && chain.Name == egress.Name {
			t.deleteChain(egress)
		}
	}
	t.chain(egress)
	t.rules(egress, new(line).rules(egress.Name))
	return t.commit()
}

// coverable returns the names of the interfaces that get an egress chain: all but loopback and the device.
func coverable(device string) (names []string, err error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	for _, l := range links {
		if a := l.Attrs(); a.Flags&net.FlagLoopback == 0 && a.Name != device {
			names = append(names, a.Name)
		}
	}
	return names, nil
}
