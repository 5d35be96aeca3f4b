package main

import (
	"flag"
	"testing"

	"mipvpn/client/metrics/observetest"
)

var updateObserve = flag.Bool("update-observe", false, "rewrite the table of docs/observe.md")

// TestObserve keeps the alert rules, the dashboard and the table of the document to the metrics that there are.
func TestObserve(t *testing.T) {
	all := observetest.Metrics(t, collector{})
	observetest.Rules(t, "../../configs/observe/mipagent-rules.yml", all)
	observetest.Dashboard(t, "../../configs/observe/mipagent-dashboard.json", all)
	observetest.Table(t, "../../docs/observe.md", "agent metrics", all, *updateObserve)
}
