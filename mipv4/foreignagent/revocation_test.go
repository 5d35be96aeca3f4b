package foreignagent

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/discovery"
	"mipvpn/mipv4/wire"
)

var atHA = netip.AddrPortFrom(external, 434)

// revocationFixture is a foreign agent that shares a key with the external home agent.
func revocationFixture(t testing.TB) (*fixture, *auth.SecurityAssociation) {
	t.Helper()
	ha := association(t, 2000)
	return newFixture(t, func(c *Config) {
		c.Revocation = true
		c.HomeAgents = []Peer{{external, ha}, {internal, association(t, 2001)}}
	}), ha
}

// agreed registers the laptop; the home agent's reply has the support extension, nil for none. It returns the one that was sent.
func (f *fixture) agreed(ha *auth.SecurityAssociation, answer *wire.RevocationSupport) wire.RevocationSupport {
	f.t.Helper()
	r := f.request()
	up := f.relayed(f.arrive(r, nil))
	sent, err := wire.ParseRegistrationRequest(up.Payload)
	if err != nil {
		f.t.Fatal(err)
	}
	i, auth := sent.Extensions.Index(wire.ExtRevocationSupport), sent.Extensions.Index(wire.ExtForeignHomeAuthentication)
	if i < 0 || i > auth || i < sent.Extensions.Index(wire.ExtMobileHomeAuthentication) {
		f.t.Fatalf("the support extension is number %d, the authentication %d", i, auth)
	}
	if err := ha.Verify(up.Payload, sent.Offset(auth), wire.ExtForeignHomeAuthentication); err != nil {
		f.t.Fatal(err)
	}
	s, err := wire.ParseRevocationSupport(sent.Extensions[i])
	if err != nil {
		f.t.Fatal(err)
	}
	err = f.m.HandleReply(f.now, atHA, f.reply(r, 1, r.Lifetime, func(b []byte) []byte {
		if answer != nil {
			e := answer.Extension()
			b = append(append(b, uint8(e.Type), uint8(len(e.Data))), e.Data...)
		}
		return ha.AppendExtension(b, wire.ExtForeignHomeAuthentication)
	}))
	if err != nil {
		f.t.Fatal(err)
	}
	f.transmits()
	f.events()
	return s
}

func signed(t testing.TB, m interface{ Append([]byte) ([]byte, error) }, a *auth.SecurityAssociation) []byte {
	t.Helper()
	b, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return a.AppendExtension(b, wire.ExtForeignHomeAuthentication)
}

// informs reports whether the message tells the laptop that it is registered no longer.
func informs(t *testing.T, x Transmit) bool {
	t.Helper()
	if x.To != Advertise {
		return false
	}
	ad, err := discovery.ParseAdvertisement(x.Payload)
	if err != nil {
		t.Fatal(err)
	}
	return x.Station == laptop && ad.Sequence == 0
}

// Shows: AGT-4, MIP-9 (the X bit, and the R bit with it; co-located care-of addresses are denied then).
func TestRevocationAdvertised(t *testing.T) {
	f, _ := revocationFixture(t)
	ad, err := discovery.ParseAdvertisement(f.m.Advertisement())
	if err != nil || !ad.Flags.Has(discovery.FlagRevocation|discovery.FlagRegistrationRequired) {
		t.Errorf("flags %v, %v", ad.Flags, err)
	}
	r := f.request()
	r.Flags, r.CareOfAddress = wire.FlagReverseTunnel|wire.FlagDecapsulation, netip.MustParseAddr("172.16.5.77")
	f.denied(f.arrive(r, nil), wire.CodeFAProhibited)
	r = f.request()
	r.Extensions = wire.Extensions{wire.RevocationSupport{Timestamp: 1}.Extension()}
	if err := f.m.HandleRequest(f.now, f.arrive(r, nil)); !errors.Is(err, ErrSupport) || len(f.transmits()) != 0 {
		t.Errorf("a mobile node that says it supports revocation: %v", err)
	}
}

// Shows: AGT-4, MIP-9 (revocation by the home agent: the visitor goes, the mobile node is told as the home agent says; replays,
// reflections and strangers change nothing).
func TestRevokedByHomeAgent(t *testing.T) {
	for _, c := range []struct {
		name          string
		support, bit  bool // the I bits of the registration and of the revocation
		want, answers bool
	}{
		{"told", true, true, true, true},
		{"not told", true, false, false, false},
		{"the foreign agent decides", false, false, true, false},
	} {
		f, ha := revocationFixture(t)
		if s := f.agreed(ha, &wire.RevocationSupport{Inform: c.support, Timestamp: 50}); !s.Inform {
			t.Errorf("support extension %+v", s)
		}
		good := wire.Revocation{ByHomeAgent: true, Inform: c.bit, HomeAddress: homeOut, HomeDomain: external, ForeignDomain: careOf, Identifier: 51}
		for _, bad := range []struct {
			name   string
			change func(*wire.Revocation)
			key    *auth.SecurityAssociation
			want   error
		}{
			{"reflected", func(v *wire.Revocation) { v.ByHomeAgent = false }, ha, ErrReplay},
			{"not later than the registration", func(v *wire.Revocation) { v.Identifier = 50 }, ha, ErrReplay},
			{"without home domain address (appendix B)", func(v *wire.Revocation) { v.HomeDomain = netip.Addr{} }, ha, ErrRevocation},
			{"another foreign agent", func(v *wire.Revocation) { v.ForeignDomain = visited }, ha, ErrRevocation},
			{"of another home agent", func(*wire.Revocation) {}, association(t, 2001), ErrAuthentication},
		} {
			v := good
			bad.change(&v)
			if err := f.m.HandleRevocation(f.now, atHA, signed(t, &v, bad.key)); !errors.Is(err, bad.want) || len(f.transmits()) != 0 {
				t.Errorf("%s: %v, want %v", bad.name, err, bad.want)
			}
		}
		unsigned, _ := good.Append(nil)
		if err := f.m.HandleRevocation(f.now, atHA, unsigned); !errors.Is(err, ErrAuthentication) {
			t.Errorf("without authentication: %v", err)
		}
		if f.m.Table().Len() != 1 {
			t.Fatal("the visitor is gone")
		}
		for i := range 2 { // the second one is a retransmission: the acknowledgement was lost
			good.Identifier += uint32(i)
			if err := f.m.HandleRevocation(f.now, atHA, signed(t, &good, ha)); err != nil {
				t.Fatal(err)
			}
			out := f.transmits()
			if told := len(out) == 2 && informs(t, out[0]); told != (c.want && i == 0) {
				t.Errorf("%s: sent %+v", c.name, out)
			}
			answer := out[len(out)-1]
			k, err := wire.ParseRevocationAcknowledgment(answer.Payload)
			if err != nil || answer.To != ToHomeAgent || answer.Remote != atHA || k.HomeAddress != homeOut || k.Identifier != good.Identifier || k.Inform != (c.answers && i == 0) {
				t.Errorf("%s: acknowledgement %+v in %+v, %v", c.name, k, answer, err)
			}
			if err := ha.Verify(answer.Payload, k.Offset(0), wire.ExtForeignHomeAuthentication); err != nil {
				t.Error(err)
			}
		}
		if e := f.events(); f.m.Table().Len() != 0 || len(e) != 1 || e[0].Kind != Revoked || e[0].Kind.String() != "revoked" {
			t.Errorf("%d visitors, events %+v", f.m.Table().Len(), e)
		}
	}
}

// A registration without agreement cannot be revoked.
func TestRevocationNotAgreed(t *testing.T) {
	f, ha := revocationFixture(t)
	f.agreed(ha, nil)
	v := wire.Revocation{ByHomeAgent: true, HomeAddress: homeOut, HomeDomain: external, ForeignDomain: careOf, Identifier: 51}
	if err := f.m.HandleRevocation(f.now, atHA, signed(t, &v, ha)); !errors.Is(err, ErrRevocation) || f.m.Table().Len() != 1 {
		t.Errorf("found %v", err)
	}
	if n := f.m.Drop(f.now, homeOut); n != 1 {
		t.Errorf("%d dropped", n)
	}
	if out := f.transmits(); len(out) != 1 || !informs(t, out[0]) {
		t.Errorf("sent %+v", out)
	}
}

// Shows: AGT-4, MIP-9 (revocation by the foreign agent: a new timestamp each time, until the acknowledgement, which says whether the
// mobile node is told).
func TestRevoke(t *testing.T) {
	for _, told := range []bool{true, false} {
		f, ha := revocationFixture(t)
		s := f.agreed(ha, &wire.RevocationSupport{Inform: true, Timestamp: 50})
		if n := f.m.Drop(f.now, homeOut); n != 1 || f.m.Table().Len() != 0 || len(f.transmits()) != 0 {
			t.Fatalf("%d dropped, or something sent within a second of the registration", n)
		}
		last := wire.Revocation{Identifier: s.Timestamp}
		for i, want := range []time.Duration{1, 1, 2, 4} {
			at, ok := f.m.Deadline()
			if d := at - f.now.Boot; !ok || d != want*time.Second {
				t.Fatalf("transmission %d after %v, want %v s", i, d, want)
			}
			f.advance(at - f.now.Boot)
			if i == 2 {
				f.now.Wall = f.now.Wall.Add(-time.Hour) // set back
			}
			f.m.HandleTimeout(f.now)
			out := f.transmits()
			if len(out) != 1 || out[0].To != ToHomeAgent || out[0].Remote != atHA {
				t.Fatalf("sent %+v", out)
			}
			v, err := wire.ParseRevocation(out[0].Payload)
			if err != nil || v.ByHomeAgent || !v.Inform || v.HomeAddress != homeOut || v.HomeDomain != external || v.ForeignDomain != careOf || !wire.RevocationAfter(v.Identifier, last.Identifier) {
				t.Fatalf("revocation %+v after %08x, %v", v, last.Identifier, err)
			}
			if err := ha.Verify(out[0].Payload, v.Offset(0), wire.ExtForeignHomeAuthentication); err != nil {
				t.Error(err)
			}
			last = *v
		}
		k := wire.RevocationAcknowledgment{Inform: told, HomeAddress: homeOut, Identifier: last.Identifier - 1}
		if err := f.m.HandleRevocation(f.now, atHA, signed(t, &k, ha)); !errors.Is(err, ErrNotRevoked) {
			t.Errorf("acknowledgement of an older transmission: %v", err)
		}
		k.Identifier++
		if err := f.m.HandleRevocation(f.now, atHA, signed(t, &k, association(t, 2001))); !errors.Is(err, ErrAuthentication) {
			t.Errorf("acknowledgement under another key: %v", err)
		}
		if err := f.m.HandleRevocation(f.now, atHA, signed(t, &k, ha)); err != nil {
			t.Error(err)
		}
		if out := f.transmits(); (len(out) == 1 && informs(t, out[0])) != told {
			t.Errorf("sent %+v, told %v", out, told)
		}
		if at, ok := f.m.Deadline(); ok || len(f.m.registrations) != 0 {
			t.Errorf("due at %v after the acknowledgement, %d registrations", at, len(f.m.registrations))
		}
	}
}

// A revocation is not sent for ever, not beyond the lifetime of the registration, and not once the visitor is back.
func TestRevocationEnds(t *testing.T) {
	f, ha := revocationFixture(t)
	count := func() int {
		n := 0
		for {
			n += len(f.transmits())
			at, ok := f.m.Deadline()
			if !ok {
				return n
			}
			f.advance(at - f.now.Boot)
			f.m.HandleTimeout(f.now)
		}
	}
	drop := func() {
		f.agreed(ha, &wire.RevocationSupport{Inform: true, Timestamp: 50})
		f.advance(time.Second)
		f.m.Drop(f.now, homeOut)
	}
	drop()
	if n := count(); n != maxRevocations || len(f.m.registrations) != 0 {
		t.Errorf("%d transmissions, %d registrations are left", n, len(f.m.registrations))
	}
	drop()
	f.m.registrations[keyOf(homeOut, external)].revocation.until = f.now.Boot + 5*time.Second
	if n := count(); n != 3 { // at 0, 1 and 3 of 5 seconds
		t.Errorf("%d transmissions within 5 s", n)
	}
	drop()
	f.transmits()
	f.agreed(ha, &wire.RevocationSupport{Inform: true, Timestamp: 50})
	if r := f.m.registrations[keyOf(homeOut, external)]; r.revocation != nil || f.m.revokes.Len() != 0 {
		t.Error("a visitor that is back goes on being revoked")
	}
}

func FuzzHandleRevocation(f *testing.F) {
	fx, ha := revocationFixture(f)
	fx.agreed(ha, &wire.RevocationSupport{Timestamp: 50})
	v := wire.Revocation{ByHomeAgent: true, HomeAddress: homeOut, HomeDomain: external, ForeignDomain: careOf, Identifier: 51}
	f.Add(signed(f, &v, association(f, 2001)))
	f.Add(signed(f, &wire.RevocationAcknowledgment{HomeAddress: homeOut, Identifier: 51}, ha))
	f.Fuzz(func(t *testing.T, p []byte) {
		if err := fx.m.HandleRevocation(fx.now, atHA, p); err == nil || fx.m.Table().Len() != 1 {
			t.Fatalf("%x was obeyed", p)
		}
	})
}
