package e2e

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/control"
	"mipvpn/mipv4/wire"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// withoutMobileIP takes UDP port 434 away from a wire until stop is called.
func withoutMobileIP(on *simnet.Wire) (stop func()) {
	return on.Intercept(func(f simnet.Frame) []simnet.Relay {
		ip := packet.IPv4(f.Packet)
		if ip.Valid() && ip.Protocol() == packet.ProtocolUDP {
			if u := packet.UDP(ip.Payload()); u.Valid() && (u.SrcPort() == wire.Port || u.DstPort() == wire.Port) {
				return nil
			}
		}
		return []simnet.Relay{f.Relay()}
	})
}

// Shows: DET-18 (a network without UDP 434: blocked with the reason, asked with back-off, and it recovers)
func TestNetworkWithoutMobileIP(t *testing.T) {
	t.Parallel()
	for _, at := range places {
		t.Run(at.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 110})
				clear, r := watchClear(w), watchRegistrations(w)
				k := talk(t, w, time.Second)
				stop := withoutMobileIP(at.wire(w))
				w.Plug(w.Wlan0, at.wire(w))
				began := w.Elapsed()
				s, err := w.Until(5*time.Second, func(s control.Status) bool { return s.State == control.StateBlocked && len(s.Interfaces) > 1 })
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(2500 * time.Millisecond)
				for range 300 { // it stays so, and says why
					time.Sleep(time.Second)
					if s, err = w.Client.Status(context.Background()); err != nil || s.State != control.StateBlocked || s.Proof.Verdict != control.VerdictUnknown {
						t.Fatalf("state %s, verdict %s, %v", s.State, s.Proof.Verdict, err)
					}
				}
				p, ok := problem(s, "x-HA 192.0.2.20")
				if !ok || !strings.Contains(p.Message, "i-HA 10.0.1.10") || !strings.Contains(p.Message, "wlan0") || !strings.Contains(p.Advice, "UDP 434") {
					t.Errorf("problems %v", s.Problems)
				}
				for _, i := range s.Interfaces {
					if i.Name == "wlan0" && i.State != "unreachable" {
						t.Errorf("wlan0 is %s", i.State)
					}
				}
				clear.none(t)
				// Without back-off it would have been one request every two seconds to each, 150 of them.
				internal, external := len(r.straight(simnet.LabInternalHA, at.wire(w), began)), len(r.straight(simnet.LabExternalHA, at.wire(w), began))
				if internal != external || internal < 80 || internal > 130 {
					t.Errorf("%d requests to the i-HA, %d to the x-HA in five minutes", internal, external)
				}
				stop()
				mended(t, w, k, 35*time.Second, at.mode) // the longest pause, and the detection period
			})
		})
	}
}

// Shows: DET-18 (it becomes so while the VPN is in use, and inside)
func TestMobileIPVanishes(t *testing.T) {
	t.Parallel()
	for _, at := range places {
		t.Run(at.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 111})
				clear := watchClear(w)
				k := talk(t, w, time.Second)
				connected(t, w, at)
				k.works(t, 10*time.Second)
				stop := withoutMobileIP(at.wire(w))
				if _, err := w.Until(15*time.Minute, func(s control.Status) bool { return s.State == control.StateBlocked }); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Minute)
				before := clear.on()
				time.Sleep(10 * time.Minute)
				if n := clear.on() - before; n != 0 {
					t.Errorf("%d frames in the clear without a proof", n)
				}
				stop()
				mended(t, w, k, time.Minute, at.mode)
				if n := clear.on(w.External()...); n != 0 {
					t.Errorf("%d frames in the clear outside", n)
				}
			})
		})
	}
}

// Shows: DET-18 (a network that gives no address)
func TestNetworkWithoutAddress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var bare *simnet.Wire
		w := world(t, Options{Seed: 112, Lab: func(l *simnet.Lab) { bare = l.NewWire(simnet.WireConfig{Name: "bare"}) }})
		clear := watchClear(w)
		k := talk(t, w, time.Second)
		w.Plug(w.Wlan0, bare)
		if _, err := w.Until(time.Minute, func(s control.Status) bool {
			return s.State == control.StateBlocked && len(s.Problems) > 0 && strings.Contains(s.Problems[len(s.Problems)-1].Message, "wlan0 is up but has no address and no foreign agent")
		}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		clear.none(t)
		w.Plug(w.Eth0, w.Office)
		mended(t, w, k, 20*time.Second, "c")
	})
}
