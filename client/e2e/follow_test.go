package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
)

// heedless has the gateway do without MOBIKE and follow nobody.
func heedless(c *agent.GatewayConfig) { c.IKE.NoFollowing = true }

// Shows: MEC-C, MOD-vc, MOD-keep. The gateway has no MOBIKE, but follows packets: a client from a cold start finds it out in a tunnel in UDP, ends in vc,
// and roams to another network and back under the same SAs. The next time it begins there.
func TestFollowedByPackets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 640, Client: straight})
		j := Watch(w.External()...)
		w.Plug(w.Wlan0, w.Cafe)
		if _, err := w.UntilMode(30*time.Second, "vc"); err != nil {
			t.Fatal(err)
		}
		use(t, w)
		began, err := w.Client.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s, err := StartSession(w)
		if err != nil {
			t.Fatal(err)
		}
		library, _ := w.AddCafe("library", netip.MustParseAddr("192.0.2.50"), netip.MustParsePrefix("192.168.7.50/24"), simnet.NATConfig{})
		w.Plug(w.Wlan0, library)
		time.Sleep(10 * time.Second)
		after, err := w.UntilMode(10*time.Second, "vc")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Finish(); err != nil {
			t.Error(err)
		}
		if a, b := spis(began), spis(after); a == "" || a != b {
			t.Errorf("SPIs before %s, after %s", a, b)
		}
		judge(t, j)
	})
}

// Shows: MEC-C, MOD-vc (vc is abandoned as draft §3.3 says). The gateway follows nobody: auto stays in cvc, and so does a client that is to use vc, with the reason in status;
// where nothing else may be used nothing is carried.
func TestNotFollowed(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*config.Config){
		"auto":   straight,
		"pinned": func(c *config.Config) { straight(c); c.Mode = "vc" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 641, Client: change, Gateway: heedless})
				j := Watch(w.External()...)
				w.Plug(w.Wlan0, w.Cafe)
				if _, err := w.UntilMode(30*time.Second, "cvc"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(30 * time.Second)
				s, err := w.UntilMode(time.Second, "cvc")
				if err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(s.ModeReason, "does not follow") {
					t.Errorf("reason %q", s.ModeReason)
				}
				use(t, w)
				judge(t, j)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 642, Gateway: heedless, Client: func(c *config.Config) { c.Mechanisms.EndpointUpdate = config.MechanismAlways }})
		j := Watch(w.External()...)
		w.Plug(w.Wlan0, w.Cafe)
		time.Sleep(time.Minute)
		s, err := w.Client.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if s.State == control.StateConnected || !strings.Contains(fmt.Sprint(s.ModeReason, s.Problems), "does not follow") {
			t.Errorf("state %s, mode %q: %q; problems %v", s.State, s.Mode, s.ModeReason, s.Problems)
		}
		judge(t, j)
	})
}
