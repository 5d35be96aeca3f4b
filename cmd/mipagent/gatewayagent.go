package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike/message"
	"mipvpn/mipv4/foreignagent"
	"mipvpn/stack/agent"
)

// gatewayAgentTable is the foreign agent in the VPN gateway.
type gatewayAgentTable struct {
	encapsulationTable
	UDPTunnel           udpTunnelMode            `toml:"udp_tunnel"`
	CareOfAddress       netip.Addr               `toml:"care_of_address"`
	PermittedHomeAgents []netip.Prefix           `toml:"permitted_home_agents"`
	Networks            []netip.Prefix           `toml:"networks"`
	MaxLifetime         duration                 `toml:"max_lifetime"`
	MaxVisitors         int                      `toml:"max_visitors"`
	Prefix              int                      `toml:"prefix"`
	NAI                 string                   `toml:"nai"`
	Extensions          string                   `toml:"extensions"`
	HomeAgents          []peerTable              `toml:"home_agent"`
	MobileNodes         []gatewayMobileNodeTable `toml:"mobile_node"`
}

// gatewayMobileNodeTable binds an IKE identity to its home address. The security association is with this agent, and may be missing.
type gatewayMobileNodeTable struct {
	Identity    string     `toml:"identity"`
	HomeAddress netip.Addr `toml:"home_address"`
	association
}

// foreignAgentOf completes the gateway's configuration with its foreign agent.
func (c *configuration) foreignAgentOf(t *gatewayAgentTable, cfg *agent.GatewayConfig) error {
	if t == nil {
		return nil
	}
	fail := func(err error) error { return fmt.Errorf("foreign_agent: %w", err) }
	if len(t.MobileNodes) == 0 {
		return fail(errors.New("no mobile_node is configured: nobody could use it"))
	}
	extensions, err := hex.DecodeString(strings.ReplaceAll(t.Extensions, " ", ""))
	if err != nil {
		return fail(errors.New("extensions: expected an even number of hexadecimal digits"))
	}
	cfg.ForeignAgent = &foreignagent.Config{
		CareOfAddress: t.CareOfAddress, PermittedHomeAgents: t.PermittedHomeAgents, MaxLifetime: time.Duration(t.MaxLifetime),
		MaxVisitors: t.MaxVisitors, Prefix: t.Prefix, NAI: t.NAI, Extensions: extensions,
	}
	cfg.ForeignAgent.Encapsulations, cfg.ForeignAgent.UDPTunnel = t.offered(), foreignagent.UDPTunnel(t.UDPTunnel)
	cfg.Agent = &gateway.Agent{Networks: t.Networks}
	if cfg.ForeignAgent.HomeAgents, err = c.peers("home_agent", t.HomeAgents); err != nil {
		return fail(err)
	}
	for _, n := range t.MobileNodes {
		id, err := message.NewIdentity(n.Identity)
		if err != nil {
			return fail(fmt.Errorf("mobile_node: %w", err))
		}
		cfg.Agent.MobileNodes = append(cfg.Agent.MobileNodes, gateway.MobileNode{Identity: id, HomeAddress: n.HomeAddress})
		if n.association == (association{}) {
			continue
		}
		a, err := c.security(n.association)
		if err != nil {
			return fail(fmt.Errorf("mobile_node %s: %w", n.Identity, err))
		}
		cfg.ForeignAgent.MobileNodes = append(cfg.ForeignAgent.MobileNodes, foreignagent.Peer{Address: n.HomeAddress, Association: a})
	}
	return cfg.CheckForeignAgent()
}
