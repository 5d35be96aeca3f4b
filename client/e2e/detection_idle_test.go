package e2e

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// idleAfter is the idle time of these tests.
const idleAfter = 5 * time.Minute

// sockets is a pair of sockets, the laptop's and the correspondent's, that are silent until asked to speak.
type sockets struct{ near, far *simnet.UDPConn }

func messages(t *testing.T, w *World) sockets {
	t.Helper()
	far, err := w.Correspondent.ListenUDP(netip.AddrPortFrom(simnet.LabCorrespondent, talkPort))
	if err != nil {
		t.Fatal(err)
	}
	near, err := w.Laptop.ListenUDP(netip.AddrPortFrom(simnet.LabHomeAddress, talkPort))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := near.Close(); err != nil {
			t.Error(err)
		}
		if err := far.Close(); err != nil {
			t.Error(err)
		}
	})
	return sockets{near, far}
}

// say sends one packet with the canary and reports whether it arrives within d.
func say(t *testing.T, from, to *simnet.UDPConn, at netip.AddrPort, d time.Duration) (took time.Duration, ok bool) {
	t.Helper()
	began := time.Now()
	if _, err := from.WriteToAddrPort(Canary, at); err != nil {
		t.Fatal(err)
	}
	if err := to.SetReadDeadline(began.Add(d)); err != nil {
		t.Fatal(err)
	}
	_, _, err := to.ReadFromAddrPort(make([]byte, 2048))
	return time.Since(began), err == nil
}

func (m sockets) out(t *testing.T, d time.Duration) (time.Duration, bool) {
	return say(t, m.near, m.far, netip.AddrPortFrom(simnet.LabCorrespondent, talkPort), d)
}

func (m sockets) in(t *testing.T, d time.Duration) (time.Duration, bool) {
	return say(t, m.far, m.near, netip.AddrPortFrom(simnet.LabHomeAddress, talkPort), d)
}

func withIdle(c *config.Config) { c.Detection.Idle = idleAfter }

// paused waits until the interface pauses.
func paused(t *testing.T, w *World, patience time.Duration) control.Status {
	t.Helper()
	s, err := w.Until(patience, func(s control.Status) bool {
		for _, i := range s.Interfaces {
			if i.InUse && i.State == "inside_idle" {
				return true
			}
		}
		return false
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Shows: DET-13
func TestIdlePause(t *testing.T) {
	t.Parallel()
	for _, at := range []place{officePlace, {"office FA", func(w *World) *simnet.Wire { return w.OfficeFA }, "f"}} {
		t.Run(at.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 90, Client: withIdle})
				clear, r, m := watchClear(w), watchRegistrations(w), messages(t, w)
				w.Plug(w.Eth0, at.wire(w))
				if _, err := w.UntilMode(20*time.Second, at.mode); err != nil {
					t.Fatal(err)
				}
				for range 10 { // it does not pause while something is said now and then
					time.Sleep(idleAfter - 10*time.Second)
					if took, ok := m.out(t, 5*time.Second); !ok || took > 20*time.Millisecond {
						t.Fatalf("a packet took %v (%v) although nothing paused", took, ok)
					}
				}
				s := paused(t, w, idleAfter+2*time.Minute)
				if s.State != control.StateConnected || len(s.Problems) != 0 || s.Proof.Age != nil || s.Mode != at.mode || s.Proof.Verdict != control.VerdictUnknown {
					t.Errorf("state %s, mode %q, verdict %s, problems %v", s.State, s.Mode, s.Proof.Verdict, s.Problems)
				}
				before, asked := clear.on(), w.Elapsed()
				time.Sleep(5 * time.Minute)
				if n := len(r.straight(simnet.LabInternalHA, at.wire(w), asked)); n != 0 {
					t.Errorf("%d requests to the i-HA in a pause", n)
				}
				if n := clear.on() - before; n != 0 {
					t.Errorf("%d frames in the clear in a pause", n)
				}
				// The first packet waits for a proof and arrives.
				if took, ok := m.out(t, time.Second); !ok || took > 100*time.Millisecond {
					t.Errorf("the first packet took %v (%v)", took, ok)
				} else {
					t.Logf("the first packet took %v", took)
				}
				if took, ok := m.in(t, time.Second); !ok || took > 20*time.Millisecond {
					t.Errorf("the answer took %v (%v)", took, ok)
				}
				if s, err := w.Client.Status(context.Background()); err != nil || s.Proof.Verdict != control.VerdictInside || len(s.Handoffs) != 1 {
					t.Errorf("verdict %s, handoffs %v, %v", s.Proof.Verdict, s.Handoffs, err)
				}
				// One that arrives is lost, and ends the pause as well.
				paused(t, w, idleAfter+2*time.Minute)
				if _, ok := m.in(t, time.Second); ok {
					t.Error("a packet passed a closed gate")
				}
				if took, ok := m.in(t, time.Second); !ok || took > 20*time.Millisecond {
					t.Errorf("the second packet took %v (%v)", took, ok)
				}
				// The binding is kept, by renewals within its lifetime of ten minutes.
				time.Sleep(10 * time.Hour)
				if w.InternalAgent.Table().Route(simnet.LabHomeAddress) == nil {
					t.Error("the i-HA has no binding any more")
				}
				if n := clear.on(w.External()...); n != 0 {
					t.Errorf("%d frames in the clear outside", n)
				}
			})
		})
	}
}

// Shows: DET-13, DET-4 (the network has become outside in the pause: nothing leaves in the clear, not for a moment)
func TestIdlePauseEndsOutside(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 91, Client: withIdle})
		last, m := plaintextOn(w, w.Office), messages(t, w)
		w.Plug(w.Eth0, w.Office)
		if _, err := w.UntilMode(20*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		if _, ok := m.out(t, time.Second); !ok {
			t.Fatal("nothing passes")
		}
		paused(t, w, idleAfter+2*time.Minute)
		w.RouteOffice(false)
		cut := w.Elapsed()
		if last() == 0 || last() >= cut {
			t.Fatalf("last in the clear at %v", last())
		}
		_, _ = m.out(t, time.Second) // it may be lost: the detection period and IKE take longer than packets wait
		if _, err := w.UntilMode(20*time.Second, "cvc"); err != nil {
			t.Fatal(err)
		}
		if _, ok := m.out(t, time.Second); !ok {
			t.Error("nothing passes through the VPN")
		}
		if at := last(); at >= cut {
			t.Errorf("user data in the clear %v after the change", at-cut)
		}
	})
}

// Shows: DET-13, DET-2 (another cable in the pause is a change as at any other time)
func TestIdlePauseAndAnotherNetwork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 92, Client: withIdle})
		clear, m := watchClear(w), messages(t, w)
		for range 3 {
			w.Plug(w.Eth0, w.Office)
			if _, err := w.UntilMode(20*time.Second, "c"); err != nil {
				t.Fatal(err)
			}
			paused(t, w, idleAfter+2*time.Minute)
			w.Plug(w.Eth0, w.Cafe)
			if _, err := w.UntilMode(20*time.Second, "cvc"); err != nil {
				t.Fatal(err)
			}
			if _, ok := m.out(t, time.Second); !ok {
				t.Error("nothing passes through the VPN")
			}
			time.Sleep(2 * idleAfter) // through the VPN nothing pauses
			if took, ok := m.in(t, time.Second); !ok || took > 200*time.Millisecond {
				t.Errorf("a packet took %v (%v)", took, ok)
			}
		}
		clear.none(t)
		// Asleep in the pause, and awake again.
		w.Plug(w.Eth0, w.Office)
		if _, err := w.UntilMode(20*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		paused(t, w, idleAfter+2*time.Minute)
		w.Laptop.AdvanceBoot(8 * time.Hour)
		if _, err := w.Until(20*time.Second, func(s control.Status) bool { return s.Proof.Verdict == control.VerdictInside }); err != nil {
			t.Fatal(err)
		}
		if took, ok := m.out(t, time.Second); !ok || took > 20*time.Millisecond {
			t.Errorf("a packet took %v (%v)", took, ok)
		}
	})
}

// Shows: DET-13 (many packets at once end one pause, in order)
func TestBurstEndsAPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 93, Client: withIdle})
		m := messages(t, w)
		w.Plug(w.Eth0, w.Office)
		if _, err := w.UntilMode(20*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		paused(t, w, idleAfter+2*time.Minute)
		r := watchRegistrations(w)
		const burst = 200
		for i := range burst {
			if _, err := m.near.WriteToAddrPort(append([]byte{byte(i)}, Canary...), netip.AddrPortFrom(simnet.LabCorrespondent, talkPort)); err != nil {
				t.Fatal(err)
			}
		}
		buf := make([]byte, packet.IPv4Len+100)
		for i := range burst {
			if err := m.far.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, _, err := m.far.ReadFromAddrPort(buf); err != nil || buf[0] != byte(i) {
				t.Fatalf("packet %d: %d, %v", i, buf[0], err)
			}
		}
		if n := len(r.requests(simnet.LabInternalHA)); n != 1 {
			t.Errorf("%d requests to the i-HA", n)
		}
	})
}
