package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/stack/agent"
	"mipvpn/tun/link"
)

type gatewayTable struct {
	Address  netip.Addr         `toml:"address"`
	More     []netip.Addr       `toml:"additional_addresses"`
	MOBIKE   *bool              `toml:"mobike"`
	Demand   bool               `toml:"require_mobike"`
	Identity string             `toml:"identity"`
	Pool     netip.Prefix       `toml:"pool"`
	Networks []netip.Prefix     `toml:"networks"`
	DNS      []netip.Addr       `toml:"dns"`
	Device   string             `toml:"device"`
	Liveness duration           `toml:"liveness"`
	IKELife  duration           `toml:"ike_lifetime"`
	Child    duration           `toml:"child_lifetime"`
	Resume   *bool              `toml:"resumption"`
	Peers    []gatewayPeerTable `toml:"peer"`
	Agent    *gatewayAgentTable `toml:"foreign_agent"`
	gatewayLifeTable

	Domains     []string                 `toml:"domains"`
	Session     duration                 `toml:"session"`
	Certificate *gatewayCertificateTable `toml:"certificate"`
	Trust       *gatewayTrustTable       `toml:"trust"`
	EAP         *gatewayEAPTable         `toml:"eap"`
	RADIUS      *gatewayRADIUSTable      `toml:"radius"`
	Rules       []gatewayRuleTable       `toml:"rule"`
	Policies    []gatewayPolicyTable     `toml:"policy"`
	Users       []gatewayUserTable       `toml:"user"`
}

type gatewayPeerTable struct {
	Identity string     `toml:"identity"`
	PSKFile  string     `toml:"psk_file"`
	Address  netip.Addr `toml:"address"`
}

// gatewayRole is the VPN gateway, which takes another configuration while it runs.
type gatewayRole struct{ *agent.Gateway }

func (r gatewayRole) reload(c *configuration) (take func() error, err error) {
	cfg, err := c.gatewayConfig()
	if err != nil {
		return nil, err
	}
	return reloadOf(r.Gateway, cfg)
}

// gateway prepares the role of the table [gateway].
func (c *configuration) gateway() (starter, error) {
	cfg, err := c.gatewayConfig()
	if err != nil {
		return nil, err
	}
	return func(h link.Host, log *zap.Logger) (running, error) {
		g, err := agent.StartGateway(h, cfg, log)
		if err != nil {
			return nil, err
		}
		return gatewayRole{g}, nil
	}, nil
}

// gatewayConfig makes the gateway's configuration of the table.
func (c *configuration) gatewayConfig() (agent.GatewayConfig, error) {
	var none agent.GatewayConfig
	t := c.Gateway
	if !t.Address.Is4() {
		return none, fmt.Errorf("address %v: expected the gateway's outer IPv4 address", t.Address)
	}
	identity, err := message.NewIdentity(t.Identity)
	if err != nil {
		return none, err
	}
	if len(t.Peers) == 0 && len(t.Rules) == 0 {
		return none, errors.New("nobody could connect: no [[gateway.peer]] and no [[gateway.rule]] is configured")
	}
	cfg := agent.GatewayConfig{
		Config: gateway.Config{
			IKE: ike.Config{
				LocalID: identity, Liveness: time.Duration(t.Liveness),
				Lifetimes: ike.Lifetimes{IKE: time.Duration(t.IKELife), Child: time.Duration(t.Child)},
			},
			Pool: t.Pool, DNS: t.DNS, Networks: t.Networks, NoResumption: isFalse(t.Resume),
		},
		Address: t.Address, Additional: t.More, Device: orDefault(t.Device, "mipgw0"),
	}
	if cfg.IKE.NoFollowing = t.Demand; t.Demand && isFalse(t.MOBIKE) {
		return none, errors.New("require_mobike: clients could not move at all: leave out mobike = false, or this")
	}
	if !isFalse(t.MOBIKE) {
		cfg.IKE.MOBIKE = &ike.MOBIKE{}
	} else if len(t.More) != 0 {
		return none, errors.New("additional_addresses: clients hear of them through MOBIKE alone: leave out mobike = false")
	}
	for _, a := range t.More {
		if !a.IsGlobalUnicast() || a.Is4In6() || a.Zone() != "" || a == t.Address {
			return none, fmt.Errorf("additional_addresses: %v: expected an IPv4 or a global IPv6 address other than address", a)
		}
	}
	for _, p := range t.Peers {
		id, err := message.NewIdentity(p.Identity)
		if err != nil {
			return none, fmt.Errorf("peer: %w", err)
		}
		psk, err := c.presharedKey(p.PSKFile)
		if err != nil {
			return none, fmt.Errorf("peer %s: psk_file: %w", p.Identity, err)
		}
		cfg.Peers = append(cfg.Peers, gateway.Peer{Identity: id, PSK: psk, Address: p.Address})
	}
	if err := c.users(t, &cfg); err != nil {
		return none, err
	}
	if err := c.life(&t.gatewayLifeTable, &cfg); err != nil {
		return none, err
	}
	if err := c.foreignAgentOf(t.Agent, &cfg); err != nil {
		return none, err
	}
	if _, err := gateway.New(cfg.Config, rand.Reader); err != nil {
		return none, err
	}
	return cfg, nil
}

// presharedKey reads a pre-shared key: the file's octets without a last line break, or 0x and hexadecimal digits.
func (c *configuration) presharedKey(path string) ([]byte, error) {
	key, err := c.readSecret(path)
	if err != nil {
		return nil, err
	}
	key = bytes.TrimSuffix(bytes.TrimSuffix(key, []byte("\n")), []byte("\r"))
	if digits, ok := bytes.CutPrefix(key, []byte("0x")); ok {
		raw := make([]byte, hex.DecodedLen(len(digits)))
		_, err := hex.Decode(raw, digits)
		clear(key)
		if err != nil {
			return nil, errors.New("expected an even number of hexadecimal digits behind 0x")
		}
		key = raw
	}
	if len(key) == 0 {
		return nil, errors.New("the key is empty")
	}
	return key, nil
}
