package e2e

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/control"
	"mipvpn/stack/simnet"
)

// Shows: MOD-prefer, MOD-keep, HST-6, DET-1 (a laptop is docked and undocked 50 times under load, Ethernet inside and Wi-Fi outside, or
// both inside: docking loses nothing, undocking what was on its way and little more, and nothing leaves in the clear outside)
func TestDockedFiftyTimes(t *testing.T) {
	t.Parallel()
	for _, wireless := range []place{cafePlace, hotspotPlace, officePlace} {
		t.Run("Wi-Fi at the "+wireless.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const interval = 40 * time.Millisecond
				w := world(t, Options{Seed: 170, Log: zap.NewNop()})
				j := Watch(w.External()...)
				var unsafe int // frames in the clear that left by wlan0 outside; under the network's mutex
				wireless.wire(w).Tap(func(f simnet.Frame) {
					if f.Plaintext && f.Sender == "laptop/wlan0" && wireless.mode != "c" {
						unsafe++
					}
				})
				k := talk(t, w, interval)
				connected(t, w, wireless)
				s := converse(t, w)
				on := func(nic string) func(control.Status) bool {
					return func(s control.Status) bool { return s.State == control.StateConnected && s.Interface == nic }
				}
				docking, undocking, longest, slowest := 0, 0, time.Duration(0), time.Duration(0)
				for range 50 {
					time.Sleep(3*time.Second + 3*time.Millisecond) // more often would be flapping
					k.reset()
					w.Plug(w.Eth0, w.Office)
					began := time.Now()
					if st, err := w.Until(10*time.Second, on("eth0")); err != nil || st.Mode != "c" {
						t.Fatalf("docked: mode %q, %v", st.Mode, err)
					}
					slowest = max(slowest, time.Since(began))
					time.Sleep(2 * time.Second)
					s.pass(t, s.near, s.far, 5000)
					sent, answered, _ := k.counts()
					docking += sent - answered
					k.reset()
					w.Unplug(w.Eth0)
					if _, err := w.Until(10*time.Second, on("wlan0")); err != nil {
						t.Fatal(err)
					}
					time.Sleep(500 * time.Millisecond)
					s.pass(t, s.far, s.near, 5000)
					sent, answered, gap := k.counts()
					undocking += sent - answered
					longest = max(longest, gap)
				}
				s.end(t)
				t.Logf("of the packets, one each %v: %d missing after 50 dockings, %d after 50 undockings; longest gap %v; docked within %v", interval, docking, undocking, longest, slowest)
				// One can be on its way whenever they are counted.
				if docking > 50 {
					t.Errorf("docking lost %d packets in 50 times", docking-50)
				}
				if limit := 50 * (1 + int(200*time.Millisecond/interval)); undocking > limit || longest > time.Second {
					t.Errorf("undocking lost %d packets in 50 times, longest gap %v", undocking, longest)
				}
				synctest.Wait()
				if unsafe != 0 {
					t.Errorf("%d frames in the clear through wlan0 outside", unsafe)
				}
				judge(t, j)
			})
		})
	}
}
