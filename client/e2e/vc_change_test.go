package e2e

import (
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client"
	"mipvpn/client/config"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
)

// Shows: MEC-C, MOD-vc (the gateway is restarted without MOBIKE, and later with it: the mode is chosen anew each time, after the gateway
// was found to have forgotten the SA)
func TestCapabilityComesAndGoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, bistro := straightWorld(t, 620, func(o *Options) {
			o.Client = func(c *config.Config) { c.Mechanisms.EndpointUpdate = config.MechanismMOBIKE }
		})
		j := Watch(append(w.External(), bistro)...)
		w.Plug(w.Wlan0, w.Cafe)
		reach(t, w, "vc")
		k := talk(t, w, 50*time.Millisecond)
		k.works(t, 10*time.Second)
		for i, at := range []struct {
			change func(*agent.GatewayConfig)
			mode   string
		}{{nil, "cvc"}, {mobike, "vc"}} {
			if err := w.RestartGateway(at.change); err != nil {
				t.Fatal(err)
			}
			time.Sleep(30 * time.Second) // the silence is noticed, and a new SA set up
			reach(t, w, at.mode)
			k.works(t, 20*time.Second)
			carry(w, []*simnet.Wire{bistro, w.Cafe}[i])
			reach(t, w, at.mode)
			k.works(t, 10*time.Second)
		}
		judge(t, j)
	})
}

// Shows: HST-6, MOD-vc, MOD-park (asleep at one café and awake at another: the SA moves to where the laptop wakes up; awake inside, and
// out again)
func TestSleepInVC(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &loginManager{}
		w, bistro := straightWorld(t, 621, func(o *Options) { o.Start = []client.Option{client.WithSuspend(m)} })
		j := Watch(append(w.External(), bistro)...)
		w.Plug(w.Wlan0, w.Cafe)
		first := spis(reach(t, w, "vc"))
		k := talk(t, w, 100*time.Millisecond)
		k.works(t, 10*time.Second)
		for _, at := range []struct {
			wire *simnet.Wire
			mode string
		}{{bistro, "vc"}, {w.Office, "c"}, {w.Cafe, "vc"}} {
			m.told().Prepare()
			w.Laptop.Suspend()
			time.Sleep(25 * time.Second)
			w.Plug(w.Wlan0, at.wire)
			w.Laptop.Resume()
			m.told().Resumed()
			time.Sleep(200 * time.Millisecond)
			s := reach(t, w, at.mode)
			if got := spis(s); got != "" && got != first {
				t.Errorf("SPIs %s, %s at first", got, first)
			}
			k.works(t, 10*time.Second)
		}
		judge(t, j)
	})
}

// Shows: MOD-park, MOD-vc (inside, the SA that vc used is given up for a ticket, or deleted, as configured; outside again it is vc with
// a new one at once)
func TestParkedFromVC(t *testing.T) {
	t.Parallel()
	for _, park := range []config.Park{config.ParkKeep, config.ParkDelete, config.ParkResume} {
		t.Run(string(park), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, bistro := straightWorld(t, 622, func(o *Options) {
					o.Client = func(c *config.Config) {
						straight(c)
						c.Gateway.Park = park
					}
				})
				j := Watch(append(w.External(), bistro)...)
				w.Plug(w.Wlan0, w.Cafe)
				first := spis(reach(t, w, "vc"))
				keptSession(t, w, func() {
					carry(w, w.Office)
					reach(t, w, "c")
					time.Sleep(time.Minute)
					carry(w, bistro)
					if s := reach(t, w, "vc"); (spis(s) == first) != (park == config.ParkKeep) {
						t.Errorf("SPIs %s, %s at first", spis(s), first)
					}
				})
				judge(t, j)
			})
		})
	}
}

// Shows: MOD-vc, DET-12, MOD-keep (the office's network becomes outside without a sign, and inside again: a tunnel that was at rest for
// longer than the NAT on the way remembers it moves there all the same)
func TestSilentReroutesInVC(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, _ := straightWorld(t, 623, func(o *Options) {
			o.Client = func(c *config.Config) {
				straight(c)
				probeSoon(c)
			}
		})
		u := newUpstream(w)
		w.Plug(w.Eth0, w.Office)
		reach(t, w, "c")
		k := talk(t, w, time.Second)
		for i := range 3 {
			u.outside()
			if _, err := w.UntilMode(2*time.Minute+30*time.Second, "vc"); err != nil {
				t.Fatalf("round %d: %v", i, err)
			}
			k.works(t, 10*time.Second)
			u.inside()
			if _, err := w.UntilMode(3*time.Minute, "c"); err != nil {
				t.Fatalf("round %d: %v", i, err)
			}
			time.Sleep(5 * time.Minute) // longer than the NAT remembers
			k.works(t, 10*time.Second)
		}
	})
}
