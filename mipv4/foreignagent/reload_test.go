package foreignagent

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/wire"
)

// Shows: AGT-6 (the visitor list as people are shown it; the administrator strikes a visitor off).
func TestVisitorsAndDrop(t *testing.T) {
	f := newFixture(t, nil)
	f.visit(t, external)
	f.visit(t, internal)
	f.events()
	f.advance(100 * time.Second)
	all := f.m.Visitors(f.now, netip.Prefix{})
	if len(all) != 2 || all[0].Visitor.HomeAgent != internal || all[1].Visitor.HomeAgent != external || all[0].Granted != 300 {
		t.Fatalf("visitors %+v", all)
	}
	if l := all[1].Left; l < 199*time.Second || l > 200*time.Second {
		t.Errorf("%v are left", l)
	}
	if none := f.m.Visitors(f.now, netip.PrefixFrom(homeIn, 32)); len(none) != 0 || f.m.Drop(f.now, homeIn) != 0 {
		t.Errorf("visitors of another home address: %+v", none)
	}
	if n := f.m.Drop(f.now, homeOut); n != 2 || f.m.Table().Len() != 0 || len(f.m.Visitors(f.now, netip.Prefix{})) != 0 {
		t.Errorf("%d were dropped", n)
	}
	if told := f.transmits(); len(told) != 2 || told[0].To != Advertise || told[0].Station != laptop {
		t.Errorf("the mobile node is told by %+v", told)
	}
	if e := f.events(); len(e) != 2 || e[0].Kind != Dropped || e[0].Kind.String() != "dropped" {
		t.Errorf("events %+v", e)
	}
	f.visit(t, external)
	if f.m.Table().Len() != 1 {
		t.Error("a visitor that was struck off may not come back")
	}
}

// visit registers the laptop with a home agent for 300 seconds.
func (f *fixture) visit(t *testing.T, homeAgent netip.Addr) {
	t.Helper()
	r := f.request()
	r.HomeAgent = homeAgent
	f.relayed(f.arrive(r, nil))
	reply := r.Reply(wire.CodeAccepted, 300)
	payload, err := reply.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	payload = f.mn.AppendExtension(payload, wire.ExtMobileHomeAuthentication)
	if err := f.m.HandleReply(f.now, netip.AddrPortFrom(homeAgent, wire.Port), payload); err != nil {
		t.Fatal(err)
	}
	f.transmits()
}

// Shows: AGT-6 (reload: visitors stay unless their home agent is permitted no longer, limits count for new ones, a mistake changes
// nothing).
func TestReload(t *testing.T) {
	f := newFixture(t, nil)
	f.visit(t, external)
	f.visit(t, internal)
	for _, bad := range []struct {
		change func(*Config)
		want   error
	}{
		{func(c *Config) { c.Interval = time.Minute }, ErrConfig},
		{func(c *Config) { c.Encapsulations.Minimal = true }, ErrRestart},
		{func(c *Config) { c.CareOfAddress = netip.MustParseAddr("192.0.2.41") }, ErrRestart},
		{func(c *Config) { c.OwnAddresses = []netip.Addr{netip.MustParseAddr("192.0.2.41")} }, ErrRestart},
	} {
		cfg := Config{Address: visited, Prefix: 24, CareOfAddress: careOf, Interval: -1}
		bad.change(&cfg)
		if _, err := f.m.Reload(f.now, cfg); !errors.Is(err, bad.want) {
			t.Errorf("error %v, want %v", err, bad.want)
		}
	}
	if f.m.Table().Len() != 2 {
		t.Fatalf("%d visitors after mistakes", f.m.Table().Len())
	}
	cfg := Config{Address: visited, Prefix: 24, CareOfAddress: careOf, Interval: time.Second, MaxVisitors: 1, PermittedHomeAgents: []netip.Prefix{netip.PrefixFrom(external, 32)}}
	if n, err := f.m.Reload(f.now, cfg); err != nil || n != 1 || f.m.Table().Len() != 1 || len(f.m.Visitors(f.now, netip.PrefixFrom(homeOut, 32))) != 1 {
		t.Fatalf("%d dropped, %d left, %v", n, f.m.Table().Len(), err)
	}
	f.transmits()
	if at, ok := f.m.Deadline(); !ok || at != f.now.Boot {
		t.Errorf("an advertisement is due at %v, %t, want now", at, ok)
	}
	r := f.request()
	r.HomeAgent = internal
	f.denied(f.arrive(r, nil), wire.CodeFAProhibited)
	r = f.request()
	r.HomeAddress = homeIn
	f.denied(f.arrive(r, nil), wire.CodeFAInsufficientResources)
	f.visit(t, external) // the visitor that is there may stay
}
