package e2e

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/metrics"
	"mipvpn/stack"
)

// TestMetrics takes the laptop from the office to a café and down, and reads what Prometheus gets on the way.
func TestMetrics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 3})
		read := func() string {
			r := httptest.NewRecorder()
			metrics.Handler(metrics.NewCollector(w.Client, "test")).ServeHTTP(r, httptest.NewRequest(http.MethodGet, "/metrics", nil))
			return r.Body.String()
		}
		expect := func(where string, want ...string) {
			t.Helper()
			text := read()
			for _, line := range want {
				if !strings.Contains(text, "\n"+line) {
					t.Errorf("%s: missing %s\n%s", where, line, text)
				}
			}
		}
		w.Plug(w.Wlan0, w.Office)
		if _, err := w.UntilMode(20*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		session, err := StartSession(w)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		carried := func() map[string]stack.Traffic {
			counts, err := w.Client.Counts(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return counts.Layers
		}
		// more says that a layer carries more than the one above it.
		more := func(below, above stack.Traffic) bool {
			return below.TxBytes > above.TxBytes && below.RxBytes > above.RxBytes && below.TxPackets >= above.TxPackets && below.RxPackets >= above.RxPackets
		}
		inside := carried()
		if user := inside["user"]; user.TxBytes == 0 || !more(inside["underlay"], user) || inside["vpn"] != (stack.Traffic{}) {
			t.Errorf("in the office the layers carried %+v", inside)
		}
		expect("office", `mipvpn_client_mode{mode="c"} 1`, `mipvpn_client_verdict{verdict="inside"} 1`, `mipvpn_client_proof_age_seconds `,
			`mipvpn_client_registration_replies_total{agent="i-ha",code="0"} 1`, `mipvpn_client_handoffs_total{from="",to="c"} 1`, `mipvpn_client_vpn_established 0`)
		w.Plug(w.Wlan0, w.Cafe)
		if _, err := w.UntilMode(30*time.Second, "cvc"); err != nil {
			t.Fatal(err)
		}
		expect("café", `mipvpn_client_mode{mode="cvc"} 1`, `mipvpn_client_verdict{verdict="outside"} 1`, `mipvpn_client_handoffs_total{from="c",to="cvc"} 1`,
			`mipvpn_client_handoff_outage_seconds_count 1`, `mipvpn_client_vpn_established 1`, `mipvpn_client_vpn_events_total{event="established"} 1`,
			`mipvpn_client_registration_replies_total{agent="x-ha",code="0"} `)
		if _, _, err := session.Finish(); err != nil {
			t.Error(err)
		}
		outside := carried()
		since := func(layer string) stack.Traffic {
			now, then := outside[layer], inside[layer]
			return stack.Traffic{TxPackets: now.TxPackets - then.TxPackets, TxBytes: now.TxBytes - then.TxBytes, RxPackets: now.RxPackets - then.RxPackets, RxBytes: now.RxBytes - then.RxBytes}
		}
		if !more(since("underlay"), since("x-mip")) || !more(since("x-mip"), since("vpn")) || !more(since("vpn"), stack.Traffic{}) {
			t.Errorf("in the café the layers carried %+v, in the office %+v", outside, inside)
		}
		before, err := w.Client.Status(t.Context())
		if err != nil || before.Counters.TxPackets == 0 {
			t.Fatalf("%+v, %v", before.Counters, err)
		}
		if err := w.Client.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		after, err := w.Client.Status(t.Context())
		if err != nil || after.Counters.TxPackets < before.Counters.TxPackets || after.Counters.RxBytes < before.Counters.RxBytes {
			t.Errorf("counters went from %+v to %+v when the client went down, %v", before.Counters, after.Counters, err)
		}
		expect("down", `mipvpn_client_state{state="down"} 1`, `mipvpn_client_events_total{kind="down"} 1`, `mipvpn_client_responsive 1`)
	})
}
