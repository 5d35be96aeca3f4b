package simulated

import (
	"fmt"
	"io"
	"net/netip"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/cmd/miplab/internal/company"
	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/foreignagent"
	"mipvpn/mipv4/homeagent"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
)

// startAgents starts the agents of the company and of the world outside with the keys, by file name.
func (w *World) startAgents(keys map[string][]byte, o company.Options, log *zap.Logger) error {
	l := w.lab
	for _, ha := range []struct {
		host      *simnet.Host
		address   netip.Addr
		home      netip.Addr
		network   netip.Prefix
		spi       uint32
		key       string
		trusted   []netip.Prefix
		permitted []netip.Addr
	}{
		{l.InternalHA, simnet.LabInternalHA, simnet.LabHomeAddress, simnet.LabHomeNetwork, company.InternalSPI, company.InternalKey,
			[]netip.Prefix{simnet.LabEnterprise}, nil},
		{l.ExternalHA, simnet.LabExternalHA, simnet.LabExternalHomeAddress, simnet.LabExternalHomeNetwork, company.ExternalSPI,
			company.ExternalKey, nil, []netip.Addr{simnet.LabGateway}},
	} {
		key, err := config.ParseKey(keys[ha.key])
		if err != nil {
			return err
		}
		sa, err := auth.New(auth.Parameters{SPI: ha.spi, Algorithm: auth.HMACMD5, Key: auth.Key(key)})
		if err != nil {
			return err
		}
		switching := homeagent.ZeroOverhead{}
		if o.Optional && ha.permitted != nil {
			switching = homeagent.ZeroOverhead{Vendor: company.Vendor, Destinations: ha.permitted}
		}
		a, err := agent.StartHomeAgent(ha.host, agent.HomeAgentConfig{
			Config: homeagent.Config{
				ZeroOverhead: switching,
				Address:      ha.address, HomeNetworks: []netip.Prefix{ha.network}, Internal: ha.trusted != nil, TrustedNetworks: ha.trusted,
				MobileNodes: []homeagent.MobileNode{{HomeAddress: ha.home, Associations: []*auth.SecurityAssociation{sa}}},
			},
			PermittedGateways: ha.permitted,
		}, log.Named(ha.host.Name()))
		if err := w.keep(a, err); err != nil {
			return err
		}
	}
	for _, fa := range []struct {
		host    *simnet.Host
		visited *simnet.NIC
		careOf  netip.Addr
	}{{l.InternalFA, l.InternalFAVisited, simnet.LabInternalFA}, {l.ExternalFA, l.ExternalFAVisited, simnet.LabExternalFA}} {
		a, err := agent.StartForeignAgent(fa.host, agent.ForeignAgentConfig{
			Config: foreignagent.Config{CareOfAddress: fa.careOf}, Interface: fa.visited.Name(),
		}, log.Named(fa.host.Name()))
		if err := w.keep(a, err); err != nil {
			return err
		}
	}
	return w.startGateway(keys, o.Optional, log)
}

// keep takes charge of an agent that has been started.
func (w *World) keep(a io.Closer, err error) error {
	if err != nil {
		return fmt.Errorf("simulated: %w", err)
	}
	w.agents = append(w.agents, a)
	return nil
}
