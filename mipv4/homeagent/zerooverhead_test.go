package homeagent

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/wire"
)

// testVendor is the private enterprise number for documentation (RFC 5612).
const testVendor = 32473

var gateway = netip.MustParseAddr("192.0.2.4")

func switching(c *Config) {
	c.ZeroOverhead = ZeroOverhead{Vendor: testVendor, Destinations: []netip.Addr{gateway}}
}

// asking returns a fresh request that asks for zero-overhead tunnelling.
func (f *fixture) asking() *wire.RegistrationRequest {
	r := f.request()
	r.Extensions = wire.Extensions{wire.ZeroOverheadRequest(testVendor, gateway)}
	return r
}

// confirmed returns the default destination that a reply confirms where the home agent vouches for it.
func confirmed(t *testing.T, reply *wire.RegistrationReply) netip.Addr {
	t.Helper()
	covered, rest, _ := reply.Extensions.Authorized()
	if rest.Index(wire.ExtVendorCritical) >= 0 {
		t.Fatal("the confirmation is not authenticated")
	}
	i := covered.Index(wire.ExtVendorCritical)
	if i < 0 {
		return netip.Addr{}
	}
	d, err := wire.ParseZeroOverheadReply(covered[i], testVendor)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Each reason for which the home agent grants a normal tunnel instead, and nothing else.
//
// Shows: MEC-D (co-located care-of address only; refused behind a NAT, with UDP tunnelling, without reverse tunnelling, to a
// default destination that is not permitted, and where the mobile node does not vouch for the question)
func TestZeroOverheadRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*wire.RegistrationRequest)
		from   netip.AddrPort
		tail   func([]byte) []byte
		want   netip.Addr
	}{
		{"asked for properly", nil, direct(), nil, gateway},
		{"beside UDP tunnelling that is not forced", func(r *wire.RegistrationRequest) {
			r.Extensions = append(r.Extensions, wire.UDPTunnelRequest{}.Extension())
		}, direct(), nil, gateway},
		{"not asked for", func(r *wire.RegistrationRequest) { r.Extensions = nil }, direct(), nil, netip.Addr{}},
		{"asked for by nobody in particular", func(r *wire.RegistrationRequest) { r.Extensions = nil }, direct(), func(p []byte) []byte {
			p, _ = wire.ZeroOverheadRequest(testVendor, gateway).Append(p)
			return p
		}, netip.Addr{}},
		{"UDP tunnelling by force", func(r *wire.RegistrationRequest) {
			r.Extensions = append(r.Extensions, wire.UDPTunnelRequest{Force: true}.Extension())
		}, direct(), nil, netip.Addr{}},
		{"a NAT", func(r *wire.RegistrationRequest) {
			r.Extensions = append(r.Extensions, wire.UDPTunnelRequest{}.Extension())
		}, nat, nil, netip.Addr{}},
		{"no D bit", func(r *wire.RegistrationRequest) { r.Flags &^= wire.FlagDecapsulation }, direct(), nil, netip.Addr{}},
		{"no T bit", func(r *wire.RegistrationRequest) { r.Flags &^= wire.FlagReverseTunnel }, direct(), nil, netip.Addr{}},
		{"to somebody else", func(r *wire.RegistrationRequest) {
			r.Extensions[0] = wire.ZeroOverheadRequest(testVendor, netip.MustParseAddr("192.0.2.5"))
		}, direct(), nil, netip.Addr{}},
		{"by another vendor", func(r *wire.RegistrationRequest) { r.Extensions[0] = wire.ZeroOverheadRequest(1, gateway) }, direct(), nil, netip.Addr{}},
		{"twice", func(r *wire.RegistrationRequest) { r.Extensions = append(r.Extensions, r.Extensions[0]) }, direct(), nil, netip.Addr{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, switching)
			r := f.asking()
			if c.change != nil {
				c.change(r)
			}
			reply := f.must(f.sign(r, f.mn, c.tail), c.from, wire.CodeAcceptedSimultaneousUnsupported, f.mn)
			if got := confirmed(t, reply); got != c.want {
				t.Errorf("confirmed: %v, want %v", got, c.want)
			}
			if got := f.m.Table().Route(home).Tunnels[0].Switched; got != c.want {
				t.Errorf("the binding switches to %v, want %v", got, c.want)
			}
		})
	}
}

// A packet with switched addresses says by its care-of address alone whose it is: a second mobile node there is refused until
// the first has left.
//
// Shows: MEC-D (ambiguity)
func TestZeroOverheadAmbiguity(t *testing.T) {
	f := newFixture(t, switching)
	second := association(t, 1002)
	ask := func(address netip.Addr) netip.Addr {
		r, a := f.asking(), f.mn
		if r.HomeAddress = address; address == home2 {
			a = second
		}
		return confirmed(t, f.must(f.sign(r, a, nil), direct(), wire.CodeAcceptedSimultaneousUnsupported, a))
	}
	if got := ask(home); got != gateway {
		t.Fatalf("the first: %v", got)
	}
	if got := ask(home2); got.IsValid() {
		t.Fatalf("the second is switched to %v", got)
	}
	if s := f.m.Table().Switched(careOf); s == nil || s.Home != home {
		t.Fatalf("the care-of address leads to %+v", s)
	}
	r := f.request()
	r.CareOfAddress = careOf2
	f.must(f.sign(r, f.mn, nil), netip.AddrPortFrom(careOf2, 40000), wire.CodeAcceptedSimultaneousUnsupported, f.mn)
	if f.m.Table().Switched(careOf) != nil {
		t.Fatal("the first has moved and is still switched at its old care-of address")
	}
	if got := ask(home2); got != gateway {
		t.Errorf("the second, when the first has left: %v", got)
	}
	f.advance(time.Hour)
	f.m.HandleTimeout(f.now)
	if f.m.Table().Switched(careOf) != nil {
		t.Error("an expired binding is still switched")
	}
}

// A duplicate of an accepted request gets the same confirmation again, and simultaneous bindings are switched each for itself.
//
// Shows: MEC-D (simultaneous bindings)
func TestZeroOverheadDuplicateAndSimultaneous(t *testing.T) {
	f := newFixture(t, func(c *Config) { switching(c); c.SimultaneousBindings = 2 })
	p := f.sign(f.asking(), f.mn, nil)
	for range 2 {
		if got := confirmed(t, f.must(p, direct(), wire.CodeAccepted, f.mn)); got != gateway {
			t.Fatalf("confirmed: %v", got)
		}
	}
	r := f.request()
	r.CareOfAddress, r.Flags = careOf2, r.Flags|wire.FlagSimultaneous
	f.must(f.sign(r, f.mn, nil), netip.AddrPortFrom(careOf2, 40000), wire.CodeAccepted, f.mn)
	route := f.m.Table().Route(home)
	if len(route.Tunnels) != 2 || route.Tunnels[0].Switched != gateway || route.Tunnels[1].Switched.IsValid() ||
		f.m.Table().Switched(careOf) == nil || f.m.Table().Switched(careOf2) != nil {
		t.Errorf("tunnels %+v", route.Tunnels)
	}
}

// Shows: MEC-D (a critical extension in a request is denied, as RFC 3115 §2.3 asks)
func TestCriticalVendorExtensionDenied(t *testing.T) {
	f := newFixture(t, switching)
	r := f.request()
	r.Extensions = wire.Extensions{wire.ZeroOverheadReply(testVendor, gateway)}
	f.must(f.sign(r, f.mn, nil), direct(), wire.CodeVendorFromMobileNode, f.mn)
	p := f.sign(f.request(), f.mn, func(p []byte) []byte {
		p, _ = wire.ZeroOverheadReply(testVendor, gateway).Append(p)
		return p
	})
	f.must(p, direct(), wire.CodeVendorFromForeignAgent, f.mn)
	if f.m.Table().Len() != 0 {
		t.Error("a binding was made")
	}
}

func TestZeroOverheadConfig(t *testing.T) {
	for name, z := range map[string]ZeroOverhead{
		"no destination":           {Vendor: 1},
		"no vendor":                {Destinations: []netip.Addr{gateway}},
		"a vendor of 25 bits":      {Vendor: 1 << 24, Destinations: []netip.Addr{gateway}},
		"the agent's own address":  {Vendor: 1, Destinations: []netip.Addr{agent}},
		"no address":               {Vendor: 1, Destinations: []netip.Addr{{}}},
		"an address of many hosts": {Vendor: 1, Destinations: []netip.Addr{netip.MustParseAddr("224.0.0.1")}},
	} {
		_, err := New(Config{Address: agent, HomeNetworks: []netip.Prefix{netip.MustParsePrefix("10.0.8.0/24")}, ZeroOverhead: z})
		if !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
