package topology

import (
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"mipvpn/cmd/miplab/internal/space"
)

// interfaceName pads a name to the kernel's IFNAMSIZ, as nftables compares it.
func interfaceName(n string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, n)
	return b
}

// installFirewall gives the company's router its rules: what came from the Internet side and was not asked for from the
// inside is dropped without an answer, neither forwarded nor delivered.
func installFirewall(s *space.Space) error {
	c, err := s.Nftables()
	if err != nil {
		return err
	}
	drop := nftables.ChainPolicyDrop
	table := c.AddTable(&nftables.Table{Name: "firewall", Family: nftables.TableFamilyIPv4})
	for name, hook := range map[string]*nftables.ChainHook{"forward": nftables.ChainHookForward, "input": nftables.ChainHookInput} {
		chain := c.AddChain(&nftables.Chain{Name: name, Table: table, Type: nftables.ChainTypeFilter, Hooknum: hook,
			Priority: nftables.ChainPriorityFilter, Policy: &drop})
		// ct state established,related accept
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Xor: binaryutil.NativeEndian.PutUint32(0),
				Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(0)},
			&expr.Verdict{Kind: expr.VerdictAccept},
		}})
		// iifname != "internet" accept
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: interfaceName("internet")},
			&expr.Verdict{Kind: expr.VerdictAccept},
		}})
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("topology: firewall rules: %w (does the kernel have nf_tables and nft_ct?)", err)
	}
	return nil
}

// installMasquerade makes a router a NAPT: what leaves for the Internet takes its address.
func installMasquerade(s *space.Space) error {
	c, err := s.Nftables()
	if err != nil {
		return err
	}
	table := c.AddTable(&nftables.Table{Name: "masquerade", Family: nftables.TableFamilyIPv4})
	chain := c.AddChain(&nftables.Chain{Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: interfaceName("internet")},
		&expr.Masq{},
	}})
	if err := c.Flush(); err != nil {
		return fmt.Errorf("topology: %s: the NAPT: %w (does the kernel have nf_tables and nft_masq?)", s.Name, err)
	}
	return nil
}

// onlyTCPTable is the table that OnlyTCP makes.
const onlyTCPTable = "only-tcp"

// OnlyTCP has the router of a network that Served names lose all that comes from it but TCP, without an answer, or ends that.
func (l *Lab) OnlyTCP(w Wire, on bool) error {
	i := slices.IndexFunc(scopes, func(s scope) bool { return Wire(s.port) == w })
	if i < 0 {
		return fmt.Errorf("topology: only TCP in %s: want a network with a router: office, cafe, cellular or campus", w)
	}
	c, err := l.boxes[scopes[i].box].Nftables()
	if err != nil {
		return err
	}
	table := c.AddTable(&nftables.Table{Name: onlyTCPTable, Family: nftables.TableFamilyIPv4})
	if !on {
		c.DelTable(table)
	} else {
		chain := c.AddChain(&nftables.Chain{Name: "forward", Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: interfaceName(scopes[i].port)},
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
			&expr.Verdict{Kind: expr.VerdictDrop},
		}})
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("topology: only TCP in %s: %w (does the kernel have nf_tables?)", w, err)
	}
	return nil
}
