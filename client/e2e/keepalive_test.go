package e2e

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// Shows: IKE-6 (learned intervals of keepalives, in the client). In a café whose NAT holds a mapping for a minute an idle laptop comes to
// send keepalives less often, where that is allowed, and user data passes all the same.
func TestIdleBehindANATOfAMinute(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limit       time.Duration
		least, most int // keepalives in ten minutes
	}{{0, 28, 31}, {110 * time.Second, 9, 20}} {
		synctest.Test(t, func(t *testing.T) {
			w := world(t, Options{Seed: 624, Client: func(cfg *config.Config) {
				straight(cfg)
				cfg.Gateway.KeepAliveLimit, cfg.Gateway.Liveness, cfg.Internal.Lifetime = c.limit, 5*time.Minute, 5*time.Hour
			}, Gateway: func(g *agent.GatewayConfig) { mobike(g); g.IKE.Liveness = 47 * time.Second }})
			w.CafeNAT.SetNAT(simnet.NATConfig{Outside: w.CafeOutside, Filtering: simnet.AddressAndPortDependent, Timeout: time.Minute})
			var keepalives atomic.Int64
			defer w.Cafe.Intercept(func(f simnet.Frame) []simnet.Relay {
				if ip := packet.IPv4(f.Packet); ip.Valid() && ip.Protocol() == packet.ProtocolUDP && ip.Dst() == simnet.LabGateway && len(packet.UDP(ip.Payload()).Payload()) == 1 {
					keepalives.Add(1)
				}
				return []simnet.Relay{f.Relay()}
			})()
			w.Plug(w.Wlan0, w.Cafe)
			if _, err := w.UntilMode(20*time.Second, "vc"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Hour)
			keepalives.Store(0)
			time.Sleep(10 * time.Minute)
			if n := int(keepalives.Load()); n < c.least || n > c.most {
				t.Errorf("limit %v: %d keepalives in ten minutes, want %d to %d", c.limit, n, c.least, c.most)
			}
			talk(t, w, time.Second).works(t, 10*time.Second)
		})
	}
}
