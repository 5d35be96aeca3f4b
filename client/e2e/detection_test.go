package e2e

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/stack/simnet"
)

// plaintextOn records when the laptop last sent user data in the clear on the wire.
func plaintextOn(w *World, wire *simnet.Wire) (last func() time.Duration) {
	seen := make(chan time.Duration, 1)
	seen <- 0
	wire.Tap(func(f simnet.Frame) {
		if f.Plaintext && strings.HasPrefix(f.Sender, "laptop/") {
			<-seen
			seen <- f.At
		}
	})
	return func() time.Duration {
		at := <-seen
		seen <- at
		return at
	}
}

// Shows: DET-4, DET-12
func TestSilentRerouteIsBoundedByTheMonitor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 2})
		w.Plug(w.Eth0, w.Office)
		if _, err := w.UntilMode(10*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		p, err := StartProbe(w)
		if err != nil {
			t.Fatal(err)
		}
		last := plaintextOn(w, w.Office)
		time.Sleep(95 * time.Second) // a renewal lies in between
		if s, err := w.UntilMode(time.Second, "c"); err != nil || s.Exposure == 0 || s.Exposure > 60000 {
			t.Fatalf("exposure %d ms, %v", s.Exposure, err)
		}
		// The office's wire is outside from now on, without any local sign: the firewall drops what goes to the i-HA.
		cut := w.Elapsed()
		w.Firewall.SetFirewall()
		time.Sleep(5 * time.Minute)
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		at := last()
		if at < cut {
			t.Errorf("nothing was sent in the clear after the change, so that nothing was tested (last at %v, change at %v)", at, cut)
		}
		if at > cut+time.Minute {
			t.Errorf("user data in the clear %v after the change, T_MONITOR is a minute", at-cut)
		}
		s, err := w.Client.Status(context.Background())
		if err != nil || s.State == control.StateConnected || s.Proof.Verdict == control.VerdictInside {
			t.Errorf("state %s, verdict %s, %v", s.State, s.Proof.Verdict, err)
		}
		if s.Exposure >= 60000 {
			t.Errorf("exposure %d ms", s.Exposure)
		}
	})
}

// Shows: DET-2, DET-4
func TestSuspendCountsAsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 3})
		w.Plug(w.Eth0, w.Office)
		if _, err := w.UntilMode(10*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		p, err := StartProbe(w)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		w.Firewall.SetFirewall() // the laptop wakes up somewhere else
		last := plaintextOn(w, w.Office)
		woke := w.Elapsed()
		w.Laptop.AdvanceBoot(8 * time.Hour)
		time.Sleep(time.Minute)
		if at := last(); at > woke {
			t.Errorf("user data in the clear %v after the resume", at-woke)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// Shows: DET-8
func TestLateProofWins(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 4})
		// The core answers after 3 s, the x-HA at once.
		w.Core.Impair(simnet.Impairment{Latency: 1500 * time.Millisecond})
		w.Plug(w.Eth0, w.Office)
		s, err := w.Until(20*time.Second, func(s control.Status) bool { return s.Proof.Verdict == control.VerdictOutside })
		if err != nil {
			t.Fatal(err)
		}
		if s.Mode == "c" || s.State == control.StateConnected {
			t.Fatalf("mode %q, state %s with the x-HA's reply alone", s.Mode, s.State)
		}
		if _, err := w.UntilMode(20*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
	})
}

// Shows: DET-10
func TestEqualHomeAgentAddressesCountAsOutside(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 5, Client: func(c *config.Config) { c.External.Address = c.Internal.Address }})
		last := plaintextOn(w, w.Office)
		w.Plug(w.Eth0, w.Office)
		time.Sleep(time.Minute)
		s, err := w.Client.Status(context.Background())
		if err != nil || s.Mode == "c" || s.Proof.Verdict == control.VerdictInside || last() != 0 {
			t.Errorf("mode %q, verdict %s, last plaintext %v, %v", s.Mode, s.Proof.Verdict, last(), err)
		}
	})
}

// Shows: MIP-3
func TestClockOffByADay(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]time.Duration{"ahead": 24 * time.Hour, "behind": -24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 6, Lab: func(l *simnet.Lab) { l.Laptop.StepWall(step) }})
				w.Plug(w.Eth0, w.Office)
				if _, err := w.UntilMode(10*time.Second, "c"); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// Shows: MOD-switch
func TestPinnedPlaintextModeIsRefusedWithoutProof(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 7, Client: func(c *config.Config) { c.Mode = "c" }})
		last := plaintextOn(w, w.Cafe)
		j := Watch(w.External()...)
		w.Plug(w.Eth0, w.Cafe)
		p, err := StartProbe(w)
		if err != nil {
			t.Fatal(err)
		}
		s, err := w.Until(time.Minute, func(s control.Status) bool {
			return s.State == control.StateBlocked && s.Proof.Verdict != control.VerdictInside && len(s.Problems) > 0 &&
				strings.Contains(s.Problems[len(s.Problems)-1].Message, "not proven to be inside")
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if leaks, frames := j.Leaks(); len(leaks) != 0 || frames == 0 || last() != 0 {
			t.Errorf("%d of %d frames leaked with mode c pinned outside", len(leaks), frames)
		}
		if s.ModePolicy != "c" || s.Mode != "" {
			t.Errorf("policy %q, mode %q", s.ModePolicy, s.Mode)
		}
	})
}
