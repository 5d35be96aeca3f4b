package e2e

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// upstream is the office's uplink, which can be led outside without any local sign: the router keeps its addresses, but what
// comes from the office goes to the Internet through a NAT and nowhere else.
type upstream struct {
	w    *World
	core *simnet.NIC
	wan  *simnet.NIC
	at   *simnet.NIC // of the office
}

func newUpstream(w *World) *upstream {
	u := &upstream{w: w, core: w.FirewallCore, at: w.FirewallOffice}
	for _, c := range w.Firewall.NICs() {
		if c.Name() == "wan0" {
			u.wan = c
		}
	}
	return u
}

func (u *upstream) outside() {
	u.w.Firewall.SetFirewall(simnet.Rule{In: u.core, Verdict: simnet.Accept}, simnet.Rule{In: u.at, Out: u.wan, Verdict: simnet.Accept})
	u.w.Firewall.SetNAT(simnet.NATConfig{Outside: u.wan, Filtering: simnet.AddressAndPortDependent})
}

func (u *upstream) inside() {
	u.w.Firewall.SetNAT(simnet.NATConfig{}) // of no interface
	u.w.Firewall.SetFirewall(simnet.Rule{In: u.core, Verdict: simnet.Accept}, simnet.Rule{In: u.at, Verdict: simnet.Accept})
}

// exposure counts the packets of user data that the laptop sends in the clear on a wire, and knows when the last one left.
type exposure struct {
	mu      sync.Mutex
	packets int
	last    time.Duration
}

func watchExposure(w *World, on *simnet.Wire) *exposure {
	x := &exposure{}
	on.Tap(func(f simnet.Frame) {
		if strings.HasPrefix(f.Sender, "laptop/") && (f.Plaintext || !isRegistration(packet.IPv4(f.Packet)) && readable(f.Packet)) {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.packets++
			x.last = f.At
		}
	})
	return x
}

// take returns how many packets have left since it was called the last time, and when the last of all did.
func (x *exposure) take() (packets int, last time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	packets, last = x.packets, x.last
	x.packets = 0
	return packets, last
}

// Shows: DET-4, DET-9, DET-12, MOD-keep (the office's network becomes outside without a sign, and inside again, over and over, with
// sessions that are busy, idle, and silent for long: what leaves in the clear ends within T_MONITOR each time; counted apart)
func TestSilentReroutes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		interval time.Duration // between packets of an application
		monitor  time.Duration
	}{
		{"busy", 60 * time.Millisecond, time.Minute},
		{"a packet each 7 s", 7 * time.Second, time.Minute},
		{"silent", time.Hour, time.Minute},
		{"T_MONITOR of 20 s", 60 * time.Millisecond, 20 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 150, Log: zap.NewNop(), Client: func(cfg *config.Config) {
					probeSoon(cfg)
					cfg.Detection.Monitor, cfg.Detection.Grace = c.monitor, c.monitor/2
				}})
				u, x := newUpstream(w), watchExposure(w, w.Office)
				talk(t, w, c.interval)
				w.Plug(w.Eth0, w.Office)
				if _, err := w.UntilMode(20*time.Second, "c"); err != nil {
					t.Fatal(err)
				}
				s := converse(t, w)
				s.pass(t, s.near, s.far, 10_000)
				exposed, longest := 0, time.Duration(0)
				for i := range 6 {
					time.Sleep(time.Duration(11*i+3) * time.Second) // at other moments between two renewals
					x.take()
					u.outside()
					moved := w.Elapsed()
					st, err := w.Until(2*c.monitor+30*time.Second, func(s control.Status) bool { return s.State == control.StateConnected && s.Mode == "cvc" })
					if err != nil {
						t.Fatal(err)
					}
					time.Sleep(10 * time.Second)
					packets, last := x.take()
					exposed += packets
					longest = max(longest, last-moved)
					if last-moved > c.monitor || time.Duration(st.Exposure)*time.Millisecond >= c.monitor {
						t.Errorf("change %d: user data in the clear for %v, exposure %d ms, T_MONITOR is %v", i, last-moved, st.Exposure, c.monitor)
					}
					s.pass(t, s.far, s.near, 1000)
					if packets, _ := x.take(); packets != 0 {
						t.Errorf("change %d: %d packets in the clear while outside", i, packets)
					}
					u.inside()
					if _, err := w.UntilMode(3*time.Minute, "c"); err != nil {
						t.Fatal(err)
					}
					s.pass(t, s.near, s.far, 1000)
				}
				s.end(t)
				if c.interval < time.Second && exposed == 0 {
					t.Error("no packet left in the clear after a change, so that nothing was tested")
				}
				st, err := w.Client.Status(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("6 silent changes: %d packets exposed, for at most %v; greatest age of a proof in use %d ms", exposed, longest, st.Exposure)
			})
		})
	}
}
