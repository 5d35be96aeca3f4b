package e2e

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client"
	"mipvpn/client/config"
	"mipvpn/detect/power"
	"mipvpn/ipsec/ike"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// desktop tells of power what a test wants.
type desktop struct{ tell func(power.State) }

func (d *desktop) Watch(tell func(power.State)) (stop func()) {
	d.tell = tell
	return func() {}
}

// Shows: IKE-6 (fewer keepalives while power is dear). On battery an idle laptop in a café sends half as many keepalives and
// liveness checks in an hour, from then on until it is on mains again, and with a tunnel that is set up meanwhile as well; people and
// scripts are told, and user data passes.
func TestOnBattery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := new(desktop)
		quiet := func(g *agent.GatewayConfig) { // which begins nothing, so that nothing is learned of the NAT
			mobike(g)
			g.IKE.Liveness, g.IKE.Lifetimes = -1, ike.Lifetimes{IKE: 1000 * time.Hour, Child: 1000 * time.Hour}
		}
		w := world(t, Options{Seed: 725, Gateway: quiet, Start: []client.Option{client.WithPower(d)}, Client: func(cfg *config.Config) {
			straight(cfg)
			cfg.Gateway.KeepAliveLimit, cfg.Gateway.Sparing, cfg.Internal.Lifetime = 110*time.Second, 2, 5*time.Hour
		}})
		events, stop := w.Client.Subscribe()
		defer stop()
		var keepalives, checks atomic.Int64
		defer w.Cafe.Intercept(func(f simnet.Frame) []simnet.Relay {
			ip := packet.IPv4(f.Packet)
			if !ip.Valid() || ip.Protocol() != packet.ProtocolUDP || ip.Dst() != simnet.LabGateway {
				return []simnet.Relay{f.Relay()}
			}
			switch p := packet.UDP(ip.Payload()).Payload(); {
			case len(p) == 1:
				keepalives.Add(1)
			case len(p) > 4 && p[0]|p[1]|p[2]|p[3] == 0: // RFC 3948 §2.2: IKE
				checks.Add(1)
			}
			return []simnet.Relay{f.Relay()}
		})()
		hour := func() (int64, int64) {
			k, c := keepalives.Load(), checks.Load()
			time.Sleep(time.Hour)
			return keepalives.Load() - k, checks.Load() - c
		}
		w.Plug(w.Wlan0, w.Cafe)
		if _, err := w.UntilMode(20*time.Second, "vc"); err != nil {
			t.Fatal(err)
		}
		usually, usualChecks := hour()
		d.tell(power.State{Battery: true})
		if s, err := w.Client.Status(t.Context()); err != nil || s.Power == nil || !s.Power.Battery || s.Power.Metered || s.Power.Sparing != 2 {
			t.Errorf("status has %+v, %v", s.Power, err)
		}
		dear, dearChecks := hour()
		t.Logf("an hour: %d keepalives and %d IKE messages, on battery %d and %d", usually, usualChecks, dear, dearChecks)
		if dear*10 > usually*6 || dear == 0 || dearChecks*10 > usualChecks*7 || dearChecks == 0 {
			t.Errorf("an hour on battery: %d keepalives and %d IKE messages, %d and %d before", dear, dearChecks, usually, usualChecks)
		}
		if err := w.Client.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := w.Client.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := w.UntilMode(time.Minute, "vc"); err != nil {
			t.Fatal(err)
		}
		if anew, _ := hour(); anew*10 > usually*6 {
			t.Errorf("%d keepalives in an hour with another tunnel, %d with the first", anew, dear)
		}
		talk(t, w, time.Second).works(t, 10*time.Second)
		d.tell(power.State{})
		if s, err := w.Client.Status(t.Context()); err != nil || s.Power != nil {
			t.Errorf("status on mains has %+v, %v", s.Power, err)
		}
		said := 0
		for len(events) > 0 {
			if e := <-events; e.Kind == "power" && (strings.HasPrefix(e.Message, "on battery") || strings.HasPrefix(e.Message, "on mains")) {
				said++
			}
		}
		if said != 2 {
			t.Errorf("people were told %d times, expected twice", said)
		}
	})
}

// Shows: DET-4 (the bound of what may be exposed does not depend on power). Inside, a laptop on battery registers as often as ever.
func TestMonitorOnBattery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := new(desktop)
		w := world(t, Options{Seed: 726, Start: []client.Option{client.WithPower(d)}, Client: func(cfg *config.Config) { cfg.Gateway.Sparing = 10 }})
		var requests atomic.Int64
		defer w.Office.Intercept(func(f simnet.Frame) []simnet.Relay {
			if ip := packet.IPv4(f.Packet); ip.Valid() && ip.Protocol() == packet.ProtocolUDP && ip.Dst() == simnet.LabInternalHA {
				requests.Add(1)
			}
			return []simnet.Relay{f.Relay()}
		})()
		w.Plug(w.Eth0, w.Office)
		if _, err := w.UntilMode(20*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		minutes := func() int64 {
			n := requests.Load()
			time.Sleep(30 * time.Minute)
			return requests.Load() - n
		}
		usually := minutes()
		d.tell(power.State{Battery: true, Metered: true})
		if dear := minutes(); usually == 0 || dear*10 < usually*9 {
			t.Errorf("%d registrations in half an hour on battery, %d on mains", dear, usually)
		}
	})
}
