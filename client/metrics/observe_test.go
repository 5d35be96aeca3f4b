package metrics_test

import (
	"flag"
	"testing"

	"mipvpn/client/metrics"
	"mipvpn/client/metrics/observetest"
)

var update = flag.Bool("update", false, "rewrite the table of docs/observe.md")

// TestObserve keeps the alert rules, the dashboard and the table of the document to the metrics that there are.
func TestObserve(t *testing.T) {
	all := observetest.Metrics(t, metrics.NewCollector(nil, ""))
	observetest.Rules(t, "../../configs/observe/mipvpn-rules.yml", all)
	observetest.Dashboard(t, "../../configs/observe/mipvpn-dashboard.json", all, "mipvpn_client_responsive", "mipvpn_client_state_since_seconds", "mipvpn_client_mode_policy",
		"mipvpn_client_interfaces", "mipvpn_client_tnc_waived", "mipvpn_client_registration_lifetime_seconds", "mipvpn_client_registration_replies_unverified_total",
		"mipvpn_client_vpn_established", "mipvpn_client_vpn_downgraded", "mipvpn_client_events_total", "mipvpn_client_packets_total")
	observetest.Table(t, "../../docs/observe.md", "client metrics", all, *update)
}
