package homeagent

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/wire"
)

var (
	pool   = netip.MustParsePrefix("10.0.8.200/30") // four addresses
	anyone = netip.IPv4Unspecified()
)

func naiOf(i int) string { return fmt.Sprintf("laptop%d@corp.example", i) }

// dynamicFixture is a home agent with a pool and n mobile nodes that have no home address, beside those of newFixture.
func dynamicFixture(t *testing.T, n int, change func(*Config)) *fixture {
	t.Helper()
	return newFixture(t, func(c *Config) {
		c.DynamicAddresses = []netip.Prefix{pool}
		for i := range n {
			c.MobileNodes = append(c.MobileNodes, MobileNode{NAI: naiOf(i), Associations: []*auth.SecurityAssociation{association(t, uint32(2000+i))}})
		}
		if change != nil {
			change(c)
		}
	})
}

// dynamic returns a request of mobile node i with that home address, from a care-of address of its own.
func (f *fixture) dynamic(i int, home netip.Addr, lifetime uint16) *wire.RegistrationRequest {
	f.t.Helper()
	r := f.request()
	nai, err := wire.NAI(naiOf(i))
	if err != nil {
		f.t.Fatal(err)
	}
	r.HomeAddress, r.Lifetime = home, lifetime
	r.CareOfAddress = netip.AddrFrom4([4]byte{10, 0, 2, byte(100 + i)})
	r.Extensions = wire.Extensions{nai}
	return r
}

// ask sends it and returns the reply, whose NAI must be the request's, and the code.
func (f *fixture) ask(i int, r *wire.RegistrationRequest) (*wire.RegistrationReply, wire.Code) {
	f.t.Helper()
	reply, raw, err := f.send(f.sign(r, association(f.t, uint32(2000+i)), nil), netip.AddrPortFrom(r.CareOfAddress, 40000))
	if reply == nil {
		f.t.Fatalf("no reply: %v", err)
	}
	at := reply.Extensions.Index(wire.ExtMobileNodeNAI)
	if at < 0 || string(reply.Extensions[at].Data) != naiOf(i) || at > reply.Extensions.Index(wire.ExtMobileHomeAuthentication) {
		f.t.Fatalf("NAI in the reply's extensions %+v", reply.Extensions)
	}
	if err := association(f.t, uint32(2000+i)).Verify(raw, reply.Offset(len(reply.Extensions)-1), wire.ExtMobileHomeAuthentication); err != nil {
		f.t.Fatal(err)
	}
	return reply, reply.Code
}

// A mobile node without a home address gets one, keeps it over renewals, moves and deregistration, and can ask for it by name; what
// is anybody else's it does not get.
//
// Shows: MIP-9 (NAI, dynamic home address), AGT-1
func TestHomeAddressIsAssigned(t *testing.T) {
	f := dynamicFixture(t, 2, nil)
	reply, code := f.ask(0, f.dynamic(0, anyone, 600))
	a := reply.HomeAddress
	if !code.Accepted() || !pool.Contains(a) {
		t.Fatalf("code %v, home address %v", code, a)
	}
	if r := f.m.Table().Route(a); r == nil || r.Home != a {
		t.Fatalf("route of %v: %+v", a, r)
	}
	if e, ok := f.m.PollEvent(); !ok || e.Kind != Registered || e.HomeAddress != a || e.NAI != naiOf(0) {
		t.Errorf("event %+v", e)
	}
	for _, home := range []netip.Addr{anyone, a} {
		if reply, code = f.ask(0, f.dynamic(0, home, 600)); !code.Accepted() || reply.HomeAddress != a {
			t.Errorf("renewed as %v: code %v, home address %v", home, code, reply.HomeAddress)
		}
	}
	moved := f.dynamic(0, a, 600)
	moved.CareOfAddress = careOf2
	if reply, code = f.ask(0, moved); !code.Accepted() || reply.HomeAddress != a {
		t.Errorf("moved: code %v, home address %v", code, reply.HomeAddress)
	}
	if b, code := f.ask(1, f.dynamic(1, anyone, 600)); !code.Accepted() || b.HomeAddress == a || !pool.Contains(b.HomeAddress) {
		t.Errorf("the second: code %v, home address %v", code, b.HomeAddress)
	}
	for _, taken := range []netip.Addr{a, home, netip.MustParseAddr("10.0.8.7"), netip.MustParseAddr("10.0.8.255"), agent} {
		if reply, code := f.ask(1, f.dynamic(1, taken, 600)); code != wire.CodeProhibited || reply.HomeAddress != taken {
			t.Errorf("asked for %v: code %v, home address %v", taken, code, reply.HomeAddress)
		}
		if reply, code := f.ask(1, f.dynamic(1, taken, 0)); code != wire.CodeProhibited || reply.HomeAddress != taken {
			t.Errorf("deregistering %v: code %v", taken, code)
		}
	}
	all := f.dynamic(0, a, 0)
	all.CareOfAddress = a
	if _, code = f.ask(0, all); !code.Accepted() || f.m.Table().Route(a) != nil {
		t.Errorf("deregistered: code %v, route %+v", code, f.m.Table().Route(a))
	}
	f.advance(time.Hour)
	if reply, code = f.ask(0, f.dynamic(0, anyone, 600)); !code.Accepted() || reply.HomeAddress != a {
		t.Errorf("back again: code %v, home address %v, it had %v", code, reply.HomeAddress, a)
	}
}

// Who has a configured home address and a NAI gets that address for 0.0.0.0. A NAI opens nothing that the key does not.
//
// Shows: MIP-9 (NAI)
func TestNAIIdentifies(t *testing.T) {
	f := dynamicFixture(t, 2, func(c *Config) { c.MobileNodes[0].NAI = "known@corp.example" })
	named := func(nai string, home netip.Addr) *wire.RegistrationRequest {
		r := f.request()
		e, err := wire.NAI(nai)
		if err != nil {
			t.Fatal(err)
		}
		r.HomeAddress, r.Extensions = home, wire.Extensions{e}
		return r
	}
	from := netip.AddrPortFrom(careOf, 40000)
	for _, asked := range []netip.Addr{anyone, home} {
		if reply, _, err := f.send(f.sign(named("known@corp.example", asked), f.mn, nil), from); err != nil || reply.HomeAddress != home {
			t.Errorf("asked for %v: %+v, %v", asked, reply, err)
		}
	}
	if reply, _, err := f.send(f.sign(named("anybody@corp.example", home2), association(t, 1002), nil), from); err != nil || reply.HomeAddress != home2 {
		t.Errorf("a NAI of a mobile node that is known by its address: %+v, %v", reply, err)
	}
	for name, r := range map[string]*wire.RegistrationRequest{
		"unknown NAI":           named("nobody@corp.example", anyone),
		"another one's address": named("known@corp.example", home2),
		"another NAI's address": named("nobody@corp.example", home),
		"no NAI, no address":    {HomeAddress: anyone, HomeAgent: agent, CareOfAddress: careOf, Lifetime: 600, Identification: f.request().Identification},
	} {
		if reply, _, err := f.send(f.sign(r, f.mn, nil), from); reply != nil || !errors.Is(err, ErrUnknownMobileNode) {
			t.Errorf("%s: reply %+v, %v", name, reply, err)
		}
	}
	behind := f.request()
	behind.HomeAddress = anyone
	tail := func(p []byte) []byte { return append(p, 131, 4, 'k', 'n', 'o', 'w') }
	if reply, _, err := f.send(f.sign(behind, f.mn, tail), from); reply != nil || !errors.Is(err, ErrUnknownMobileNode) {
		t.Errorf("a NAI that the mobile node does not vouch for: %+v, %v", reply, err)
	}
	if reply, _, err := f.send(f.sign(named(naiOf(0), anyone), f.mn, nil), from); reply == nil || reply.Code != wire.CodeMobileNodeAuthentication {
		t.Errorf("another one's NAI: %+v, %v", reply, err)
	}
	if f.m.Table().Route(pool.Addr()) != nil {
		t.Error("a request that is not authentic has an address")
	}
}

// The pool gives each address out once, skips what is configured, and when it is empty takes back the address that has been without a
// binding for the longest time, no sooner than AddressHold says.
//
// Shows: MIP-9 (dynamic home address)
func TestPoolOfHomeAddresses(t *testing.T) {
	f := dynamicFixture(t, 5, func(c *Config) {
		c.AddressHold = time.Hour
		c.MobileNodes[1].HomeAddress = pool.Addr().Next()
	})
	has := make(map[netip.Addr]int)
	for i := range 3 {
		reply, code := f.ask(i, f.dynamic(i, anyone, 600))
		if _, twice := has[reply.HomeAddress]; twice || !code.Accepted() || reply.HomeAddress == pool.Addr().Next() {
			t.Fatalf("mobile node %d: code %v, home address %v of %v", i, code, reply.HomeAddress, has)
		}
		has[reply.HomeAddress] = i
	}
	full := func(when string) {
		t.Helper()
		if reply, code := f.ask(3, f.dynamic(3, anyone, 600)); code != wire.CodeInsufficientResources || !reply.HomeAddress.IsUnspecified() {
			t.Errorf("%s: code %v, home address %v", when, code, reply.HomeAddress)
		}
	}
	full("all registered")
	f.advance(5 * time.Minute)
	if _, code := f.ask(1, f.dynamic(1, anyone, 600)); !code.Accepted() { // lives longer than the others
		t.Fatal(code)
	}
	f.advance(9 * time.Minute)
	f.m.HandleTimeout(f.now) // 0 and 2 expired
	full("two without bindings, not for long")
	f.advance(57 * time.Minute)
	f.m.HandleTimeout(f.now)
	reply, code := f.ask(3, f.dynamic(3, anyone, 600))
	if !code.Accepted() || has[reply.HomeAddress] != 0 {
		t.Fatalf("an hour later: code %v, home address %v was that of mobile node %d", code, reply.HomeAddress, has[reply.HomeAddress])
	}
	again, code := f.ask(0, f.dynamic(0, anyone, 600)) // its own is gone, that of 2 has rested as long
	if !code.Accepted() || has[again.HomeAddress] != 2 {
		t.Errorf("the first again: code %v, home address %v", code, again.HomeAddress)
	}
	if _, code = f.ask(2, f.dynamic(2, again.HomeAddress, 600)); code != wire.CodeProhibited {
		t.Errorf("an address that was lost was given twice: code %v", code)
	}
}

// What was assigned outlives a restart, under the NAI.
//
// Shows: MIP-9 (dynamic home address), AGT-5
func TestAssignedAddressIsRestored(t *testing.T) {
	durable := func(c *Config) { c.Durable = true }
	f := dynamicFixture(t, 2, durable)
	if _, ok := f.m.PollRecord(f.now); ok {
		t.Fatal("a record before any request")
	}
	reply, _ := f.ask(1, f.dynamic(1, anyone, 600))
	r, ok := f.m.PollRecord(f.now)
	if !ok || r.Empty() || r.Key() != "nai/laptop1@corp.example" || r.HomeAddress != reply.HomeAddress {
		t.Fatalf("record %+v", r)
	}
	r, err := ParseRecord(r.Encode())
	if err != nil {
		t.Fatal(err)
	}
	g := dynamicFixture(t, 2, durable)
	g.now = f.now
	if err := g.m.Restore(g.now, r); err != nil {
		t.Fatal(err)
	}
	if g.m.Table().Route(reply.HomeAddress) == nil {
		t.Error("no route after the restart")
	}
	if first, _ := g.ask(0, g.dynamic(0, anyone, 600)); first.HomeAddress == reply.HomeAddress {
		t.Errorf("%v was assigned again", first.HomeAddress)
	}
	if again, code := g.ask(1, g.dynamic(1, anyone, 600)); !code.Accepted() || again.HomeAddress != reply.HomeAddress {
		t.Errorf("code %v, home address %v", code, again.HomeAddress)
	}
	if err := dynamicFixture(t, 1, nil).m.Restore(g.now, r); !errors.Is(err, ErrUnknownMobileNode) {
		t.Errorf("a record of nobody: %v", err)
	}
	other := dynamicFixture(t, 2, func(c *Config) { c.DynamicAddresses = []netip.Prefix{netip.MustParsePrefix("10.0.8.16/29")} })
	if err := other.m.Restore(g.now, r); !errors.Is(err, ErrUnknownMobileNode) || other.m.Len() != 0 {
		t.Errorf("a record of an address that is no more in the pool: %v", err)
	}
}

// A reload keeps assigned addresses, takes those that are configured for somebody else now, and forgets who is gone.
//
// Shows: MIP-9 (dynamic home address), AGT-6
func TestReloadWithDynamicAddresses(t *testing.T) {
	f := dynamicFixture(t, 3, nil)
	var homes [3]netip.Addr
	for i := range homes {
		reply, _ := f.ask(i, f.dynamic(i, anyone, 600))
		homes[i] = reply.HomeAddress
	}
	cfg := f.m.cfg
	nodes := append([]MobileNode(nil), cfg.MobileNodes...)
	cfg.MobileNodes = append(nodes[:4:4], MobileNode{HomeAddress: homes[1], Associations: nodes[0].Associations}) // 2 gone, 1's address configured
	dropped, err := f.m.Reload(f.now, cfg)
	if err != nil || dropped != 2 {
		t.Fatalf("%d dropped, %v", dropped, err)
	}
	if f.m.Table().Route(homes[0]) == nil || f.m.Table().Route(homes[1]) != nil || f.m.Table().Route(homes[2]) != nil {
		t.Error("the wrong bindings were dropped")
	}
	if reply, code := f.ask(1, f.dynamic(1, anyone, 600)); !code.Accepted() || reply.HomeAddress == homes[1] || reply.HomeAddress == homes[0] {
		t.Errorf("code %v, home address %v", code, reply.HomeAddress)
	}
	if _, _, err := f.send(f.sign(f.dynamic(2, anyone, 600), association(t, 2002), nil), nat); !errors.Is(err, ErrUnknownMobileNode) {
		t.Errorf("who is gone: %v", err)
	}
	cfg.DynamicAddresses = []netip.Prefix{netip.MustParsePrefix("10.0.8.16/29")}
	if dropped, err = f.m.Reload(f.now, cfg); err != nil || dropped != 2 {
		t.Fatalf("another pool: %d dropped, %v", dropped, err)
	}
	if reply, code := f.ask(0, f.dynamic(0, anyone, 600)); !code.Accepted() || !cfg.DynamicAddresses[0].Contains(reply.HomeAddress) {
		t.Errorf("another pool: code %v, home address %v", code, reply.HomeAddress)
	}
}

// Shows: MIP-9 (dynamic home address)
func TestDynamicConfig(t *testing.T) {
	good := newFixture(t, nil).m.cfg
	for name, change := range map[string]func(*Config){
		"no pool":           func(c *Config) { c.MobileNodes[0].HomeAddress, c.MobileNodes[0].NAI = netip.Addr{}, "a@b" },
		"no NAI":            func(c *Config) { c.DynamicAddresses, c.MobileNodes[0].HomeAddress = []netip.Prefix{pool}, netip.Addr{} },
		"pool elsewhere":    func(c *Config) { c.DynamicAddresses = []netip.Prefix{netip.MustParsePrefix("10.0.9.0/24")} },
		"pool too great":    func(c *Config) { c.DynamicAddresses = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")} },
		"pool unmasked":     func(c *Config) { c.DynamicAddresses = []netip.Prefix{netip.MustParsePrefix("10.0.8.1/30")} },
		"NAI twice":         func(c *Config) { c.MobileNodes[0].NAI, c.MobileNodes[1].NAI = "a@b", "a@b" },
		"NAI too long":      func(c *Config) { c.MobileNodes[0].NAI = fmt.Sprintf("%0256d", 1) },
		"NAI not UTF-8":     func(c *Config) { c.MobileNodes[0].NAI = "\xff" },
		"NAI with controls": func(c *Config) { c.MobileNodes[0].NAI = "a\nb" },
		"hold negative":     func(c *Config) { c.AddressHold = -time.Second },
	} {
		c := good
		c.MobileNodes = append([]MobileNode(nil), good.MobileNodes...)
		change(&c)
		if _, err := New(c); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
