package discovery

import (
	"bytes"
	"errors"
	"io"
	mathrand "math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

var (
	agentA = netip.MustParseAddr("172.16.5.1")
	agentB = netip.MustParseAddr("172.16.5.2")
	hwA    = packet.HardwareAddr{2, 0, 0, 0, 0, 1}
	hwB    = packet.HardwareAddr{2, 0, 0, 0, 0, 2}
)

// at is d after a boot time that is not zero.
func at(d time.Duration) link.Instant {
	return link.Instant{Boot: 1000*time.Second + d, Wall: time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC).Add(d)}
}

func machine(t *testing.T) *Machine {
	t.Helper()
	m, err := NewMachine(Config{}, mathrand.NewChaCha8([32]byte{7}))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// hear gives the machine an advertisement with the changes made.
func hear(t *testing.T, m *Machine, d time.Duration, src netip.Addr, hw packet.HardwareAddr, change func(*Advertisement)) {
	t.Helper()
	a := advertisement()
	if change != nil {
		change(a)
	}
	p, err := a.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.HandleAdvertisement(at(d), p, src, hw); err != nil {
		t.Fatal(err)
	}
	clear(p) // the input is only borrowed
}

func events(m *Machine) []Event {
	var es []Event
	for {
		e, ok := m.PollEvent()
		if !ok {
			return es
		}
		es = append(es, e)
	}
}

func solicitations(m *Machine) int {
	n := 0
	for {
		if _, ok := m.PollTransmit(); !ok {
			return n
		}
		n++
	}
}

// run lets the machine's timers go off up to d, and returns when solicitations left, in time since at(0).
func run(t *testing.T, m *Machine, d time.Duration) []time.Duration {
	t.Helper()
	var sent []time.Duration
	for range 10000 {
		when, ok := m.Deadline()
		if !ok || when > at(d).Boot {
			return sent
		}
		now := when - at(0).Boot
		m.HandleTimeout(at(now))
		for range solicitations(m) {
			sent = append(sent, now)
		}
	}
	t.Fatal("the machine's timers do not come to an end")
	return nil
}

// Shows: MIP-5 (solicitation: three at one a second, then doubling up to a minute)
func TestSolicitationBackOff(t *testing.T) {
	m := machine(t)
	if _, ok := m.Deadline(); ok {
		t.Error("a machine that has not been started has a deadline")
	}
	m.Start(at(0))
	tr, ok := m.PollTransmit()
	if !ok || tr.To != AllRouters || tr.TTL != 1 || CheckSolicitation(tr.Payload) != nil {
		t.Fatalf("first solicitation: %+v, %v", tr, ok)
	}
	sent := run(t, m, 10*time.Minute)
	nominal := []time.Duration{1, 1, 2, 4, 8, 16, 32, 60, 60, 60}
	last := time.Duration(0)
	for i, n := range nominal {
		if i >= len(sent) {
			t.Fatalf("only %d solicitations followed", len(sent))
		}
		gap := sent[i] - last
		if gap < n*time.Second || gap > n*time.Second*12/10 {
			t.Errorf("solicitation %d came after %v, nominal %ds", i+2, gap, n)
		}
		last = sent[i]
	}
	m.Stop()
	if _, ok := m.Deadline(); ok {
		t.Error("a stopped machine has a deadline")
	}
}

// Shows: MIP-5
func TestFoundAndLost(t *testing.T) {
	m := machine(t)
	m.Start(at(0))
	solicitations(m)
	hear(t, m, 100*time.Millisecond, agentA, hwA, nil)
	want := Agent{
		Address: agentA, Hardware: hwA,
		CareOfAddresses:      []netip.Addr{netip.MustParseAddr("192.0.2.40"), netip.MustParseAddr("192.0.2.41")},
		Flags:                FlagRegistrationRequired | FlagForeignAgent | FlagReverseTunnel,
		RegistrationLifetime: 1800,
		Networks:             []netip.Prefix{netip.MustParsePrefix("172.16.5.0/24")},
		Sequence:             258,
		HeardAt:              at(100 * time.Millisecond).Boot,
		Expires:              at(30*time.Second + 100*time.Millisecond).Boot,
	}
	equalPrefix := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	if d := cmp.Diff([]Event{AgentFound{want}}, events(m), equalAddr, equalPrefix); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
	if a := m.Agents(); len(a) != 1 || !a[0].ForeignAgent() || a[0].Busy() || !a[0].Offers(want.CareOfAddresses[1]) || a[0].Offers(agentA) {
		t.Errorf("Agents() = %+v", a)
	}
	for _, f := range []Flags{FlagForeignAgent | FlagUDPTunnel, FlagForeignAgent | FlagRegistrationRequired, FlagHomeAgent | FlagUDPTunnel} {
		a := Agent{Flags: f, CareOfAddresses: want.CareOfAddresses}
		if a.UDPTunnel() != (f == FlagForeignAgent|FlagUDPTunnel) || a.RegistrationRequired() != f.Has(FlagRegistrationRequired) {
			t.Errorf("%v: UDP tunnelling %t, registration required %t", f, a.UDPTunnel(), a.RegistrationRequired())
		}
	}
	// Heard in time, it stays, and nobody solicits.
	hear(t, m, 20*time.Second, agentA, hwA, func(a *Advertisement) { a.Sequence++ })
	if sent := run(t, m, 49*time.Second); len(sent) != 0 {
		t.Errorf("solicitations at %v while an agent is known", sent)
	}
	if es := events(m); len(es) != 0 {
		t.Errorf("events %+v while nothing changes", es)
	}
	// Not heard for its lifetime, it is lost at that very time, and the search begins at the highest rate.
	sent := run(t, m, 51*time.Second)
	es := events(m)
	if len(es) != 1 || es[0].(AgentLost).Agent.Address != agentA || es[0].(AgentLost).Withdrawn {
		t.Errorf("events %+v, want AgentLost", es)
	}
	if len(sent) == 0 || sent[0] != 50*time.Second || len(m.Agents()) != 0 {
		t.Errorf("solicitations at %v, agents %v", sent, m.Agents())
	}
}

func TestWithdrawn(t *testing.T) {
	m := machine(t)
	gone := func(a *Advertisement) { a.Lifetime = 0 }
	hear(t, m, 0, agentA, hwA, gone)
	if es := events(m); len(es) != 0 {
		t.Errorf("an unknown agent that goes: %+v", es)
	}
	hear(t, m, 0, agentA, hwA, nil)
	hear(t, m, time.Second, agentA, hwA, gone)
	es := events(m)
	if len(es) != 2 || !es[1].(AgentLost).Withdrawn {
		t.Errorf("events %+v", es)
	}
	if n := solicitations(m); n != 0 {
		t.Errorf("%d solicitations although no search was started", n)
	}
}

// An agent that comes and goes does not make the machine solicit faster than once a second.
func TestFlappingAgent(t *testing.T) {
	m := machine(t)
	m.Start(at(0))
	n := solicitations(m)
	for d := time.Duration(0); d < 10*time.Second; d += 50 * time.Millisecond {
		hear(t, m, d, agentA, hwA, nil)
		hear(t, m, d, agentA, hwA, func(a *Advertisement) { a.Lifetime = 0 })
		m.HandleTimeout(at(d))
		n += solicitations(m)
	}
	if n > 11 {
		t.Errorf("%d solicitations in 10 s", n)
	}
}

// Shows: MIP-5 (rollover and reboot)
func TestSequence(t *testing.T) {
	for _, c := range []struct {
		before, after uint16
		rebooted      bool
	}{
		{258, 259, false}, {258, 258, false}, {0xffff, 256, false}, {258, 0, true}, {258, 255, true},
		{300, 256, false}, {10, 9, true}, {10, 11, false}, {0, 1, false}, {0, 0, false}, {255, 256, false},
	} {
		m := machine(t)
		hear(t, m, 0, agentA, hwA, func(a *Advertisement) { a.Sequence = c.before })
		events(m)
		hear(t, m, time.Second, agentA, hwA, func(a *Advertisement) { a.Sequence = c.after })
		es := events(m)
		rebooted := len(es) == 1 && cmp.Equal(es[0], AgentRebooted{m.Agents()[0]}, equalAddr, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }))
		if rebooted != c.rebooted || len(es) > 1 || len(es) == 1 && !rebooted {
			t.Errorf("%d follows %d: %+v, want reboot %v", c.after, c.before, es, c.rebooted)
		}
	}
}

func TestChanged(t *testing.T) {
	for name, change := range map[string]func(*Advertisement){
		"busy":                func(a *Advertisement) { a.Flags |= FlagBusy },
		"care-of address":     func(a *Advertisement) { a.CareOfAddresses = a.CareOfAddresses[1:] },
		"network":             func(a *Advertisement) { a.PrefixLengths[0] = 25 },
		"lifetime":            func(a *Advertisement) { a.RegistrationLifetime = 60 },
		"no registration bit": func(a *Advertisement) { a.Flags &^= FlagRegistrationRequired },
	} {
		m := machine(t)
		hear(t, m, 0, agentA, hwA, nil)
		before := m.Agents()[0]
		events(m)
		hear(t, m, time.Second, agentA, hwA, change)
		es := events(m)
		if len(es) != 1 {
			t.Errorf("%s: events %+v", name, es)
			continue
		}
		e, ok := es[0].(AgentChanged)
		if !ok || !e.Before.sameOffer(before) || !e.Agent.sameOffer(m.Agents()[0]) || e.Agent.sameOffer(before) {
			t.Errorf("%s: event %+v", name, es[0])
		}
	}
	m := machine(t)
	hear(t, m, 0, agentA, hwA, nil)
	events(m)
	hear(t, m, 0, agentA, hwB, nil)
	if es := events(m); len(es) != 1 || es[0].(AgentChanged).Agent.Hardware != hwB {
		t.Errorf("another link-layer address: %+v", es)
	}
}

// Shows: MIP-5 (move detection by prefix)
func TestSameNetwork(t *testing.T) {
	n := func(s ...string) Agent {
		var a Agent
		for _, p := range s {
			a.Networks = append(a.Networks, netip.MustParsePrefix(p))
		}
		return a
	}
	for _, c := range []struct {
		a, b        Agent
		same, known bool
	}{
		{n("172.16.5.0/24"), n("172.16.5.0/24"), true, true},
		{n("172.16.5.0/24", "10.0.0.0/8"), n("10.0.0.0/8"), true, true},
		{n("172.16.5.0/24"), n("172.16.6.0/24"), false, true},
		{n("172.16.5.0/24"), n(), false, false},
		{n(), n("172.16.5.0/24"), false, false},
	} {
		if same, known := SameNetwork(c.a, c.b); same != c.same || known != c.known {
			t.Errorf("%v and %v: %v, %v", c.a.Networks, c.b.Networks, same, known)
		}
	}
}

func TestRejected(t *testing.T) {
	good, err := advertisement().Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(good)
	bad[len(bad)-1] ^= 0x10
	router := sealed(good[:16])
	for _, c := range []struct {
		name string
		p    []byte
		src  string
		hw   packet.HardwareAddr
		want error
	}{
		{"broken", bad, "172.16.5.1", hwA, ErrMalformed},
		{"ordinary router", router, "172.16.5.1", hwA, ErrNotAgent},
		{"source unspecified", good, "0.0.0.0", hwA, ErrSource},
		{"source multicast", good, "224.0.0.1", hwA, ErrSource},
		{"source broadcast", good, "255.255.255.255", hwA, ErrSource},
		{"source IPv6", good, "fe80::1", hwA, ErrSource},
		{"no link-layer source", good, "172.16.5.1", packet.HardwareAddr{}, ErrSource},
		{"multicast link-layer source", good, "172.16.5.1", packet.HardwareAddr{1}, ErrSource},
	} {
		m := machine(t)
		if err := m.HandleAdvertisement(at(0), c.p, netip.MustParseAddr(c.src), c.hw); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if es := events(m); len(es) != 0 || len(m.Agents()) != 0 {
			t.Errorf("%s: events %+v, agents %+v", c.name, es, m.Agents())
		}
	}
}

// Forged advertisements cannot make the machine keep an unlimited number of agents, nor push out those it knows.
func TestTooManyAgents(t *testing.T) {
	m := machine(t)
	p, err := advertisement().Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	src := agentA
	for i := range 100 {
		err := m.HandleAdvertisement(at(0), p, src, hwA)
		if (i < maxAgents) != (err == nil) || err != nil && !errors.Is(err, ErrTooMany) {
			t.Errorf("agent %d: %v", i, err)
		}
		src = src.Next()
	}
	if a := m.Agents(); len(a) != maxAgents || a[0].Address != agentA {
		t.Errorf("%d agents, first %v", len(a), a[0].Address)
	}
	m.Forget()
	if _, ok := m.Deadline(); ok || len(m.Agents()) != 0 {
		t.Error("Forget leaves agents or timers")
	}
}

func TestTwoAgents(t *testing.T) {
	m := machine(t)
	m.Start(at(0))
	hear(t, m, 0, agentA, hwA, nil)
	hear(t, m, 10*time.Second, agentB, hwB, nil)
	solicitations(m)
	if sent := run(t, m, 39*time.Second); len(sent) != 0 {
		t.Errorf("solicitations at %v although an agent is left", sent)
	}
	if a := m.Agents(); len(a) != 1 || a[0].Address != agentB {
		t.Errorf("agents %+v", a)
	}
}

func TestConfig(t *testing.T) {
	if _, err := NewMachine(Config{MaxInterval: 59 * time.Second}, nil); !errors.Is(err, ErrConfig) {
		t.Errorf("found %v, want ErrConfig", err)
	}
}

func TestRandomnessFails(t *testing.T) {
	m, err := NewMachine(Config{}, bytes.NewReader(nil))
	if err != nil {
		t.Fatal(err)
	}
	m.Start(at(0))
	if !errors.Is(m.Err(), io.EOF) || solicitations(m) != 0 {
		t.Errorf("Err() = %v", m.Err())
	}
	if _, ok := m.Deadline(); ok {
		t.Error("a timer is armed")
	}
}

// Any octets on a link leave the machine in order: bounded, and with deadlines that timeouts clear.
func FuzzMachine(f *testing.F) {
	f.Add(goldenOctets(f), byte(1))
	f.Add(AppendSolicitation(nil), byte(2))
	f.Fuzz(func(t *testing.T, p []byte, last byte) {
		m := machine(t)
		m.Start(at(0))
		for i, q := range [][]byte{p, sealed(p)} {
			_ = m.HandleAdvertisement(at(time.Duration(i)*time.Second), q, netip.AddrFrom4([4]byte{10, 0, 0, last}), hwA)
		}
		if len(m.Agents()) > 1 {
			t.Fatalf("%d agents of one address", len(m.Agents()))
		}
		// Beyond every lifetime the agents are gone.
		m.HandleTimeout(at(0x10001 * time.Second))
		if len(m.Agents()) != 0 {
			t.Fatalf("agents outlive their lifetime: %+v", m.Agents())
		}
	})
}
