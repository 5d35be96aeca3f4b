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
	egressPrefix = "egress-" // netdev: with the interface's name

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
// an earlier run is left.
func (n *Network) writeKillSwitch(s link.Settings) error {
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

func (n *Network) replaceKillSwitch(s link.Settings, names []string) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	inet, netdev := n.inetTable(), n.netdevTable()
	for _, t := range []*nftables.Table{inet, netdev} {
		c.AddTable(t) // so that there is one to delete
		c.DelTable(t)
		c.AddTable(t)
	}
	for _, set := range append(n.portals(), n.permits()) {
		if err := c.AddSet(set, nil); err != nil {
			return err
		}
	}
	l := n.newLine(s)
	// A chain is made before the ones that jump to it.
	for _, chain := range []*nftables.Chain{
		{Name: portalChain, Table: inet}, {Name: sixChain, Table: inet},
		{Name: judgeChain, Table: netdev}, {Name: judge6Chain, Table: netdev}, {Name: taggedChain, Table: netdev}, {Name: frameChain, Table: netdev},
		{Name: outputChain, Table: inet, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter},
		{Name: forwardChain, Table: inet, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter},
	} {
		c.AddChain(chain)
		addRules(c, chain, l.rules(chain.Name))
	}
	for _, name := range names {
		n.addEgress(c, name)
	}
	return c.Flush()
}

// addEgress adds the egress chain of an interface.
func (n *Network) addEgress(c *nftables.Conn, name string) {
	chain := c.AddChain(&nftables.Chain{
		Name: egressPrefix + name, Table: n.netdevTable(), Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookEgress, Priority: nftables.ChainPriorityFilter, Device: name,
	})
	addRules(c, chain, egressRules())
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

// Cover makes sure that the kill switch, where there is one, stands on these interfaces too, before they are used. names
// are those that exist; what was known of others is forgotten.
func (n *Network) Cover(names []string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
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
	for _, chain := range chains {
		if chain.Table.Name == n.netdevTable().Name && chain.Name == egressPrefix+name {
			c.FlushChain(&nftables.Chain{Name: chain.Name, Table: n.netdevTable()})
			c.DelChain(&nftables.Chain{Name: chain.Name, Table: n.netdevTable()})
		}
	}
	n.addEgress(c, name)
	return c.Flush()
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

func addRules(c *nftables.Conn, chain *nftables.Chain, rules []lineRule) {
	for _, r := range rules {
		c.AddRule(&nftables.Rule{Table: chain.Table, Chain: chain, Exprs: r.exprs, UserData: comment(r.text)})
	}
}
