package e2e

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/mipv4/wire"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
)

// present returns the status.
func present(t *testing.T, w *World) control.Status {
	t.Helper()
	s, err := w.Client.Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// through returns the requests that were sent on a wire.
func through(requests []heard, on *simnet.Wire) (out []heard) {
	for _, m := range requests {
		if m.wire == on.Name() {
			out = append(out, m)
		}
	}
	return out
}

// The wired interface is outside, the wireless one comes up inside: it is probed with the S bit beside the VPN, direct access
// takes over, and then its care-of address is the only one. The session never breaks, and nothing comes twice.
//
// Shows: MOD-prefer, DET-1, MOD-keep
func TestDirectAccessThroughTheLessPreferredInterface(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 70})
		j := Watch(w.External()...)
		w.Plug(w.Eth0, w.Cafe)
		if _, err := w.UntilMode(20*time.Second, "cvc"); err != nil {
			t.Fatal(err)
		}
		s, err := StartSession(w)
		if err != nil {
			t.Fatal(err)
		}
		p, err := StartProbe(w)
		if err != nil {
			t.Fatal(err)
		}
		r := watchRegistrations(w)
		w.Plug(w.Wlan0, w.Office)
		if _, err := w.Until(10*time.Second, func(s control.Status) bool { return s.Mode == "c" && s.Interface == "wlan0" }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		flags := ""
		for _, m := range through(r.requests(simnet.LabInternalHA), w.Office) {
			flags += map[bool]string{true: "S", false: "-"}[m.request.Flags.Has(wire.FlagSimultaneous)]
		}
		if flags != "S-" {
			t.Errorf("S bits of the requests to the i-HA: %q; a probe with it and a claim without it were expected", flags)
		}
		if n := len(through(r.requests(simnet.LabExternalHA), w.Office)); n != 0 {
			t.Errorf("%d requests to the x-HA from the interface that was only probed", n)
		}
		if _, _, err := s.Finish(); err != nil {
			t.Error(err)
		}
		sent, back, gap := p.Counts()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if sent > back+1 { // one is on its way
			t.Errorf("%d of %d datagrams came back: make before break", back, sent)
		}
		t.Logf("%d datagrams, longest gap %v, %d second copies dropped", sent, gap, w.Laptop.Drops().Snapshot()["duplicate"])
		judge(t, j)
	})
}

// Inside on one interface, another one comes up outside: it is probed, the i-HA does not answer there, and everything stays.
//
// Shows: MOD-prefer, DET-1
func TestProbeThatFindsNothingChangesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 71})
		j := Watch(w.External()...)
		w.Plug(w.Wlan0, w.Office)
		if _, err := w.UntilMode(20*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		events, stop := w.Client.Subscribe()
		defer stop()
		p, err := StartProbe(w)
		if err != nil {
			t.Fatal(err)
		}
		r := watchRegistrations(w)
		w.Plug(w.Eth0, w.Cafe)
		time.Sleep(20 * time.Second)
		if s := present(t, w); s.Mode != "c" || s.Interface != "wlan0" || s.State != control.StateConnected {
			t.Errorf("state %s, mode %s on %s", s.State, s.Mode, s.Interface)
		}
		asked := through(r.requests(simnet.LabInternalHA), w.Cafe)
		if len(asked) == 0 || len(asked) > 3 {
			t.Errorf("%d requests to the i-HA on the other interface", len(asked))
		}
		if n := len(through(r.requests(simnet.LabExternalHA), w.Cafe)); n != 0 {
			t.Errorf("%d requests to the x-HA", n)
		}
		kept := false
		for len(events) > 0 {
			e := <-events
			kept = kept || e.Kind == "keep" && e.Interface == "wlan0"
			if e.Kind == "handoff" || e.Kind == "hold" {
				t.Errorf("event %s: %s", e.Kind, e.Message)
			}
		}
		if !kept {
			t.Error("no event says why the path is kept")
		}
		sent, back, _ := p.Counts()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if sent > back+1 {
			t.Errorf("%d of %d datagrams came back", back, sent)
		}
		judge(t, j)
	})
}

// Docked and undocked under traffic: the dock's interface takes over without a break, and leaving it costs one registration
// (sent to both home agents, since nobody knows where the other interface is).
//
// Shows: MOD-prefer, MOD-keep, HST-6
func TestDockAndUndock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 72})
		w.Plug(w.Wlan0, w.Office)
		if _, err := w.UntilMode(20*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		s, err := StartSession(w)
		if err != nil {
			t.Fatal(err)
		}
		var worst time.Duration
		for range 5 {
			p, err := StartProbe(w)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			w.Plug(w.Eth0, w.Office)
			if _, err := w.Until(10*time.Second, func(s control.Status) bool { return s.Mode == "c" && s.Interface == "eth0" }); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			if sent, back, gap := p.Counts(); sent > back+1 || gap > 15*time.Millisecond { // one is on its way
				t.Errorf("docking: %d of %d datagrams came back", back, sent)
			}
			r := watchRegistrations(w)
			w.Unplug(w.Eth0)
			if _, err := w.Until(10*time.Second, func(s control.Status) bool { return s.Mode == "c" && s.Interface == "wlan0" }); err != nil {
				t.Fatal(err)
			}
			for name, ha := range map[string][]heard{"i-HA": r.requests(simnet.LabInternalHA), "x-HA": r.requests(simnet.LabExternalHA)} {
				if n := len(through(ha, w.Office)); n != 1 {
					t.Errorf("undocking took %d requests to the %s", n, name)
				}
			}
			time.Sleep(2 * time.Second)
			_, _, gap := p.Counts()
			worst = max(worst, gap)
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		}
		if _, _, err := s.Finish(); err != nil {
			t.Error(err)
		}
		t.Logf("longest gap %v", worst)
	})
}

// An i-HA that keeps one binding is not probed beside a path that carries data, once that is known; the preferred interface is
// switched to all the same.
//
// Shows: MOD-prefer
func TestHomeAgentWithOneBinding(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 73, InternalHA: func(c *agent.HomeAgentConfig) { c.SimultaneousBindings = 1 }})
		w.Plug(w.Wlan0, w.Office)
		if _, err := w.UntilMode(20*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		w.Plug(w.Eth0, w.Office) // preferred
		if _, err := w.Until(10*time.Second, func(s control.Status) bool { return s.Mode == "c" && s.Interface == "eth0" }); err != nil {
			t.Fatal(err)
		}
		w.Unplug(w.Wlan0)
		w.Plug(w.Eth0, w.Cafe)
		if _, err := w.UntilMode(20*time.Second, "cvc"); err != nil {
			t.Fatal(err)
		}
		r := watchRegistrations(w)
		w.Plug(w.Wlan0, w.Office)
		time.Sleep(30 * time.Second)
		if n := len(through(r.requests(simnet.LabInternalHA), w.Office)); n != 0 {
			t.Errorf("%d requests to the i-HA beside the VPN", n)
		}
		use(t, w)
	})
}

// Shows: MOD-prefer (a configured order)
func TestConfiguredOrderOfInterfaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 74, Client: func(c *config.Config) { c.Interfaces.Prefer = []string{"wlan*"} }})
		w.Plug(w.Eth0, w.Office)
		if _, err := w.UntilMode(20*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		w.Plug(w.Wlan0, w.Office)
		if _, err := w.Until(10*time.Second, func(s control.Status) bool { return s.Mode == "c" && s.Interface == "wlan0" }); err != nil {
			t.Fatal(err)
		}
	})
}

// A preferred interface with an address and nobody behind it does not keep the other from carrying the traffic for longer than
// the race gives it.
//
// Shows: DET-1, MOD-prefer
func TestDeadPreferredInterface(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 75})
		w.Office.Impair(simnet.Impairment{Loss: 1})
		w.Plug(w.Eth0, w.Office)
		w.Plug(w.Wlan0, w.Cafe)
		if _, err := w.Until(5*time.Second, func(s control.Status) bool { return s.State == control.StateConnected && s.Interface == "wlan0" }); err != nil {
			t.Fatal(err)
		}
		w.Office.Impair(simnet.Impairment{})
		if _, err := w.Until(30*time.Second, func(s control.Status) bool { return s.Mode == "c" && s.Interface == "eth0" }); err != nil {
			t.Fatal(err)
		}
	})
}

// Two interfaces in the network of one foreign agent: the second one takes over without a datagram lost, whether it is on its way
// up through the former interface or comes down right behind the agent's reply, before that has been understood.
//
// Shows: MOD-prefer, MOD-keep, MOD-f, AGT-4
func TestTwoInterfacesAtOneForeignAgent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 76, Lab: func(l *simnet.Lab) {
			l.OfficeFA.Impair(simnet.Impairment{Latency: 3 * time.Millisecond, Jitter: time.Millisecond})
		}})
		for n := range 25 {
			w.Plug(w.Wlan0, w.OfficeFA)
			if _, err := w.Until(20*time.Second, func(s control.Status) bool { return s.Mode == "f" && s.Interface == "wlan0" }); err != nil {
				t.Fatal(err)
			}
			p, err := StartProbe(w)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(300*time.Millisecond + time.Duration(n)*400*time.Microsecond)
			w.Plug(w.Eth0, w.OfficeFA)
			if _, err := w.Until(20*time.Second, func(s control.Status) bool { return s.Mode == "f" && s.Interface == "eth0" }); err != nil {
				t.Fatal(err)
			}
			time.Sleep(500 * time.Millisecond)
			w.Unplug(w.Wlan0)
			time.Sleep(2 * time.Second)
			sent, back, _ := p.Counts()
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			if sent > back+1 { // one is on its way
				t.Errorf("take-over %d: %d of %d datagrams came back", n, back, sent)
			}
			w.Unplug(w.Eth0)
			time.Sleep(time.Second)
		}
	})
}
