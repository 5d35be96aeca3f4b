package homeagent

import (
	"errors"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

func durable(c *Config) { c.Durable, c.SimultaneousBindings = true, 3 }

// records polls what is to be stored, encoded and parsed again as a store does.
func (f *fixture) records() map[string]Record {
	f.t.Helper()
	stored := make(map[string]Record)
	for r, ok := f.m.PollRecord(f.now); ok; r, ok = f.m.PollRecord(f.now) {
		back, err := ParseRecord(r.Encode())
		if err != nil {
			f.t.Fatal(err)
		}
		if !reflect.DeepEqual(back, r) {
			f.t.Fatalf("encoded and parsed: %+v, want %+v", back, r)
		}
		stored[r.Key()] = r
	}
	return stored
}

// restart makes the home agent anew, d later on the wall clock, with another boot time, and gives it the records.
func (f *fixture) restart(d time.Duration, stored map[string]Record, change func(*Config)) *fixture {
	f.t.Helper()
	g := newFixture(f.t, change)
	g.mn = f.mn
	g.now = link.Instant{Boot: time.Minute, Wall: f.now.Wall.Add(d)}
	for _, r := range stored {
		if err := g.m.Restore(g.now, r); err != nil {
			f.t.Fatal(err)
		}
	}
	return g
}

// Shows: AGT-5 (bindings of every form, their lifetimes and the replay state go over into a machine that was started anew).
func TestRecordsRestoreBindings(t *testing.T) {
	f := newFixture(t, durable)
	first := f.request()
	f.must(f.sign(first, f.mn, nil), netip.AddrPortFrom(careOf, 434), wire.CodeAccepted, f.mn)
	second := f.request()
	second.Flags |= wire.FlagSimultaneous
	second.CareOfAddress = careOf2
	second.Extensions = wire.Extensions{wire.UDPTunnelRequest{Force: true}.Extension()}
	payload := f.sign(second, f.mn, nil)
	f.must(payload, nat, wire.CodeAccepted, f.mn)
	stored := f.records()
	if len(stored) != 1 {
		t.Fatalf("%d records, want one for the one mobile node", len(stored))
	}
	if _, more := f.m.PollRecord(f.now); more {
		t.Error("a record without a change")
	}
	g := f.restart(5*time.Second, stored, durable)
	route := g.m.Table().Route(home)
	if route == nil || len(route.Tunnels) != 2 {
		t.Fatalf("route after the restart: %+v", route)
	}
	if a, b := route.Tunnels[0], route.Tunnels[1]; a.Encapsulation != tunnel.IPIP || a.Remote.Addr() != careOf || !a.ReverseTunnel || b.Encapsulation != tunnel.UDP || b.Remote != nat {
		t.Errorf("tunnels after the restart: %+v and %+v", a, b)
	}
	// The last request, once more: it gets its answer, with what is left of the lifetime, and the one before it does not.
	reply := g.must(payload, nat, wire.CodeAccepted, g.mn)
	if reply.Lifetime != 595 {
		t.Errorf("lifetime left %d s, want 595", reply.Lifetime)
	}
	if udp, err := wire.ParseUDPTunnelReply(reply.Extensions[reply.Extensions.Index(wire.ExtUDPTunnelReply)]); err != nil || udp.Code != wire.UDPTunnelAccepted {
		t.Errorf("answer about UDP tunnelling %+v, %v", udp, err)
	}
	early := f.request()
	early.Identification = first.Identification - 1
	g.must(f.sign(early, f.mn, nil), netip.AddrPortFrom(careOf, 434), wire.CodeIdentificationMismatch, g.mn)
	// The lifetimes end when they would have.
	g.advance(594 * time.Second)
	g.m.HandleTimeout(g.now)
	if g.m.Table().Len() != 1 {
		t.Error("a binding ended early")
	}
	g.advance(2 * time.Second)
	g.m.HandleTimeout(g.now)
	if g.m.Table().Len() != 0 {
		t.Error("a binding outlived its lifetime")
	}
	if after := g.records()["address/"+home.String()]; after.HomeAddress != home || len(after.Bindings) != 0 || after.Last != second.Identification {
		t.Errorf("after the end %+v is stored, want the replay state alone", after)
	}
	if _, ok := g.m.Deadline(); ok {
		t.Error("a deadline without a binding")
	}
}

// Shows: AGT-5 (what has ended, or is permitted no longer, does not come back; a clock set back makes nothing last longer).
func TestRestoreLeavesOut(t *testing.T) {
	f := newFixture(t, durable)
	f.must(f.sign(f.request(), f.mn, nil), netip.AddrPortFrom(careOf, 434), wire.CodeAccepted, f.mn)
	stored := f.records()
	for name, c := range map[string]struct {
		after  time.Duration
		change func(*Config)
		want   int
	}{
		"in time":                  {599 * time.Second, durable, 1},
		"after the lifetime":       {600 * time.Second, durable, 0},
		"clock set back":           {-24 * time.Hour, durable, 1},
		"clock out of reach":       {-290 * 365 * 24 * time.Hour, durable, 1},
		"care-of address now home": {time.Second, func(c *Config) { durable(c); c.HomeNetworks = append(c.HomeNetworks, netip.PrefixFrom(careOf, 32)) }, 0},
	} {
		g := f.restart(c.after, stored, c.change)
		if g.m.Table().Len() != c.want {
			t.Errorf("%s: %d home addresses with bindings, want %d", name, g.m.Table().Len(), c.want)
		}
		g.advance(601 * time.Second)
		g.m.HandleTimeout(g.now)
		if g.m.Table().Len() != 0 {
			t.Errorf("%s: the binding outlived what was granted", name)
		}
	}
	r := stored["address/"+home.String()]
	g := f.restart(time.Second, nil, func(c *Config) { durable(c); c.MobileNodes = c.MobileNodes[1:] })
	if err := g.m.Restore(g.now, r); !errors.Is(err, ErrUnknownMobileNode) {
		t.Errorf("a mobile node that is not configured: %v", err)
	}
	for name, change := range map[string]func(*BindingRecord){
		"encapsulation":          func(b *BindingRecord) { b.Encapsulation = "carrier pigeon" },
		"care-of address":        func(b *BindingRecord) { b.CareOfAddress = netip.Addr{} },
		"far end":                func(b *BindingRecord) { b.Remote = netip.AddrPort{} },
		"lifetime":               func(b *BindingRecord) { b.Granted = 0 },
		"infinite, with an end":  func(b *BindingRecord) { b.Granted = wire.LifetimeInfinite },
		"finite, without an end": func(b *BindingRecord) { b.Until = time.Time{} },
	} {
		bad := r
		bad.Bindings = []BindingRecord{r.Bindings[0]}
		change(&bad.Bindings[0])
		g := f.restart(0, nil, durable)
		if err := g.m.Restore(g.now, bad); !errors.Is(err, ErrRecord) {
			t.Errorf("%s: %v", name, err)
		}
		if g.m.Table().Len() != 0 || g.m.nodes[home].last != 0 {
			t.Errorf("%s: something was restored", name)
		}
	}
}

// Shows: AGT-5 (fewer bindings than are stored may be configured by now: the newest stay; an infinite lifetime stays infinite).
func TestRestoreKeepsTheNewest(t *testing.T) {
	long := func(c *Config) { durable(c); c.MaxLifetime = InfiniteLifetime }
	f := newFixture(t, long)
	for _, a := range []netip.Addr{careOf, careOf2} {
		r := f.request()
		r.CareOfAddress, r.Lifetime = a, wire.LifetimeInfinite
		r.Flags |= wire.FlagSimultaneous
		f.must(f.sign(r, f.mn, nil), netip.AddrPortFrom(a, 434), wire.CodeAccepted, f.mn)
	}
	g := f.restart(365*24*time.Hour, f.records(), func(c *Config) { long(c); c.SimultaneousBindings = 1 })
	route := g.m.Table().Route(home)
	if route == nil || len(route.Tunnels) != 1 || route.Tunnels[0].Remote.Addr() != careOf2 {
		t.Errorf("route %+v", route)
	}
	if _, ok := g.m.Deadline(); ok {
		t.Error("a lifetime without end has a deadline")
	}
}

// Shows: AGT-5 (a denied or unauthenticated request is nothing to store; without Durable there are no records).
func TestRecordsOnlyOfChanges(t *testing.T) {
	f := newFixture(t, durable)
	f.must(f.sign(f.request(), association(t, 4242), nil), netip.AddrPortFrom(careOf, 434), wire.CodeMobileNodeAuthentication, f.m.nodes[home].associations[0])
	stale := f.request()
	stale.Identification = wire.IdentificationAt(f.now.Wall.Add(-time.Hour))
	f.must(f.sign(stale, f.mn, nil), netip.AddrPortFrom(careOf, 434), wire.CodeIdentificationMismatch, f.mn)
	if got := f.records(); len(got) != 0 {
		t.Errorf("stored %+v", got)
	}
	// A denial behind the check of the Identification uses it up.
	denied := f.request()
	denied.HomeAgent = careOf2
	f.must(f.sign(denied, f.mn, nil), netip.AddrPortFrom(careOf, 434), wire.CodeUnknownHomeAgent, f.mn)
	if got := f.records()["address/"+home.String()]; got.Last != denied.Identification {
		t.Errorf("stored %+v, want the last Identification %v", got, denied.Identification)
	}
	plain := newFixture(t, nil)
	plain.must(plain.sign(plain.request(), plain.mn, nil), netip.AddrPortFrom(careOf, 434), wire.CodeAcceptedSimultaneousUnsupported, plain.mn)
	if got := plain.records(); len(got) != 0 {
		t.Errorf("without Durable: %+v", got)
	}
}

func TestParseRecordRefuses(t *testing.T) {
	for _, text := range []string{
		"", "null", "{}", `{"v":1}`, `{"v":2,"home":"10.0.8.1"}`, `{"v":0,"home":"10.0.8.1"}`, `{"v":1,"home":"2001:db8::1"}`,
		`{"v":1,"home":"10.0.8.1"}x`, `{"v":1,"home":"10.0.8.1","bindings":[{"granted":70000}]}`, string(make([]byte, maxRecord+1)),
	} {
		if r, err := ParseRecord([]byte(text)); !errors.Is(err, ErrRecord) {
			t.Errorf("%.60q: %+v, %v", text, r, err)
		}
	}
}

// FuzzRecord gives damaged records to the parser and what it lets through to a machine, which must stay in one piece.
func FuzzRecord(f *testing.F) {
	x := newFixture(f, durable)
	x.must(x.sign(x.request(), x.mn, nil), nat, wire.CodeProhibited, x.mn)
	x.must(x.sign(x.request(), x.mn, nil), netip.AddrPortFrom(careOf, 434), wire.CodeAccepted, x.mn)
	for _, r := range x.records() {
		f.Add(r.Encode())
	}
	f.Add([]byte(`{"v":1,"home":"10.0.8.100","bindings":[{"care_of":"10.0.2.9","granted":65535,"encapsulation":"udp","remote":"10.0.2.9:0"}]}`))
	mn := association(f, 1000)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseRecord(data)
		if err != nil {
			return
		}
		if again, err := ParseRecord(r.Encode()); err != nil || again.Key() != r.Key() {
			t.Fatalf("encoded and parsed again: %+v, %v", again, err)
		}
		m, err := New(Config{Address: agent, HomeNetworks: []netip.Prefix{netip.MustParsePrefix("10.0.8.0/24")}, Durable: true, SimultaneousBindings: 3,
			MobileNodes: []MobileNode{{HomeAddress: home, Associations: []*auth.SecurityAssociation{mn}}}})
		if err != nil {
			t.Fatal(err)
		}
		now := link.Instant{Boot: time.Minute, Wall: x.now.Wall}
		if m.Restore(now, r) != nil {
			return
		}
		if route := m.Table().Route(home); route != nil && len(route.Tunnels) > 3 {
			t.Fatalf("%d tunnels", len(route.Tunnels))
		}
		m.HandleTimeout(link.Instant{Boot: now.Boot + (1<<16)*time.Second, Wall: now.Wall})
		if _, ok := m.Deadline(); ok {
			t.Fatal("a binding outlives the longest lifetime")
		}
	})
}

// Shows: AGT-5, AGT-6 (a mobile node that leaves the configuration and comes back finds its replay state, and after a restart its binding).
func TestReloadClaimsRecords(t *testing.T) {
	f := newFixture(t, durable)
	request := f.request()
	payload := f.sign(request, f.mn, nil)
	f.must(payload, netip.AddrPortFrom(careOf, 434), wire.CodeAccepted, f.mn)
	stored := f.records()
	with := f.m.cfg
	without := with
	without.MobileNodes = with.MobileNodes[1:]
	for _, cfg := range []Config{without, with} {
		if _, err := f.m.Reload(f.now, cfg); err != nil {
			t.Fatal(err)
		}
	}
	f.must(payload, netip.AddrPortFrom(careOf, 434), wire.CodeIdentificationMismatch, f.mn)
	if f.m.Table().Len() != 0 {
		t.Error("a replayed request made a binding")
	}
	g := newFixture(t, func(c *Config) { durable(c); c.MobileNodes = c.MobileNodes[1:] })
	if err := g.m.Restore(f.now, stored["address/"+home.String()]); !errors.Is(err, ErrUnknownMobileNode) {
		t.Fatal(err)
	}
	if _, err := g.m.Reload(f.now, with); err != nil {
		t.Fatal(err)
	}
	if g.m.Table().Route(home) == nil {
		t.Error("the stored binding did not come with the mobile node")
	}
}
