package mobilenode

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"slices"
	"testing"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/wire"
)

// Shows: MIP-1, MIP-8 (T bit, TTL 255)
func TestRegister(t *testing.T) {
	n := newNode(t, direct(t))
	if n.State() != StateIdle {
		t.Errorf("state %v", n.State())
	}
	if _, ok := n.Deadline(); ok {
		t.Error("an idle machine has a deadline")
	}
	n.Register(at(0))
	if n.State() != StateRegistering {
		t.Errorf("state %v", n.State())
	}
	r := n.request()
	if r.To != netip.AddrPortFrom(homeAgent, 434) || r.TTL != 255 {
		t.Errorf("sent to %v with TTL %d", r.To, r.TTL)
	}
	if r.Flags != wire.FlagDecapsulation|wire.FlagReverseTunnel || r.Lifetime != 600 || r.HomeAddress != homeAddress ||
		r.HomeAgent != homeAgent || r.CareOfAddress != careOf || len(r.Extensions) != 1 {
		t.Errorf("request %+v", r.RegistrationRequest)
	}
	if d := r.Identification.Time().Sub(wall).Abs(); d > 20*time.Millisecond {
		t.Errorf("Identification is %v off the wall clock", d)
	}
	n.handle(30*time.Millisecond, n.answer(r, wire.CodeAccepted, func(m *wire.RegistrationReply) {
		withTNC(m)
		m.Lifetime = 300
	}))
	v := event[Accepted](n).Reply
	want := VerifiedReply{
		origin: origin, homeAgent: homeAgent, homeAddress: homeAddress, careOfAddress: careOf,
		sentAt: boot(0), receivedAt: boot(30 * time.Millisecond), trustedNetwork: true, strongKey: true,
		lifetime: 300 * time.Second, tunnelReason: "asked for by the configuration",
	}
	if v != want {
		t.Errorf("reply\n%+v, want\n%+v", v, want)
	}
	if b, ok := n.Binding(); !ok || b != v || n.State() != StateRegistered {
		t.Errorf("binding %+v, %v, state %v", b, ok, n.State())
	}
	if v.Origin() != origin || v.HomeAgent() != homeAgent || v.HomeAddress() != homeAddress || v.CareOfAddress() != careOf ||
		v.Code() != 0 || v.SentAt() != boot(0) || v.ReceivedAt() != boot(30*time.Millisecond) || !v.TrustedNetwork() ||
		!v.StrongKey() || v.Lifetime() != 300*time.Second || v.Tunnel() != (Tunnel{}) {
		t.Errorf("getters do not agree with %+v", v)
	}
}

// Shows: MIP-1 (registration through a foreign agent)
func TestThroughForeignAgent(t *testing.T) {
	c := viaAgent(t)
	c.EncapsulatingDelivery = true
	c.ForeignAssociation = associate(t, 2000, auth.HMACSHA256, "of the foreign agent")
	c.Encapsulation = EncapsulationAuto // RFC 3519 §4.4: not through a foreign agent
	n := newNode(t, c)
	n.Register(at(0))
	r := n.request()
	if r.To != netip.AddrPortFrom(foreignAgent, 434) || r.TTL != 255 || r.CareOfAddress != foreignCoA || r.HomeAgent != homeAgent {
		t.Errorf("sent to %v with TTL %d: %+v", r.To, r.TTL, r.RegistrationRequest)
	}
	if r.Flags != wire.FlagReverseTunnel {
		t.Errorf("flags %v, want T without D", r.Flags)
	}
	types := []wire.ExtensionType{wire.ExtMobileHomeAuthentication, wire.ExtEncapsulatingDelivery, wire.ExtMobileForeignAuthentication}
	var got []wire.ExtensionType
	for _, e := range r.Extensions {
		got = append(got, e.Type)
	}
	if !slices.Equal(got, types) {
		t.Fatalf("extensions %v, want %v", got, types)
	}
	if err := c.ForeignAssociation.Verify(r.Payload, r.Offset(2), wire.ExtMobileForeignAuthentication); err != nil {
		t.Error(err)
	}
	// A reply without, with a wrong, and with the right Mobile-Foreign authenticator (RFC 5944 §3.6.2.1 a).
	p := n.answer(r, wire.CodeAccepted, nil)
	if err := n.HandleReply(at(0), p); !errors.Is(err, ErrNotAuthenticated) {
		t.Errorf("without: %v", err)
	}
	wrong := associate(t, 2000, auth.HMACSHA256, "of another agent").AppendExtension(bytes.Clone(p), wire.ExtMobileForeignAuthentication)
	if err := n.HandleReply(at(0), wrong); !errors.Is(err, ErrNotAuthenticated) || !errors.Is(err, auth.ErrAuthenticator) {
		t.Errorf("wrong: %v", err)
	}
	right := c.ForeignAssociation.AppendExtension(bytes.Clone(p), wire.ExtMobileForeignAuthentication)
	if err := n.HandleReply(at(0), c.ForeignAssociation.AppendExtension(bytes.Clone(right), wire.ExtMobileForeignAuthentication)); !errors.Is(err, ErrNotAuthenticated) {
		t.Errorf("twice: %v", err)
	}
	n.none("refused replies")
	n.handle(time.Second/2, right)
	event[Accepted](n)
}

// The R bit of an advertisement: a co-located care-of address registered through the agent.
//
// Shows: MIP-5 (R bit)
func TestCoLocatedThroughForeignAgent(t *testing.T) {
	c := viaAgent(t)
	c.CareOfAddress, c.CoLocated, c.Simultaneous = careOf, true, true
	n := newNode(t, c)
	n.Register(at(0))
	if r := n.request(); r.Flags != wire.FlagSimultaneous|wire.FlagDecapsulation|wire.FlagReverseTunnel || r.To.Addr() != foreignAgent {
		t.Errorf("flags %v, sent to %v", r.Flags, r.To)
	}
}

func TestTTL(t *testing.T) {
	for _, c := range []struct {
		cfg     Config
		reverse bool
		want    uint8
	}{
		{direct(t), true, 255}, {direct(t), false, 64}, {viaAgent(t), true, 255}, {viaAgent(t), false, 1},
	} {
		c.cfg.ReverseTunnel = c.reverse
		n := newNode(t, c.cfg)
		n.Register(at(0))
		if r := n.request(); r.TTL != c.want {
			t.Errorf("to %v with T %v: TTL %d, want %d", r.To, c.reverse, r.TTL, c.want)
		}
	}
}

// Shows: MIP-1 (the lesser lifetime counts, from the time of sending)
func TestLifetime(t *testing.T) {
	for _, c := range []struct {
		asked   time.Duration
		granted uint16
		want    time.Duration
	}{
		{600 * time.Second, 300, 300 * time.Second},
		{600 * time.Second, 900, 600 * time.Second},
		{600 * time.Second, wire.LifetimeInfinite, 600 * time.Second},
		{Infinite, 100, 100 * time.Second},
		{Infinite, wire.LifetimeInfinite, Infinite},
		{0, 5000, 1800 * time.Second},
	} {
		cfg := direct(t)
		cfg.Lifetime = c.asked
		n := newNode(t, cfg)
		v := n.registered(0, func(m *wire.RegistrationReply) { m.Lifetime = c.granted })
		if v.Lifetime() != c.want {
			t.Errorf("asked %v, granted %d: %v, want %v", c.asked, c.granted, v.Lifetime(), c.want)
		}
		if _, ok := n.Deadline(); ok == (c.want == Infinite) {
			t.Errorf("asked %v, granted %d: deadline %v", c.asked, c.granted, ok)
		}
	}
}

// Shows: MIP-1 (renewal before expiry)
func TestRenewal(t *testing.T) {
	for _, c := range []struct {
		granted uint16
		renew   time.Duration
	}{{600, 540 * time.Second}, {40, 30 * time.Second}, {240, 180 * time.Second}} {
		n := newNode(t, direct(t))
		n.registered(0, func(m *wire.RegistrationReply) { m.Lifetime = c.granted })
		times, reqs := n.step(c.renew)
		if !slices.Equal(times, []time.Duration{c.renew}) {
			t.Fatalf("lifetime %d: requests at %v, want %v", c.granted, times, c.renew)
		}
		n.handle(c.renew+time.Millisecond, n.answer(reqs[0], wire.CodeAccepted, func(m *wire.RegistrationReply) { m.Lifetime = c.granted }))
		if v := event[Accepted](n).Reply; v.SentAt() != boot(c.renew) {
			t.Errorf("lifetime %d: reply to a request of %v", c.granted, v.SentAt())
		}
		if times, _ := n.step(2*c.renew - time.Nanosecond); len(times) != 0 {
			t.Errorf("lifetime %d: requests at %v", c.granted, times)
		}
		if times, _ := n.step(2 * c.renew); len(times) != 1 {
			t.Errorf("lifetime %d: no second renewal", c.granted)
		}
	}
}

// Renewal without an answer: the series repeats until the lifetime, counted from sending, has ended.
func TestExpiry(t *testing.T) {
	n := newNode(t, direct(t))
	n.registered(0, func(m *wire.RegistrationReply) { m.Lifetime = 200 })
	times, _ := n.step(200*time.Second - 1)
	if len(times) == 0 || times[0] != 150*time.Second {
		t.Fatalf("requests at %v", times)
	}
	if _, ok := n.Binding(); !ok {
		t.Error("the binding is gone before its time")
	}
	n.all()
	n.HandleTimeout(at(200 * time.Second))
	if es := n.all(); len(es) != 1 || es[0] != (Expired{}) {
		t.Errorf("events %+v", es)
	}
	if _, ok := n.Binding(); ok || n.State() == StateRegistered {
		t.Errorf("the binding outlives its lifetime, state %v", n.State())
	}
	n.requests()
	n.step(time.Hour)
	es := n.all()
	if len(es) != 1 || n.State() != StateIdle {
		t.Errorf("at the end: events %+v, state %v", es, n.State())
	}
	if _, ok := n.Deadline(); ok {
		t.Error("an idle machine has a deadline")
	}
}

// Shows: MIP-3 (each retransmission has a fresh Identification)
func TestRetransmission(t *testing.T) {
	c := direct(t)
	c.Retransmission = Retransmission{Initial: time.Second, Factor: 3, Max: 10 * time.Second, Count: 5}
	n := newNode(t, c)
	n.Register(at(0))
	reqs := n.requests()
	times, more := n.step(time.Hour)
	reqs = append(reqs, more...)
	if want := []time.Duration{1 * time.Second, 4 * time.Second, 13 * time.Second, 23 * time.Second}; !slices.Equal(times, want) {
		t.Errorf("retransmissions at %v, want %v", times, want)
	}
	for i := 1; i < len(reqs); i++ {
		if reqs[i].Identification <= reqs[i-1].Identification {
			t.Errorf("Identification %v follows %v", reqs[i].Identification, reqs[i-1].Identification)
		}
		if d := reqs[i].Identification.Time().Sub(wall.Add(times[i-1])).Abs(); d > 20*time.Millisecond {
			t.Errorf("Identification %d is %v off the wall clock", i, d)
		}
	}
	if e := event[Unanswered](n); e != (Unanswered{Transmissions: 5, Since: boot(0)}) {
		t.Errorf("event %+v", e)
	}
	if n.State() != StateIdle {
		t.Errorf("state %v", n.State())
	}
	// The last one is answered all the same.
	n.handle(time.Minute, n.answer(reqs[4], wire.CodeAccepted, nil))
	if v := event[Accepted](n).Reply; v.SentAt() != boot(23*time.Second) || v.ReceivedAt() != boot(time.Minute) {
		t.Errorf("sent at %v, received at %v", v.SentAt(), v.ReceivedAt())
	}
}

func TestDefaultRetransmission(t *testing.T) {
	n := newNode(t, direct(t))
	n.Register(at(0))
	n.requests()
	times, _ := n.step(time.Hour)
	if want := []time.Duration{1 * time.Second, 3 * time.Second, 7 * time.Second, 15 * time.Second, 31 * time.Second}; !slices.Equal(times, want) {
		t.Errorf("retransmissions at %v, want %v", times, want)
	}
}

// The reply to an earlier transmission proves only as much as that one's sending time; a later reply is still taken, an
// earlier one is not.
//
// Shows: DET-4 (sending time of the request that is answered)
func TestReplyToEarlierTransmission(t *testing.T) {
	n := newNode(t, direct(t))
	n.Register(at(0))
	first := n.request()
	_, more := n.step(3 * time.Second)
	second, third := more[0], more[1]
	n.handle(3100*time.Millisecond, n.answer(second, wire.CodeAccepted, nil))
	if v := event[Accepted](n).Reply; v.SentAt() != boot(time.Second) {
		t.Errorf("sent at %v, want %v", v.SentAt(), boot(time.Second))
	}
	if err := n.HandleReply(at(3200*time.Millisecond), n.answer(first, wire.CodeAccepted, nil)); !errors.Is(err, ErrNotOutstanding) {
		t.Errorf("the answer to an older request: %v, want ErrNotOutstanding", err)
	}
	n.none("an older answer")
	n.handle(3300*time.Millisecond, n.answer(third, wire.CodeAccepted, nil))
	if v := event[Accepted](n).Reply; v.SentAt() != boot(3*time.Second) {
		t.Errorf("sent at %v, want %v", v.SentAt(), boot(3*time.Second))
	}
}

// The monitor registers again in the middle of a lifetime. A late answer to what went before does not stop the new
// series.
func TestRegisterAgain(t *testing.T) {
	n := newNode(t, direct(t))
	n.Register(at(0))
	old := n.request()
	n.Register(at(5 * time.Second))
	fresh := n.request()
	if fresh.Identification <= old.Identification {
		t.Errorf("Identification %v follows %v", fresh.Identification, old.Identification)
	}
	n.handle(5100*time.Millisecond, n.answer(old, wire.CodeAccepted, nil))
	event[Accepted](n)
	times, reqs := n.step(6 * time.Second)
	if len(times) != 1 {
		t.Fatalf("requests at %v: the new series has ended", times)
	}
	n.handle(6100*time.Millisecond, n.answer(reqs[0], wire.CodeAccepted, nil))
	event[Accepted](n)
	if times, _ := n.step(500 * time.Second); len(times) != 0 {
		t.Errorf("requests at %v after the answer", times)
	}
}

// Shows: MIP-1 (no more than one unprompted registration a second, RFC 5944 §3.6)
func TestRegisterRate(t *testing.T) {
	n := newNode(t, direct(t))
	count := 0
	for d := time.Duration(0); d < 3*time.Second; d += 100 * time.Millisecond {
		n.HandleTimeout(at(d))
		n.Register(at(d))
		count += len(n.requests())
	}
	if count != 3 {
		t.Errorf("%d requests in 3 s, want 3", count)
	}
}

func TestStop(t *testing.T) {
	n := newNode(t, direct(t))
	n.Register(at(0))
	r := n.request()
	n.Stop(at(time.Second / 2))
	if times, _ := n.step(time.Hour); len(times) != 0 {
		t.Errorf("requests at %v after Stop", times)
	}
	n.none("stopped")
	n.handle(time.Second, n.answer(r, wire.CodeAccepted, nil))
	event[Accepted](n)
	// A series that is stopped while a binding lives leaves its renewal.
	n.Register(at(100 * time.Second))
	n.requests()
	n.Stop(at(100 * time.Second))
	if times, _ := n.step(540 * time.Second); !slices.Equal(times, []time.Duration{540 * time.Second}) {
		t.Errorf("requests at %v, want the renewal at 540s", times)
	}
}

// Shows: MIP-1 (deregistration of one and of all bindings)
func TestDeregister(t *testing.T) {
	for _, all := range []bool{false, true} {
		n := newNode(t, direct(t))
		n.Register(at(0))
		pending := n.request()
		n.handle(0, n.answer(pending, wire.CodeAccepted, nil))
		n.all()
		n.Register(at(2 * time.Second))
		pending = n.request()
		flags, coa := wire.FlagDecapsulation|wire.FlagReverseTunnel, careOf
		if all {
			n.DeregisterAll(at(2100 * time.Millisecond))
			flags, coa = wire.FlagReverseTunnel, homeAddress // RFC 5944 App. C.3
		} else {
			n.Deregister(at(2100 * time.Millisecond))
		}
		r := n.request()
		if r.Lifetime != 0 || r.CareOfAddress != coa || r.Flags != flags || r.DeregistersAll() != all {
			t.Errorf("all %v: request %+v", all, r.RegistrationRequest)
		}
		if n.State() != StateDeregistering {
			t.Errorf("all %v: state %v", all, n.State())
		}
		if err := n.HandleReply(at(2200*time.Millisecond), n.answer(pending, wire.CodeAccepted, nil)); !errors.Is(err, ErrNotOutstanding) {
			t.Errorf("all %v: the answer to a registration before: %v", all, err)
		}
		_, more := n.step(3200 * time.Millisecond)
		if len(more) != 1 || more[0].Lifetime != 0 {
			t.Fatalf("all %v: retransmissions %+v", all, more)
		}
		n.handle(3300*time.Millisecond, n.answer(more[0], wire.CodeAccepted, withTNC))
		v := event[Deregistered](n).Reply
		if v.Lifetime() != 0 || v.CareOfAddress() != coa || v.SentAt() != boot(3100*time.Millisecond) || !v.TrustedNetwork() {
			t.Errorf("all %v: reply %+v", all, v)
		}
		if _, ok := n.Binding(); ok || n.State() != StateIdle {
			t.Errorf("all %v: still bound, state %v", all, n.State())
		}
		if _, ok := n.Deadline(); ok {
			t.Errorf("all %v: a timer is armed", all)
		}
	}
}

func TestDeregistrationUnanswered(t *testing.T) {
	n := newNode(t, direct(t))
	n.registered(0, nil)
	n.Deregister(at(2 * time.Second))
	n.requests()
	n.step(time.Hour)
	if e := event[Unanswered](n); !e.Deregistration || e.Transmissions != 6 || e.Since != boot(2*time.Second) {
		t.Errorf("event %+v", e)
	}
	if _, ok := n.Binding(); ok || n.State() != StateIdle {
		t.Errorf("still bound, state %v", n.State())
	}
}

// A home agent that grants no time at all has no binding.
func TestLifetimeZeroGranted(t *testing.T) {
	n := newNode(t, direct(t))
	n.Register(at(0))
	n.handle(0, n.answer(n.request(), wire.CodeAccepted, func(m *wire.RegistrationReply) { m.Lifetime = 0 }))
	event[Deregistered](n)
	if n.State() != StateIdle {
		t.Errorf("state %v", n.State())
	}
}

func TestRandomnessFails(t *testing.T) {
	m, err := NewMachine(direct(t), bytes.NewReader(nil))
	if err != nil {
		t.Fatal(err)
	}
	m.Register(at(0))
	if !errors.Is(m.Err(), io.EOF) {
		t.Errorf("Err() = %v, want io.EOF", m.Err())
	}
	if _, ok := m.PollTransmit(); ok {
		t.Error("a dead machine transmits")
	}
	if _, ok := m.Deadline(); ok {
		t.Error("a dead machine has a deadline")
	}
	if err := m.HandleReply(at(0), nil); !errors.Is(err, ErrDead) {
		t.Errorf("HandleReply: %v, want ErrDead", err)
	}
	m.Register(at(time.Minute))
	m.HandleTimeout(at(time.Hour))
	if _, ok := m.PollTransmit(); ok || m.State() != StateIdle {
		t.Errorf("a dead machine goes on, state %v", m.State())
	}
}

func TestConfig(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no home agent":                func(c *Config) { c.HomeAgent = netip.Addr{} },
		"broadcast home agent":         func(c *Config) { c.HomeAgent = netip.MustParseAddr("255.255.255.255") },
		"IPv6 home address":            func(c *Config) { c.HomeAddress = netip.MustParseAddr("2001:db8::1") },
		"care-of address unspecified":  func(c *Config) { c.CareOfAddress = netip.MustParseAddr("0.0.0.0") },
		"multicast foreign agent":      func(c *Config) { c.ForeignAgent = netip.MustParseAddr("224.0.0.11") },
		"no association":               func(c *Config) { c.Association = nil },
		"association with nobody":      func(c *Config) { c.ForeignAssociation = c.Association },
		"lifetime below a second":      func(c *Config) { c.Lifetime = time.Millisecond },
		"broken seconds":               func(c *Config) { c.Lifetime = 1500 * time.Millisecond },
		"lifetime too long":            func(c *Config) { c.Lifetime = 65536 * time.Second },
		"negative lifetime":            func(c *Config) { c.Lifetime = -time.Second },
		"delivery style without agent": func(c *Config) { c.EncapsulatingDelivery = true },
		"UDP through an agent": func(c *Config) {
			c.ForeignAgent, c.Encapsulation = foreignAgent, EncapsulationUDP
		},
		"retransmission too fast": func(c *Config) { c.Retransmission.Initial = 999 * time.Millisecond },
		"longest below first":     func(c *Config) { c.Retransmission = Retransmission{Initial: 2 * time.Second, Max: time.Second} },
		"shrinking intervals":     func(c *Config) { c.Retransmission.Factor = 0.5 },
		"negative count":          func(c *Config) { c.Retransmission.Count = -1 },
	} {
		c := direct(t)
		change(&c)
		if _, err := NewMachine(c, nil); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v, want ErrConfig", name, err)
		}
	}
	m, err := NewMachine(direct(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Config().Retransmission; got != (Retransmission{time.Second, 2, 32 * time.Second, 6}) {
		t.Errorf("default retransmission %+v", got)
	}
}
