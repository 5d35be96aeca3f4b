package homeagent

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/wire"
)

// Shows: AGT-1, AGT-6 (limits of one mobile node: its own lifetime and number of bindings, while others have the configuration's).
func TestLimitsOfOneMobileNode(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		c.SimultaneousBindings, c.MaxLifetime = 3, 1000*time.Second
		c.MobileNodes[0].Limits = Limits{MaxLifetime: 60 * time.Second, Bindings: 2}
		c.MobileNodes[1].Limits = Limits{Bindings: 1}
	})
	register := func(home, careOf netip.Addr, want wire.Code) *wire.RegistrationReply {
		t.Helper()
		r, a := f.request(), f.mn
		if home == home2 {
			a = association(t, 1002)
		}
		r.HomeAddress, r.CareOfAddress, r.Lifetime = home, careOf, 600
		r.Flags |= wire.FlagSimultaneous
		return f.must(f.sign(r, a, nil), netip.AddrPortFrom(careOf, 5000), want, a)
	}
	if got := register(home, careOf, wire.CodeAccepted).Lifetime; got != 60 {
		t.Errorf("granted %d s, its limit is 60 s", got)
	}
	register(home, careOf2, wire.CodeAccepted)
	register(home, netip.MustParseAddr("10.0.2.52"), wire.CodeTooManyBindings)
	if got := register(home2, careOf, wire.CodeAcceptedSimultaneousUnsupported).Lifetime; got != 600 {
		t.Errorf("granted %d s to the other one, which asked for 600 s", got)
	}
	register(home2, careOf2, wire.CodeAcceptedSimultaneousUnsupported)
	if n := f.m.Len(); n != 3 {
		t.Errorf("%d bindings, want two of the first and one of the second", n)
	}
	for _, l := range []Limits{{MaxLifetime: time.Millisecond}, {Bindings: -1}, {Requests: -1}, {MaxLifetime: InfiniteLifetime + time.Second}} {
		cfg := f.again(func(c *Config) { c.MobileNodes[0].Limits = l })
		if _, err := f.m.Reload(f.now, cfg); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: %v", l, err)
		}
	}
}

// Shows: AGT-1, AGT-6 (a mobile node that asks too often is not answered; others are, replays use nothing up, and time makes up for it).
func TestRequestRate(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.MaxRequests = 3 })
	from := netip.AddrPortFrom(careOf, 5000)
	ok := wire.CodeAcceptedSimultaneousUnsupported
	first := f.sign(f.request(), f.mn, nil)
	f.must(first, from, ok, f.mn)
	for range 10 {
		f.must(first, from, ok, f.mn) // the same request again gets its answer again, and does not count
	}
	for range 2 {
		f.must(f.sign(f.request(), f.mn, nil), from, ok, f.mn)
	}
	f.silent(f.sign(f.request(), f.mn, nil), from, ErrRateLimited)
	other := f.request()
	other.HomeAddress = home2
	f.must(f.sign(other, association(t, 1002), nil), from, ok, association(t, 1002))
	f.advance(20 * time.Second)
	f.must(f.sign(f.request(), f.mn, nil), from, ok, f.mn)
	f.silent(f.sign(f.request(), f.mn, nil), from, ErrRateLimited)
	f.advance(time.Hour) // no more is saved up than a minute's
	for range 3 {
		f.must(f.sign(f.request(), f.mn, nil), from, ok, f.mn)
	}
	f.silent(f.sign(f.request(), f.mn, nil), from, ErrRateLimited)
	if _, err := f.m.Reload(f.now, f.again(func(c *Config) { c.MaxRequests = -1 })); !errors.Is(err, ErrConfig) {
		t.Errorf("a negative number: %v", err)
	}
	if _, err := f.m.Reload(f.now, f.again(func(c *Config) { c.MobileNodes[0].Limits.Requests = 60 })); err != nil {
		t.Fatal(err)
	}
	f.advance(time.Second)
	f.must(f.sign(f.request(), f.mn, nil), from, ok, f.mn)
}
