package e2e

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/mipv4/tunnel"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// A laptop that is configured for minimal encapsulation or GRE has it where the i-HA offers it, and IP in IP elsewhere; nothing else
// tunnels its packets in the office.
//
// Shows: MIP-6 (from the client's configuration to the wire)
func TestAlternativeEncapsulations(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		asked   config.Encapsulation
		offered tunnel.Offered
		want    tunnel.Encapsulation
	}{
		{"minimal", config.EncapsulationMinimal, tunnel.Offered{Minimal: true}, tunnel.Minimal},
		{"GRE", config.EncapsulationGRE, tunnel.Offered{GRE: true, Options: tunnel.GREOptions{Keyed: true, Key: 7, Checksum: true}}, tunnel.GRE},
		{"GRE, not offered", config.EncapsulationGRE, tunnel.Offered{}, tunnel.IPIP},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 470,
					InternalHA: func(a *agent.HomeAgentConfig) { a.Encapsulations = c.offered },
					Client: func(cfg *config.Config) {
						cfg.Internal.Encapsulation = c.asked
						if o := c.offered.Options; o.Keyed {
							cfg.Internal.GREKey, cfg.Internal.GREChecksum = int64(o.Key), o.Checksum
						}
					}})
				var count [256]atomic.Int32 // by protocol
				defer w.Core.Tap(func(f simnet.Frame) {
					if ip := packet.IPv4(f.Packet); ip.Valid() && (ip.Src() == simnet.LabInternalHA || ip.Dst() == simnet.LabInternalHA) {
						count[ip.Protocol()].Add(1)
					}
				})()
				w.Plug(w.Wlan0, officePlace.wire(w))
				s, err := w.UntilMode(20*time.Second, officePlace.mode)
				if err != nil {
					t.Fatal(err)
				}
				if l := layer(s, "i-mip"); l.Encapsulation != c.want.String() {
					t.Errorf("layer %+v, want %v", l, c.want)
				}
				use(t, w)
				for _, e := range []tunnel.Encapsulation{tunnel.IPIP, tunnel.Minimal, tunnel.GRE} {
					if n := count[e.Protocol()].Load(); (n > 0) != (e == c.want) {
						t.Errorf("%d packets of %v, the tunnel is one of %v", n, e, c.want)
					}
				}
			})
		})
	}
}
