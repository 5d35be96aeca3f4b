package homeagent

import (
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/wire"
)

// Shows: MIP-11 (B and D bits, RFC 5944 §4.3: granted by configuration alone and else ignored, with the form that D says; over a
// restart; taken back by a renewal without the bit)
func TestBroadcasts(t *testing.T) {
	for _, c := range []struct {
		name    string
		granted bool
		flags   wire.Flags
		want    Broadcasts
	}{
		{"not granted", false, wire.FlagBroadcast | wire.FlagDecapsulation, NoBroadcasts},
		{"not asked", true, wire.FlagDecapsulation, NoBroadcasts},
		{"co-located", true, wire.FlagBroadcast | wire.FlagDecapsulation, PlainBroadcasts},
		{"through a foreign agent", true, wire.FlagBroadcast, NestedBroadcasts},
	} {
		t.Run(c.name, func(t *testing.T) {
			change := func(cfg *Config) { cfg.Broadcasts, cfg.Durable = c.granted, true }
			f := newFixture(t, change)
			r := f.request()
			r.Flags = r.Flags&^wire.FlagDecapsulation | c.flags
			f.must(f.sign(r, f.mn, nil), direct(), 1, f.mn)
			check := func(g *fixture, want Broadcasts) {
				t.Helper()
				route := g.m.Table().Route(home)
				if route == nil || len(route.Tunnels) != 1 || route.Tunnels[0].Broadcasts != want {
					t.Fatalf("route %+v, want one tunnel with broadcasts %v", route, want)
				}
				listeners := g.m.Table().Listeners()
				if heard := len(listeners) == 1 && listeners[0] == route; heard != (want != NoBroadcasts) || len(listeners) > 1 {
					t.Errorf("listeners %+v with broadcasts %v", listeners, want)
				}
			}
			check(f, c.want)
			stored := f.records()
			check(f.restart(time.Second, stored, change), c.want)
			check(f.restart(time.Second, stored, func(cfg *Config) { cfg.Durable = true }), NoBroadcasts)
			f.advance(time.Second)
			r = f.request()
			r.Flags &^= wire.FlagBroadcast
			f.must(f.sign(r, f.mn, nil), direct(), 1, f.mn)
			check(f, NoBroadcasts)
			f.advance(time.Second)
			r = f.request()
			r.Flags, r.Lifetime = c.flags, 0
			f.must(f.sign(r, f.mn, nil), direct(), 1, f.mn)
			if l := f.m.Table().Listeners(); len(l) != 0 {
				t.Errorf("listeners after deregistration: %+v", l)
			}
		})
	}
}

// Shows: MIP-11 (what is stored of it is read strictly)
func TestBroadcastsStored(t *testing.T) {
	for _, b := range []Broadcasts{PlainBroadcasts, NestedBroadcasts} {
		if got, ok := parseBroadcasts(b.String()); got != b || !ok {
			t.Errorf("%v is read as %v, %t", b, got, ok)
		}
	}
	if _, ok := parseBroadcasts("none"); ok {
		t.Error(`"none" is never stored, but was read`)
	}
	if got, ok := parseBroadcasts(""); got != NoBroadcasts || !ok {
		t.Errorf("nothing is read as %v, %t", got, ok)
	}
}

// A tunnel that a keepalive binds is what was granted, and goes on so over a renewal.
//
// Shows: MIP-7, MIP-11
func TestBroadcastsOfHalfBound(t *testing.T) {
	f := newFixture(t, func(cfg *Config) { cfg.Broadcasts = true })
	at := netip.AddrPortFrom(nat.Addr(), 7777)
	for i := range 2 {
		r := f.request()
		r.Flags |= wire.FlagBroadcast
		r.Extensions = wire.Extensions{wire.UDPTunnelRequest{ThroughForeignAgent: true}.Extension()}
		f.must(f.sign(r, f.mn, nil), nat, 1, f.mn)
		if i == 0 {
			f.m.HandleKeepalive(f.now, home, at)
		}
		if got := f.m.Table().Route(home).Tunnels[0]; got.Remote != at || got.Broadcasts != PlainBroadcasts {
			t.Errorf("registration %d: a tunnel to %v with broadcasts %v", i, got.Remote, got.Broadcasts)
		}
	}
}
