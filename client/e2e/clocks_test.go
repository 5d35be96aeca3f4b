package e2e

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mipvpn/mipv4/wire"
	"mipvpn/stack/simnet"
)

// mismatches counts the denials for the Identification (RFC 5944 §5.7.1) that a home agent has sent on any wire, inside tunnels
// too where those are not encrypted; core sees those of the i-HA through the VPN.
func mismatches(w *World) func(agent netip.Addr) int {
	r := watchRegistrations(w)
	return func(agent netip.Addr) int {
		r.mu.Lock()
		defer r.mu.Unlock()
		seen := make(map[wire.Identification]bool)
		for _, m := range r.messages {
			if m.reply != nil && m.reply.HomeAgent == agent && m.reply.Code == wire.CodeIdentificationMismatch {
				seen[m.reply.Identification] = true
			}
		}
		return len(seen)
	}
}

// steps are changes of a wall clock.
var steps = map[string]time.Duration{
	"a day ahead": 24 * time.Hour, "a day back": -24 * time.Hour,
	"30 years ahead": 30 * 365 * 24 * time.Hour, "30 years back": -30 * 365 * 24 * time.Hour,
}

// Shows: HST-6, MIP-3, DET-4 (the laptop's clock is set while it is in use: one resynchronisation with each home agent, and neither
// the gate nor the sessions go by that clock)
func TestClockSetInUse(t *testing.T) {
	t.Parallel()
	for name, step := range steps {
		for _, at := range places {
			t.Run(name+" at the "+at.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := world(t, Options{Seed: 180, Log: zap.NewNop()})
					j, count := Watch(w.External()...), mismatches(w)
					k := talk(t, w, 2*time.Second)
					connected(t, w, at)
					s := converse(t, w)
					s.pass(t, s.near, s.far, 1000)
					k.reset()
					for range 2 { // and back again
						before := [2]int{count(simnet.LabInternalHA), count(simnet.LabExternalHA)}
						w.Laptop.StepWall(step)
						time.Sleep(12 * time.Minute) // every registration is renewed, and outside the i-HA is probed
						for i, agent := range []netip.Addr{simnet.LabInternalHA, simnet.LabExternalHA} {
							if n := count(agent) - before[i]; n > 1 {
								t.Errorf("the clock was set by %v: %d resynchronisations with %v, one is enough", step, n, agent)
							}
						}
						step = -step
					}
					if sent, answered, gap := k.counts(); answered < sent*98/100 || gap > 8*time.Second {
						t.Errorf("%d of %d packets were answered, longest gap %v", answered, sent, gap)
					}
					s.pass(t, s.far, s.near, 1000)
					s.end(t)
					judge(t, j)
				})
			})
		}
	}
}

// Shows: HST-6, MIP-3 (home agents whose clocks differ from the laptop's and from each other's: one resynchronisation each, also
// after changes of network)
func TestHomeAgentsWithOtherClocks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ internal, external time.Duration }{
		{3 * time.Hour, 0}, {-26 * time.Hour, 2 * time.Minute}, {20 * 365 * 24 * time.Hour, -5 * 365 * 24 * time.Hour},
	} {
		t.Run(fmt.Sprint(c.internal, " and ", c.external), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 181, Log: zap.NewNop(), Lab: func(l *simnet.Lab) {
					l.InternalHA.StepWall(c.internal)
					l.ExternalHA.StepWall(c.external)
				}})
				j, count := Watch(w.External()...), mismatches(w)
				k := talk(t, w, 250*time.Millisecond)
				for range 2 {
					for _, at := range []place{officePlace, cafePlace, hotspotPlace, places[1]} {
						connected(t, w, at)
						k.works(t, 20*time.Second)
					}
				}
				for agent, off := range map[netip.Addr]time.Duration{simnet.LabInternalHA: c.internal, simnet.LabExternalHA: c.external} {
					if n := count(agent); n > 1 || n == 0 && off.Abs() > time.Minute {
						t.Errorf("%d resynchronisations with %v, whose clock is off by %v", n, agent, off)
					}
				}
				judge(t, j)
			})
		})
	}
}

// Shows: HST-6, DET-2 (asleep at any moment of a set-up, shortly or for hours, and awake in another network)
func TestSuspendAtEveryMoment(t *testing.T) {
	t.Parallel()
	for i, from := range places {
		to := places[(i+2)%len(places)]
		t.Run(from.name+" to "+to.name, func(t *testing.T) {
			for n, m := range setUp() {
				if n%2 != 0 {
					continue
				}
				synctest.Test(t, func(t *testing.T) {
					w := world(t, Options{Seed: 182, Log: zap.NewNop(), Client: probeSoon})
					j := Watch(w.External()...)
					k := talk(t, w, 40*time.Millisecond)
					w.Plug(w.Wlan0, from.wire(w))
					time.Sleep(m)
					w.Laptop.Suspend()
					time.Sleep(5 * time.Millisecond) // what was on the wires
					clear := readableOn(w)
					asleep := []time.Duration{time.Second, 20 * time.Second, 8 * time.Hour}[n/2%3]
					w.Plug(w.Wlan0, to.wire(w))
					w.Laptop.AdvanceBoot(asleep)
					synctest.Wait()
					if n := clear.Load(); n != 0 {
						t.Fatalf("suspended after %v: %d frames in the clear in its sleep", m, n)
					}
					w.Laptop.Resume()
					if _, err := w.UntilMode(90*time.Second, to.mode); err != nil {
						t.Fatalf("suspended after %v for %v: %v", m, asleep, err)
					}
					k.works(t, 2*time.Second)
					judge(t, j)
				})
			}
		})
	}
}
