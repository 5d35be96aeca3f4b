package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/stack/agent"
)

// gatewayLifeTable is the part of the table [gateway] that is about the algorithms and the life of SAs, and about the ways in
// which they are reached.
type gatewayLifeTable struct {
	Profile          string            `toml:"profile"`
	PPKs             []gatewayPPKTable `toml:"ppk"`
	RequirePPK       bool              `toml:"require_ppk"`
	Dead             duration          `toml:"dead"`
	ChildOctets      uint64            `toml:"child_octets"`
	ChildPackets     uint64            `toml:"child_packets"`
	Reauthentication duration          `toml:"reauthentication"`
	ReplayWindow     int               `toml:"replay_window"`
	TFCPadding       int               `toml:"tfc_padding"`
	IKEDatagram      int               `toml:"ike_datagram"`
	TCP              *bool             `toml:"tcp"`
	TCPPort          uint16            `toml:"tcp_port"`
	Pool6            netip.Prefix      `toml:"pool6"`
	CrashSecrets     []string          `toml:"crash_secret_files"`
	Redirect         string            `toml:"redirect"`
	MaxHalfOpen      int               `toml:"max_half_open"`
	AccountInterval  duration          `toml:"account_interval"`
}

// gatewayPPKTable is a client's post-quantum pre-shared key (RFC 8784).
type gatewayPPKTable struct {
	Identity string `toml:"identity"`
	ID       string `toml:"id"`
	File     string `toml:"file"`
}

// life completes the gateway's configuration with what the table says.
func (c *configuration) life(t *gatewayLifeTable, cfg *agent.GatewayConfig) error {
	var err error
	if cfg.IKE.Proposals, err = ike.ProposalsOf(t.Profile); err != nil {
		return err
	}
	l := &cfg.IKE.Lifetimes
	l.Bytes, l.Packets, l.Authentication = t.ChildOctets, t.ChildPackets, time.Duration(t.Reauthentication)
	cfg.IKE.Dead, cfg.IKE.Fragmentation.Size = time.Duration(t.Dead), t.IKEDatagram
	cfg.IKE.ReplayWindow, cfg.IKE.TFCPadding = t.ReplayWindow, t.TFCPadding
	cfg.NoTCP, cfg.TCPPort, cfg.Pool6 = isFalse(t.TCP), t.TCPPort, t.Pool6
	cfg.MaxHalfOpen, cfg.AccountInterval, cfg.RequirePPK = t.MaxHalfOpen, time.Duration(t.AccountInterval), t.RequirePPK
	for _, p := range t.PPKs {
		id, err := message.NewIdentity(p.Identity)
		if err != nil {
			return fmt.Errorf("ppk: %w", err)
		}
		key, err := c.presharedKey(p.File)
		if err != nil {
			return fmt.Errorf("ppk of %s: file: %w", p.Identity, err)
		}
		cfg.PPKs = append(cfg.PPKs, gateway.PeerPPK{Identity: id, PPK: ike.PPK{ID: p.ID, Key: key}})
	}
	for _, name := range t.CrashSecrets {
		secret, err := c.presharedKey(name)
		if err != nil {
			return fmt.Errorf("crash_secret_files: %s: %w", name, err)
		}
		cfg.CrashSecrets = append(cfg.CrashSecrets, secret)
	}
	if t.Redirect == "" {
		return nil
	}
	to := ike.GatewayName{Name: strings.ToLower(strings.TrimSuffix(t.Redirect, "."))}
	if a, err := netip.ParseAddr(t.Redirect); err == nil {
		to = ike.GatewayName{Address: a}
	}
	if to.Address == cfg.Address {
		return errors.New("redirect: clients would be sent to this gateway again")
	}
	cfg.Redirect = func(ike.Identity, netip.AddrPort) (ike.GatewayName, bool) { return to, true }
	return nil
}
