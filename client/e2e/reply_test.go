package e2e

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/stack/simnet"
)

// outdoors checks once a second for d that no interface counts as inside and that no mode without a VPN is in use.
func outdoors(t *testing.T, w *World, d time.Duration) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
		s, err := w.Client.Status(context.Background())
		if err != nil || s.Mode == "c" || s.Mode == "f" {
			t.Fatalf("mode %q on %s, %v", s.Mode, s.Interface, err)
		}
		for _, i := range s.Interfaces {
			if i.Proof.Verdict == control.VerdictInside || i.Proof.Age != nil {
				t.Fatalf("%s is %s: %s", i.Name, i.Proof.Verdict, i.Proof.Reason)
			}
		}
	}
}

// onReplies puts somebody in the middle of the wire who does act to each of the i-HA's replies to the laptop, and counts them.
func onReplies(on *simnet.Wire, act func(simnet.Frame, registrationMessage) []simnet.Relay) (count *atomic.Int64, stop func()) {
	count = new(atomic.Int64)
	return count, on.Intercept(func(f simnet.Frame) []simnet.Relay {
		m, ok := registrationIn(f)
		if !ok || !m.answers(simnet.LabInternalHA) {
			return []simnet.Relay{f.Relay()}
		}
		count.Add(1)
		return act(f, m)
	})
}

// probeSoon has the i-HA probed each minute from outside (DET-9), so that a test need not wait for long.
func probeSoon(c *config.Config) { c.Detection.Probe = time.Minute }

// probed is how long after an attack has ended the i-HA is asked again at the latest, with probeSoon.
const probed = 70 * time.Second

// Shows: DET-4 (a reply counts until five seconds after its request, and not later)
func TestReplyDelayedAroundTheLimit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		delay time.Duration
		proof bool
	}{{4900 * time.Millisecond, true}, {5100 * time.Millisecond, false}} {
		t.Run(c.delay.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 101, Log: zap.NewNop(), Client: probeSoon})
				clear, k := watchClear(w), talk(t, w, 200*time.Millisecond)
				seen, stop := onReplies(w.Office, func(f simnet.Frame, _ registrationMessage) []simnet.Relay {
					r := f.Relay()
					r.Delay = c.delay
					return []simnet.Relay{r}
				})
				w.Plug(w.Eth0, w.Office)
				if c.proof {
					if _, err := w.UntilMode(20*time.Second, "c"); err != nil {
						t.Fatal(err)
					}
					// And it goes on so: the monitor asks early enough.
					k.works(t, 5*time.Minute)
					if s, err := w.Client.Status(context.Background()); err != nil || s.Mode != "c" || s.Exposure >= 60000 {
						t.Errorf("mode %q, exposure %d ms, %v", s.Mode, s.Exposure, err)
					}
				} else {
					outdoors(t, w, 170*time.Second)
					k.works(t, 5*time.Second) // through the VPN
					clear.none(t)
				}
				if seen.Load() == 0 {
					t.Error("no reply was delayed")
				}
				stop()
				mended(t, w, k, probed, "c")
			})
		})
	}
}

// Shows: DET-3 (each bit of a reply counts, and the place of each extension; what is changed proves nothing and is no alarm)
func TestChangedReplyIsNoProof(t *testing.T) {
	t.Parallel()
	for _, at := range []place{officePlace, {"office FA", func(w *World) *simnet.Wire { return w.OfficeFA }, "f"}} {
		for name, change := range map[string]func([]byte) [][]byte{
			"every bit": func(p []byte) [][]byte {
				var out [][]byte
				for bit := range 8 * len(p) {
					out = append(out, flipped(p, bit))
				}
				return out
			},
			"extensions and codes": rearranged,
			"cut short": func(p []byte) [][]byte {
				var out [][]byte
				for n := range p {
					out = append(out, p[:n])
				}
				return out
			},
		} {
			t.Run(name+" at the "+at.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := world(t, Options{Seed: 102, Log: zap.NewNop(), Client: probeSoon})
					clear, k := watchClear(w), talk(t, w, 200*time.Millisecond)
					var put atomic.Int64
					_, stop := onReplies(at.wire(w), func(f simnet.Frame, m registrationMessage) []simnet.Relay {
						var out []simnet.Relay
						for _, p := range change(m.payload) {
							r := f.Relay()
							r.Packet = m.with(p)
							out = append(out, r)
						}
						put.Add(int64(len(out)))
						return out
					})
					w.Plug(w.Wlan0, at.wire(w))
					outdoors(t, w, 20*time.Second)
					clear.none(t)
					if put.Load() < 10 {
						t.Errorf("%d changed replies: nothing was tested", put.Load())
					}
					s, err := w.Client.Status(context.Background())
					if err != nil {
						t.Fatal(err)
					}
					if p, ok := problem(s, "i-HA"); ok && p.Code == "no_tnc" {
						t.Errorf("a reply that anybody can make raised an alarm: %v", p)
					}
					stop()
					mended(t, w, k, probed, at.mode)
				})
			})
		}
	}
}

// Shows: DET-1, DET-3 (a reply that one interface has asked for proves nothing when it comes to the other)
func TestReplyOfOneInterfaceDeliveredToTheOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 103, Log: zap.NewNop(), Client: probeSoon})
		clear, j := watchClear(w), Watch(w.External()...)
		k := talk(t, w, 200*time.Millisecond)
		var asked simnet.Frame // the last request to the i-HA from wlan0, under the network's mutex
		var question registrationMessage
		stopCafe := w.Cafe.Intercept(func(f simnet.Frame) []simnet.Relay {
			if m, ok := registrationIn(f); ok && m.asks(simnet.LabInternalHA) {
				asked, question = f, m
			}
			return []simnet.Relay{f.Relay()}
		})
		defer stopCafe()
		moved, stop := onReplies(w.Office, func(_ simnet.Frame, m registrationMessage) []simnet.Relay {
			r := question.reflect(asked, m.payload)
			r.On = w.Cafe
			return []simnet.Relay{r}
		})
		connected(t, w, cafePlace)
		w.Plug(w.Eth0, w.Office)
		outdoors(t, w, 90*time.Second)
		k.works(t, 5*time.Second)
		clear.none(t)
		if moved.Load() < 2 {
			t.Errorf("%d replies were taken across", moved.Load())
		}
		stop()
		mended(t, w, k, probed, "c")
		judge(t, j)
	})
}

// Shows: DET-3 (forged replies, and true ones of inside with the present Identification, on a network with a foreign agent)
func TestForgedAndReplayedRepliesAtAForeignAgent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 104, Log: zap.NewNop(), Client: probeSoon})
		a := NewAdversary(w, 104)
		defer a.Close()
		j, k := Watch(w.External()...), talk(t, w, 500*time.Millisecond)
		connected(t, w, place{"office FA", func(w *World) *simnet.Wire { return w.OfficeFA }, "f"})
		time.Sleep(time.Minute)
		a.Begin(AttackForge)
		a.Begin(AttackReplay)
		connected(t, w, hotspotPlace)
		outdoors(t, w, 130*time.Second) // two probes of the i-HA among them
		k.works(t, 5*time.Second)
		judge(t, j)
		if n := a.Counts(); n[AttackForge] < 9 || n[AttackReplay] < 4 {
			t.Errorf("counts %v: nothing was tested", n)
		}
	})
}

// Shows: DET-12, DET-4, MOD-keep (an i-HA that an attacker silences inside: plaintext ends by T_MONITOR, the VPN takes over, and
// with the attack's end the direct way comes back; the session never breaks)
func TestSilencedInside(t *testing.T) {
	t.Parallel()
	for _, at := range []place{officePlace, {"office FA", func(w *World) *simnet.Wire { return w.OfficeFA }, "f"}} {
		for _, external := range []bool{true, false} {
			name := at.name + ", x-HA answers"
			if !external {
				name = at.name + ", x-HA silenced, too"
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := world(t, Options{Seed: 105, Log: zap.NewNop(), Client: probeSoon})
					last, k := plaintextOn(w, at.wire(w)), talk(t, w, 50*time.Millisecond)
					connected(t, w, at)
					s := converse(t, w)
					s.pass(t, s.near, s.far, 10_000)
					time.Sleep(75 * time.Second)
					began := w.Elapsed()
					stop := at.wire(w).Intercept(func(f simnet.Frame) []simnet.Relay {
						m, ok := registrationIn(f)
						if ok && m.reply != nil && (m.reply.HomeAgent == simnet.LabInternalHA || !external) {
							return nil
						}
						return []simnet.Relay{f.Relay()}
					})
					want := control.StateConnected
					if !external {
						want = control.StateBlocked
					}
					st, err := w.Until(2*time.Minute, func(s control.Status) bool { return s.State == want && s.Mode != at.mode })
					if err != nil {
						t.Fatal(err)
					}
					time.Sleep(30 * time.Second)
					if end := last(); end < began || end > began+time.Minute || st.Exposure >= 60000 {
						t.Errorf("user data in the clear until %v after the silence began, exposure %d ms", end-began, st.Exposure)
					}
					if external {
						s.pass(t, s.near, s.far, 10_000) // through the VPN
					}
					stop()
					mended(t, w, k, probed, at.mode)
					s.pass(t, s.far, s.near, 10_000)
					s.end(t)
				})
			})
		}
	}
}
