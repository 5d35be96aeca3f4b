package homeagent

import (
	"errors"
	"net/netip"
	"testing"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/wire"
)

// aaaFixture is a home agent that has an AAA infrastructure asked, with what the mobile node shares with that.
func aaaFixture(t *testing.T, change func(*Config)) (*fixture, *auth.AAA) {
	t.Helper()
	aaa, err := auth.NewAAA(auth.Parameters{SPI: wire.CHAPSPI, Key: auth.Key("the user's secret")})
	if err != nil {
		t.Fatal(err)
	}
	return newFixture(t, func(c *Config) {
		c.AAA, c.SimultaneousBindings = true, 2
		if change != nil {
			change(c)
		}
	}), aaa
}

// question sends a request that must be asked about and not be answered yet.
func (f *fixture) question(payload []byte, from netip.AddrPort) auth.Question {
	f.t.Helper()
	if reply, _, err := f.send(payload, from); reply != nil || err != nil {
		f.t.Fatalf("reply %+v, error %v; want neither", reply, err)
	}
	clear(payload) // it was borrowed for the call
	q, ok := f.m.PollQuestion()
	if _, more := f.m.PollQuestion(); !ok || more {
		f.t.Fatalf("question %+v, %v, and another one: %v", q, ok, more)
	}
	return q
}

// verdict gives the answer and returns the code of the reply, and false without a reply.
func (f *fixture) verdict(id uint64, v auth.Verdict) (wire.Code, bool) {
	f.t.Helper()
	err := f.m.HandleVerdict(f.now, id, v)
	out, ok := f.m.PollTransmit()
	if !ok {
		if err != nil {
			f.t.Fatal(err)
		}
		return 0, false
	}
	reply, perr := wire.ParseRegistrationReply(out.Payload)
	if perr != nil {
		f.t.Fatal(perr)
	}
	i := reply.Extensions.Index(wire.ExtMobileHomeAuthentication)
	if err := f.mn.Verify(out.Payload, reply.Offset(i), wire.ExtMobileHomeAuthentication); err != nil {
		f.t.Error(err)
	}
	if reply.Extensions.Index(wire.ExtGeneralizedAuthentication) >= 0 {
		f.t.Error("a Mobile-AAA authentication in the reply (RFC 4721 §6)")
	}
	var denied *Denied
	if errors.As(err, &denied) == reply.Code.Accepted() {
		f.t.Errorf("error %v with code %v", err, reply.Code)
	}
	return reply.Code, true
}

// with appends a Mobile-AAA authentication, behind a challenge if there is one.
func with(aaa *auth.AAA, challenge []byte) func([]byte) []byte {
	return func(b []byte) []byte {
		if challenge == nil {
			return aaa.AppendExtension(b, auth.NoChallenge)
		}
		return aaa.AppendExtension(append(append(b, uint8(wire.ExtMobileForeignChallenge), uint8(len(challenge))), challenge...), challenge)
	}
}

// Shows: MIP-9, AGT-1 (Mobile-AAA authentication at the home agent: the question has what RADIUS checks, with and without a
// challenge, and its answer decides; RFC 4721 §3.4, §3.5, §8)
func TestAAADecides(t *testing.T) {
	for _, challenge := range [][]byte{nil, []byte("a challenge")} {
		f, aaa := aaaFixture(t, nil)
		other, _ := auth.NewAAA(auth.Parameters{SPI: wire.CHAPSPI, Key: auth.Key("another secret")})
		for v, want := range map[auth.Verdict]wire.Code{
			auth.Rejected: wire.CodeBadAAAAuthentication, auth.Unavailable: wire.CodeInsufficientResources, auth.Granted: wire.CodeAccepted,
		} {
			f.m.Drop(f.now, home)
			q := f.question(f.sign(f.request(), f.mn, with(aaa, challenge)), direct())
			if q.HomeAddress != home || q.HomeAgent != agent || !aaa.Answers(q.Credentials) || other.Answers(q.Credentials) {
				t.Errorf("question %+v", q)
			}
			if f.m.Len() != 0 {
				t.Fatal("a binding before the answer")
			}
			if code, _ := f.verdict(q.ID, v); code != want {
				t.Errorf("verdict %d: code %v, want %v", v, code, want)
			}
			if bound := f.m.Len() == 1; bound != (v == auth.Granted) {
				t.Errorf("verdict %d: %d bindings", v, f.m.Len())
			}
			if _, answered := f.verdict(q.ID, auth.Granted); answered {
				t.Error("one question answered twice")
			}
		}
		if len(f.m.asking.byQuestion)+len(f.m.asking.byNode) != 0 {
			t.Error("questions are left over")
		}
	}
}

// Shows: MIP-9, AGT-1 (what is wrong without AAA is not asked about: keys, replays; a request without Mobile-AAA authentication is
// denied; a deregistration needs none)
func TestAAAAsksOnlyWhatIsRight(t *testing.T) {
	f, aaa := aaaFixture(t, nil)
	none := func() {
		t.Helper()
		if q, ok := f.m.PollQuestion(); ok {
			t.Errorf("question %+v", q)
		}
	}
	f.must(f.sign(f.request(), f.mn, nil), direct(), wire.CodeBadAAAAuthentication, f.mn)
	none()
	front := f.request()
	front.Extensions = wire.Extensions{{Type: wire.ExtPadding}}
	payload, err := front.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	payload = aaa.AppendExtension(payload, auth.NoChallenge) // in front of the Mobile-Home authentication (RFC 4721 §6)
	f.must(f.mn.AppendExtension(payload, wire.ExtMobileHomeAuthentication), direct(), wire.CodeBadAAAAuthentication, f.mn)
	none()
	forged := f.sign(f.request(), association(t, 1002), with(aaa, nil))
	f.must(forged, direct(), wire.CodeMobileNodeAuthentication, f.mn)
	none()
	r := f.request()
	q := f.question(f.sign(r, f.mn, with(aaa, nil)), direct())
	f.silent(f.sign(r, f.mn, with(aaa, nil)), direct(), ErrPending)
	none()
	if code, _ := f.verdict(q.ID, auth.Granted); !code.Accepted() {
		t.Fatal(code)
	}
	f.must(f.sign(r, f.mn, with(aaa, nil)), direct(), wire.CodeAccepted, f.mn) // a duplicate of an accepted one gets its answer again
	none()
	f.advance(DefaultTolerance * 2)
	f.must(f.sign(r, f.mn, with(aaa, nil)), direct(), wire.CodeIdentificationMismatch, f.mn)
	none()
	gone := f.request()
	gone.Lifetime = 0
	f.must(f.sign(gone, f.mn, nil), direct(), wire.CodeAccepted, f.mn)
	none()
	if f.m.Len() != 0 {
		t.Error("a binding after the deregistration")
	}
}

// Shows: AGT-1 (a later message of the mobile node overtakes what waits for AAA: no binding comes back that it has left)
func TestAAAOvertaken(t *testing.T) {
	f, aaa := aaaFixture(t, nil)
	ask := func(careOf netip.Addr, flags wire.Flags) uint64 {
		t.Helper()
		r := f.request()
		r.CareOfAddress, r.Flags = careOf, r.Flags|flags
		return f.question(f.sign(r, f.mn, with(aaa, nil)), netip.AddrPortFrom(careOf, 40000)).ID
	}
	stays := func(id uint64) {
		t.Helper()
		if _, answered := f.verdict(id, auth.Granted); answered || f.m.Len() != 0 {
			t.Errorf("answered %t, %d bindings after a request that was overtaken", answered, f.m.Len())
		}
	}
	gone := func() []byte {
		r := f.request()
		r.Lifetime = 0
		return f.sign(r, f.mn, nil)
	}
	id := ask(careOf, 0)
	f.must(gone(), direct(), wire.CodeAccepted, f.mn)
	stays(id)

	id = ask(careOf, 0)
	f.m.Drop(f.now, home)
	stays(id)

	id = ask(careOf, 0)
	cfg := f.m.cfg
	cfg.MobileNodes = cfg.MobileNodes[1:]
	if _, err := f.m.Reload(f.now, cfg); err != nil {
		t.Fatal(err)
	}
	stays(id)

	f, aaa = aaaFixture(t, nil)
	first := ask(careOf, 0)
	second := ask(careOf2, wire.FlagSimultaneous)
	if code, _ := f.verdict(second, auth.Granted); code != wire.CodeAccepted {
		t.Fatal(code)
	}
	if _, answered := f.verdict(first, auth.Granted); answered || f.m.Table().Route(home).Tunnels[0].Remote.Addr() != careOf2 {
		t.Error("an older request has taken the place of a newer one")
	}

	first, second = ask(careOf, wire.FlagSimultaneous), ask(careOf, wire.FlagSimultaneous)
	if _, answered := f.verdict(first, auth.Granted); answered {
		t.Error("the request was repeated, and both were answered")
	}
	if code, _ := f.verdict(second, auth.Granted); code != wire.CodeAccepted || f.m.Len() != 2 {
		t.Errorf("code %v, %d bindings", code, f.m.Len())
	}
}

// Shows: AGT-1, GDL-4 (questions that nobody answers are bounded, for each mobile node and for all)
func TestAAABounded(t *testing.T) {
	f, aaa := aaaFixture(t, func(c *Config) { c.MaxPending = maxAsked + 1 })
	var ids []uint64
	for range maxAsked {
		ids = append(ids, f.question(f.sign(f.request(), f.mn, with(aaa, nil)), direct()).ID)
	}
	f.silent(f.sign(f.request(), f.mn, with(aaa, nil)), direct(), ErrRateLimited)
	second := association(t, 1002)
	ask := func() []byte {
		r := f.request()
		r.HomeAddress = home2
		return f.sign(r, second, with(aaa, nil))
	}
	f.question(ask(), direct())
	f.must(ask(), direct(), wire.CodeInsufficientResources, second)
	for i, id := range ids {
		if _, answered := f.verdict(id, auth.Unavailable); answered != (i == maxAsked-1) {
			t.Errorf("question %d: answered %t", i, answered)
		}
	}
	f.question(f.sign(f.request(), f.mn, with(aaa, nil)), direct())
	if n := len(f.m.asking.byQuestion); n != 2 {
		t.Errorf("%d questions wait", n)
	}
}

// Shows: MIP-9, AGT-1 (a mobile node is asked about by its NAI, and gets its home address when the answer is there)
func TestAAAAssignsAddress(t *testing.T) {
	f := dynamicFixture(t, 1, func(c *Config) { c.AAA, c.SimultaneousBindings = true, 2 })
	_, aaa := aaaFixture(t, nil)
	f.mn = association(t, 2000)
	var ids []uint64
	for i := range 2 {
		r := f.dynamic(0, anyone, 600)
		r.CareOfAddress = netip.AddrFrom4([4]byte{10, 0, 2, byte(100 + i)})
		r.Flags |= wire.FlagSimultaneous
		q := f.question(f.sign(r, f.mn, with(aaa, nil)), netip.AddrPortFrom(r.CareOfAddress, 40000))
		if q.NAI != naiOf(0) || q.HomeAddress != anyone {
			t.Errorf("question %+v", q)
		}
		ids = append(ids, q.ID)
	}
	for i, id := range ids { // the second finds the address that the first was given
		if code, _ := f.verdict(id, auth.Granted); !code.Accepted() || f.m.Len() != i+1 || f.m.Table().Len() != 1 {
			t.Fatalf("code %v, %d bindings", code, f.m.Len())
		}
	}
}

// Shows: MIP-3, AGT-1 (nonces: a request that is repeated unchanged while AAA is asked is not taken for a replay)
func TestAAANonces(t *testing.T) {
	a, err := auth.New(auth.Parameters{SPI: 1000, Key: auth.Key("sixteen octets!!"), ReplayProtection: auth.Nonces})
	if err != nil {
		t.Fatal(err)
	}
	f, aaa := aaaFixture(t, func(c *Config) { c.MobileNodes[0].Associations = []*auth.SecurityAssociation{a} })
	f.mn = a
	reply := f.must(f.sign(f.request(), a, with(aaa, nil)), direct(), wire.CodeIdentificationMismatch, a)
	r := f.request()
	r.Identification = r.Identification.WithHigh(reply.Identification)
	q := f.question(f.sign(r, a, with(aaa, nil)), direct())
	f.silent(f.sign(r, a, with(aaa, nil)), direct(), ErrPending)
	if code, _ := f.verdict(q.ID, auth.Granted); code != wire.CodeAccepted {
		t.Error(code)
	}
}

func FuzzAAA(f *testing.F) {
	aaa, err := auth.NewAAA(auth.Parameters{SPI: wire.CHAPSPI, Key: auth.Key("the user's secret")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(with(aaa, nil)(nil))
	f.Add(with(aaa, []byte("a challenge"))(nil))
	f.Fuzz(func(t *testing.T, tail []byte) {
		x := newFixture(t, func(c *Config) { c.AAA = true })
		err := x.m.HandleRequest(x.now, Request{Source: direct(), Payload: x.sign(x.request(), x.mn, func(b []byte) []byte { return append(b, tail...) })})
		q, asked := x.m.PollQuestion()
		_, answered := x.m.PollTransmit()
		var denied *Denied
		if answered != errors.As(err, &denied) || asked != (err == nil) {
			t.Fatalf("asked %t, answered %t with error %v", asked, answered, err)
		}
		if !asked {
			return
		}
		if code, ok := x.verdict(q.ID, auth.Granted); !ok || !code.Accepted() && code < wire.CodeReasonUnspecified {
			t.Fatalf("answered %t with code %v", ok, code)
		}
	})
}
