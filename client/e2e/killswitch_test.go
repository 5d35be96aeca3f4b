package e2e

import (
	"context"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mipvpn/client"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// Shows: HST-2 (the daemon's end leaves the enterprise's traffic blocked, whatever network the laptop is in; the next daemon
// takes over, or its down lifts the block)
func TestDaemonsEndKeepsTheBlock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 41})
		w.Plug(w.Eth0, w.Office)
		if _, err := w.UntilMode(10*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		app, err := w.Laptop.ListenUDP(netip.AddrPort{})
		if err != nil {
			t.Fatal(err)
		}
		var leaked atomic.Int64
		for _, wire := range []*simnet.Wire{w.Office, w.Cafe} {
			defer wire.Tap(func(f simnet.Frame) {
				if ip := packet.IPv4(f.Packet); strings.HasPrefix(f.Sender, "laptop/") && ip.Dst() == simnet.LabCorrespondent {
					leaked.Add(1)
				}
			})()
		}
		// send has the application send and returns how many packets to the correspondent then left as they were.
		send := func() int64 {
			leaked.Store(0)
			_, _ = app.WriteToAddrPort([]byte("canary"), netip.AddrPortFrom(simnet.LabCorrespondent, 9)) // blocked: no route
			time.Sleep(time.Second)
			return leaked.Load()
		}
		if err := w.Client.Close(); err != nil {
			t.Fatal(err)
		}
		if n := send(); n != 0 {
			t.Errorf("%d packets leaked at the office after the daemon's end", n)
		}
		w.Plug(w.Eth0, w.Cafe)
		time.Sleep(10 * time.Second)
		if n := send(); n != 0 {
			t.Errorf("%d packets leaked at the café after the daemon's end", n)
		}
		w.Plug(w.Eth0, w.Office)
		next := func(up bool) {
			t.Helper()
			cfg := ClientConfig()
			cfg.UpAtStart = up
			if w.Client, err = client.Start(w.Laptop, cfg, zap.NewNop()); err != nil {
				t.Fatal(err)
			}
		}
		next(true)
		if _, err := w.UntilMode(time.Minute, "c"); err != nil {
			t.Fatal(err)
		}
		if err := w.Client.Close(); err != nil {
			t.Fatal(err)
		}
		next(false)
		if n := send(); n != 0 {
			t.Errorf("%d packets leaked because a daemon that is down was started", n)
		}
		if err := w.Client.Down(context.Background()); err != nil {
			t.Fatal(err)
		}
		if send() == 0 {
			t.Error("the enterprise's traffic is blocked after down")
		}
	})
}

// Shows: DET-4, HST-2 (the line below the gate: what is sent as plaintext past the gate leaves only under a permit)
func TestLineBelowTheGate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 42})
		w.Plug(w.Eth0, w.Office)
		if _, err := w.UntilMode(10*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		p, err := StartProbe(w)
		if err != nil {
			t.Fatal(err)
		}
		last := plaintextOn(w, w.Office)
		time.Sleep(time.Second)
		before := last()
		if before == 0 {
			t.Fatal("nothing is sent in the clear at the office: nothing was tested")
		}
		if err := w.Laptop.Forbid(w.Eth0.Index()); err != nil { // as when the gate failed to close
			t.Fatal(err)
		}
		now := w.Elapsed()
		time.Sleep(2 * time.Second)
		if at := last(); at > now {
			t.Errorf("user data in the clear %v after the permit was taken back", at-now)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
