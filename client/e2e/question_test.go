package e2e

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/mipv4/wire"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// letsRegistrationsIn is a firewall with the mistake that DET-14 is about.
func letsRegistrationsIn(w *World) {
	w.Firewall.SetFirewall(
		simnet.Rule{In: w.FirewallCore, Verdict: simnet.Accept}, simnet.Rule{In: w.FirewallOffice, Verdict: simnet.Accept},
		simnet.Rule{Destination: netip.PrefixFrom(simnet.LabInternalHA, 32), Protocol: packet.ProtocolUDP, DestinationPort: wire.Port, Verdict: simnet.Accept})
}

// A person asks whether the i-HA answers where it must not. It is asked on every interface, also where requests are suppressed
// or a mode with a VPN is pinned; nothing is opened by the answer, and the sessions of the laptop do not notice.
//
// Shows: DET-14, DET-17 (no user data in the clear whatever the answer bears)
func TestQuestionOutside(t *testing.T) {
	t.Parallel()
	cafe := netip.MustParsePrefix("192.168.1.0/24")
	suppress := func(c *config.Config) {
		c.Detection.OutsideNetworks, c.Detection.SuppressOutside = []netip.Prefix{cafe}, true
	}
	trusting := func(c *agent.HomeAgentConfig) {
		c.TrustedNetworks = append(c.TrustedNetworks, cafe, netip.MustParsePrefix("192.0.2.0/24"))
	}
	for _, c := range []struct {
		name     string
		client   func(*config.Config)
		ha       func(*agent.HomeAgentConfig)
		open     bool
		answered bool
	}{
		{"firewall in order", nil, nil, false, false},
		{"firewall in order, requests suppressed", suppress, nil, false, false},
		// An i-HA does not answer networks that it does not trust (AGT-2).
		{"firewall open, i-HA strict", suppress, nil, true, false},
		{"firewall open, i-HA trusts everybody", suppress, trusting, true, true},
		{"firewall open, i-HA trusts everybody, mode pinned", func(c *config.Config) { c.Mode = "cvc" }, trusting, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 440, Client: c.client, InternalHA: c.ha})
				clear := watchClear(w)
				k := talk(t, w, 100*time.Millisecond)
				connected(t, w, cafePlace)
				k.works(t, 2*time.Second)
				if c.open {
					letsRegistrationsIn(w)
				}
				k.reset()
				p, err := w.Client.Probe(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				seen := false
				for _, i := range p.Interfaces {
					if i.Name != w.Wlan0.Name() {
						if i.Internal.Asked {
							t.Errorf("asked on %s, which is unplugged: %+v", i.Name, i.Internal)
						}
						continue
					}
					seen = true
					if !i.Internal.Asked || i.Internal.Answered != c.answered || i.Internal.TrustedNetwork != c.answered || i.Authentic != c.answered {
						t.Errorf("%+v", i)
					}
				}
				if !seen {
					t.Errorf("%+v says nothing of wlan0", p)
				}
				k.works(t, 5*time.Second)
				if s, err := w.Client.Status(t.Context()); err != nil || s.Mode != "cvc" || s.Proof.Verdict == control.VerdictInside {
					t.Errorf("mode %s, verdict %s, %v", s.Mode, s.Proof.Verdict, err)
				}
				clear.none(t)
			})
		})
	}
}

// Shows: DET-14 (inside the question is harmless: the proof and the sessions stay)
func TestQuestionInside(t *testing.T) {
	t.Parallel()
	for _, at := range []place{places[0], places[1]} {
		t.Run(at.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 441})
				k := talk(t, w, 50*time.Millisecond)
				w.Plug(w.Wlan0, at.wire(w))
				if _, err := w.UntilMode(20*time.Second, at.mode); err != nil {
					t.Fatal(err)
				}
				k.works(t, 2*time.Second)
				p, err := w.Client.Probe(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				i := p.Interfaces[len(p.Interfaces)-1]
				if i.Name != w.Wlan0.Name() || !i.Internal.Answered || !i.Internal.TrustedNetwork || !i.Authentic {
					t.Errorf("%+v", i)
				}
				k.works(t, 3*time.Second)
				if s, err := w.Client.Status(t.Context()); err != nil || s.Mode != at.mode || s.State != control.StateConnected || len(s.Problems) != 0 {
					t.Errorf("state %s, mode %s, problems %v, %v", s.State, s.Mode, s.Problems, err)
				}
			})
		})
	}
}

// Shows: DET-14 (the question ends with the session, and is refused without one)
func TestQuestionCutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 442})
		connected(t, w, cafePlace)
		asked := make(chan error)
		go func() {
			_, err := w.Client.Probe(t.Context())
			asked <- err
		}()
		time.Sleep(time.Second)
		if err := w.Client.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-asked; err != nil {
			t.Error(err)
		}
		if _, err := w.Client.Probe(t.Context()); !errors.Is(err, control.ErrRefused) {
			t.Errorf("while down: %v, want %v", err, control.ErrRefused)
		}
	})
}
