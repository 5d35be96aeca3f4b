package e2e

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/stack/agent"
)

// Inside, the IKE SA is given up for a ticket; outside again it is resumed from another network, with the address that it had.
// A gateway that was restarted meanwhile knows no ticket, and a new IKE SA is made; one that grants none has its SA kept.
//
// Shows: MOD-park, IKE-5
func TestParkedSAIsResumed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		gateway func(*agent.GatewayConfig)
		inside  func(*testing.T, *World)
		said    string
	}{
		"resumed":            {said: "resumed with its ticket"},
		"gateway restarted":  {inside: func(t *testing.T, w *World) { must(t, w.RestartGateway(nil)) }, said: " up ("},
		"no tickets granted": {gateway: func(g *agent.GatewayConfig) { g.NoResumption = true }, said: "is used again"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 80, Gateway: c.gateway, Client: func(cfg *config.Config) { cfg.Gateway.Park = config.ParkResume }})
				j := Watch(w.External()...)
				w.Plug(w.Wlan0, w.Cafe)
				before, err := w.UntilMode(20*time.Second, "cvc")
				must(t, err)
				w.Plug(w.Wlan0, w.Office)
				_, err = w.UntilMode(20*time.Second, "c")
				must(t, err)
				if c.inside != nil {
					c.inside(t, w)
				}
				time.Sleep(10 * time.Second)
				events, stop := w.Client.Subscribe()
				defer stop()
				w.Plug(w.Wlan0, w.Hotspot)
				after, err := w.UntilMode(20*time.Second, "fvc")
				must(t, err)
				said := ""
				for len(events) > 0 {
					if e := <-events; e.Kind == "vpn" {
						said += e.Message + "\n"
					}
				}
				if !strings.Contains(said, c.said) {
					t.Errorf("want %q in what was said of the VPN:\n%s", c.said, said)
				}
				if a, b := vpnAddress(before), vpnAddress(after); a != b {
					t.Errorf("address %s before and %s after", a, b)
				}
				use(t, w)
				judge(t, j)
			})
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// vpnAddress returns the VPN-TIA.
func vpnAddress(s control.Status) string {
	for _, l := range s.Layers {
		if l.Kind == "vpn" {
			return l.Local.String()
		}
	}
	return ""
}
