package e2e

import (
	"bytes"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// frontGateway is where clients are sent on from.
var frontGateway = netip.MustParseAddr("192.0.2.98")

// startFront starts a gateway at frontGateway that sends its clients to where, unless that is nil.
func startFront(t *testing.T, w *World, where func(peer ike.Identity) (ike.GatewayName, bool)) {
	t.Helper()
	h := w.NewHost("front-gateway")
	h.AddNIC(simnet.NICConfig{Name: "eth0", Address: netip.PrefixFrom(frontGateway, 24), Gateway: netip.MustParseAddr("192.0.2.1")}).Attach(w.Internet)
	own, err := message.NewIdentity(GatewayIdentity)
	if err != nil {
		t.Fatal(err)
	}
	laptop, err := message.NewIdentity(LaptopIdentity)
	if err != nil {
		t.Fatal(err)
	}
	cfg := agent.GatewayConfig{Address: frontGateway, Config: gateway.Config{
		IKE: ike.Config{LocalID: own}, Peers: []gateway.Peer{{Identity: laptop, PSK: bytes.Clone(psk)}},
		Pool: simnet.LabInnerPool, Networks: []netip.Prefix{simnet.LabEnterprise},
	}}
	if where != nil {
		cfg.Redirect = func(peer ike.Identity, _ netip.AddrPort) (ike.GatewayName, bool) { return where(peer) }
	}
	g, err := agent.StartGateway(h, cfg, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
}

// countInits counts the IKE SAs that are begun, on the Internet.
func countInits(w *World) func() int {
	seen := make(map[uint64]bool)
	stop := w.Internet.Tap(func(f simnet.Frame) {
		if h, ok := ikeHeader(packet.IPv4(f.Packet)); ok && h.Exchange == message.IKESAInit {
			seen[h.InitiatorSPI] = true
		}
	})
	return func() int { stop(); return len(seen) }
}

// Shows: IKE-5 (a gateway sends its clients to another one, before or after they have proved who they are: the client goes there
// without a pause. Two that send it to each other are left alone after a few rounds.)
func TestRedirect(t *testing.T) {
	t.Parallel()
	to := ike.GatewayName{Address: simnet.LabGateway}
	for _, c := range []struct {
		name  string
		where func(ike.Identity) (ike.GatewayName, bool)
		back  bool
	}{
		{"at once", func(ike.Identity) (ike.GatewayName, bool) { return to, true }, false},
		{"when it is known who comes", func(peer ike.Identity) (ike.GatewayName, bool) { return to, !peer.IsZero() }, false},
		{"in a circle", func(ike.Identity) (ike.GatewayName, bool) { return to, true }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := Options{Seed: 8, Client: func(cfg *config.Config) { cfg.Gateway.Address = frontGateway }}
				if c.back {
					o.Gateway = func(cfg *agent.GatewayConfig) {
						cfg.Redirect = func(ike.Identity, netip.AddrPort) (ike.GatewayName, bool) {
							return ike.GatewayName{Address: frontGateway}, true
						}
					}
				}
				w := world(t, o)
				startFront(t, w, c.where)
				exchanges := countInits(w)
				w.Plug(w.Wlan0, w.Cafe)
				s, err := w.Until(15*time.Second, func(s control.Status) bool { return s.State == control.StateConnected && s.Mode == "cvc" })
				if c.back != (err != nil) {
					t.Fatalf("state %v, mode %v: %v", s.State, s.Mode, err)
				}
				if c.back {
					time.Sleep(time.Minute)
					if n := exchanges(); n > 20 {
						t.Errorf("%d IKE SAs were begun in little more than a minute", n)
					}
					return
				}
				if l := layerOf(s, "vpn"); l.Remote != simnet.LabGateway {
					t.Errorf("the VPN's gateway is %v", l.Remote)
				}
				use(t, w)
			})
		})
	}
}
