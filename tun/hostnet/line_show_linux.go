package hostnet

import (
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
)

// Line returns the kill switch that stands in the network of the calling thread's namespace, whoever has written it. It needs
// CAP_NET_ADMIN.
func (n *Network) Line() (Line, error) {
	var l Line
	c, err := nftables.New()
	if err != nil {
		return l, fmt.Errorf("hostnet: open nftables: %w", err)
	}
	tables := map[string]*nftables.Table{"inet": n.inetTable(), "netdev": n.netdevTable()}
	l.Stands = true
	for _, family := range []string{"inet", "netdev"} {
		t := tables[family]
		found, err := c.ListTablesOfFamily(t.Family)
		if err != nil {
			return l, fmt.Errorf("hostnet: list nftables tables: %w", err)
		}
		if !slices.ContainsFunc(found, func(f *nftables.Table) bool { return f.Name == t.Name }) {
			l.Stands = false
			continue
		}
		chains, err := c.ListChainsOfTableFamily(t.Family)
		if err != nil {
			return l, fmt.Errorf("hostnet: list nftables chains: %w", err)
		}
		for _, chain := range chains {
			if chain.Table.Name != t.Name {
				continue
			}
			l.Everywhere = l.Everywhere || chain.Name == egressChain
			rules, err := c.GetRules(chain.Table, chain)
			if err != nil {
				return l, fmt.Errorf("hostnet: list rules of nftables chain %s: %w", chain.Name, err)
			}
			for _, r := range rules {
				text, _ := userdata.GetString(r.UserData, userdata.TypeComment)
				shown := LineRule{Table: family, Chain: chain.Name, Text: text}
				for _, e := range r.Exprs {
					if count, ok := e.(*expr.Counter); ok {
						shown.Counts, shown.Packets = true, count.Packets
					}
				}
				l.Rules = append(l.Rules, shown)
			}
		}
	}
	return l, nil
}
