package main

import (
	"strings"
	"testing"

	"mipvpn/tun/packet"
)

// Shows: AGT-6 (a member of a cluster that stands by says so, and has no bindings to tell of).
func TestStandbyMetrics(t *testing.T) {
	r := &clusteredHomeAgent{drops: new(packet.Drops)}
	r.drops.Count(packet.DropNoBinding, 3) // of its last term
	text := metricsOf(t, newControlServer(map[string]running{"home_agent.internal": r}, nil))
	for _, line := range []string{
		`mipvpn_home_agent_active{role="home_agent.internal"} 0`,
		`mipvpn_agent_dropped_packets_total{reason="no_binding",role="home_agent.internal"} 3`,
	} {
		if !strings.Contains(text, line) {
			t.Errorf("no line %s in:\n%s", line, text)
		}
	}
	if strings.Contains(text, "mipvpn_home_agent_bindings{") {
		t.Errorf("bindings are counted:\n%s", text)
	}
}
