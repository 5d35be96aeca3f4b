package main

import (
	"strings"
	"testing"

	"mipvpn/client/control"
)

// gatewayText is what the status says of a gateway.
func gatewayText(v *control.VPN) string {
	var p page
	for _, f := range gatewayFields(v) {
		p.field(f)
	}
	return p.text()
}

// Shows: MEC-B (status names the foreign agent in the gateway, or says why there is none)
func TestGatewayLinesNameTheAgent(t *testing.T) {
	for want, v := range map[string]control.VPN{
		"  agent     10.0.1.30, care-of address 10.0.1.30: the gateway is the foreign agent of the home address\n": {Established: true, Agent: "10.0.1.30, care-of address 10.0.1.30"},
		"  agent     none: mode cvc is pinned\n": {Established: true, NoAgent: "mode cvc is pinned"},
	} {
		if got := gatewayText(&v); !strings.Contains(got, want) {
			t.Errorf("%q, want %q in it", got, want)
		}
	}
	if got := gatewayText(&control.VPN{Established: true}); strings.Contains(got, "agent") {
		t.Errorf("%q without either", got)
	}
}
