package client

import (
	"slices"

	"mipvpn/client/config"
	"mipvpn/tun/link"
)

// LinkSettings returns the state that the host's network is to be in while the client is up. The device's name is that of
// the configuration: what OpenDevice has made may be called otherwise.
func LinkSettings(cfg *config.Config) link.Settings {
	full := cfg.Enterprise.Tunnel == config.TunnelFull
	groups, directed := broadcastRoutes(cfg.Internal)
	return link.Settings{
		Device: cfg.Device.Name, Address: cfg.Internal.HomeAddress, MTU: cfg.Device.MTU,
		Routes: slices.Concat(cfg.Enterprise.Prefixes, groups), Broadcasts: directed,
		Full: full, Blocked: cfg.Enterprise.Prefixes6, Local: full && cfg.KillSwitch.AllowLocal,
		Shielded: shielded(cfg), KillSwitch: true,
	}
}
