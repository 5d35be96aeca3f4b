package main

import (
	"fmt"
	"strings"

	"mipvpn/client/control"
)

// gatewayLines say how the gateway and the laptop have proved who they are, and how packets are protected.
func gatewayLines(v *control.VPN) string {
	if v == nil {
		return ""
	}
	if !v.Established {
		return "  gateway   being set up\n"
	}
	var b strings.Builder
	if v.GatewayIdentity != "" {
		fmt.Fprintf(&b, "  gateway   %s, by %s; laptop by %s\n", v.GatewayIdentity, orNone(v.GatewayProof), orNone(v.OwnProof))
	}
	if v.Suite != "" {
		fmt.Fprintf(&b, "  suite     %s; packets %s\n", v.Suite, orNone(v.PacketSuite))
	}
	switch {
	case v.PPK:
		b.WriteString("  quantum   a post-quantum pre-shared key is in the keys (RFC 8784)\n")
	case v.Downgraded:
		b.WriteString("  quantum   DOWNGRADED: the gateway does no hybrid key exchange (RFC 9370)\n")
	case len(v.KeyExchanges) > 1:
		fmt.Fprintf(&b, "  quantum   hybrid key exchange: %s\n", strings.Join(v.KeyExchanges, " + "))
	}
	switch {
	case v.Agent != "":
		fmt.Fprintf(&b, "  agent     %s: the gateway is the foreign agent of the home address\n", v.Agent)
	case v.NoAgent != "":
		fmt.Fprintf(&b, "  agent     none: %s\n", v.NoAgent)
	}
	if v.Narrowed {
		fmt.Fprintf(&b, "  narrowed  the gateway lets through only %s\n", strings.Join(v.Selectors, ", "))
	}
	return b.String()
}
