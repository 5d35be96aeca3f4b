package homeagent

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

var (
	fa2Addr = netip.MustParseAddr("10.0.1.41")
	atFA    = netip.AddrPortFrom(faAddr, 434)
)

// revocationFixture is a home agent with two foreign agents that it shares keys with.
func revocationFixture(t testing.TB, change func(*Config)) (*fixture, *auth.SecurityAssociation, *auth.SecurityAssociation) {
	t.Helper()
	fa, fa2 := association(t, 2000), association(t, 2001)
	f := newFixture(t, func(c *Config) {
		c.ForeignAgents = []ForeignAgent{{faAddr, fa}, {fa2Addr, fa2}}
		c.SimultaneousBindings = 2
		if change != nil {
			change(c)
		}
	})
	return f, fa, fa2
}

// support is what a foreign agent appends: the Revocation Support extension and its authentication.
func support(fa *auth.SecurityAssociation, s wire.RevocationSupport) func([]byte) []byte {
	return func(b []byte) []byte {
		e := s.Extension()
		return fa.AppendExtension(append(append(b, uint8(e.Type), uint8(len(e.Data))), e.Data...), wire.ExtForeignHomeAuthentication)
	}
}

// visit registers the mobile node through the foreign agent, and returns the support extension of the reply.
func (f *fixture) visit(at netip.Addr, fa *auth.SecurityAssociation, s wire.RevocationSupport, flags wire.Flags) *wire.RevocationSupport {
	f.t.Helper()
	r := f.request()
	r.Flags, r.CareOfAddress = wire.FlagReverseTunnel|flags, at
	reply, raw, err := f.send(f.sign(r, f.mn, support(fa, s)), netip.AddrPortFrom(at, 434))
	if err != nil {
		f.t.Fatal(err)
	}
	i, auth := reply.Extensions.Index(wire.ExtRevocationSupport), reply.Extensions.Index(wire.ExtForeignHomeAuthentication)
	if err := fa.Verify(raw, reply.Offset(auth), wire.ExtForeignHomeAuthentication); err != nil {
		f.t.Fatal(err)
	}
	if i < 0 {
		return nil
	}
	if i > auth || i < reply.Extensions.Index(wire.ExtMobileHomeAuthentication) {
		f.t.Errorf("the support extension is number %d, the authentication %d", i, auth)
	}
	got, err := wire.ParseRevocationSupport(reply.Extensions[i])
	if err != nil {
		f.t.Fatal(err)
	}
	return &got
}

// out returns the revocation that is to be sent, nil without one.
func (f *fixture) out(to netip.AddrPort, a *auth.SecurityAssociation, t wire.ExtensionType) *wire.Revocation {
	f.t.Helper()
	x, ok := f.m.PollTransmit()
	if !ok {
		return nil
	}
	v, err := wire.ParseRevocation(x.Payload)
	if err != nil || x.To != to {
		f.t.Fatalf("%v to %v, want a revocation to %v: %v", v, x.To, to, err)
	}
	if err := a.Verify(x.Payload, v.Offset(0), t); err != nil || len(v.Extensions) != 1 {
		f.t.Fatalf("%d extensions, %v", len(v.Extensions), err)
	}
	return v
}

func acknowledgment(t testing.TB, v *wire.Revocation, a *auth.SecurityAssociation, typ wire.ExtensionType) []byte {
	t.Helper()
	b, err := (&wire.RevocationAcknowledgment{HomeAddress: v.HomeAddress, Identifier: v.Identifier}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return a.AppendExtension(b, typ)
}

func revocationOf(t testing.TB, v wire.Revocation, a *auth.SecurityAssociation) []byte {
	t.Helper()
	b, err := v.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return a.AppendExtension(b, wire.ExtForeignHomeAuthentication)
}

func seconds(now link.Instant) uint32 { return wire.RevocationTime(wire.IdentificationAt(now.Wall)) }

// Shows: AGT-1, MIP-9 (revocation by the home agent: agreed in registration, sent with a new timestamp each time until it is
// acknowledged, not sooner than a second after the registration).
func TestRevoke(t *testing.T) {
	f, fa, _ := revocationFixture(t, nil)
	got := f.visit(faAddr, fa, wire.RevocationSupport{Inform: true, Timestamp: 7}, 0)
	if got == nil || !got.Inform || got.Timestamp != seconds(f.now) {
		t.Fatalf("support extension %+v", got)
	}
	if n := f.m.Drop(f.now, home); n != 1 || f.m.Table().Route(home) != nil {
		t.Fatalf("%d dropped", n)
	}
	if v := f.out(atFA, fa, wire.ExtForeignHomeAuthentication); v != nil {
		t.Fatalf("%+v within a second of the registration", v)
	}
	var last *wire.Revocation
	for i, want := range []time.Duration{1, 1, 2, 4, 8, 16, 32} {
		at, ok := f.m.Deadline()
		if d := at - f.now.Boot; !ok || d != want*time.Second {
			t.Fatalf("transmission %d after %v, want %v s", i, d, want)
		}
		f.advance(at - f.now.Boot)
		if i == 3 {
			f.now.Wall = f.now.Wall.Add(-time.Hour) // set back
		}
		f.m.HandleTimeout(f.now)
		v := f.out(atFA, fa, wire.ExtForeignHomeAuthentication)
		if v == nil || !v.ByHomeAgent || !v.Inform || v.HomeAddress != home || v.HomeDomain != agent || v.ForeignDomain != faAddr {
			t.Fatalf("revocation %+v", v)
		}
		if !wire.RevocationAfter(v.Identifier, got.Timestamp) || last != nil && !wire.RevocationAfter(v.Identifier, last.Identifier) {
			t.Errorf("identifier %08x after %08x", v.Identifier, got.Timestamp)
		}
		last = v
	}
	if err := f.m.HandleRevocation(f.now, atFA, acknowledgment(t, last, association(t, 2001), wire.ExtForeignHomeAuthentication)); !errors.Is(err, ErrForeignHome) {
		t.Errorf("acknowledgement under another key: %v", err)
	}
	old := *last
	old.Identifier--
	if err := f.m.HandleRevocation(f.now, atFA, acknowledgment(t, &old, fa, wire.ExtForeignHomeAuthentication)); !errors.Is(err, ErrNotRevoked) {
		t.Errorf("acknowledgement of an older transmission: %v", err)
	}
	if err := f.m.HandleRevocation(f.now, atFA, acknowledgment(t, last, fa, wire.ExtForeignHomeAuthentication)); err != nil {
		t.Error(err)
	}
	if at, ok := f.m.Deadline(); ok {
		t.Errorf("something is due at %v after the acknowledgement", at)
	}
	if err := f.m.HandleRevocation(f.now, atFA, acknowledgment(t, last, fa, wire.ExtForeignHomeAuthentication)); !errors.Is(err, ErrNotRevoked) {
		t.Errorf("second acknowledgement: %v", err)
	}
}

// A revocation is not sent for ever, not beyond the lifetime of the binding, and not once the binding is back.
func TestRevocationEnds(t *testing.T) {
	f, fa, _ := revocationFixture(t, nil)
	drop := func() {
		f.visit(faAddr, fa, wire.RevocationSupport{Timestamp: 7}, 0)
		f.advance(time.Second)
		f.m.Drop(f.now, home)
	}
	count := func() int {
		n := 0
		for {
			for f.out(atFA, fa, wire.ExtForeignHomeAuthentication) != nil {
				n++
			}
			at, ok := f.m.Deadline()
			if !ok {
				return n
			}
			f.advance(at - f.now.Boot)
			f.m.HandleTimeout(f.now)
		}
	}
	drop()
	if n := count(); n != maxRevocations || len(f.m.revocations.byHome) != 0 {
		t.Errorf("%d transmissions, %d revocations are left", n, len(f.m.revocations.byHome))
	}
	f.m.cfg.MaxLifetime = 10 * time.Second
	drop()
	if n := count(); n != 4 { // at 1, 2, 4 and 8 of 10 seconds
		t.Errorf("%d transmissions within a lifetime of 10 s", n)
	}
	drop()
	for f.out(atFA, fa, wire.ExtForeignHomeAuthentication) != nil {
	}
	f.visit(faAddr, fa, wire.RevocationSupport{Timestamp: 7}, 0)
	if len(f.m.revocations.byHome) != 0 || f.m.revocations.order.Len() != 0 {
		t.Error("a binding that was registered again goes on being revoked")
	}
}

// Shows: AGT-1, MIP-9 (a foreign agent that the mobile node has left is told, and need not tell the mobile node).
func TestRevokeLeft(t *testing.T) {
	f, fa, fa2 := revocationFixture(t, nil)
	f.visit(faAddr, fa, wire.RevocationSupport{Inform: true, Timestamp: 7}, 0)
	f.advance(time.Minute)
	// The new registration's reply is read by visit, the revocation comes before it.
	r := f.request()
	r.Flags, r.CareOfAddress = wire.FlagReverseTunnel, fa2Addr
	if err := f.m.HandleRequest(f.now, Request{Source: netip.AddrPortFrom(fa2Addr, 434), Payload: f.sign(r, f.mn, support(fa2, wire.RevocationSupport{Timestamp: 9}))}); err != nil {
		t.Fatal(err)
	}
	v := f.out(atFA, fa, wire.ExtForeignHomeAuthentication)
	if v == nil || v.Inform || v.ForeignDomain != faAddr {
		t.Fatalf("revocation %+v", v)
	}
	if err := f.m.HandleRevocation(f.now, atFA, acknowledgment(t, v, fa, wire.ExtForeignHomeAuthentication)); err != nil {
		t.Fatal(err)
	}
	if x, ok := f.m.PollTransmit(); !ok || x.To != netip.AddrPortFrom(fa2Addr, 434) {
		t.Errorf("reply %+v", x)
	}
	// A deregistration through the foreign agent itself is news to nobody.
	d := f.request()
	d.Flags, d.CareOfAddress, d.Lifetime = wire.FlagReverseTunnel, fa2Addr, 0
	f.must(f.sign(d, f.mn, nil), netip.AddrPortFrom(fa2Addr, 434), wire.CodeAccepted, f.mn)
	// One that came directly is.
	f.visit(fa2Addr, fa2, wire.RevocationSupport{Timestamp: 9}, 0)
	f.advance(time.Minute)
	d = f.request()
	d.CareOfAddress, d.Lifetime = d.HomeAddress, 0
	if err := f.m.HandleRequest(f.now, Request{Source: direct(), Payload: f.sign(d, f.mn, nil)}); err != nil {
		t.Fatal(err)
	}
	if v := f.out(netip.AddrPortFrom(fa2Addr, 434), fa2, wire.ExtForeignHomeAuthentication); v == nil || v.Inform {
		t.Errorf("revocation %+v", v)
	}
}

// Shows: AGT-1, MIP-9 (revocation by the foreign agent: replays, reflections and strangers change nothing).
func TestRevokedByForeignAgent(t *testing.T) {
	f, fa, fa2 := revocationFixture(t, nil)
	f.visit(faAddr, fa, wire.RevocationSupport{Inform: true, Timestamp: 7}, 0)
	good := wire.Revocation{Inform: true, HomeAddress: home, HomeDomain: agent, ForeignDomain: faAddr, Identifier: 8}
	for _, c := range []struct {
		name   string
		change func(*wire.Revocation)
		key    *auth.SecurityAssociation
		want   error
	}{
		{"reflected", func(v *wire.Revocation) { v.ByHomeAgent = true }, fa, ErrReplay},
		{"not later than the registration", func(v *wire.Revocation) { v.Identifier = 7 }, fa, ErrReplay},
		{"another home agent", func(v *wire.Revocation) { v.HomeDomain = fa2Addr }, fa, ErrRevocation},
		{"of another foreign agent", func(*wire.Revocation) {}, fa2, ErrForeignHome},
		{"of a stranger", func(v *wire.Revocation) { v.ForeignDomain = careOf }, fa, ErrForeignHome},
		{"of an unknown mobile node", func(v *wire.Revocation) { v.HomeAddress = careOf }, fa, ErrUnknownMobileNode},
	} {
		v := good
		c.change(&v)
		if err := f.m.HandleRevocation(f.now, atFA, revocationOf(t, v, c.key)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if _, ok := f.m.PollTransmit(); ok {
			t.Errorf("%s: answered", c.name)
		}
	}
	unsigned, _ := good.Append(nil)
	if err := f.m.HandleRevocation(f.now, atFA, unsigned); !errors.Is(err, ErrForeignHome) {
		t.Errorf("without authentication: %v", err)
	}
	if err := f.m.HandleRevocation(f.now, netip.AddrPortFrom(agent, 434), unsigned); !errors.Is(err, ErrSource) {
		t.Errorf("from the agent's own address: %v", err)
	}
	if f.m.Table().Route(home) == nil {
		t.Fatal("the binding is gone")
	}
	for f.events() != nil {
	}
	for i := range 2 { // the second one is a retransmission: the acknowledgement was lost
		good.Identifier += uint32(i)
		if err := f.m.HandleRevocation(f.now, atFA, revocationOf(t, good, fa)); err != nil {
			t.Fatal(err)
		}
		x, ok := f.m.PollTransmit()
		k, err := wire.ParseRevocationAcknowledgment(x.Payload)
		if !ok || err != nil || x.To != atFA || k.HomeAddress != home || k.Identifier != good.Identifier || !k.Inform {
			t.Fatalf("acknowledgement %+v to %v, %v", k, x.To, err)
		}
		if err := fa.Verify(x.Payload, k.Offset(0), wire.ExtForeignHomeAuthentication); err != nil {
			t.Error(err)
		}
	}
	if f.m.Table().Route(home) != nil {
		t.Error("the binding is still there")
	}
	if e := f.events(); len(e) != 1 || e[0].Kind != Revoked || e[0].Kind.String() != "revoked" {
		t.Errorf("events %+v", e)
	}
}

func (f *fixture) events() []Event {
	var out []Event
	for e, ok := f.m.PollEvent(); ok; e, ok = f.m.PollEvent() {
		out = append(out, e)
	}
	return out
}

// Shows: MIP-9 (revocation is agreed only with who may ask for it, and only when that is protected).
func TestRevocationAgreed(t *testing.T) {
	f, fa, _ := revocationFixture(t, func(c *Config) { c.AllowRelayedCoLocated = true })
	if got := f.visit(faAddr, fa, wire.RevocationSupport{Timestamp: 7}, 0); got == nil || got.Inform {
		t.Errorf("without the I bit: %+v", got)
	}
	// A co-located care-of address through a foreign agent (§4.3.2).
	r := f.request()
	reply, _, err := f.send(f.sign(r, f.mn, support(fa, wire.RevocationSupport{Timestamp: 7})), atFA)
	if err != nil || reply.Extensions.Index(wire.ExtRevocationSupport) >= 0 {
		t.Errorf("co-located through a foreign agent: %+v, %v", reply, err)
	}
	if b := f.m.nodes[home].binding(careOf); b == nil || b.revocable != nil {
		t.Errorf("binding %+v", b)
	}
	// Behind the authentication it is not protected.
	r = f.request()
	r.Flags, r.CareOfAddress = wire.FlagReverseTunnel, faAddr
	e := wire.RevocationSupport{Timestamp: 7}.Extension()
	reply, _, err = f.send(f.sign(r, f.mn, func(b []byte) []byte {
		b = fa.AppendExtension(b, wire.ExtForeignHomeAuthentication)
		return append(append(b, uint8(e.Type), uint8(len(e.Data))), e.Data...)
	}), atFA)
	if err != nil || reply.Extensions.Index(wire.ExtRevocationSupport) >= 0 {
		t.Errorf("not protected: %+v, %v", reply, err)
	}
	f.m.cfg.NoRevocation = true
	if got := f.visit(faAddr, fa, wire.RevocationSupport{Timestamp: 7}, 0); got != nil {
		t.Errorf("turned off: %+v", got)
	}
}

// Shows: MIP-9 (a mobile node with a co-located care-of address is told, also behind a NAT).
func TestRevokeDirect(t *testing.T) {
	f := newFixture(t, nil)
	for _, from := range []netip.AddrPort{direct(), nat} {
		r := f.request()
		r.Extensions = wire.Extensions{wire.RevocationSupport{Timestamp: 7}.Extension()}
		if from == nat {
			r.Extensions = append(r.Extensions, wire.UDPTunnelRequest{}.Extension())
		}
		reply := f.must(f.sign(r, f.mn, nil), from, 1, f.mn)
		if i := reply.Extensions.Index(wire.ExtRevocationSupport); i < 0 || i > reply.Extensions.Index(wire.ExtMobileHomeAuthentication) {
			t.Fatalf("extensions %+v", reply.Extensions)
		}
		// A repeated request gets the same.
		reply = f.must(f.sign(r, f.mn, nil), from, 1, f.mn)
		if reply.Extensions.Index(wire.ExtRevocationSupport) < 0 {
			t.Error("the reply to a repeated request does not say it")
		}
		f.advance(time.Second)
		f.m.Drop(f.now, home)
		to := from
		v := f.out(to, f.mn, wire.ExtMobileHomeAuthentication)
		if v == nil || !v.ByHomeAgent || !v.Inform || v.ForeignDomain != careOf {
			t.Fatalf("revocation %+v", v)
		}
		if from != nat {
			to = netip.AddrPortFrom(careOf, 434) // where else a mobile node may listen (§3.3)
		}
		f.advance(time.Second)
		f.m.HandleTimeout(f.now)
		if v = f.out(to, f.mn, wire.ExtMobileHomeAuthentication); v == nil {
			t.Fatal("no retransmission")
		}
		if err := f.m.HandleRevocation(f.now, to, acknowledgment(t, v, f.mn, wire.ExtMobileHomeAuthentication)); err != nil {
			t.Error(err)
		}
	}
}

// What was agreed outlives a restart.
//
// Shows: AGT-5 (what was agreed about revocation is in the record)
func TestRevocationRecord(t *testing.T) {
	f, fa, _ := revocationFixture(t, func(c *Config) { c.Durable = true })
	f.visit(faAddr, fa, wire.RevocationSupport{Inform: true, Timestamp: 7}, 0)
	r, ok := f.m.PollRecord(f.now)
	if !ok {
		t.Fatal("no record")
	}
	r, err := ParseRecord(r.Encode())
	if err != nil {
		t.Fatal(err)
	}
	again, _, _ := revocationFixture(t, nil)
	again.now = f.now
	again.advance(time.Minute)
	if err := again.m.Restore(again.now, r); err != nil {
		t.Fatal(err)
	}
	if n := again.m.Drop(again.now, home); n != 1 {
		t.Errorf("%d dropped", n)
	}
	if v := again.out(atFA, fa, wire.ExtForeignHomeAuthentication); v == nil || !v.Inform {
		t.Errorf("revocation %+v", v)
	}
	r.Bindings[0].Revocable.Peer = netip.AddrPort{}
	if err := again.m.Restore(again.now, r); !errors.Is(err, ErrRecord) {
		t.Errorf("a revocation to nowhere: %v", err)
	}
}

func FuzzHandleRevocation(f *testing.F) {
	fx, fa, _ := revocationFixture(f, nil)
	fx.visit(faAddr, fa, wire.RevocationSupport{Timestamp: 7}, 0)
	v := wire.Revocation{HomeAddress: home, HomeDomain: agent, ForeignDomain: faAddr, Identifier: 8}
	f.Add(revocationOf(f, v, association(f, 2001)))
	f.Add(acknowledgment(f, &v, fa, wire.ExtForeignHomeAuthentication))
	valid := revocationOf(f, v, fa)
	f.Add(valid[:20])
	f.Fuzz(func(t *testing.T, p []byte) {
		if err := fx.m.HandleRevocation(fx.now, atFA, p); err == nil {
			t.Fatalf("%x was obeyed", p)
		}
		if fx.m.Table().Route(home) == nil {
			t.Fatalf("%x took a binding away", p)
		}
	})
}
