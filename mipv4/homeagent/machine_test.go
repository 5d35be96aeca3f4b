package homeagent

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

var (
	agent   = netip.MustParseAddr("10.0.1.10")
	home    = netip.MustParseAddr("10.0.8.100")
	home2   = netip.MustParseAddr("10.0.8.101")
	careOf  = netip.MustParseAddr("10.0.2.50")
	careOf2 = netip.MustParseAddr("10.0.2.51")
	nat     = netip.MustParseAddrPort("192.0.2.30:61001")
	faAddr  = netip.MustParseAddr("10.0.1.40")
)

func association(t testing.TB, spi uint32) *auth.SecurityAssociation {
	t.Helper()
	a, err := auth.New(auth.Parameters{SPI: spi, Key: bytes.Repeat([]byte{byte(spi)}, 16)})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// fixture is a home agent with one mobile node beside it that makes requests.
type fixture struct {
	t   testing.TB
	m   *Machine
	now link.Instant
	mn  *auth.SecurityAssociation
}

func newFixture(t testing.TB, change func(*Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, mn: association(t, 1000)}
	f.now = link.Instant{Boot: time.Hour, Wall: time.Date(2026, 11, 21, 7, 0, 0, 0, time.UTC)}
	cfg := Config{
		Address: agent, HomeNetworks: []netip.Prefix{netip.MustParsePrefix("10.0.8.0/24")},
		MobileNodes: []MobileNode{
			{HomeAddress: home, Associations: []*auth.SecurityAssociation{f.mn, association(t, 1001)}},
			{HomeAddress: home2, Associations: []*auth.SecurityAssociation{association(t, 1002)}},
		},
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if f.m, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) advance(d time.Duration) { f.now = f.now.Add(d) }

// request returns a fresh request as the mobile node makes it with a co-located care-of address.
func (f *fixture) request() *wire.RegistrationRequest {
	f.advance(20 * time.Millisecond)
	return &wire.RegistrationRequest{
		Flags: wire.FlagDecapsulation | wire.FlagReverseTunnel, Lifetime: 600,
		HomeAddress: home, HomeAgent: agent, CareOfAddress: careOf,
		Identification: wire.IdentificationAt(f.now.Wall),
	}
}

// sign encodes the request with its Mobile-Home authentication, and what tail appends behind that.
func (f *fixture) sign(r *wire.RegistrationRequest, a *auth.SecurityAssociation, tail func([]byte) []byte) []byte {
	f.t.Helper()
	p, err := r.Append(nil)
	if err != nil {
		f.t.Fatal(err)
	}
	p = a.AppendExtension(p, wire.ExtMobileHomeAuthentication)
	if tail != nil {
		p = tail(p)
	}
	return p
}

// send hands the request over from the given source and returns the reply, nil without one.
func (f *fixture) send(payload []byte, from netip.AddrPort) (*wire.RegistrationReply, []byte, error) {
	f.t.Helper()
	err := f.m.HandleRequest(f.now, Request{Source: from, Payload: payload})
	out, ok := f.m.PollTransmit()
	if !ok {
		return nil, nil, err
	}
	if out.To != from {
		f.t.Fatalf("reply goes to %v, want %v", out.To, from)
	}
	reply, perr := wire.ParseRegistrationReply(out.Payload)
	if perr != nil {
		f.t.Fatal(perr)
	}
	if _, more := f.m.PollTransmit(); more {
		f.t.Fatal("more than one reply")
	}
	return reply, out.Payload, err
}

// must sends a request that has to be answered with the code, authenticated by a.
func (f *fixture) must(payload []byte, from netip.AddrPort, want wire.Code, a *auth.SecurityAssociation) *wire.RegistrationReply {
	f.t.Helper()
	reply, raw, err := f.send(payload, from)
	if reply == nil {
		f.t.Fatalf("no reply: %v", err)
	}
	if reply.Code != want {
		f.t.Fatalf("code %v, want %v (%v)", reply.Code, want, err)
	}
	i := reply.Extensions.Index(wire.ExtMobileHomeAuthentication)
	if i < 0 {
		f.t.Fatal("the reply has no Mobile-Home Authentication extension")
	}
	if err := a.Verify(raw, reply.Offset(i), wire.ExtMobileHomeAuthentication); err != nil {
		f.t.Fatal(err)
	}
	var denied *Denied
	if want.Accepted() != (err == nil) || err != nil && (!errors.As(err, &denied) || denied.Code != want) {
		f.t.Fatalf("error %v with code %v", err, want)
	}
	return reply
}

// silent sends a request that must not be answered.
func (f *fixture) silent(payload []byte, from netip.AddrPort, want error) {
	f.t.Helper()
	reply, _, err := f.send(payload, from)
	if reply != nil || !errors.Is(err, want) {
		f.t.Fatalf("reply %+v, error %v; want silence and %v", reply, err, want)
	}
}

func direct() netip.AddrPort { return netip.AddrPortFrom(careOf, 40000) }

// Shows: AGT-1, MIP-6, MIP-8 (registration, binding, data path lookups both ways).
func TestRegister(t *testing.T) {
	f := newFixture(t, nil)
	r := f.request()
	reply := f.must(f.sign(r, f.mn, nil), direct(), wire.CodeAcceptedSimultaneousUnsupported, f.mn)
	if reply.Lifetime != 600 || reply.HomeAddress != home || reply.HomeAgent != agent || reply.Identification != r.Identification {
		t.Errorf("reply %+v", reply)
	}
	if reply.Extensions.Index(wire.ExtTrustedNetworksConfigured) >= 0 {
		t.Error("TNC from an agent that is not internal")
	}
	route := f.m.Table().Route(home)
	if route == nil || len(route.Tunnels) != 1 {
		t.Fatalf("route %+v", route)
	}
	end := netip.AddrPortFrom(careOf, 0)
	if got := route.Tunnels[0]; got.Encapsulation != tunnel.IPIP || got.Remote != end || !got.ReverseTunnel {
		t.Errorf("tunnel %+v", got)
	}
	if route.Admits(tunnel.IPIP, end) == nil || route.Admits(tunnel.UDP, end) != nil ||
		route.Admits(tunnel.IPIP, netip.AddrPortFrom(careOf2, 0)) != nil {
		t.Error("the check of outer source, inner source and encapsulation is wrong (RFC 3024 §4.3.2)")
	}
	if f.m.Table().Route(home2) != nil || f.m.Table().Len() != 1 {
		t.Error("a mobile node without a binding has a route")
	}
	if e, ok := f.m.PollEvent(); !ok || e.Kind != Registered || e.CareOfAddress != careOf || e.Lifetime != 600 {
		t.Errorf("event %+v", e)
	}
}

// Shows: AGT-1 (lifetime capped, renewed, expired without a reply).
func TestLifetime(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.MaxLifetime = 5 * time.Minute })
	reply := f.must(f.sign(f.request(), f.mn, nil), direct(), 1, f.mn)
	if reply.Lifetime != 300 {
		t.Errorf("granted %d s, want 300", reply.Lifetime)
	}
	first := f.m.Table().Route(home)
	f.advance(200 * time.Second)
	f.must(f.sign(f.request(), f.mn, nil), direct(), 1, f.mn)
	if f.m.Table().Route(home) != first {
		t.Error("a renewal that changes nothing replaced the route")
	}
	renewed := f.now.Boot
	at, ok := f.m.Deadline()
	if !ok || at != renewed+300*time.Second {
		t.Errorf("deadline %v, want %v", at, renewed+300*time.Second)
	}
	f.m.HandleTimeout(link.Instant{Boot: at - 1})
	if f.m.Table().Route(home) == nil {
		t.Fatal("expired too early")
	}
	f.m.HandleTimeout(link.Instant{Boot: at})
	if f.m.Table().Route(home) != nil {
		t.Error("the binding outlived its lifetime")
	}
	if _, ok := f.m.PollTransmit(); ok {
		t.Error("a reply was sent because a lifetime ended (RFC 5944 §3.8)")
	}
	if _, ok := f.m.Deadline(); ok {
		t.Error("a deadline without bindings")
	}
	var kinds []EventKind
	for e, ok := f.m.PollEvent(); ok; e, ok = f.m.PollEvent() {
		kinds = append(kinds, e.Kind)
	}
	if len(kinds) != 3 || kinds[0] != Registered || kinds[1] != Renewed || kinds[2] != Expired {
		t.Errorf("events %v", kinds)
	}
}

func TestInfiniteLifetime(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.MaxLifetime = InfiniteLifetime })
	r := f.request()
	r.Lifetime = wire.LifetimeInfinite
	if reply := f.must(f.sign(r, f.mn, nil), direct(), 1, f.mn); reply.Lifetime != wire.LifetimeInfinite {
		t.Errorf("granted %d", reply.Lifetime)
	}
	if _, ok := f.m.Deadline(); ok {
		t.Error("an infinite binding has a deadline")
	}
}

// Shows: AGT-1 (deregistration of one and of all bindings).
func TestDeregister(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.SimultaneousBindings = 3 })
	bind := func(care netip.Addr) {
		r := f.request()
		r.CareOfAddress, r.Flags = care, r.Flags|wire.FlagSimultaneous
		f.must(f.sign(r, f.mn, nil), netip.AddrPortFrom(care, 40000), 0, f.mn)
	}
	gone := func(care netip.Addr) {
		r := f.request()
		r.CareOfAddress, r.Lifetime = care, 0
		if reply := f.must(f.sign(r, f.mn, nil), direct(), 0, f.mn); reply.Lifetime != 0 {
			t.Errorf("lifetime %d in the reply to a deregistration", reply.Lifetime)
		}
	}
	bind(careOf)
	bind(careOf2)
	if n := len(f.m.Table().Route(home).Tunnels); n != 2 {
		t.Fatalf("%d tunnels, want 2", n)
	}
	gone(careOf)
	if r := f.m.Table().Route(home); r == nil || len(r.Tunnels) != 1 || r.Tunnels[0].Remote.Addr() != careOf2 {
		t.Fatalf("after one was deregistered: %+v", r)
	}
	gone(careOf) // again, as a retransmission would
	bind(careOf)
	gone(home)
	if f.m.Table().Route(home) != nil {
		t.Error("a binding is left after all were deregistered")
	}
	if _, ok := f.m.Deadline(); ok {
		t.Error("a deadline is left")
	}
}

// Shows: AGT-1 (simultaneous bindings: S bit, codes 0, 1 and 135).
func TestSimultaneousBindings(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.SimultaneousBindings = 2 })
	for i, c := range []struct {
		care    string
		s       bool
		want    wire.Code
		tunnels int
	}{
		{"10.0.2.50", false, 0, 1},
		{"10.0.2.51", true, 0, 2},
		{"10.0.2.51", true, 0, 2},
		{"10.0.2.52", true, wire.CodeTooManyBindings, 2},
		{"10.0.2.53", false, 0, 1},
	} {
		r := f.request()
		r.CareOfAddress = netip.MustParseAddr(c.care)
		if c.s {
			r.Flags |= wire.FlagSimultaneous
		}
		f.must(f.sign(r, f.mn, nil), netip.AddrPortFrom(r.CareOfAddress, 40000), c.want, f.mn)
		if n := len(f.m.Table().Route(home).Tunnels); n != c.tunnels {
			t.Errorf("step %d: %d tunnels, want %d", i, n, c.tunnels)
		}
	}
	f = newFixture(t, nil)
	for _, care := range []netip.Addr{careOf, careOf2} {
		r := f.request()
		r.CareOfAddress, r.Flags = care, r.Flags|wire.FlagSimultaneous
		f.must(f.sign(r, f.mn, nil), netip.AddrPortFrom(care, 40000), wire.CodeAcceptedSimultaneousUnsupported, f.mn)
	}
	if n := len(f.m.Table().Route(home).Tunnels); n != 1 {
		t.Errorf("%d tunnels at an agent without simultaneous bindings, want 1", n)
	}
}

// Shows: AGT-2 (i-HA: silence toward untrusted networks, TNC before the authentication in every reply to a trusted one).
func TestInternal(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		c.Internal = true
		c.TrustedNetworks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}
	})
	f.silent(f.sign(f.request(), f.mn, nil), netip.MustParseAddrPort("192.168.1.50:40000"), ErrUntrustedSource)
	bad := f.request()
	bad.HomeAgent = careOf2
	for _, c := range []struct {
		payload []byte
		want    wire.Code
	}{
		{f.sign(bad, f.mn, nil), wire.CodeUnknownHomeAgent},
		{f.sign(f.request(), f.mn, nil), 1},
		{f.sign(f.request(), association(t, 1001), func(b []byte) []byte { b[len(b)-1]++; return b }), wire.CodeMobileNodeAuthentication},
	} {
		a := f.mn
		if c.want == wire.CodeMobileNodeAuthentication {
			a = association(t, 1001)
		}
		reply := f.must(c.payload, direct(), c.want, a)
		tnc := -1
		for i, e := range reply.Extensions {
			if wire.IsTrustedNetworksConfigured(e) {
				tnc = i
			}
		}
		if tnc < 0 || tnc > reply.Extensions.Index(wire.ExtMobileHomeAuthentication) {
			t.Errorf("code %v: TNC at %d of %+v", c.want, tnc, reply.Extensions)
		}
	}
	none := newFixture(t, func(c *Config) { c.Internal = true })
	none.silent(none.sign(none.request(), none.mn, nil), direct(), ErrUntrustedSource)
}

// Shows: AGT-3 (an x-HA that discards requests from inside, RFC 5265 §3.7).
func TestRefusedNetworks(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.RefusedNetworks = []netip.Prefix{netip.MustParsePrefix("10.0.2.0/24")} })
	f.silent(f.sign(f.request(), f.mn, nil), direct(), ErrRefusedSource)
	r := f.request()
	r.CareOfAddress = netip.MustParseAddr("10.0.3.50")
	f.must(f.sign(r, f.mn, nil), netip.MustParseAddrPort("10.0.3.50:40000"), 1, f.mn)
}

// Shows: AGT-1 (RFC 5944 §3.8.2.1 a: silence without an association, 131 and rate limit for a bad authenticator).
func TestAuthentication(t *testing.T) {
	f := newFixture(t, nil)
	stranger := f.request()
	stranger.HomeAddress = netip.MustParseAddr("10.0.8.7")
	f.silent(f.sign(stranger, f.mn, nil), direct(), ErrUnknownMobileNode)
	bare, err := f.request().Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	f.silent(bare, direct(), ErrNotAuthorized)
	f.silent([]byte{1, 2, 3}, direct(), wire.ErrTruncated)
	f.silent(f.sign(f.request(), f.mn, nil), netip.MustParseAddrPort("224.0.0.9:434"), ErrSource)

	wrong := f.sign(f.request(), f.mn, nil)
	wrong[len(wrong)-1] ^= 1
	f.must(wrong, direct(), wire.CodeMobileNodeAuthentication, f.mn)
	f.silent(wrong, direct(), ErrRateLimited)
	f.advance(time.Second)
	f.must(f.sign(f.request(), association(t, 4711), nil), direct(), wire.CodeMobileNodeAuthentication, f.mn)
	if f.m.Table().Route(home) != nil {
		t.Error("a request that failed authentication made a binding")
	}
	if _, _, err := f.send(f.sign(f.request(), association(t, 4711), nil), direct()); !errors.Is(err, auth.ErrSPI) {
		t.Errorf("error %v, want %v", err, auth.ErrSPI)
	}
}

// Shows: AGT-1 (replay protection by timestamps: 7 s, strictly increasing, code 133 with the agent's time).
func TestTimestamps(t *testing.T) {
	f := newFixture(t, nil)
	for _, c := range []struct {
		off  time.Duration
		want wire.Code
	}{
		{-8 * time.Second, wire.CodeIdentificationMismatch},
		{8 * time.Second, wire.CodeIdentificationMismatch},
		{24 * time.Hour, wire.CodeIdentificationMismatch},
		{-6 * time.Second, 1},
		{-6500 * time.Millisecond, wire.CodeIdentificationMismatch}, // not greater than the last
		{6 * time.Second, 1},
		{5 * time.Second, wire.CodeIdentificationMismatch},
	} {
		r := f.request()
		r.Identification = wire.IdentificationAt(f.now.Wall.Add(c.off))
		reply := f.must(f.sign(r, f.mn, nil), direct(), c.want, f.mn)
		if reply.Identification.Low() != r.Identification.Low() {
			t.Errorf("%v: the low half is not the request's", c.off)
		}
		if want := wire.IdentificationAt(f.now.Wall).High(); c.want == wire.CodeIdentificationMismatch && reply.Identification.High() != want {
			t.Errorf("%v: high half %08x, want the agent's time %08x", c.off, reply.Identification.High(), want)
		}
		if c.want.Accepted() && reply.Identification != r.Identification {
			t.Errorf("%v: the Identification was not copied", c.off)
		}
	}
}

// Shows: AGT-1 (RFC 5944 §3.8.2.2: a duplicate does not extend the lifetime).
func TestDuplicate(t *testing.T) {
	f := newFixture(t, nil)
	payload := f.sign(f.request(), f.mn, nil)
	f.must(payload, direct(), 1, f.mn)
	before, _ := f.m.Deadline()
	f.advance(2500 * time.Millisecond)
	reply := f.must(payload, nat, 1, f.mn)
	if reply.Lifetime != 597 {
		t.Errorf("lifetime %d, want the 597 s that are left", reply.Lifetime)
	}
	if after, _ := f.m.Deadline(); after != before {
		t.Error("the duplicate extended the lifetime")
	}
	if f.m.Table().Route(home).Tunnels[0].Remote.Addr() != careOf {
		t.Error("the duplicate moved the tunnel")
	}
	f.advance(5 * time.Second)
	f.must(payload, direct(), wire.CodeIdentificationMismatch, f.mn)
}

// Shows: AGT-1 (codes 129, 130, 134, 136, 137, 138, 139, each for its reason).
func TestDenials(t *testing.T) {
	for _, c := range []struct {
		name   string
		config func(*Config)
		change func(*wire.RegistrationRequest)
		from   netip.AddrPort
		want   wire.Code
	}{
		{"other home agent", nil, func(r *wire.RegistrationRequest) { r.HomeAgent = careOf2 }, direct(), wire.CodeUnknownHomeAgent},
		{"any home agent", nil, func(r *wire.RegistrationRequest) { r.HomeAgent = netip.MustParseAddr("255.255.255.255") }, direct(), wire.CodeUnknownHomeAgent},
		{"reserved bit", nil, func(r *wire.RegistrationRequest) { r.Flags |= wire.FlagReservedX }, direct(), wire.CodePoorlyFormedRequest},
		{"retired bit r", nil, func(r *wire.RegistrationRequest) { r.Flags |= wire.FlagReservedR }, direct(), 1},
		{"broadcast bit", nil, func(r *wire.RegistrationRequest) { r.Flags |= wire.FlagBroadcast }, direct(), 1},
		{"no care-of address", nil, func(r *wire.RegistrationRequest) { r.CareOfAddress = netip.IPv4Unspecified() }, direct(), wire.CodePoorlyFormedRequest},
		{"group as care-of address", nil, func(r *wire.RegistrationRequest) { r.CareOfAddress = netip.MustParseAddr("224.0.0.5") }, direct(), wire.CodePoorlyFormedRequest},
		{"care-of address is the agent", nil, func(r *wire.RegistrationRequest) { r.CareOfAddress = agent }, direct(), wire.CodePoorlyFormedRequest},
		{"care-of address is the home address", nil, func(r *wire.RegistrationRequest) { r.CareOfAddress = home }, direct(), wire.CodePoorlyFormedRequest},
		{"care-of address in the home network", nil, func(r *wire.RegistrationRequest) { r.CareOfAddress = home2 }, direct(), wire.CodeProhibited},
		{"minimal", nil, func(r *wire.RegistrationRequest) { r.Flags |= wire.FlagMinimal }, direct(), wire.CodeEncapsulationUnavailable},
		{"gre", nil, func(r *wire.RegistrationRequest) { r.Flags |= wire.FlagGRE }, direct(), wire.CodeEncapsulationUnavailable},
		{"no reverse tunnels", func(c *Config) { c.NoReverseTunnel = true }, nil, direct(), wire.CodeReverseTunnelUnavailable},
		{"reverse tunnel mandatory", func(c *Config) { c.RequireReverseTunnel = true }, func(r *wire.RegistrationRequest) { r.Flags &^= wire.FlagReverseTunnel }, direct(), wire.CodeReverseTunnelMandatory},
		{"nat without udp", nil, nil, nat, wire.CodeProhibited},
		{"relayed without udp, allowed", func(c *Config) { c.AllowRelayedCoLocated = true }, nil, nat, 1},
		{"foreign agent's care-of address", nil, func(r *wire.RegistrationRequest) { r.Flags &^= wire.FlagDecapsulation; r.CareOfAddress = faAddr }, netip.AddrPortFrom(faAddr, 434), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, c.config)
			r := f.request()
			if c.change != nil {
				c.change(r)
			}
			reply := f.must(f.sign(r, f.mn, nil), c.from, c.want, f.mn)
			if reply.HomeAgent != agent {
				t.Errorf("home agent field %v, want %v", reply.HomeAgent, agent)
			}
			if (f.m.Table().Route(home) != nil) != c.want.Accepted() {
				t.Error("a binding where none should be, or none where one should")
			}
		})
	}
	f := newFixture(t, nil)
	payload := f.sign(f.request(), f.mn, nil)
	err := f.m.HandleRequest(f.now, Request{Source: direct(), Destination: netip.MustParseAddr("10.0.1.255"), Payload: payload})
	var denied *Denied
	if !errors.As(err, &denied) || denied.Code != wire.CodeUnknownHomeAgent {
		t.Errorf("a request sent to the broadcast address: %v", err)
	}
}

func TestMaxBindings(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.MaxBindings = 1 })
	f.must(f.sign(f.request(), f.mn, nil), direct(), 1, f.mn)
	r := f.request()
	r.HomeAddress = home2
	f.must(f.sign(r, association(t, 1002), nil), direct(), wire.CodeInsufficientResources, association(t, 1002))
	r = f.request()
	r.CareOfAddress = careOf2
	f.must(f.sign(r, f.mn, nil), netip.AddrPortFrom(careOf2, 40000), 1, f.mn)
}
