package e2e

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/ipsec/ike"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
)

// straight lets the VPN stand straight on an interface where the gateway follows.
func straight(c *config.Config) { c.Mechanisms.EndpointUpdate = config.MechanismAuto }

// mobike gives the gateway MOBIKE.
func mobike(c *agent.GatewayConfig) { c.IKE.MOBIKE = &ike.MOBIKE{} }

// from collects the addresses that IKE SAs are begun from.
func from(t *testing.T, w *World) func() []string {
	events, stop := w.Client.Subscribe()
	t.Cleanup(stop)
	var all []string
	return func() []string {
		for {
			select {
			case e := <-events:
				if _, at, found := strings.Cut(e.Message, "setting up the VPN with gateway "+simnet.LabGateway.String()+" from "); found {
					all = append(all, at)
				}
			default:
				return all
			}
		}
	}
}

// kinds names the layers of a status, from the interface up.
func kinds(s control.Status) string {
	var all []string
	for _, l := range s.Layers {
		all = append(all, l.Kind)
	}
	return strings.Join(all, " ")
}

// Shows: MOD-vc, MEC-C (cold start: IKE begins from the x-HoA, and the same IKE SA moves to the interface, make before break)
func TestModeVC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 601, Client: straight, Gateway: mobike})
		j := Watch(w.External()...)
		w.Plug(w.Wlan0, w.Cafe)
		began := from(t, w)
		s, err := w.UntilMode(10*time.Second, "vc")
		if err != nil {
			t.Fatal(err)
		}
		if got := began(); !slices.Equal(got, []string{simnet.LabExternalHomeAddress.String()}) {
			t.Errorf("IKE began from %v", got)
		}
		if k := kinds(s); k != "underlay vpn i-mip" {
			t.Errorf("layers %s", k)
		}
		if !strings.Contains(s.ModeReason, "follows") {
			t.Errorf("reason %q", s.ModeReason)
		}
		use(t, w)
		judge(t, j)
	})
}
