package e2e

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/control"
	"mipvpn/stack/simnet"
)

// The client says which way an address goes, and that is the way that its packets go: in the clear inside, by the VPN outside, held
// while nothing is known, and left to the host while it is down.
func TestExplain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 71})
		server, internet := netip.MustParseAddr("10.0.2.10"), netip.MustParseAddr("203.0.113.1")
		ask := func(a netip.Addr) control.Explanation {
			t.Helper()
			e, err := w.Client.Explain(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			if e.Schema != control.Schema || e.Address != a || e.Reason == "" || e.Layers == nil {
				t.Errorf("%+v", e)
			}
			return e
		}
		if e := ask(internet); e.Way != control.WayHost || !e.Plaintext {
			t.Errorf("the Internet, split: %+v", e)
		}
		connected(t, w, cafePlace)
		if e := ask(server); e.Way != control.WayClient || e.Plaintext || e.Mode != "cvc" || e.Interface != w.Wlan0.Name() || len(e.Layers) != 4 || e.MTU == 0 {
			t.Errorf("in the café: %+v", e)
		}
		connected(t, w, officePlace)
		if e := ask(server); e.Way != control.WayClient || !e.Plaintext || e.Mode != "c" || len(e.Layers) != 2 || !strings.Contains(e.Reason, "proven to be inside") {
			t.Errorf("in the office: %+v", e)
		}
		if e := ask(simnet.LabHomeAddress); e.Way != control.WaySelf {
			t.Errorf("its own address: %+v", e)
		}
		w.Unplug(w.Eth0)
		w.Unplug(w.Wlan0)
		time.Sleep(time.Second)
		if e := ask(server); e.Way != control.WayHeld {
			t.Errorf("without a network: %+v", e)
		}
		if err := w.Client.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		if e := ask(server); e.Way != control.WayHost || !e.Plaintext || !strings.Contains(e.Reason, "down") {
			t.Errorf("down: %+v", e)
		}
	})
}
