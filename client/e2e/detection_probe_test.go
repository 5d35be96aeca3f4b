package e2e

import (
	"context"
	"net/netip"
	"slices"
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

// straight returns the laptop's requests to the agent on a wire since the network's time since.
func (r *register) straight(agent netip.Addr, on *simnet.Wire, since time.Duration) []heard {
	return slices.DeleteFunc(r.requests(agent), func(m heard) bool { return m.wire != on.Name() || m.at < since })
}

// registrationOf returns the registration message in an IPv4 packet, the request or the reply; both nil for anything else.
func registrationOf(p []byte) (ip packet.IPv4, request *wire.RegistrationRequest, reply *wire.RegistrationReply) {
	ip = packet.IPv4(p)
	if !isRegistration(ip) {
		return ip, nil, nil
	}
	payload := packet.UDP(ip.Payload()).Payload()
	request, _ = wire.ParseRegistrationRequest(payload)
	reply, _ = wire.ParseRegistrationReply(payload)
	return ip, request, reply
}

// Shows: DET-9 (probes that nobody hears: three requests each, and nothing else happens)
func TestProbesFromOutside(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		probe, runs time.Duration
		want        int
	}{"every ten minutes": {10 * time.Minute, 41 * time.Minute, 3 * 4}, "every two minutes": {2 * time.Minute, 11 * time.Minute, 3 * 5}, "never": {0, 41 * time.Minute, 0}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 80, Client: func(cfg *config.Config) { cfg.Detection.Probe = c.probe }})
				clear, r := watchClear(w), watchRegistrations(w)
				k := talk(t, w, 500*time.Millisecond)
				connected(t, w, cafePlace)
				began := w.Elapsed()
				k.reset()
				time.Sleep(c.runs)
				sent, answered, gap := k.counts()
				if answered < sent-1 || gap > 1500*time.Millisecond {
					t.Errorf("%d of %d packets answered, longest time without an answer %v", answered, sent, gap)
				}
				if n := len(r.straight(simnet.LabInternalHA, w.Cafe, began)); n != c.want {
					t.Errorf("%d requests to the i-HA in the clear in %v, want %d", n, c.runs, c.want)
				}
				clear.none(t)
				s, err := w.Client.Status(context.Background())
				if err != nil || s.Mode != "cvc" || len(s.Problems) != 0 || len(s.Handoffs) != 1 {
					t.Errorf("mode %q, problems %v, handoffs %v, %v", s.Mode, s.Problems, s.Handoffs, err)
				}
			})
		})
	}
}

// The probe reaches the i-HA, which takes it, and only its answer is lost: the i-HA sends to the café from then on. The
// laptop cannot know; it has to take the binding back as soon as the probe is over.
//
// Shows: DET-9 (after an unanswered probe the binding through the VPN is refreshed)
func TestProbeThatReplacesTheBinding(t *testing.T) {
	t.Parallel()
	for _, at := range []place{cafePlace, hotspotPlace} {
		t.Run(at.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 81, InternalHA: func(c *agent.HomeAgentConfig) { c.Internal, c.TrustedNetworks = false, nil }})
				clear, r := watchClear(w), watchRegistrations(w)
				k := talk(t, w, 200*time.Millisecond)
				connected(t, w, at)
				w.Firewall.SetFirewall( // a mistake: registrations come in
					simnet.Rule{In: w.FirewallCore, Verdict: simnet.Accept}, simnet.Rule{In: w.FirewallOffice, Verdict: simnet.Accept},
					simnet.Rule{Destination: netip.PrefixFrom(simnet.LabInternalHA, 32), Protocol: packet.ProtocolUDP, DestinationPort: wire.Port, Verdict: simnet.Accept})
				external := netip.MustParsePrefix("192.0.2.0/24")
				w.Core.Intercept(func(f simnet.Frame) []simnet.Relay { // and their answers do not come out
					if ip, _, reply := registrationOf(f.Packet); reply != nil && external.Contains(ip.Dst()) {
						return nil
					}
					return []simnet.Relay{f.Relay()}
				})
				for range 2 {
					began := w.Elapsed()
					k.reset()
					time.Sleep(10*time.Minute + 10*time.Second)
					probes := r.straight(simnet.LabInternalHA, at.wire(w), began)
					if len(probes) == 0 {
						t.Fatal("no probe")
					}
					if _, _, gap := k.counts(); gap < time.Second || gap > 4500*time.Millisecond {
						t.Errorf("longest time without an answer is %v: a probe takes four seconds", gap)
					}
					k.works(t, 10*time.Second)
				}
				clear.none(t) // the laptop has sent nothing in the clear; what the i-HA did is the firewall's fault
				if s, err := w.Client.Status(context.Background()); err != nil || s.Mode != at.mode {
					t.Errorf("mode %q, %v", s.Mode, err)
				}
			})
		})
	}
}

// The i-HA answers a probe so late that the answer proves nothing, but it has taken the registration.
//
// Shows: DET-9, DET-4
func TestProbeAnsweredTooLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 82, InternalHA: func(c *agent.HomeAgentConfig) {
			c.TrustedNetworks = append(c.TrustedNetworks, netip.MustParsePrefix("192.0.2.0/24"))
		}})
		clear := watchClear(w)
		k := talk(t, w, 500*time.Millisecond)
		connected(t, w, cafePlace)
		w.Firewall.SetFirewall(
			simnet.Rule{In: w.FirewallCore, Verdict: simnet.Accept}, simnet.Rule{In: w.FirewallOffice, Verdict: simnet.Accept},
			simnet.Rule{Destination: netip.PrefixFrom(simnet.LabInternalHA, 32), Protocol: packet.ProtocolUDP, DestinationPort: wire.Port, Verdict: simnet.Accept})
		late := 0
		w.Cafe.Intercept(func(f simnet.Frame) []simnet.Relay { // somebody at the café holds what the i-HA says back
			r := f.Relay()
			if _, _, reply := registrationOf(f.Packet); reply != nil && reply.HomeAgent == simnet.LabInternalHA {
				r.Delay = 5100 * time.Millisecond
				late++
			}
			return []simnet.Relay{r}
		})
		k.reset()
		time.Sleep(21 * time.Minute)
		if _, _, gap := k.counts(); gap > 6*time.Second {
			t.Errorf("longest time without an answer is %v", gap)
		}
		k.works(t, 10*time.Second)
		s, err := w.Client.Status(context.Background())
		if err != nil || s.Mode != "cvc" || s.Proof.Verdict != control.VerdictOutside {
			t.Errorf("mode %q, verdict %s, %v", s.Mode, s.Proof.Verdict, err)
		}
		if late < 2 {
			t.Errorf("%d late answers: nothing was tested", late)
		}
		clear.none(t)
	})
}

// Shows: DET-9, DET-8 (a probe is answered: the network has become inside without a local event)
func TestNetworkBecomesInside(t *testing.T) {
	t.Parallel()
	for _, probe := range []time.Duration{10 * time.Minute, time.Minute} {
		t.Run(probe.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 83, Client: func(c *config.Config) { c.Detection.Probe = probe }, Lab: func(l *simnet.Lab) { l.RouteOffice(false) }})
				last := plaintextOn(w, w.Office)
				k := talk(t, w, 500*time.Millisecond)
				w.Plug(w.Eth0, w.Office)
				if _, err := w.UntilMode(20*time.Second, "cvc"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(30 * time.Second)
				if last() != 0 {
					t.Error("user data in the clear outside")
				}
				w.RouteOffice(true)
				moved := time.Now()
				if _, err := w.UntilMode(probe+time.Second, "c"); err != nil {
					t.Fatal(err)
				}
				t.Logf("mode c %v after the route changed", time.Since(moved))
				k.works(t, 10*time.Second)
				if w.ExternalAgent.Table().Route(simnet.LabExternalHomeAddress) != nil {
					t.Error("the x-HA still has a binding")
				}
			})
		})
	}
}

// Shows: DET-12, DET-4, DET-7 (inside to outside without any local event: upstream routes have changed)
func TestNetworkBecomesOutside(t *testing.T) {
	t.Parallel()
	for _, at := range []place{officePlace, {"office FA", func(w *World) *simnet.Wire { return w.OfficeFA }, "f"}} {
		t.Run(at.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 84})
				last := plaintextOn(w, at.wire(w))
				k := talk(t, w, 50*time.Millisecond)
				w.Plug(w.Eth0, at.wire(w))
				if _, err := w.UntilMode(20*time.Second, at.mode); err != nil {
					t.Fatal(err)
				}
				time.Sleep(75 * time.Second) // two renewals
				if at.mode == "c" {
					w.RouteOffice(false)
				} else {
					w.Firewall.SetFirewall(
						simnet.Rule{Source: netip.PrefixFrom(simnet.LabInternalFA, 32), Destination: simnet.LabEnterprise, Verdict: simnet.Drop},
						simnet.Rule{Destination: netip.PrefixFrom(simnet.LabInternalFA, 32), Source: simnet.LabEnterprise, Verdict: simnet.Drop},
						simnet.Rule{In: w.FirewallCore, Verdict: simnet.Accept})
					w.Core.Intercept(func(f simnet.Frame) []simnet.Relay { // agent and i-HA are neighbours
						ip := packet.IPv4(f.Packet)
						if ip.Valid() && (ip.Src() == simnet.LabInternalFA && simnet.LabEnterprise.Contains(ip.Dst()) || ip.Dst() == simnet.LabInternalFA && simnet.LabEnterprise.Contains(ip.Src())) {
							return nil
						}
						return []simnet.Relay{f.Relay()}
					})
				}
				cut := w.Elapsed()
				mode := "cvc"
				if at.mode == "f" {
					mode = "fvc"
				}
				s, err := w.UntilMode(75*time.Second, mode)
				if err != nil {
					t.Fatal(err)
				}
				exposed := last() - cut
				if exposed <= 0 || exposed >= time.Minute {
					t.Errorf("user data in the clear for %v after the change, T_MONITOR is a minute", exposed)
				}
				t.Logf("in the clear for %v, mode %s %v after the change, greatest exposure %d ms", exposed, mode, w.Elapsed()-cut, s.Exposure)
				k.works(t, 10*time.Second)
				if after := last() - cut; after != exposed {
					t.Errorf("user data in the clear %v after the change", after)
				}
			})
		})
	}
}

// Shows: DET-6, DET-7 (the x-HA's first answers are lost)
func TestLostReplyOfTheExternalHomeAgent(t *testing.T) {
	t.Parallel()
	for _, at := range []place{cafePlace, hotspotPlace, officePlace} {
		t.Run(at.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 85})
				r := watchRegistrations(w)
				lost := 0
				at.wire(w).Intercept(func(f simnet.Frame) []simnet.Relay {
					if _, _, reply := registrationOf(f.Packet); reply != nil && reply.HomeAgent == simnet.LabExternalHA && lost < 3 {
						lost++
						return nil
					}
					return []simnet.Relay{f.Relay()}
				})
				k := talk(t, w, 100*time.Millisecond)
				w.Plug(w.Wlan0, at.wire(w))
				if _, err := w.UntilMode(20*time.Second, at.mode); err != nil {
					t.Fatal(err)
				}
				k.works(t, 30*time.Second)
				if at.mode == "c" { // the proof alone counts; the x-HA is not asked again
					if n := len(r.requests(simnet.LabExternalHA)); n > 2 {
						t.Errorf("%d requests to the x-HA from inside", n)
					}
					return
				}
				if n := len(r.requests(simnet.LabExternalHA)); lost != 3 || n != 4 {
					t.Errorf("%d answers lost, %d requests: want 3 and 4", lost, n)
				}
				if s, err := w.Client.Status(context.Background()); err != nil || len(s.Problems) != 0 {
					t.Errorf("problems %v, %v", s.Problems, err)
				}
			})
		})
	}
}
