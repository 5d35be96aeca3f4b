package simulated

import (
	"net/netip"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/cmd/miplab/internal/company"
	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/mipv4/foreignagent"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
)

// startGateway starts the VPN gateway, with the optional mechanisms or without.
func (w *World) startGateway(keys map[string][]byte, optional bool, log *zap.Logger) error {
	own, err := message.NewIdentity(company.GatewayIdentity)
	if err != nil {
		return err
	}
	laptop, err := message.NewIdentity(company.LaptopIdentity)
	if err != nil {
		return err
	}
	psk, err := config.ParsePSK(keys[company.GatewayPSK])
	if err != nil {
		return err
	}
	cfg := agent.GatewayConfig{
		Config: gateway.Config{
			IKE: ike.Config{LocalID: own}, Peers: []gateway.Peer{{Identity: laptop, PSK: psk}},
			Pool: simnet.LabInnerPool, Networks: []netip.Prefix{simnet.LabEnterprise},
		},
		Address: simnet.LabGateway,
	}
	if optional {
		cfg.IKE.MOBIKE = &ike.MOBIKE{}
		cfg.Agent = &gateway.Agent{MobileNodes: []gateway.MobileNode{{Identity: laptop, HomeAddress: simnet.LabHomeAddress}}}
		cfg.ForeignAgent = &foreignagent.Config{
			CareOfAddress: simnet.LabGatewayInner, PermittedHomeAgents: []netip.Prefix{netip.PrefixFrom(simnet.LabInternalHA, simnet.LabInternalHA.BitLen())},
		}
	}
	g, err := agent.StartGateway(w.lab.Gateway, cfg, log.Named("gateway"))
	return w.keep(g, err)
}
