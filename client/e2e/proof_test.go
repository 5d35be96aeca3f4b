package e2e

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/ipsec/esp"
	"mipvpn/mipv4/wire"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// heard is a registration message as a wire carried it.
type heard struct {
	at       time.Duration
	wire     string
	sender   string
	ip       packet.IPv4
	udp      packet.UDP
	request  *wire.RegistrationRequest // one of both
	reply    *wire.RegistrationReply
	hardware packet.HardwareAddr // of its sender
}

// register keeps every registration message that is not inside a tunnel.
type register struct {
	mu       sync.Mutex
	messages []heard
	firstIKE time.Duration // that the laptop sent
	esp      int           // ESP packets that the laptop sent
}

func watchRegistrations(w *World) *register {
	r := &register{}
	w.TapAll(func(f simnet.Frame) {
		r.mu.Lock()
		defer r.mu.Unlock()
		ip := packet.IPv4(f.Packet)
		if strings.HasPrefix(f.Sender, "laptop/") {
			if r.firstIKE == 0 && hasIKE(ip) {
				r.firstIKE = f.At
			}
			if hasESP(ip) {
				r.esp++
			}
		}
		if !isRegistration(ip) {
			return
		}
		m := heard{at: f.At, wire: f.Wire, sender: f.Sender, ip: ip, udp: packet.UDP(ip.Payload()), hardware: f.Source}
		m.request, _ = wire.ParseRegistrationRequest(m.udp.Payload())
		m.reply, _ = wire.ParseRegistrationReply(m.udp.Payload())
		r.messages = append(r.messages, m)
	})
	return r
}

// requests returns the laptop's requests to the home agent, as they left it.
func (r *register) requests(agent netip.Addr) []heard {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.messages), func(m heard) bool {
		return m.request == nil || m.request.HomeAgent != agent || !strings.HasPrefix(m.sender, "laptop/")
	})
}

// replies returns the replies of the home agent on a wire.
func (r *register) replies(agent netip.Addr, on *simnet.Wire) []heard {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.messages), func(m heard) bool {
		return m.reply == nil || m.reply.HomeAgent != agent || m.wire != on.Name()
	})
}

// hasESP reports whether the packet is ESP, plain, in UDP, or inside the tunnels of x-MIP.
func hasESP(ip packet.IPv4) bool {
	if !ip.Valid() {
		return false
	}
	switch ip.Protocol() {
	case packet.ProtocolESP:
		return true
	case packet.ProtocolIPIP:
		return hasESP(packet.IPv4(ip.Payload()))
	case packet.ProtocolUDP:
		u := packet.UDP(ip.Payload())
		if !u.Valid() {
			return false
		}
		p := u.Payload()
		switch {
		case u.DstPort() == esp.PortNATT:
			return esp.Classify(p) == esp.KindESP
		case u.DstPort() == 434 && len(p) > 4 && p[0] == 4:
			return hasESP(packet.IPv4(p[4:]))
		}
	}
	return false
}

// Shows: DET-1
func TestProofOfOneInterfaceSaysNothingOfTheOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 40})
		clear, r := watchClear(w), watchRegistrations(w)
		talk(t, w, 10*time.Millisecond)
		w.Plug(w.Wlan0, w.Cafe)
		w.Plug(w.Eth0, w.Office)
		if _, err := w.UntilMode(20*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		s, err := w.Client.Status(context.Background())
		if err != nil || s.Interface != "eth0" {
			t.Fatalf("interface %s, %v", s.Interface, err)
		}
		for _, i := range s.Interfaces {
			if i.Name == "wlan0" && (i.Proof.Verdict == control.VerdictInside || i.Proof.Age != nil) {
				t.Errorf("wlan0 is %s with the proof of eth0", i.Proof.Verdict)
			}
		}
		// The proof of eth0 is seconds old; the traffic has to go through wlan0 now.
		w.Unplug(w.Eth0)
		if _, err := w.UntilMode(20*time.Second, "cvc"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if clear.on(w.Office) == 0 {
			t.Error("no frame in the clear on eth0, so that nothing was tested")
		}
		if n := clear.on(w.External()...); n != 0 {
			t.Errorf("%d frames of user data in the clear through wlan0", n)
		}
		// Now wlan0 comes to the office, too: it needs a proof of its own.
		var first time.Duration
		seen := make(chan time.Duration, 1)
		w.Office.Tap(func(f simnet.Frame) {
			if f.Plaintext && f.Sender == "laptop/wlan0" {
				select {
				case seen <- f.At:
				default:
				}
			}
		})
		moved := w.Elapsed()
		w.Plug(w.Wlan0, w.Office)
		if _, err := w.UntilMode(20*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		first = <-seen
		own := slices.DeleteFunc(r.replies(simnet.LabInternalHA, w.Office), func(m heard) bool {
			return m.at < moved || m.ip.Dst() != w.Wlan0.Address().Addr()
		})
		if len(own) == 0 || first <= own[0].at {
			t.Errorf("user data in the clear at %v, replies to wlan0 at %v", first, own)
		}
	})
}

// Shows: DET-3, DET-14
func TestReplyWithoutTNCIsAnAlarmAndNoProof(t *testing.T) {
	t.Parallel()
	for _, at := range []place{officePlace, {"office FA", func(w *World) *simnet.Wire { return w.OfficeFA }, "f"}} {
		t.Run(at.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 41, InternalHA: func(c *agent.HomeAgentConfig) { c.Internal, c.TrustedNetworks = false, nil }})
				clear, r := watchClear(w), watchRegistrations(w)
				k := talk(t, w, time.Second)
				w.Plug(w.Wlan0, at.wire(w))
				alarmed := func(s control.Status) bool {
					p, ok := problem(s, "i-HA 10.0.1.10")
					return ok && p.Code == "no_tnc" && strings.Contains(p.Message, "Trusted Networks Configured") && p.Advice != ""
				}
				if _, err := w.Until(10*time.Second, alarmed); err != nil {
					t.Fatal(err)
				}
				// The binding that the direct registration made is replaced through the VPN.
				s, err := w.Until(30*time.Second, func(s control.Status) bool { return s.State == control.StateConnected })
				if err != nil || s.Proof.Verdict != control.VerdictOutside {
					t.Fatalf("mode %q, verdict %s, %v", s.Mode, s.Proof.Verdict, err)
				}
				k.works(t, 20*time.Minute)
				if s, err = w.Client.Status(context.Background()); err != nil || !alarmed(s) {
					t.Errorf("the alarm is forgotten: problems %v, %v", s.Problems, err)
				}
				clear.none(t)
				if n := len(r.replies(simnet.LabInternalHA, at.wire(w))); n < 2 {
					t.Errorf("%d direct replies of the i-HA, with a probe every ten minutes", n)
				}
				// The i-HA is set right: its next reply is a proof.
				restartInternal(nil)(t, w)
				mended(t, w, k, 11*time.Minute, at.mode)
			})
		})
	}
}

// Shows: DET-3 (the i-HA's replies through the VPN bear the extension, too, and never count)
func TestRepliesThroughTheVPNAreNoProof(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 42})
		clear, r := watchClear(w), watchRegistrations(w)
		k := talk(t, w, time.Second)
		connected(t, w, cafePlace)
		for range 30 {
			time.Sleep(time.Minute)
			s, err := w.Client.Status(context.Background())
			if err != nil || s.Proof.Verdict != control.VerdictOutside || s.Mode != "cvc" || len(s.Problems) != 0 {
				t.Fatalf("mode %q, verdict %s, problems %v, %v", s.Mode, s.Proof.Verdict, s.Problems, err)
			}
		}
		clear.none(t)
		k.works(t, 10*time.Second)
		trusted := 0
		for _, m := range r.replies(simnet.LabInternalHA, w.Core) {
			if i := m.reply.Extensions.Index(wire.ExtMobileHomeAuthentication); i > 0 && slices.ContainsFunc(m.reply.Extensions[:i], wire.IsTrustedNetworksConfigured) {
				trusted++
			}
		}
		if trusted < 3 {
			t.Errorf("%d replies with the extension went into the VPN, so that nothing was tested", trusted)
		}
	})
}

// Shows: DET-6
func TestBothRequestsLeaveTogetherAndAreRepeatedWithBackOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 43})
		r := watchRegistrations(w)
		w.Cafe.Impair(simnet.Impairment{Loss: 1}) // a tap sees what is lost, too
		w.Plug(w.Wlan0, w.Cafe)
		time.Sleep(12 * time.Second)
		internal, external := r.requests(simnet.LabInternalHA), r.requests(simnet.LabExternalHA)
		if len(internal) != 7 || len(external) != 7 {
			t.Fatalf("%d requests to the i-HA, %d to the x-HA", len(internal), len(external))
		}
		// RFC 5944 §3.6.3: a second, doubled up to what is configured: 0, 1, 3, 5, 7, 9, 11 s.
		for i, after := range []time.Duration{0, 1, 3, 5, 7, 9, 11} {
			a, b := internal[i], external[i]
			if a.at != b.at || a.at-internal[0].at != after*time.Second {
				t.Errorf("requests %d left %v and %v after the first, want %v s", i, a.at-internal[0].at, b.at-internal[0].at, int(after))
			}
			if a.ip.Dst() != simnet.LabInternalHA || b.ip.Dst() != simnet.LabExternalHA || a.wire != w.Cafe.Name() {
				t.Errorf("requests went to %v and %v on %s", a.ip.Dst(), b.ip.Dst(), a.wire)
			}
			if i > 0 && (a.request.Identification <= internal[i-1].request.Identification || b.request.Identification <= external[i-1].request.Identification) {
				t.Errorf("request %d has an Identification that is not greater than the one before", i)
			}
		}
	})
}

// Shows: DET-7
func TestDetectionPeriodDelaysIKEOnly(t *testing.T) {
	t.Parallel()
	for _, period := range []time.Duration{0, 500 * time.Millisecond, 2 * time.Second} {
		t.Run(period.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 44, Client: func(c *config.Config) { c.Detection.Period = period }})
				r := watchRegistrations(w)
				// No jitter, so that times can be counted in round trips.
				w.Cafe.Impair(simnet.Impairment{Latency: 2 * time.Millisecond})
				w.Plug(w.Wlan0, w.Cafe)
				s, err := w.UntilMode(10*time.Second, "cvc")
				if err != nil {
					t.Fatal(err)
				}
				up := w.Elapsed()
				internal, external := r.requests(simnet.LabInternalHA), r.requests(simnet.LabExternalHA)
				began := external[0].at
				replied := r.replies(simnet.LabExternalHA, w.Cafe)[0].at + 2*time.Millisecond
				r.mu.Lock()
				ike, data := r.firstIKE, r.esp
				r.mu.Unlock()
				if want := max(began+period, replied); ike != want {
					t.Errorf("IKE started at %v, want %v: requests left at %v, the x-HA's reply came at %v", ike, want, began, replied)
				}
				if period > 0 {
					return
				}
				// Cold start outside (RFC 5265 §5.3): the registration with the x-HA, the set-up of IKE (IKE_SA_INIT, IKE_INTERMEDIATE
				// for ML-KEM, which the RFC did not know, and IKE_AUTH), the registration with the i-HA through the VPN: five
				// exchanges, ten messages, and the one request to the i-HA that gets no answer. The way to the gateway: café 2 ms, to the x-HA 5 ms, to the gateway 5 ms; the way back has one
				// hop of 5 ms more, the router in front of the x-HA. The i-HA is under a millisecond further.
				if len(internal) != 1 || len(external) != 1 || data != 1 {
					t.Errorf("%d requests to the i-HA in the clear, %d to the x-HA, %d packets of ESP", len(internal), len(external), data)
				}
				toAgent, toGateway := 2*(2+5)*time.Millisecond, (2+5+5+5+5+5+2)*time.Millisecond
				limit := toAgent + 4*toGateway + time.Millisecond
				if took := up - began; took > limit {
					t.Errorf("up after %v, five round trips take %v", took, limit)
				}
				t.Logf("mode %s %v after the first request: 2 RRQs, 3 IKE requests, 1 RRQ in ESP", s.Mode, up-began)
			})
		})
	}
}

// Shows: DET-7 (the number of messages of a cold start, with a period of 0: IKE_INTERMEDIATE for ML-KEM is one exchange more than the
// RFC's four)
func TestColdStartOutsideTakesFiveExchanges(t *testing.T) {
	t.Parallel()
	for _, at := range []place{cafePlace, hotspotPlace} {
		t.Run(at.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 45, Client: func(c *config.Config) { c.Detection.Period = 0 }})
				r, count := watchRegistrations(w), &signalling{}
				w.TapAll(count.look)
				w.Plug(w.Wlan0, at.wire(w))
				if _, err := w.UntilMode(10*time.Second, at.mode); err != nil {
					t.Fatal(err)
				}
				internal, external := len(r.requests(simnet.LabInternalHA)), len(r.requests(simnet.LabExternalHA))
				r.mu.Lock()
				data := r.esp
				r.mu.Unlock()
				if internal != 1 || external != 1 || count.ike() != 3 || data != 1 {
					t.Errorf("requests: %d to the i-HA in the clear, %d to the x-HA, %d of IKE, %d in ESP; want 1, 1, 3, 1", internal, external, count.ike(), data)
				}
			})
		})
	}
}

// Shows: DET-8 (a late proof ends the registration with the x-HA)
func TestLateProofDeregistersWithTheExternalHomeAgent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 46})
		k := talk(t, w, 100*time.Millisecond)
		w.Core.Impair(simnet.Impairment{Latency: 1500 * time.Millisecond})
		w.Plug(w.Eth0, w.Office)
		_, err := w.Until(20*time.Second, func(s control.Status) bool { return s.Proof.Verdict == control.VerdictOutside })
		if err != nil {
			t.Fatal(err)
		}
		if w.ExternalAgent.Table().Route(simnet.LabExternalHomeAddress) == nil {
			t.Fatal("no binding at the x-HA, so that nothing is tested")
		}
		if _, err := w.UntilMode(20*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		w.Core.Impair(simnet.Impairment{})
		time.Sleep(5 * time.Second)
		k.works(t, 5*time.Second)
		if w.ExternalAgent.Table().Route(simnet.LabExternalHomeAddress) != nil {
			t.Error("the x-HA still has a binding")
		}
	})
}

// Shows: DET-12
func TestRefusedReregistrationStopsPlaintextAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 47})
		last, r := plaintextOn(w, w.Office), watchRegistrations(w)
		talk(t, w, 10*time.Millisecond)
		w.Plug(w.Eth0, w.Office)
		if _, err := w.UntilMode(10*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		restartInternal(func(c *agent.HomeAgentConfig) { c.NoReverseTunnel = true })(t, w)
		s := heldBack(t, w, 45*time.Second, complaint{"i-HA 10.0.1.10", `137 "requested reverse tunnel unavailable"`, "reverse tunnelling"})
		if s.Proof.Verdict == control.VerdictInside {
			t.Errorf("verdict %s", s.Proof.Verdict)
		}
		refusals := slices.DeleteFunc(r.replies(simnet.LabInternalHA, w.Office), func(m heard) bool { return m.reply.Code.Accepted() })
		if len(refusals) == 0 {
			t.Fatal("the i-HA has refused nothing")
		}
		arrived := refusals[0].at + 200*time.Microsecond
		if at := last(); at > arrived || at < arrived-11*time.Millisecond {
			t.Errorf("user data in the clear until %v, the refusal arrived at %v", at, arrived)
		}
		// Detection has begun again: both home agents are asked.
		again := func(agent netip.Addr) bool {
			return slices.ContainsFunc(r.requests(agent), func(m heard) bool { return m.at >= arrived && m.at < arrived+time.Second })
		}
		if !again(simnet.LabExternalHA) || !again(simnet.LabInternalHA) {
			t.Error("detection has not begun again")
		}
	})
}

// Shows: DET-5 (by simulation)
func TestLossDoesNotCloseTheGate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 48})
		w.Plug(w.Eth0, w.Office)
		if _, err := w.UntilMode(10*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		w.Office.Impair(simnet.Impairment{Latency: 200 * time.Microsecond, Loss: 0.3})
		r := watchRegistrations(w)
		events, stop := w.Client.Subscribe()
		defer stop()
		const hours = 3
		end := time.After(hours * time.Hour)
		lost := 0
	watch:
		for {
			select {
			case e := <-events:
				if e.Kind == "proof_lost" {
					lost++
					t.Log(e.Message)
				}
			case <-end:
				break watch
			}
		}
		// The probability of one is under 10^-4 a cycle.
		asked := len(r.requests(simnet.LabInternalHA))
		if asked < hours*120*3/2 {
			t.Errorf("%d requests in %d hours: no loss was simulated", asked, hours)
		}
		if s, err := w.Client.Status(context.Background()); err != nil || lost != 0 || s.Mode != "c" {
			t.Errorf("the gate closed %d times, mode %q, %v", lost, s.Mode, err)
		}
		t.Logf("%d requests", asked)
	})
}
