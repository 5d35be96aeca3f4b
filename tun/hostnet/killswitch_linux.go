package hostnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// The two tables of the kill switch are named after Options.Name with this suffix: an inet one, whose hooks see what the
// kernel's own IP layer sends and forwards on whatever interface, and a netdev one, whose egress hooks see everything that
// an interface is given to send, packet sockets and neighbour queues included.
const killSwitchSuffix = "-killswitch"

// The chains and the set of the two tables.
const (
	outputChain  = "output"  // inet
	forwardChain = "forward" // inet
	judgeChain   = "judge"   // netdev, no hook: every egress chain jumps to it
	egressPrefix = "egress-" // netdev: with the interface's name
	permitSet    = "permit"  // netdev: indices of interfaces that plaintext may leave by, each with its remaining time
)

// killSwitchTries is how often the tables are written anew because an interface has gone meanwhile.
const killSwitchTries = 5

func (n *Network) inetTable() *nftables.Table {
	return &nftables.Table{Name: n.opts.Name + killSwitchSuffix, Family: nftables.TableFamilyINet}
}

func (n *Network) netdevTable() *nftables.Table {
	return &nftables.Table{Name: n.opts.Name + killSwitchSuffix, Family: nftables.TableFamilyNetdev}
}

// lineRule is a rule and its description, which is kept as the rule's comment.
type lineRule struct {
	text  string
	exprs []expr.Any
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
	homes := slices.Clone(s.Shielded)
	if s.Address.IsValid() {
		homes = append(homes, s.Address)
	}
	homes, prefixes := sorted(homes), sorted(s.Routes)
	for _, hook := range []struct {
		name  string
		num   *nftables.ChainHook
		rules []lineRule
	}{
		{outputChain, nftables.ChainHookOutput, n.outputRules(s.Device, homes, prefixes)},
		{forwardChain, nftables.ChainHookForward, forwardRules(s.Device, homes, prefixes)},
	} {
		chain := c.AddChain(&nftables.Chain{
			Name: hook.name, Table: inet, Type: nftables.ChainTypeFilter, Hooknum: hook.num, Priority: nftables.ChainPriorityFilter,
		})
		addRules(c, inet, chain, hook.rules)
	}
	set := n.permits()
	if err := c.AddSet(set, nil); err != nil {
		return err
	}
	judge := c.AddChain(&nftables.Chain{Name: judgeChain, Table: netdev})
	addRules(c, netdev, judge, n.judgeRules(set, homes, prefixes))
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
	addRules(c, n.netdevTable(), chain, egressRules())
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

func addRules(c *nftables.Conn, t *nftables.Table, chain *nftables.Chain, rules []lineRule) {
	for _, r := range rules {
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: r.exprs, UserData: comment(r.text)})
	}
}

// outputRules judge what this host sends.
func (n *Network) outputRules(device string, homes []netip.Addr, prefixes []netip.Prefix) []lineRule {
	rules := []lineRule{
		rule("into the device: accept", expr.VerdictAccept, meta(expr.MetaKeyOIFNAME, interfaceName(device))),
		rule("to this host itself: accept", expr.VerdictAccept, meta(expr.MetaKeyOIFNAME, interfaceName("lo"))),
		rule("not IPv4: accept", expr.VerdictAccept, []expr.Any{
			&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
		}),
		rule("marked as the client's own: accept", expr.VerdictAccept, []expr.Any{
			&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: native(n.opts.MarkMask), Xor: native(0)},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: native(n.opts.ProtectedMark & n.opts.MarkMask)},
		}),
	}
	return append(rules, addressRules(homes, prefixes)...)
}

// forwardRules judge what this host forwards for others; nothing of that is the client's own, whatever its mark.
func forwardRules(device string, homes []netip.Addr, prefixes []netip.Prefix) []lineRule {
	rules := []lineRule{
		rule("into the device: accept", expr.VerdictAccept, meta(expr.MetaKeyOIFNAME, interfaceName(device))),
		rule("not IPv4: accept", expr.VerdictAccept, []expr.Any{
			&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
		}),
	}
	return append(rules, addressRules(homes, prefixes)...)
}

// egressRules send IPv4 to the judge, told by the protocol that the sender named and by the type in the Ethernet header,
// which a packet socket may make differ. ARP and IPv6 pass.
func egressRules() []lineRule {
	toJudge := &expr.Verdict{Kind: expr.VerdictJump, Chain: judgeChain}
	etherType := binary.BigEndian.AppendUint16(nil, unix.ETH_P_IP)
	return []lineRule{
		{"IPv4 by protocol: judge", append(meta(expr.MetaKeyPROTOCOL, etherType), toJudge)},
		{"IPv4 by Ethernet type: judge", []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseLLHeader, Offset: 12, Len: 2},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: etherType},
			toJudge,
		}},
	}
}

// judgeRules judge IPv4 packets on their way out of an interface.
func (n *Network) judgeRules(set *nftables.Set, homes []netip.Addr, prefixes []netip.Prefix) []lineRule {
	permitted := append(meta(expr.MetaKeyMARK, native(n.opts.PlaintextMark)),
		&expr.Meta{Key: expr.MetaKeyOIF, Register: 1},
		&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID},
	)
	rules := []lineRule{
		rule("marked as protected: accept", expr.VerdictAccept, meta(expr.MetaKeyMARK, native(n.opts.ProtectedMark))),
		rule("marked as plaintext, with a permit: accept", expr.VerdictAccept, permitted),
		rule("marked as plaintext: drop", expr.VerdictDrop, meta(expr.MetaKeyMARK, native(n.opts.PlaintextMark))),
	}
	return append(rules, addressRules(homes, prefixes)...)
}

// addressRules drop what comes from a home address or goes to a prefix. Between the two stands the exception for DHCP
// (RFC 2131 §4.1), whose server may stand inside a prefix. Offsets are those of RFC 791 and RFC 768.
func addressRules(homes []netip.Addr, prefixes []netip.Prefix) (rules []lineRule) {
	for _, a := range homes {
		rules = append(rules, rule(fmt.Sprintf("from %v: drop", a), expr.VerdictDrop, []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a.AsSlice()},
		}))
	}
	ports := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, dhcpClient), dhcpServer)
	rules = append(rules, rule("DHCP to a server: accept", expr.VerdictAccept, append(
		meta(expr.MetaKeyL4PROTO, []byte{packet.ProtocolUDP}),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: ports},
	)))
	for _, p := range prefixes {
		rules = append(rules, rule(fmt.Sprintf("to %v: drop", p), expr.VerdictDrop, []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: net.CIDRMask(p.Bits(), 32), Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Addr().AsSlice()},
		}))
	}
	return rules
}

// rule is the rule that gives what all of match fits the verdict.
func rule(text string, verdict expr.VerdictKind, match []expr.Any) lineRule {
	return lineRule{text, append(match, &expr.Verdict{Kind: verdict})}
}

// meta fits packets whose key has the value.
func meta(key expr.MetaKey, value []byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: value}}
}

// native writes v as the kernel holds marks and indices.
func native(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
