package hostnet

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
)

// What another VPN puts into the kernel is found, each by its kind, and what this program puts there is not.
func TestRivals(t *testing.T) {
	ns, peer := netnstest.New(t), netnstest.New(t)
	netnstest.Wire(t, ns, "eth0", eth0, peer, "eth0", netip.PrefixFrom(gate, 24))
	openDevice(t, ns, "mip0")
	n := New(Options{})
	kinds := func() (text string) {
		netnstest.Inside(t, ns, func() error {
			list, err := New(Options{}).Rivals()
			var words []string
			for _, r := range list {
				words = append(words, string(r.Kind)+" "+r.Name)
				if r.Text == "" {
					t.Errorf("%+v says nothing", r)
				}
			}
			slices.Sort(words)
			text = strings.Join(words, ", ")
			return err
		})
		return text
	}
	if got := kinds(); got != "" {
		t.Errorf("in an empty namespace: %s", got)
	}
	netnstest.Inside(t, ns, func() error {
		return n.Apply(link.Settings{Device: "mip0", Address: home, MTU: 1400, Routes: prefixes("10.0.0.0/8"), Full: true, KillSwitch: true})
	})
	if got := kinds(); got != "" {
		t.Errorf("this program's own: %s", got)
	}
	openDevice(t, ns, "tun9")
	netnstest.Inside(t, ns, func() error {
		l, err := netlink.LinkByName("tun9")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return err
		}
		half := netip.MustParsePrefix("128.0.0.0/1")
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: netnstest.IPNet(half)}); err != nil {
			return err
		}
		narrow := netip.MustParsePrefix("172.16.0.0/12")
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: netnstest.IPNet(narrow)}); err != nil {
			return err
		}
		for _, priority := range []int{100, 30000} {
			r := netlink.NewRule()
			r.Priority, r.Table, r.Family = priority, 51820, netlink.FAMILY_V4
			if err := netlink.RuleAdd(r); err != nil {
				return err
			}
		}
		c, err := nftables.New()
		if err != nil {
			return err
		}
		drop, accept := nftables.ChainPolicyDrop, nftables.ChainPolicyAccept
		table := c.AddTable(&nftables.Table{Name: "othervpn", Family: nftables.TableFamilyINet})
		for name, policy := range map[string]*nftables.ChainPolicy{"out": &drop, "harmless": &accept} {
			c.AddChain(&nftables.Chain{Name: name, Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter, Policy: policy})
		}
		return c.Flush()
	})
	if got, want := kinds(), "firewall inet othervpn out, rule 100, tunnel tun9"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	netnstest.Inside(t, ns, func() error {
		err := netlink.XfrmPolicyAdd(&netlink.XfrmPolicy{Dir: netlink.XFRM_DIR_OUT, Src: netnstest.IPNet(netip.MustParsePrefix("0.0.0.0/0")), Dst: netnstest.IPNet(netip.MustParsePrefix("10.9.0.0/16"))})
		if err != nil {
			t.Logf("this kernel has no IPsec: %v", err)
			return nil
		}
		list, err := rivalPolicies()
		if len(list) != 1 || list[0].Name != "10.9.0.0/16" {
			t.Errorf("%+v", list)
		}
		return err
	})
}
