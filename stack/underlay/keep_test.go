//go:build linux

package underlay

import (
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
)

// Shows: HST-2 (rules, routes and the kill switch come back by themselves when another program has taken them away)
func TestKeepSettings(t *testing.T) {
	p := newPair(t)
	holdLine(t, p)
	told := make(chan link.Restored, 100)
	stop, err := p.a.KeepSettings(func(r link.Restored, err error) {
		if err != nil {
			t.Error(err)
		}
		told <- r
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	netnstest.Inside(t, p.a.opts.Namespace, func() error {
		list, err := netlink.RuleList(netlink.FAMILY_V4)
		if err != nil {
			return err
		}
		for _, r := range list {
			if r.Protocol == p.a.opts.Settings.Protocol {
				if err := netlink.RuleDel(&r); err != nil {
					return err
				}
			}
		}
		c, err := nftables.New()
		if err != nil {
			return err
		}
		c.FlushRuleset()
		return c.Flush()
	})
	var all link.Restored
	for all.Rules < 2 || !all.KillSwitch {
		select {
		case r := <-told:
			all.Rules, all.KillSwitch = all.Rules+r.Rules, all.KillSwitch || r.KillSwitch
		case <-time.After(time.Minute):
			t.Fatalf("put back %v within a minute", all)
		}
	}
	stop()
	if err := p.a.Permit(p.indexA, p.a.Now().Boot+time.Minute); err != nil {
		t.Errorf("there is no kill switch: %v", err)
	}
}
