package e2e

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/control"
	"mipvpn/ipsec/ike"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
)

// Shows: IKE-7, MOD-keep. The VPN gateway has two outer addresses. The one that the client has connected to goes away, and the
// gateway says so from the other one; then the other way round, and the gateway cannot say so any more but is found. The client
// follows in cvc, under the same IKE SA and child SA, and user data passes on.
func TestGatewayChangesItsAddress(t *testing.T) {
	t.Parallel()
	second := netip.MustParseAddr("192.0.2.11")
	synctest.Test(t, func(t *testing.T) {
		var other *simnet.NIC
		w := world(t, Options{Seed: 510,
			Lab: func(l *simnet.Lab) {
				other = l.Gateway.AddNIC(simnet.NICConfig{Name: "eth2", Address: netip.PrefixFrom(second, 24), Gateway: netip.MustParseAddr("192.0.2.1")})
				other.Attach(l.Internet)
			},
			Gateway: func(c *agent.GatewayConfig) {
				c.IKE.MOBIKE = &ike.MOBIKE{}
				c.Additional = []netip.Addr{second}
			}})
		connected(t, w, cafePlace)
		k := talk(t, w, 50*time.Millisecond)
		time.Sleep(2 * time.Second)
		before, err := w.Client.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}

		w.GatewayOuter.Detach()
		if err := w.VPNGateway.SetAddresses([]netip.Addr{second}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		k.reset()
		time.Sleep(5 * time.Second)
		check := func() {
			t.Helper()
			if sent, answered, _ := k.counts(); answered < sent-2 || sent < 50 {
				t.Errorf("%d of %d packets answered", answered, sent)
			}
			after, err := w.Client.Status(t.Context())
			if err != nil || after.State != control.StateConnected || spis(before) != spis(after) {
				t.Errorf("state %s, SPIs %s before and %s after, %v", after.State, spis(before), spis(after), err)
			}
		}
		check()

		w.GatewayOuter.Attach(w.Internet)
		if err := w.VPNGateway.SetAddresses([]netip.Addr{second, simnet.LabGateway}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		other.Detach()
		time.Sleep(time.Minute)
		k.reset()
		time.Sleep(5 * time.Second)
		check()
	})
}
