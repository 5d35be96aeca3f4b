package portal

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"mipvpn/tun/link"
)

// drain returns what the machine says, as text.
func drain(m *Machine) (said []string) {
	for {
		e, ok := m.PollEvent()
		if !ok {
			return said
		}
		switch e := e.(type) {
		case Ask:
			said = append(said, fmt.Sprintf("ask %d", e.Number))
		case Suspected:
			said = append(said, "suspected "+e.Finding.Host)
		case Cleared:
			said = append(said, fmt.Sprintf("cleared %v", e.Passed))
		case Register:
			said = append(said, "register")
		}
	}
}

// run is a machine with a clock.
type run struct {
	*testing.T
	m   *Machine
	now link.Instant
}

func newRun(t *testing.T) *run {
	return &run{T: t, m: New(Config{Question: atAgent, Forbidden: forbidden}), now: link.Instant{Boot: time.Hour}}
}

// says drains the machine.
func (r *run) says(want ...string) {
	r.Helper()
	if got := drain(r.m); !slices.Equal(got, want) {
		r.Errorf("at %v: %q, expected %q", r.now.Boot-time.Hour, got, want)
	}
}

// next goes to the machine's deadline and returns how long that took.
func (r *run) next() time.Duration {
	r.Helper()
	at, armed := r.m.Deadline()
	if !armed {
		r.Fatal("the machine waits for nothing")
	}
	d := at - r.now.Boot
	r.now = r.now.Add(d)
	r.m.HandleTimeout(r.now)
	return d
}

// Shows: HST-5
func TestMachineFindsAPortal(t *testing.T) {
	r := newRun(t)
	if _, armed := r.m.Deadline(); armed {
		t.Error("asks without a reason")
	}
	r.says()
	r.m.HandleUnreachable(r.now)
	r.m.HandleUnreachable(r.now)
	r.says("ask 1")
	r.m.HandleObservation(r.now, 1, redirect("http://portal.example/a"))
	r.says("suspected portal.example")
	if f, ok := r.m.Finding(); !ok || f.URL != "http://portal.example/a" {
		t.Errorf("%+v, %v", f, ok)
	}
	// It is asked again now and then; the page's parameters change each time, its host does not.
	if d := r.next(); d != DefaultMax {
		t.Errorf("asked again after %v", d)
	}
	r.says("ask 2")
	r.m.HandleObservation(r.now, 2, redirect("http://portal.example/b"))
	r.says()
	r.next()
	r.says("ask 3")
	r.m.HandleObservation(r.now, 3, redirect("http://other.example/"))
	r.says("suspected other.example")
	// A person logs in.
	r.m.HandleWay(r.now, true)
	for range 3 {
		if d := r.next(); d != DefaultRetry {
			t.Errorf("home agents asked after %v", d)
		}
		r.says("register")
	}
	r.m.HandleReachable("the x-HA answers")
	r.says("cleared true")
	if _, armed := r.m.Deadline(); armed {
		t.Error("goes on when the portal is passed")
	}
	if _, ok := r.m.Finding(); ok {
		t.Error("the portal is still suspected")
	}
}

// Shows: HST-5
func TestMachineBacksOff(t *testing.T) {
	r := newRun(t)
	r.m.HandleUnreachable(r.now)
	var waits []time.Duration
	for n := uint64(1); n < 8; n++ {
		r.says(fmt.Sprintf("ask %d", n))
		r.m.HandleObservation(r.now, n, Observation{Failure: "nothing answers in time"})
		waits = append(waits, r.next())
	}
	want := []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute, time.Minute}
	if !slices.Equal(waits, want) {
		t.Errorf("waits %v, expected %v", waits, want)
	}
	// A change begins anew, and what is still on its way counts for nothing.
	r.says("ask 8")
	r.m.HandleChange("another network")
	r.m.HandleObservation(r.now, 8, redirect("http://portal.example/"))
	r.says()
	r.m.HandleUnreachable(r.now)
	r.says("ask 9")
	r.m.HandleObservation(r.now, 8, redirect("http://portal.example/"))
	r.says()
	r.m.HandleObservation(r.now, 9, Observation{})
	if d := r.next(); d != DefaultInitial {
		t.Errorf("after a change asked again after %v", d)
	}
}

// Shows: HST-5
func TestMachineTakesSuspicionBack(t *testing.T) {
	r := newRun(t)
	r.m.HandleUnreachable(r.now)
	r.m.HandleObservation(r.now, 1, redirect("http://portal.example/"))
	r.says("ask 1", "suspected portal.example")
	// Questions may get lost.
	for n := uint64(2); n <= 1+silences; n++ {
		r.next()
		r.says(fmt.Sprintf("ask %d", n))
		r.m.HandleObservation(r.now, n, Observation{Failure: "nothing answers in time"})
	}
	r.says("cleared false")
	r.next()
	r.says("ask 5")
	r.m.HandleObservation(r.now, 5, redirect("http://portal.example/"))
	r.says("suspected portal.example")
	r.m.HandleChange("carrier went")
	r.says("cleared false")
	r.m.HandleReachable("the x-HA answers")
	r.says()
}

// A question whose observation never comes is asked again.
func TestMachineOutlivesALostObservation(t *testing.T) {
	r := newRun(t)
	r.m.HandleUnreachable(r.now)
	r.says("ask 1")
	if d := r.next(); d != lost {
		t.Errorf("waited for %v", d)
	}
	r.says("ask 2")
	r.m.HandleObservation(r.now, 1, redirect("http://portal.example/"))
	r.says()
	r.m.HandleObservation(r.now, 2, redirect("http://portal.example/"))
	r.says("suspected portal.example")
}

func TestMachineKnowsTheRealServer(t *testing.T) {
	q, err := AskServer("http://probe.example/", 204, "")
	if err != nil {
		t.Fatal(err)
	}
	r := newRun(t)
	r.m = New(Config{Question: q, Forbidden: forbidden})
	r.m.HandleUnreachable(r.now)
	r.m.HandleObservation(r.now, 1, Observation{Connected: true, Status: 200})
	r.says("ask 1", "suspected ")
	r.next()
	r.m.HandleObservation(r.now, 2, Observation{Connected: true, Status: 204})
	r.says("ask 2", "cleared false")
}
