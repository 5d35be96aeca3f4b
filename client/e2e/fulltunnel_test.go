package e2e

import (
	"bytes"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// Shows: HST-1, HST-2 (in a full tunnel packets to the Internet go to the enterprise by the tunnel, outside and inside, and
// nowhere after the daemon's end; in a split one they leave beside it)
func TestFullTunnel(t *testing.T) {
	t.Parallel()
	for _, full := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := world(t, Options{Seed: 47, Client: func(c *config.Config) {
				if full {
					c.Enterprise.Tunnel = config.TunnelFull
					c.Gateway.RemoteSubnets = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
				}
			}})
			dst := netip.MustParseAddr("192.0.2.1")
			var beside, core atomic.Int64
			for _, wire := range []*simnet.Wire{w.Cafe, w.Office} {
				defer wire.Tap(func(f simnet.Frame) {
					if ip := packet.IPv4(f.Packet); f.Sender == "laptop/eth0" && ip.Dst() == dst && bytes.Contains(f.Packet, Canary) {
						beside.Add(1)
					}
				})()
			}
			defer w.Core.Tap(func(f simnet.Frame) {
				if ip := packet.IPv4(f.Packet); ip.Src() == simnet.LabHomeAddress && ip.Dst() == dst && bytes.Contains(f.Packet, Canary) {
					core.Add(1)
				}
			})()
			app, err := w.Laptop.ListenUDP(netip.AddrPort{})
			if err != nil {
				t.Fatal(err)
			}
			send := func(when string, byTunnel bool) {
				t.Helper()
				beside.Store(0)
				core.Store(0)
				_, err := app.WriteToAddrPort(Canary, netip.AddrPortFrom(dst, 9))
				time.Sleep(time.Second)
				if got := core.Load() > 0; got != (full && byTunnel) {
					t.Errorf("full %v, %s (%v): through the enterprise: %v, want %v", full, when, err, got, full && byTunnel)
				}
				if got := beside.Load() > 0; got == full {
					t.Errorf("full %v, %s (%v): beside the tunnel: %v, want %v", full, when, err, got, !full)
				}
			}
			w.Plug(w.Eth0, w.Cafe)
			if _, err := w.UntilMode(time.Minute, "cvc"); err != nil {
				t.Fatal(err)
			}
			send("outside", true)
			w.Plug(w.Eth0, w.Office)
			if _, err := w.UntilMode(time.Minute, "c"); err != nil {
				t.Fatal(err)
			}
			send("inside", true)
			if err := w.Client.Close(); err != nil {
				t.Fatal(err)
			}
			send("after the daemon's end", false)
		})
	}
}
