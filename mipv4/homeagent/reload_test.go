package homeagent

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/wire"
)

// kinds takes the events and returns what became of the bindings of home.
func (f *fixture) kinds(home netip.Addr) (out []EventKind) {
	for e, ok := f.m.PollEvent(); ok; e, ok = f.m.PollEvent() {
		if e.HomeAddress == home {
			out = append(out, e.Kind)
		}
	}
	return out
}

// again is the configuration that the fixture was made with, changed.
func (f *fixture) again(change func(*Config)) Config {
	cfg := f.m.cfg
	cfg.MobileNodes = slices.Clone(cfg.MobileNodes)
	change(&cfg)
	return cfg
}

// Shows: AGT-6 (the binding list as people are shown it).
func TestBindings(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.SimultaneousBindings, c.MaxLifetime = 2, InfiniteLifetime })
	from := netip.AddrPortFrom(careOf, 5000)
	for _, c := range []netip.Addr{careOf2, careOf} {
		r := f.request()
		r.CareOfAddress = c
		r.Flags |= wire.FlagSimultaneous
		f.must(f.sign(r, f.mn, nil), netip.AddrPortFrom(c, 5000), wire.CodeAccepted, f.mn)
	}
	r := f.request()
	r.HomeAddress, r.Lifetime = home2, wire.LifetimeInfinite
	f.must(f.sign(r, association(t, 1002), nil), from, wire.CodeAccepted, association(t, 1002))
	f.advance(100 * time.Second)
	all := f.m.Bindings(f.now, netip.Prefix{})
	if len(all) != 3 || f.m.Len() != 3 || all[0].HomeAddress != home || all[0].CareOfAddress != careOf2 || all[1].CareOfAddress != careOf || all[2].HomeAddress != home2 {
		t.Fatalf("bindings %+v", all)
	}
	if l := all[1].Left; l > 500*time.Second || l < 499*time.Second || all[1].Granted != 600 {
		t.Errorf("%v are left of %d s", l, all[1].Granted)
	}
	if all[2].Granted != wire.LifetimeInfinite || all[2].Left != 0 {
		t.Errorf("a binding without an end: %+v", all[2])
	}
	if one := f.m.Bindings(f.now, netip.PrefixFrom(home2, 32)); len(one) != 1 || one[0].HomeAddress != home2 {
		t.Errorf("bindings of %v: %+v", home2, one)
	}
	if none := f.m.Bindings(f.now, netip.PrefixFrom(agent, 32)); len(none) != 0 {
		t.Errorf("bindings of a stranger: %+v", none)
	}
}

// Shows: AGT-6 (the administrator takes bindings away; the mobile node may come back).
func TestDrop(t *testing.T) {
	f := newFixture(t, nil)
	from := netip.AddrPortFrom(careOf, 5000)
	f.must(f.sign(f.request(), f.mn, nil), from, wire.CodeAcceptedSimultaneousUnsupported, f.mn)
	f.kinds(home)
	if n := f.m.Drop(f.now, home2); n != 0 {
		t.Errorf("%d bindings of another were dropped", n)
	}
	if n := f.m.Drop(f.now, home); n != 1 || f.m.Table().Route(home) != nil || f.m.Len() != 0 {
		t.Errorf("%d were dropped, %d are left", n, f.m.Len())
	}
	if k := f.kinds(home); !slices.Equal(k, []EventKind{Dropped}) {
		t.Errorf("events %v", k)
	}
	if _, ok := f.m.Deadline(); ok {
		t.Error("a binding that was dropped is waited for")
	}
	f.must(f.sign(f.request(), f.mn, nil), from, wire.CodeAcceptedSimultaneousUnsupported, f.mn)
}

// Shows: AGT-6 (reload: bindings stay, mobile nodes come, get other keys and go; a mistake changes nothing).
func TestReload(t *testing.T) {
	f := newFixture(t, nil)
	from := netip.AddrPortFrom(careOf, 5000)
	f.must(f.sign(f.request(), f.mn, nil), from, wire.CodeAcceptedSimultaneousUnsupported, f.mn)
	r2 := f.request()
	r2.HomeAddress = home2
	f.must(f.sign(r2, association(t, 1002), nil), from, wire.CodeAcceptedSimultaneousUnsupported, association(t, 1002))
	f.kinds(home)
	for _, bad := range []struct {
		change func(*Config)
		want   error
	}{
		{func(c *Config) { c.MobileNodes[1].HomeAddress = home }, ErrConfig},
		{func(c *Config) { c.Address = netip.MustParseAddr("10.0.1.11") }, ErrRestart},
		{func(c *Config) { c.Internal = true }, ErrRestart},
	} {
		if _, err := f.m.Reload(f.now, f.again(bad.change)); !errors.Is(err, bad.want) {
			t.Errorf("error %v, want %v", err, bad.want)
		}
	}
	if f.m.Len() != 2 {
		t.Fatalf("%d bindings after mistakes", f.m.Len())
	}
	home3, other := netip.MustParseAddr("10.0.8.102"), association(t, 1010)
	old := f.sign(f.request(), f.mn, nil) // for later
	dropped, err := f.m.Reload(f.now, f.again(func(c *Config) {
		c.MobileNodes = []MobileNode{{HomeAddress: home, Associations: []*auth.SecurityAssociation{other}}, {HomeAddress: home3, Associations: []*auth.SecurityAssociation{association(t, 1003)}}}
		c.MaxLifetime = time.Minute
	}))
	if err != nil || dropped != 1 || f.m.Len() != 1 || f.m.Table().Route(home) == nil || f.m.Table().Route(home2) != nil {
		t.Fatalf("%d dropped, %d left, %v", dropped, f.m.Len(), err)
	}
	if k := f.kinds(home2); !slices.Equal(k, []EventKind{Dropped}) {
		t.Errorf("events of the one that went: %v", k)
	}
	if l := f.m.Bindings(f.now, netip.PrefixFrom(home, 32))[0].Granted; l != 600 {
		t.Errorf("the binding that stays has a lifetime of %d s", l)
	}
	f.must(old, from, wire.CodeMobileNodeAuthentication, other)
	if got := f.must(f.sign(f.request(), other, nil), from, wire.CodeAcceptedSimultaneousUnsupported, other); got.Lifetime != 60 {
		t.Errorf("granted %d s by the new configuration", got.Lifetime)
	}
	r3 := f.request()
	r3.HomeAddress = home3
	f.must(f.sign(r3, association(t, 1003), nil), from, wire.CodeAcceptedSimultaneousUnsupported, association(t, 1003))
	r2 = f.request()
	r2.HomeAddress = home2
	f.silent(f.sign(r2, association(t, 1002), nil), from, ErrUnknownMobileNode)
}

// Shows: AGT-6, MIP-3 (what was taken before a reload is not taken again after it).
func TestReloadKeepsReplayProtection(t *testing.T) {
	f := newFixture(t, nil)
	from := netip.AddrPortFrom(careOf, 5000)
	taken := f.sign(f.request(), f.mn, nil)
	f.must(taken, from, wire.CodeAcceptedSimultaneousUnsupported, f.mn)
	back := f.request()
	back.Lifetime = 0
	f.must(f.sign(back, f.mn, nil), from, wire.CodeAcceptedSimultaneousUnsupported, f.mn)
	if _, err := f.m.Reload(f.now, f.again(func(*Config) {})); err != nil {
		t.Fatal(err)
	}
	f.must(taken, from, wire.CodeIdentificationMismatch, f.mn)
}

// Shows: AGT-6, MIP-3 (nor is it when the mobile node was struck off in between).
func TestReloadKeepsReplayProtectionOfThoseThatGo(t *testing.T) {
	f := newFixture(t, nil)
	from := netip.AddrPortFrom(careOf, 5000)
	taken := f.sign(f.request(), f.mn, nil)
	f.must(taken, from, wire.CodeAcceptedSimultaneousUnsupported, f.mn)
	with := f.again(func(*Config) {})
	if n, err := f.m.Reload(f.now, f.again(func(c *Config) { c.MobileNodes = c.MobileNodes[1:] })); err != nil || n != 1 {
		t.Fatalf("%d dropped, %v", n, err)
	}
	f.silent(f.sign(f.request(), f.mn, nil), from, ErrUnknownMobileNode)
	if _, err := f.m.Reload(f.now, with); err != nil {
		t.Fatal(err)
	}
	f.must(taken, from, wire.CodeIdentificationMismatch, f.mn)
}
