package hostnet

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// The chains of the nftables table.
const (
	shieldChain = "shield" // prerouting: drops packets for shielded addresses
	savedChain  = "saved"  // no hook: one rule a changed sysctl, whose comment says what it was
)

// shield is what the nftables table says.
type shield struct {
	exists   bool // the table is there
	foreign  bool // it holds something that was not put there here
	device   string
	shielded []netip.Addr // sorted
	saved    map[string]string
	others   map[string]string // what other Networks' tables have saved: whoever goes last restores it
}

// empty reports whether no table is needed.
func (s shield) empty() bool { return len(s.shielded) == 0 && len(s.saved) == 0 }

// equal reports whether the table that was found needs no change to become want.
func (s shield) equal(want shield) bool {
	if s.foreign || s.exists == want.empty() {
		return false
	}
	return slices.Equal(s.shielded, want.shielded) && maps.Equal(s.saved, want.saved) &&
		(len(want.shielded) == 0 || s.device == want.device)
}

func (n *Network) table() *nftables.Table {
	return &nftables.Table{Name: n.opts.Name, Family: nftables.TableFamilyIPv4}
}

// readTable reads the nftables table back. Rules are known by their comments.
func (n *Network) readTable() (s shield, err error) {
	s.saved, s.others = make(map[string]string), make(map[string]string)
	c, err := nftables.New()
	if err != nil {
		return s, fmt.Errorf("open nftables: %w", err)
	}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return s, fmt.Errorf("list nftables tables: %w", err)
	}
	s.exists = slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == n.opts.Name })
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return s, fmt.Errorf("list nftables chains: %w", err)
	}
	for _, chain := range chains {
		own := chain.Table.Name == n.opts.Name
		if !own && (chain.Name != savedChain || chain.Hooknum != nil) {
			continue
		}
		rules, err := c.GetRules(chain.Table, chain)
		if err != nil {
			return s, fmt.Errorf("list rules of nftables chain %s: %w", chain.Name, err)
		}
		for _, r := range rules {
			comment, _ := userdata.GetString(r.UserData, userdata.TypeComment)
			if !own {
				if path, value, ok := strings.Cut(comment, "="); ok {
					s.others[path] = value
				}
			} else if !s.understand(chain, comment, r) {
				s.foreign = true
			}
		}
	}
	slices.SortFunc(s.shielded, netip.Addr.Compare)
	return s, nil
}

// understand takes in one rule and reports whether it was made here.
func (s *shield) understand(chain *nftables.Chain, comment string, r *nftables.Rule) bool {
	switch chain.Name {
	case savedChain:
		path, value, ok := strings.Cut(comment, "=")
		if ok {
			s.saved[path] = value
		}
		return ok
	case shieldChain:
		text, device, ok := strings.Cut(comment, " not from ")
		addr, err := netip.ParseAddr(text)
		if !ok || err != nil || len(r.Exprs) != len(dropRule(addr, device)) || s.device != "" && s.device != device {
			return false
		}
		s.device = device
		s.shielded = append(s.shielded, addr)
		return chain.Hooknum != nil && *chain.Hooknum == *nftables.ChainHookPrerouting
	}
	return false
}

// writeTable makes the table say what want does, in one transaction: there is no moment without shielding.
func (n *Network) writeTable(want shield) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	t := n.table()
	c.AddTable(t) // so that there is one to delete
	c.DelTable(t)
	if !want.empty() {
		c.AddTable(t)
		if len(want.shielded) > 0 {
			chain := c.AddChain(&nftables.Chain{
				Name: shieldChain, Table: t, Type: nftables.ChainTypeFilter,
				Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw,
			})
			for _, a := range want.shielded {
				c.AddRule(&nftables.Rule{
					Table: t, Chain: chain, Exprs: dropRule(a, want.device),
					UserData: comment(fmt.Sprintf("%v not from %s", a, want.device)),
				})
			}
		}
		if len(want.saved) > 0 {
			chain := c.AddChain(&nftables.Chain{Name: savedChain, Table: t})
			for _, path := range slices.Sorted(maps.Keys(want.saved)) {
				c.AddRule(&nftables.Rule{
					Table: t, Chain: chain, Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}},
					UserData: comment(path + "=" + want.saved[path]),
				})
			}
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("write nftables table %s: %w", n.opts.Name, err)
	}
	return nil
}

// deleteTable removes the table.
func (n *Network) deleteTable() error { return n.writeTable(shield{}) }

func comment(text string) []byte { return userdata.AppendString(nil, userdata.TypeComment, text) }

// dropRule drops what is for addr and has come neither out of the device nor from this host itself:
//
//	iifname != DEVICE iifname != "lo" ip daddr ADDR drop
func dropRule(addr netip.Addr, device string) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: interfaceName(device)},
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: interfaceName("lo")},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4}, // RFC 791: destination
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: addr.AsSlice()},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}
}

// interfaceName writes a name as the kernel compares it: IFNAMSIZ octets, padded with zeros.
func interfaceName(name string) []byte {
	p := make([]byte, unix.IFNAMSIZ)
	copy(p[:unix.IFNAMSIZ-1], name)
	return p
}
