package e2e

import (
	"context"
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

// listOffice has the office's network, and that of its foreign agent, listed as outside.
func listOffice(suppress bool) func(*config.Config) {
	return func(c *config.Config) {
		c.Detection.OutsideNetworks = []netip.Prefix{netip.MustParsePrefix("10.0.2.0/24"), netip.PrefixFrom(simnet.LabInternalFA, 32)}
		c.Detection.SuppressOutside = suppress
	}
}

// Shows: DET-14 (any direct reply of the i-HA on a network that is listed as outside), DET-3
func TestAnswerOnANetworkListedAsOutside(t *testing.T) {
	t.Parallel()
	for _, at := range []place{officePlace, {"office FA", func(w *World) *simnet.Wire { return w.OfficeFA }, "f"}} {
		for name, change := range map[string]func(*agent.HomeAgentConfig){
			"accepted":        nil,
			"without the TNC": func(c *agent.HomeAgentConfig) { c.Internal, c.TrustedNetworks = false, nil },
		} {
			t.Run(name+" at the "+at.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := world(t, Options{Seed: 140, Client: listOffice(false), InternalHA: change})
					clear, r := watchClear(w), watchRegistrations(w)
					k := talk(t, w, time.Second)
					w.Plug(w.Wlan0, at.wire(w))
					alarmed := func(s control.Status) bool {
						p, ok := problem(s, "i-HA 10.0.1.10")
						return ok && p.Code == "i_ha_reachable_outside" && strings.Contains(p.Message, "listed as outside") && p.Advice != ""
					}
					if _, err := w.Until(10*time.Second, alarmed); err != nil {
						t.Fatal(err)
					}
					// The binding so made is replaced through the VPN, now and after each probe.
					if _, err := w.Until(30*time.Second, func(s control.Status) bool { return s.State == control.StateConnected }); err != nil {
						t.Fatal(err)
					}
					k.works(t, 11*time.Minute)
					s, err := w.Client.Status(context.Background())
					if err != nil || s.Proof.Verdict != control.VerdictOutside || !alarmed(s) {
						t.Errorf("verdict %s, problems %v, %v", s.Proof.Verdict, s.Problems, err)
					}
					clear.none(t)
					if n := len(r.replies(simnet.LabInternalHA, at.wire(w))); n < 2 {
						t.Errorf("%d direct replies: nothing was tested", n)
					}
				})
			})
		}
	}
}

// Shows: DET-14 (a denial of the i-HA there is an alarm, too: it got the request)
func TestDenialOnANetworkListedAsOutside(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 141, Client: listOffice(false), InternalHA: func(c *agent.HomeAgentConfig) { c.NoReverseTunnel = true }})
		clear := watchClear(w)
		w.Plug(w.Eth0, w.Office)
		s, err := w.Until(10*time.Second, func(s control.Status) bool {
			for _, p := range s.Problems {
				if p.Code == "i_ha_reachable_outside" {
					return true
				}
			}
			return false
		})
		if err != nil || s.Proof.Verdict == control.VerdictInside {
			t.Fatalf("verdict %s, problems %v, %v", s.Proof.Verdict, s.Problems, err)
		}
		time.Sleep(time.Minute)
		clear.none(t)
	})
}

// Shows: DET-17 (requests to the i-HA can be suppressed on listed networks)
func TestNoRequestOnASuppressedNetwork(t *testing.T) {
	t.Parallel()
	for _, at := range []place{officePlace, {"office FA", func(w *World) *simnet.Wire { return w.OfficeFA }, "f"}} {
		t.Run(at.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 142, Client: listOffice(true)})
				clear, r := watchClear(w), watchRegistrations(w)
				k := talk(t, w, time.Second)
				w.Plug(w.Wlan0, at.wire(w))
				s, err := w.Until(10*time.Second, func(s control.Status) bool { return s.State == control.StateConnected })
				if err != nil || s.Proof.Verdict != control.VerdictOutside {
					t.Fatalf("verdict %s, %v", s.Proof.Verdict, err)
				}
				k.works(t, 11*time.Minute) // a probe would have been due
				if n := len(r.straight(simnet.LabInternalHA, at.wire(w), 0)); n != 0 {
					t.Errorf("%d requests to the i-HA in the clear", n)
				}
				if s, err = w.Client.Status(context.Background()); err != nil || len(s.Problems) != 0 {
					t.Errorf("problems %v, %v", s.Problems, err)
				}
				clear.none(t)
				// Elsewhere it is asked as ever.
				w.Plug(w.Wlan0, w.Cafe)
				time.Sleep(5 * time.Second)
				if n := len(r.straight(simnet.LabInternalHA, w.Cafe, 0)); n == 0 {
					t.Error("the i-HA is not asked on other networks")
				}
			})
		})
	}
}
