package homeagent

import (
	"errors"
	"net/netip"
	"testing"

	"mipvpn/mipv4/wire"
)

// A request that names no home agent is served by the one that it came to, or sent to another one while there are too many bindings.
//
// Shows: MIP-9 (dynamic home agent), AGT-1
func TestAnyHomeAgent(t *testing.T) {
	other := netip.MustParseAddr("10.0.1.11")
	f := dynamicFixture(t, 3, func(c *Config) { c.RedirectTo, c.RedirectFrom = other, 1 })
	asking := func(i int, field, requested netip.Addr, lifetime uint16) *wire.RegistrationRequest {
		r := f.dynamic(i, anyone, lifetime)
		r.HomeAgent = field
		if requested.IsValid() {
			e, err := wire.DynamicHomeAgent(wire.RequestedHomeAgent, requested)
			if err != nil {
				t.Fatal(err)
			}
			r.Extensions = append(r.Extensions, e)
		}
		return r
	}
	ones := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	for _, field := range []netip.Addr{anyone, ones} {
		if reply, code := f.ask(0, asking(0, field, agent, 600)); !code.Accepted() || reply.HomeAgent != agent || !pool.Contains(reply.HomeAddress) {
			t.Errorf("%v: code %v, home agent %v, home address %v", field, code, reply.HomeAgent, reply.HomeAddress)
		}
	}
	if reply, code := f.ask(0, asking(0, anyone, other, 600)); code != wire.CodeUnknownHomeAgent || reply.HomeAgent != agent {
		t.Errorf("another one is requested: code %v, home agent %v", code, reply.HomeAgent)
	}
	reply, code := f.ask(1, asking(1, anyone, agent, 600))
	to, ok := reply.Extensions.DynamicHomeAgentOf(wire.RedirectedHomeAgent)
	if code != wire.CodeRedirectHomeAgent || !ok || to != other || reply.HomeAgent != agent {
		t.Errorf("code %v, to %v, home agent %v", code, to, reply.HomeAgent)
	}
	if covered, _, _ := reply.Extensions.Authorized(); covered.Index(wire.ExtDynamicHomeAgent) < 0 {
		t.Error("the redirection is not authenticated")
	}
	if _, code = f.ask(1, asking(1, agent, netip.Addr{}, 600)); !code.Accepted() {
		t.Errorf("who names this home agent: code %v", code)
	}
	if _, code = f.ask(1, asking(1, anyone, netip.Addr{}, 600)); !code.Accepted() {
		t.Errorf("who has a binding here: code %v", code)
	}
	if _, code = f.ask(0, asking(0, anyone, agent, 0)); !code.Accepted() || f.m.Len() != 1 {
		t.Errorf("deregistration: code %v, %d bindings", code, f.m.Len())
	}
	unnamed := f.request()
	unnamed.HomeAgent = ones
	if reply, _, err := f.send(f.sign(unnamed, f.mn, nil), netip.AddrPortFrom(careOf, 40000)); reply == nil || reply.Code != wire.CodeUnknownHomeAgent || reply.HomeAgent != agent {
		t.Errorf("without a NAI: %+v, %v", reply, err)
	}
	for name, change := range map[string]func(*Config){
		"itself":  func(c *Config) { c.RedirectTo = agent },
		"a group": func(c *Config) { c.RedirectTo = netip.MustParseAddr("224.0.0.1") },
		"from -1": func(c *Config) { c.RedirectFrom = -1 },
	} {
		c := f.m.cfg
		change(&c)
		if _, err := New(c); !errors.Is(err, ErrConfig) {
			t.Errorf("redirection to %s: %v", name, err)
		}
	}
}
