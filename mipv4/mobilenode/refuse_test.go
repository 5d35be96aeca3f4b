package mobilenode

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/wire"
)

// mismatch is the home agent's 133 with its time of day at d.
func (n *node) mismatch(r sent, d time.Duration) []byte {
	return n.answer(r, wire.CodeIdentificationMismatch, func(m *wire.RegistrationReply) {
		m.Identification = r.Identification.WithHigh(wire.IdentificationAt(wall.Add(d)))
	})
}

// A clock that is off by a day is mended by the first 133, and the new request leaves at once.
//
// Shows: MIP-3 (resynchronisation)
func TestResynchronisation(t *testing.T) {
	for _, off := range []time.Duration{24 * time.Hour, -24 * time.Hour} {
		n := newNode(t, direct(t))
		now := at(0)
		now.Wall = now.Wall.Add(off)
		n.Register(now)
		r := n.request()
		if err := n.HandleReply(now, n.mismatch(r, 0)); err != nil {
			t.Fatal(err)
		}
		if e := event[Refused](n); e.Code != 133 || !e.Retrying || e.ByForeignAgent {
			t.Errorf("event %+v", e)
		}
		again := n.request()
		if d := again.Identification.Time().Sub(wall).Abs(); d > time.Second {
			t.Errorf("clock off by %v: Identification still %v off", off, d)
		}
		if err := n.HandleReply(now, n.answer(again, 0, nil)); err != nil {
			t.Fatal(err)
		}
		event[Accepted](n)
	}
}

// Shows: MIP-3 (only on an authenticated 133, and only to the newest request)
func TestResynchronisationRefused(t *testing.T) {
	n := newNode(t, direct(t))
	n.Register(at(0))
	first := n.request()
	_, more := n.step(time.Second)
	second := more[0]
	for name, c := range map[string]struct {
		p    []byte
		want error
	}{
		"to an older request": {n.mismatch(first, -time.Hour), ErrSuperseded},
		"not authenticated":   {n.mismatch(second, -time.Hour)[:wire.ReplyLen], ErrNotAuthenticated},
		"another low half": {n.answer(second, 133, func(m *wire.RegistrationReply) {
			m.Identification = wire.IdentificationAt(wall.Add(-time.Hour))
		}), ErrNotOutstanding},
		"wrong key": {func() []byte {
			other := &node{t: t, Machine: n.Machine, peer: associate(t, 1024, auth.HMACMD5, "sixteen octets!?")}
			return other.mismatch(second, -time.Hour)
		}(), auth.ErrAuthenticator},
	} {
		if err := n.HandleReply(at(1100*time.Millisecond), c.p); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if off := n.cfg.Association.ClockOffset(); off != 0 {
			t.Errorf("%s: the clock was set by %v", name, off)
		}
	}
	for _, e := range n.all() {
		if _, ok := e.(Unverified); !ok {
			t.Errorf("event %+v", e)
		}
	}
	if r := n.requests(); len(r) != 0 {
		t.Errorf("%d requests were sent", len(r))
	}
	n.handle(1200*time.Millisecond, n.mismatch(second, -time.Hour))
	if off := n.cfg.Association.ClockOffset(); off > -59*time.Minute {
		t.Errorf("the genuine 133 set the clock by %v", off)
	}
	if r := n.request(); r.Identification.Time().After(wall) {
		t.Errorf("the new request has %v", r.Identification.Time())
	}
	// The same 133 once more is a replay.
	if err := n.HandleReply(at(1300*time.Millisecond), n.mismatch(second, -2*time.Hour)); !errors.Is(err, ErrNotOutstanding) {
		t.Errorf("replayed 133: %v", err)
	}
}

// A home agent that always says 133 is not asked faster than retransmission goes.
func TestEndlessMismatch(t *testing.T) {
	n := newNode(t, direct(t))
	n.Register(at(0))
	r := n.request()
	count := 1
	for range 10 {
		n.handle(0, n.mismatch(r, time.Hour))
		rs := n.requests()
		if len(rs) == 0 {
			break
		}
		count += len(rs)
		r = rs[0]
	}
	if count != 1+maxResyncs {
		t.Errorf("%d requests at once, want %d", count, 1+maxResyncs)
	}
	if times, _ := n.step(time.Second); len(times) != 1 {
		t.Errorf("retransmissions at %v", times)
	}
}

// Two machines on two interfaces share the association; the answer to one sets the clock for both.
//
// Shows: MIP-3 (one source per association)
func TestTwoMachines(t *testing.T) {
	a := newNode(t, direct(t))
	c := a.cfg
	c.CareOfAddress = netip.MustParseAddr("10.0.2.51")
	c.Origin.Interface = 4
	b := newNode(t, c)
	now := at(0)
	now.Wall = now.Wall.Add(-48 * time.Hour)
	a.Register(now)
	b.Register(now)
	ra, rb := a.request(), b.request()
	if ra.Identification >= rb.Identification {
		t.Errorf("Identification %v follows %v", rb.Identification, ra.Identification)
	}
	for n, r := range map[*node]sent{a: ra, b: rb} {
		if err := n.HandleReply(now, n.mismatch(r, 0)); err != nil {
			t.Fatal(err)
		}
	}
	ra, rb = a.request(), b.request()
	if ra.Identification == rb.Identification {
		t.Error("both have the same Identification")
	}
	for n, r := range map[*node]sent{a: ra, b: rb} {
		if d := r.Identification.Time().Sub(wall).Abs(); d > time.Second {
			t.Errorf("Identification is %v off the home agent's clock", d)
		}
		n.all()
		if err := n.HandleReply(now, n.answer(r, 0, nil)); err != nil {
			t.Fatal(err)
		}
		event[Accepted](n)
	}
}

// Shows: MIP-4 (HA address), MIP-1
func TestUnknownHomeAgent(t *testing.T) {
	other := netip.MustParseAddr("10.0.1.11")
	n := newNode(t, direct(t))
	n.Register(at(0))
	r := n.request()
	n.handle(0, n.answer(r, wire.CodeUnknownHomeAgent, func(m *wire.RegistrationReply) { m.HomeAgent = other }))
	if e := event[Refused](n); e.HomeAgent != other || !e.Retrying || e.Code != 136 {
		t.Errorf("event %+v", e)
	}
	again := n.request()
	if again.HomeAgent != other || again.To.Addr() != homeAgent {
		t.Errorf("sent to %v for home agent %v", again.To, again.HomeAgent)
	}
	n.handle(0, n.answer(again, 0, nil))
	if v := event[Accepted](n).Reply; v.HomeAgent() != other {
		t.Errorf("home agent %v", v.HomeAgent())
	}

	// The same address again, or none that can be used, is the end.
	for _, bad := range []netip.Addr{homeAgent, netip.MustParseAddr("10.0.255.255"), {}, netip.MustParseAddr("255.255.255.255")} {
		n := newNode(t, direct(t))
		n.Register(at(0))
		n.handle(0, n.answer(n.request(), wire.CodeUnknownHomeAgent, func(m *wire.RegistrationReply) { m.HomeAgent = bad }))
		e := event[Refused](n)
		if usable := bad == netip.MustParseAddr("10.0.255.255"); e.Retrying != usable || e.HomeAgent.IsValid() != usable {
			t.Errorf("home agent %v: event %+v", bad, e)
		}
	}

	// When nobody answers to that, the next series names the configured one again.
	n = newNode(t, direct(t))
	n.Register(at(0))
	n.handle(0, n.answer(n.request(), wire.CodeUnknownHomeAgent, func(m *wire.RegistrationReply) { m.HomeAgent = other }))
	n.requests()
	n.step(time.Hour)
	n.Register(at(2 * time.Hour))
	if r := n.request(); r.To.Addr() != homeAgent || r.HomeAgent != homeAgent {
		t.Errorf("sent to %v for home agent %v", r.To, r.HomeAgent)
	}
}

// Denials that nothing mends end the series; those that may pass are waited out; and the text says whom and what.
//
// Shows: MIP-4
func TestDenials(t *testing.T) {
	for _, c := range []struct {
		code  wire.Code
		wait  bool
		words string
	}{
		{wire.CodeFAReasonUnspecified, false, `foreign agent 10.0.3.1 denied registration: code 64 "reason unspecified"`},
		{wire.CodeFAInsufficientResources, true, `foreign agent 10.0.3.1 denied registration: code 66 "insufficient resources"`},
		{wire.CodeFAHomeAgentAuthentication, false, "home agent failed authentication"},
		{wire.CodeFAPoorlyFormedReply, true, `code 71 "poorly formed Reply"`},
		{wire.CodeFAReverseTunnelUnavailable, false, "requested reverse tunnel unavailable"},
		{wire.CodeFAInvalidCareOfAddress, false, "no longer offers"},
		{wire.CodeFARegistrationTimeout, true, "registration timeout"},
		{wire.CodeFAHomeNetworkUnreachable, true, "home network unreachable"},
		{wire.CodeFAHomeAgentUnreachable, true, "home agent unreachable"},
		{wire.CodeInvalidHomeAgentAddress, false, "Invalid Home Agent Address"},
		{wire.CodeReasonUnspecified, false, `home agent 10.0.1.10 denied registration: code 128 "reason unspecified"`},
		{wire.CodeProhibited, false, "administratively prohibited"},
		{wire.CodeInsufficientResources, true, "insufficient resources"},
		{wire.CodeMobileNodeAuthentication, false, "check key, SPI, algorithm"},
		{wire.CodeTooManyBindings, false, "too many simultaneous mobility bindings"},
		{wire.CodeReverseTunnelUnavailable, false, "requested reverse tunnel unavailable"},
		{200, false, "200 (not assigned)"},
		{255, false, "255 (not assigned)"},
	} {
		n := newNode(t, viaAgent(t))
		n.Register(at(0))
		r := n.request()
		p := n.deny(r, c.code, 600)
		if !c.code.ByForeignAgent() {
			p = n.answer(r, c.code, nil)
		}
		n.handle(100*time.Millisecond, p)
		e := event[Refused](n)
		var re *RegistrationError
		if e.Code != c.code || e.ByForeignAgent != c.code.ByForeignAgent() || e.Retrying != c.wait || !errors.As(e.Err, &re) ||
			re.Code != c.code || !strings.Contains(e.Err.Error(), c.words) {
			t.Errorf("code %v: event %+v", c.code, e)
		}
		if err := n.HandleReply(at(100*time.Millisecond), p); err == nil {
			t.Errorf("code %v: the same denial again is taken", c.code)
		}
		n.none("the same denial again")
		times, _ := n.step(time.Second)
		if (len(times) == 1) != c.wait || (n.State() == StateRegistering) != c.wait {
			t.Errorf("code %v: requests at %v, state %v", c.code, times, n.State())
		}
	}
}

// A foreign agent's denial is not authenticated: the home agent's reply to the very request still counts.
func TestForgedForeignDenial(t *testing.T) {
	n := newNode(t, viaAgent(t))
	n.Register(at(0))
	r := n.request()
	n.handle(0, n.deny(r, wire.CodeFAProhibited, 0))
	event[Refused](n)
	n.handle(50*time.Millisecond, n.answer(r, 0, nil))
	event[Accepted](n)
	if n.State() != StateRegistered {
		t.Errorf("state %v", n.State())
	}
}

// Shows: MIP-4 (lifetime adapted)
func TestLifetimeTooLong(t *testing.T) {
	n := newNode(t, viaAgent(t))
	n.Register(at(0))
	n.handle(0, n.deny(n.request(), wire.CodeRequestedLifetimeTooLong, 120))
	if e := event[Refused](n); !e.Retrying {
		t.Errorf("event %+v", e)
	}
	r := n.request()
	if r.Lifetime != 120 {
		t.Errorf("lifetime %d, want 120", r.Lifetime)
	}
	n.handle(0, n.answer(r, 0, nil))
	if v := event[Accepted](n).Reply; v.Lifetime() != 120*time.Second {
		t.Errorf("lifetime %v", v.Lifetime())
	}
	for _, bad := range []uint16{0, 600, 601} {
		n := newNode(t, viaAgent(t))
		n.Register(at(0))
		n.handle(0, n.deny(n.request(), wire.CodeRequestedLifetimeTooLong, bad))
		if e := event[Refused](n); e.Retrying || n.State() != StateIdle {
			t.Errorf("lifetime %d: event %+v, state %v", bad, e, n.State())
		}
	}
}

// Shows: MIP-4, MIP-8 (T bit adapted)
func TestReverseTunnelMandatory(t *testing.T) {
	for _, code := range []wire.Code{wire.CodeFAReverseTunnelMandatory, wire.CodeReverseTunnelMandatory} {
		c := viaAgent(t)
		c.ReverseTunnel = false
		n := newNode(t, c)
		n.Register(at(0))
		for i, retrying := range []bool{true, false} {
			r := n.request()
			if r.Flags.Has(wire.FlagReverseTunnel) != (i == 1) {
				t.Errorf("code %v: request %d has flags %v", code, i, r.Flags)
			}
			if code.ByForeignAgent() {
				n.handle(0, n.deny(r, code, 0))
			} else {
				n.handle(0, n.answer(r, code, nil))
			}
			if e := event[Refused](n); e.Retrying != retrying {
				t.Errorf("code %v: event %+v", code, e)
			}
		}
		n.none("refused for good")
	}
}

// A renewal that is denied leaves the binding to its lifetime.
func TestDeniedRenewal(t *testing.T) {
	n := newNode(t, direct(t))
	n.registered(0, nil)
	_, reqs := n.step(540 * time.Second)
	n.handle(540*time.Second, n.answer(reqs[0], wire.CodeProhibited, nil))
	if e := event[Refused](n); e.Retrying || n.State() != StateRegistered {
		t.Errorf("event %+v, state %v", e, n.State())
	}
	if times, _ := n.step(600 * time.Second); len(times) != 0 {
		t.Errorf("requests at %v", times)
	}
	event[Expired](n)
}

// A denial that arrives after the series has ended changes nothing but is told.
func TestDenialAfterStop(t *testing.T) {
	n := newNode(t, direct(t))
	n.Register(at(0))
	r := n.request()
	n.Stop(at(0))
	n.handle(time.Second, n.mismatch(r, time.Hour))
	if e := event[Refused](n); e.Retrying {
		t.Errorf("event %+v", e)
	}
	n.none("stopped")
	if n.State() != StateIdle {
		t.Errorf("state %v", n.State())
	}
}

// A foreign agent that does not honour what the home agent grants: the binding is taken back.
//
// Shows: MIP-9 (FA error extension)
func TestForeignAgentError(t *testing.T) {
	n := newNode(t, viaAgent(t))
	n.Register(at(0))
	n.handle(0, n.answer(n.request(), 0, nil, wire.ForeignAgentError(wire.CodeFAInsufficientResources)))
	e := event[Refused](n)
	if e.Code != wire.CodeFAInsufficientResources || !e.ByForeignAgent || e.Retrying {
		t.Errorf("event %+v", e)
	}
	r := n.request()
	if r.Lifetime != 0 || n.State() != StateDeregistering {
		t.Errorf("lifetime %d, state %v", r.Lifetime, n.State())
	}
	n.handle(0, n.answer(r, 0, nil))
	event[Deregistered](n)
}
