package e2e

import (
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/homeagent"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
)

// With nonces at both home agents and a clock that is off by a day, inside is proven again and again over a wire that loses frames,
// and the laptop goes out through a foreign agent and home again, the replies never being taken for a clock.
//
// Shows: MIP-3 (nonces)
func TestNonces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		nonces := func(spi uint32, key []byte) func(*agent.HomeAgentConfig) {
			return func(c *agent.HomeAgentConfig) {
				sa, err := auth.New(auth.Parameters{SPI: spi, Key: key, ReplayProtection: auth.Nonces})
				if err != nil {
					t.Fatal(err)
				}
				home := c.MobileNodes[0].HomeAddress
				c.MobileNodes = []homeagent.MobileNode{{HomeAddress: home, Associations: []*auth.SecurityAssociation{sa}}}
			}
		}
		w := world(t, Options{
			Seed: 31, InternalHA: nonces(InternalSPI, internalKey), ExternalHA: nonces(ExternalSPI, externalKey),
			Client: func(c *config.Config) { c.Internal.ReplayProtection, c.External.ReplayProtection = "nonces", "nonces" },
			Lab:    func(l *simnet.Lab) { l.Laptop.StepWall(-24 * time.Hour) },
		})
		clear := watchClear(w)
		k := talk(t, w, 100*time.Millisecond)
		w.Office.Impair(simnet.Impairment{Latency: time.Millisecond, Loss: 0.1})
		w.Plug(w.Wlan0, w.Office)
		if _, err := w.UntilMode(30*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		for range 20 { // re-registrations are due every half minute
			time.Sleep(15 * time.Second)
			if s, err := w.Client.Status(t.Context()); err != nil || s.Mode != "c" || s.Exposure > 60_000 {
				t.Fatalf("mode %q, exposure %v, problems %v, %v", s.Mode, s.Exposure, s.Problems, err)
			}
		}
		w.Office.Impair(simnet.Impairment{Latency: time.Millisecond})
		w.Plug(w.Wlan0, w.Hotspot)
		mended(t, w, k, 20*time.Second, "fvc")
		w.Plug(w.Wlan0, w.Cafe)
		mended(t, w, k, 20*time.Second, "cvc")
		if n := clear.on(w.Hotspot, w.Cafe); n != 0 {
			t.Errorf("%d frames in the clear outside", n)
		}
		w.Plug(w.Wlan0, w.Office)
		mended(t, w, k, 20*time.Second, "c")
	})
}
