package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// patientGateway is a gateway that asks nobody whether he lives, so that an SA stays for as long as its lifetime.
func patientGateway(c *agent.GatewayConfig) {
	c.IKE.Liveness = -1
	c.IKE.Lifetimes = ike.Lifetimes{IKE: -1, Child: -1}
}

// wentInside connects the laptop at the café and takes it to the office; status returns what was in use at the café.
func wentInside(t *testing.T, w *World) (before control.Status) {
	t.Helper()
	connected(t, w, cafePlace)
	before, err := w.Client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.Plug(w.Wlan0, w.Office)
	if _, err := w.UntilMode(20*time.Second, "c"); err != nil {
		t.Fatal(err)
	}
	return before
}

// leave takes the laptop to the café and waits until user data flows again. It returns the outage of user data.
func leave(t *testing.T, w *World, k *talker, patience time.Duration) (after control.Status, outage time.Duration) {
	t.Helper()
	left := w.Elapsed()
	w.Unplug(w.Eth0)
	w.Plug(w.Wlan0, w.Cafe)
	if _, err := w.UntilMode(patience, "cvc"); err != nil {
		t.Fatal(err)
	}
	k.reset()
	for {
		if _, answered, _ := k.counts(); answered > 0 {
			break
		}
		if w.Elapsed()-left > patience {
			t.Fatalf("no user data %v after leaving", patience)
		}
		time.Sleep(20 * time.Millisecond)
	}
	outage = w.Elapsed() - left
	k.reset()
	time.Sleep(7 * time.Second) // whatever was begun beside comes to its end
	if sent, answered, _ := k.counts(); answered < sent/2 {
		t.Errorf("of %d packets sent in 7s %d were answered", sent, answered)
	}
	after, err := w.Client.Status(t.Context())
	if err != nil || after.State != control.StateConnected || len(after.Problems) != 0 {
		t.Errorf("state %s, problems %v, %v", after.State, after.Problems, err)
	}
	if s := w.VPNGateway.Sessions(); len(s) != 1 {
		t.Errorf("the gateway has %d IKE SAs of the laptop, want 1", len(s))
	}
	return after, outage
}

// ikeMessages counts the IKE messages that the laptop sends, by exchange, as the gateway's wire sees them.
type ikeMessages struct {
	mu    sync.Mutex
	count map[message.ExchangeType]int
}

func watchIKE(w *World) *ikeMessages {
	m := &ikeMessages{count: make(map[message.ExchangeType]int)}
	w.Internet.Tap(func(f simnet.Frame) {
		ip := packet.IPv4(f.Packet)
		if !ip.Valid() || ip.Protocol() != packet.ProtocolUDP || ip.Dst() != simnet.LabGateway {
			return
		}
		if h, ok := ikeHeader(ip); ok {
			m.mu.Lock()
			m.count[h.Exchange]++
			m.mu.Unlock()
		}
	})
	return m
}

func (m *ikeMessages) of(e message.ExchangeType) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.count[e]
}

// Shows: MOD-park (half an hour inside: nothing is sent towards the gateway, the SA is not taken for dead, and it carries
// user data again on leaving, with the x-HoA registered anew and no IKE but the question whether it is there), DET-8
func TestKeptInside(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		inside func(*testing.T, *World) control.Status
	}{
		{"the cable is moved", wentInside},
		{"another interface takes over", func(t *testing.T, w *World) control.Status {
			connected(t, w, cafePlace)
			before, err := w.Client.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			w.Plug(w.Eth0, w.Office)
			if _, err := w.UntilMode(20*time.Second, "c"); err != nil {
				t.Fatal(err)
			}
			w.Unplug(w.Wlan0)
			return before
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 420, Gateway: patientGateway})
				before := c.inside(t, w)
				time.Sleep(10 * time.Second) // deregistrations
				var mu sync.Mutex
				nowhere := 0
				w.TapAll(func(f simnet.Frame) {
					ip := packet.IPv4(f.Packet)
					if !strings.HasPrefix(f.Sender, "laptop/") || !ip.Valid() {
						return
					}
					if ip.Dst() == simnet.LabGateway || ip.Dst() == simnet.LabExternalHA || ip.Src() == simnet.LabExternalHomeAddress {
						mu.Lock()
						nowhere++
						mu.Unlock()
					}
				})
				time.Sleep(30 * time.Minute)
				mu.Lock()
				if nowhere != 0 {
					t.Errorf("%d packets towards the gateway or the x-HA from inside", nowhere)
				}
				mu.Unlock()
				k := talk(t, w, 50*time.Millisecond)
				time.Sleep(time.Second)
				ikes := watchIKE(w)
				after, outage := leave(t, w, k, 20*time.Second)
				if spis(before) != spis(after) {
					t.Errorf("SPIs %s before and %s after", spis(before), spis(after))
				}
				if a, b, c := ikes.of(message.IKESAInit), ikes.of(message.CreateChildSA), ikes.of(message.Informational); a != 0 || b != 0 || c != 1 {
					t.Errorf("%d IKE_SA_INIT, %d CREATE_CHILD_SA and %d INFORMATIONAL messages, want one INFORMATIONAL alone", a, b, c)
				}
				if outage > time.Second {
					t.Errorf("%v without user data", outage)
				}
			})
		})
	}
}

// Shows: MOD-park (what has ended inside is made anew outside: a gateway that was restarted, one that gave the client up, a
// lifetime that ended)
func TestGoneInside(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		gateway func(*agent.GatewayConfig)
		inside  func(*testing.T, *World)
		within  time.Duration
	}{
		{"gateway restarted", patientGateway, func(t *testing.T, w *World) {
			w.GatewayOuter.Detach() // so that no Delete gets out
			restartGateway(t, w)
			w.GatewayOuter.Attach(w.Internet)
			time.Sleep(time.Minute)
		}, 2500 * time.Millisecond},
		{"gateway gave the client up", nil, func(_ *testing.T, w *World) { time.Sleep(10 * time.Minute) }, 2500 * time.Millisecond},
		// Nothing is left to be asked for: IKE begins when the detection period is over.
		{"lifetime ended", patientGateway, func(_ *testing.T, w *World) { time.Sleep(2 * time.Hour) }, 3500 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 421, Gateway: c.gateway})
				clear := watchClear(w)
				before := wentInside(t, w)
				s := converse(t, w)
				s.pass(t, s.near, s.far, 10_000)
				c.inside(t, w)
				k := talk(t, w, 50*time.Millisecond)
				time.Sleep(time.Second)
				after, outage := leave(t, w, k, 20*time.Second)
				if spis(before) == spis(after) {
					t.Errorf("SPIs %s before and after", spis(before))
				}
				if outage > c.within {
					t.Errorf("%v without user data, want %v at most", outage, c.within)
				}
				t.Logf("%v without user data", outage)
				s.pass(t, s.near, s.far, 10_000)
				s.pass(t, s.far, s.near, 10_000)
				s.end(t)
				if n := clear.on(w.External()...); n != 0 {
					t.Errorf("%d frames of user data in the clear on external wires", n)
				}
			})
		})
	}
}

// The gateway answers late, by a time that is swept over the second after which a rival begins: the answer to the question is
// the first that comes, the rival is closed, and in the end there is one SA, which carries user data.
//
// Shows: MOD-park (an answer after half a second, after one and a half, and at every time around)
func TestGatewayAnswersLate(t *testing.T) {
	t.Parallel()
	for late := time.Duration(0); late <= 2600*time.Millisecond; late += 50 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			w := world(t, Options{Seed: 422, Gateway: patientGateway})
			k := talk(t, w, 50*time.Millisecond)
			before := wentInside(t, w)
			time.Sleep(10 * time.Second)
			w.Internet.ImpairFrom(w.GatewayOuter, simnet.Impairment{Latency: late})
			after, _ := leave(t, w, k, 40*time.Second)
			if spis(before) != spis(after) {
				t.Errorf("an answer after %v, and the SA was not kept", late)
			}
		})
	}
}

// The first answer for the old SA is lost and the second comes at any moment of the rival's exchanges, also when the gateway has
// taken the rival for established and closed the old one, and the client does not know yet.
//
// Shows: MOD-park (both come up at the same time: one of them stays, and carries user data)
func TestRivals(t *testing.T) {
	t.Parallel()
	kept, renewed := 0, 0
	// The question is repeated half a second after the first, and again 0.9 s later: once before the rival begins, once behind.
	for _, deaf := range []time.Duration{400 * time.Millisecond, 1200 * time.Millisecond} {
		for late := 100 * time.Millisecond; late <= 1200*time.Millisecond; late += 50 * time.Millisecond {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 430, Gateway: patientGateway})
				k := talk(t, w, 50*time.Millisecond)
				before := wentInside(t, w)
				time.Sleep(10 * time.Second)
				w.Internet.ImpairFrom(w.GatewayOuter, simnet.Impairment{Latency: late})
				until := w.Elapsed() + deaf
				w.Internet.Intercept(func(f simnet.Frame) []simnet.Relay {
					ip := packet.IPv4(f.Packet)
					if ip.Valid() && ip.Src() == simnet.LabGateway && f.At < until && oldSA(ip) {
						return nil
					}
					return []simnet.Relay{f.Relay()}
				})
				// A second until the rival begins, its three exchanges, a registration and the first answer: nothing is begun anew. The
				// registration is repeated after a second when it goes into the SA that the gateway is just closing.
				after, outage := leave(t, w, k, 40*time.Second)
				if most := 2500*time.Millisecond + 5*late; outage > most {
					t.Errorf("deaf for %v and %v late: %v without user data, want %v at most", deaf, late, outage, most)
				}
				if spis(before) == spis(after) {
					kept++
				} else {
					renewed++
				}
				if _, _, gap := k.counts(); gap > 2*late+500*time.Millisecond {
					t.Errorf("deaf for %v and %v late: %v without user data behind the first answer", deaf, late, gap)
				}
			})
		}
	}
	t.Logf("%d times the SA was kept, %d times a new one won", kept, renewed)
	if kept == 0 || renewed == 0 {
		t.Error("not both have won")
	}
}

// oldSA reports whether a packet of the gateway belongs to an SA that is established: ESP or an INFORMATIONAL exchange.
func oldSA(ip packet.IPv4) bool {
	if ip.Protocol() == packet.ProtocolESP {
		return true
	}
	h, ok := ikeHeader(ip)
	return ok && h.Exchange == message.Informational
}

// ikeHeader returns the header of the IKE message in a UDP packet, on either of IKE's ports.
func ikeHeader(ip packet.IPv4) (h message.Header, ok bool) {
	u := packet.UDP(ip.Payload())
	if ip.Protocol() != packet.ProtocolUDP || !u.Valid() {
		return message.Header{}, false
	}
	payload := u.Payload()
	switch {
	case u.SrcPort() == esp.PortNATT || u.DstPort() == esp.PortNATT:
		if esp.Classify(payload) != esp.KindIKE {
			return message.Header{}, false
		}
		payload = payload[esp.MarkerLen:]
	case u.SrcPort() != esp.PortIKE && u.DstPort() != esp.PortIKE:
		return message.Header{}, false
	}
	h, err := message.ParseHeader(payload)
	return h, err == nil
}

// Shows: MOD-park (a gateway that is away for a while on leaving, by every time up to five seconds)
func TestGatewayAwayOnLeaving(t *testing.T) {
	t.Parallel()
	for away := 100 * time.Millisecond; away <= 5*time.Second; away += 100 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			w := world(t, Options{Seed: 423, Gateway: patientGateway})
			k := talk(t, w, 50*time.Millisecond)
			before := wentInside(t, w)
			time.Sleep(10 * time.Second)
			w.GatewayOuter.Detach()
			time.AfterFunc(away, func() { w.GatewayOuter.Attach(w.Internet) })
			after, outage := leave(t, w, k, 40*time.Second)
			// The question is repeated half a second after the first, and then behind the rival.
			if away <= 400*time.Millisecond && spis(before) != spis(after) {
				t.Errorf("away for %v, and the SA was not kept", away)
			}
			if outage > away+4*time.Second {
				t.Errorf("away for %v, and %v without user data", away, outage)
			}
		})
	}
}

// Shows: MOD-park (a gateway that never answers: the state says so within give_up, and its return mends everything)
func TestGatewayNeverAnswersOnLeaving(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 424, Gateway: patientGateway})
		clear := watchClear(w)
		k := talk(t, w, 100*time.Millisecond)
		wentInside(t, w)
		w.GatewayOuter.Detach()
		w.Plug(w.Wlan0, w.Cafe)
		heldBack(t, w, 15*time.Second, complaint{"VPN gateway 192.0.2.10", "", "gateway"})
		time.Sleep(5 * time.Minute)
		w.GatewayOuter.Attach(w.Internet)
		mended(t, w, k, 40*time.Second, "cvc")
		if n := clear.on(w.External()...); n != 0 {
			t.Errorf("%d frames of user data in the clear on external wires", n)
		}
	})
}

// Shows: MOD-park (deleted inside by configuration: the gateway is told, and a new SA is set up outside)
func TestDeletedInside(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 425, Gateway: patientGateway, Client: func(c *config.Config) { c.Gateway.Park = config.ParkDelete }})
		k := talk(t, w, 50*time.Millisecond)
		w.Plug(w.Wlan0, w.Cafe)
		before, err := w.UntilMode(20*time.Second, "cvc")
		if err != nil {
			t.Fatal(err)
		}
		w.Plug(w.Eth0, w.Office) // the café stays, so that the gateway can be told
		if _, err := w.UntilMode(20*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if s := w.VPNGateway.Sessions(); len(s) != 0 {
			t.Errorf("the gateway still has %d IKE SAs of the laptop inside", len(s))
		}
		w.Unplug(w.Eth0)
		w.Unplug(w.Wlan0)
		after, outage := leave(t, w, k, 20*time.Second)
		if spis(before) == spis(after) {
			t.Errorf("SPIs %s before and after", spis(before))
		}
		t.Logf("%v without user data", outage)
	})
}

// Shows: MOD-park, DET-8 (the x-HoA that the SA was made from is registered no more, and its home agent has forgotten all)
func TestExternalHomeAddressGoneInside(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 426, Gateway: patientGateway})
		k := talk(t, w, 50*time.Millisecond)
		before := wentInside(t, w)
		restartExternal(t, w)
		time.Sleep(time.Minute)
		after, outage := leave(t, w, k, 20*time.Second)
		if spis(before) != spis(after) {
			t.Errorf("SPIs %s before and %s after", spis(before), spis(after))
		}
		if outage > time.Second {
			t.Errorf("%v without user data", outage)
		}
	})
}

// Shows: MOD-park, HST-6 (a laptop without any network for minutes does not take the gateway for dead: the first answer of
// the x-HA is enough to go on, DET-7)
func TestNoNetworkForMinutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 427, Gateway: patientGateway})
		k := talk(t, w, 50*time.Millisecond)
		connected(t, w, cafePlace)
		before, err := w.Client.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w.Unplug(w.Wlan0)
		time.Sleep(10 * time.Minute)
		s, err := w.Client.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if p, said := problem(s, "VPN gateway"); said {
			t.Errorf("without a network the client complains of the gateway: %v", p)
		}
		after, outage := leave(t, w, k, 20*time.Second)
		if spis(before) != spis(after) {
			t.Errorf("SPIs %s before and %s after", spis(before), spis(after))
		}
		if outage > 2*time.Second { // a registration through the VPN may have left in vain up to a second before (RFC 5944 §3.6.3)
			t.Errorf("%v without user data", outage)
		}
	})
}

// A gateway that dies under traffic is noticed by the traffic: within check_after and half of it, and given up give_up later.
//
// Shows: MOD-cvc (how long `connected` may be wrong is configured)
func TestDeadGatewayIsNoticedEarly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		check, giveUp, least, most time.Duration
	}{
		{5 * time.Second, 10 * time.Second, 14 * time.Second, 20 * time.Second},
		{2 * time.Second, 3 * time.Second, 4 * time.Second, 7 * time.Second},
		{0, 10 * time.Second, 39 * time.Second, 130 * time.Second}, // by liveness, and the stall of half a minute
	} {
		t.Run(fmt.Sprintf("check_after %v, give_up %v", c.check, c.giveUp), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 428, Client: func(g *config.Config) { g.Gateway.CheckAfter, g.Gateway.GiveUp = c.check, c.giveUp }})
				k := talk(t, w, 100*time.Millisecond)
				connected(t, w, cafePlace)
				k.works(t, 5*time.Second)
				w.GatewayOuter.Detach()
				died := w.Elapsed()
				if _, err := w.Until(3*time.Minute, func(s control.Status) bool { return s.State != control.StateConnected }); err != nil {
					t.Fatal(err)
				}
				if took := w.Elapsed() - died; took < c.least || took > c.most {
					t.Errorf("connected for %v without a gateway, want %v to %v", took, c.least, c.most)
				}
				w.GatewayOuter.Attach(w.Internet)
				mended(t, w, k, 40*time.Second, "cvc")
			})
		})
	}
}

// Shows: MOD-cvc (what is known of a gateway that does not answer outlives a change of network, and ends with its answer)
func TestDeadGatewayAndAnotherNetwork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 431, Gateway: patientGateway})
		k := talk(t, w, 100*time.Millisecond)
		connected(t, w, cafePlace)
		k.works(t, 2*time.Second)
		before, err := w.Client.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w.GatewayOuter.Detach()
		down := func(s control.Status) bool { return s.State != control.StateConnected }
		if _, err := w.Until(30*time.Second, down); err != nil {
			t.Fatal(err)
		}
		w.Plug(w.Wlan0, w.Hotspot)
		time.Sleep(12 * time.Second)
		s, err := w.Client.Status(t.Context())
		if _, said := problem(s, "VPN gateway"); err != nil || !said || !down(s) {
			t.Errorf("12 s later, at the hotspot: state %s, problems %v, %v", s.State, s.Problems, err)
		}
		w.GatewayOuter.Attach(w.Internet)
		mended(t, w, k, 40*time.Second, "fvc")
		after, err := w.Client.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("SPIs %s before, %s after", spis(before), spis(after))
		// And once more with a gateway that comes back on the way.
		w.GatewayOuter.Detach()
		if _, err := w.Until(30*time.Second, down); err != nil {
			t.Fatal(err)
		}
		w.Unplug(w.Wlan0)
		w.GatewayOuter.Attach(w.Internet)
		time.Sleep(5 * time.Second)
		w.Plug(w.Wlan0, w.Cafe)
		mended(t, w, k, 20*time.Second, "cvc")
	})
}

// Shows: MOD-cvc (an application that gets no answers has the gateway asked, which answers: nothing else happens)
func TestSilentCorrespondent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 429})
		connected(t, w, cafePlace)
		before, err := w.Client.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ikes := watchIKE(w)
		talk(t, w, 100*time.Millisecond)
		w.Core.Intercept(func(f simnet.Frame) []simnet.Relay {
			if strings.HasPrefix(f.Sender, "correspondent/") {
				return nil
			}
			return []simnet.Relay{f.Relay()}
		})
		h := listen(t, w)
		time.Sleep(5 * time.Minute)
		after, err := w.Client.Status(t.Context())
		if err != nil || after.State != control.StateConnected || spis(before) != spis(after) {
			t.Errorf("state %s, SPIs %s before and %s after, %v", after.State, spis(before), spis(after), err)
		}
		if n := ikes.of(message.Informational); n < 5 || n > 20 {
			t.Errorf("the gateway was asked %d times in five minutes", n)
		}
		if n := ikes.of(message.IKESAInit) + len(h.of("problem")) + len(h.of("hold")); n != 0 {
			t.Errorf("%d other things happened", n)
		}
	})
}
