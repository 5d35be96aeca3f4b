package main

import (
	"fmt"
	"strings"

	"mipvpn/client/control"
)

// gatewayFields say how the gateway and the laptop have proved who they are, and how packets are protected.
func gatewayFields(v *control.VPN) []field {
	switch {
	case v == nil:
		return nil
	case !v.Established:
		return []field{{label: "gateway", text: "being set up"}}
	}
	var list []field
	if v.GatewayIdentity != "" {
		list = append(list, field{label: "gateway", text: fmt.Sprintf("%s, by %s; laptop by %s", v.GatewayIdentity, orNone(v.GatewayProof), orNone(v.OwnProof))})
	}
	if v.Suite != "" {
		list = append(list, field{label: "suite", text: fmt.Sprintf("%s; packets %s", v.Suite, orNone(v.PacketSuite)), spare: spareMost})
	}
	switch {
	case v.PPK:
		list = append(list, field{label: "quantum", text: "a post-quantum pre-shared key is in the keys (RFC 8784)", spare: spareMost})
	case v.Downgraded:
		list = append(list, field{label: "quantum", text: "DOWNGRADED: the gateway does no hybrid key exchange (RFC 9370)", style: poor})
	case len(v.KeyExchanges) > 1:
		list = append(list, field{label: "quantum", text: "hybrid key exchange: " + strings.Join(v.KeyExchanges, " + "), spare: spareMost})
	}
	switch {
	case v.Agent != "":
		list = append(list, field{label: "agent", text: v.Agent + ": the gateway is the foreign agent of the home address", spare: spareLittle})
	case v.NoAgent != "":
		list = append(list, field{label: "agent", text: "none: " + v.NoAgent, spare: spareMore})
	}
	if v.Narrowed {
		list = append(list, field{label: "narrowed", text: "the gateway lets through only " + strings.Join(v.Selectors, ", "), style: poor})
	}
	return list
}
