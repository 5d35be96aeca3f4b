package simulated

import (
	"net/netip"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/cmd/miplab/internal/company"
	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
)

// startGateway starts the VPN gateway.
func (w *World) startGateway(keys map[string][]byte, log *zap.Logger) error {
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
	g, err := agent.StartGateway(w.lab.Gateway, agent.GatewayConfig{
		Config: gateway.Config{
			IKE: ike.Config{LocalID: own}, Peers: []gateway.Peer{{Identity: laptop, PSK: psk}},
			Pool: simnet.LabInnerPool, Networks: []netip.Prefix{simnet.LabEnterprise},
		},
		Address: simnet.LabGateway,
	}, log.Named("gateway"))
	return w.keep(g, err)
}
