package e2e

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/stack/simnet"
)

// Shows: IKE-5, GDL-7 (a list of gateways: the first is dead, and the next one is used within a quarter of a minute, without a
// pause between the two; with the only one dead, nothing comes up)
func TestFallbackGateway(t *testing.T) {
	t.Parallel()
	dead := netip.MustParseAddr("192.0.2.99")
	for _, c := range []struct {
		name     string
		fallback []config.Endpoint
		up       bool
	}{{"two gateways", []config.Endpoint{{Address: simnet.LabGateway}}, true}, {"one gateway", nil, false}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 7, Client: func(cfg *config.Config) {
					cfg.Gateway.Address, cfg.Gateway.Fallback = dead, c.fallback
				}})
				w.Plug(w.Wlan0, w.Cafe)
				s, err := w.Until(25*time.Second, func(s control.Status) bool { return s.State == control.StateConnected && s.Mode == "cvc" })
				if c.up != (err == nil) {
					t.Fatalf("state %v, mode %v: %v", s.State, s.Mode, err)
				}
				if !c.up {
					return
				}
				for _, l := range s.Layers {
					if l.Kind == "vpn" && l.Remote != simnet.LabGateway {
						t.Errorf("the VPN's gateway is %v", l.Remote)
					}
				}
			})
		})
	}
}
