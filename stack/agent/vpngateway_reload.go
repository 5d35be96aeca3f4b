package agent

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"go.uber.org/zap"

	"mipvpn/ipsec/gateway"
	"mipvpn/tun/link"
)

// ErrRestart means that a change of the configuration takes a restart.
var ErrRestart = errors.New("agent: this change takes a restart")

// errBusy means that the gateway's goroutine has too much to do, or has ended.
var errBusy = errors.New("agent: the gateway is too busy, or has ended")

// CheckReload returns the error that Reload of the configuration would return before it changes anything, nil for none: ErrRestart
// for what is for good (addresses, ports, the device, whether RADIUS is used, the foreign agent in the gateway),
// gateway.ErrConfig, ike.ErrConfig.
func (g *Gateway) CheckReload(cfg GatewayConfig) error {
	_, err := g.reloadable(cfg)
	return err
}

// reloadable returns the configuration as the gateway would have it, or why it cannot be taken.
func (g *Gateway) reloadable(cfg GatewayConfig) (GatewayConfig, error) {
	if cfg.Address != g.cfg.Address || !slices.Equal(cfg.Additional, g.cfg.Additional) || cfg.TCPPort != g.cfg.TCPPort || cfg.NoTCP != g.cfg.NoTCP || cfg.Device != g.cfg.Device {
		return cfg, fmt.Errorf("%w: addresses, TCP port and device of the gateway", ErrRestart)
	}
	if (cfg.RADIUS == nil) != (g.cfg.RADIUS == nil) || cfg.RADIUSSource != g.cfg.RADIUSSource {
		return cfg, fmt.Errorf("%w: whether RADIUS is used, and the address that requests come from", ErrRestart)
	}
	if !cfg.sameAgent(&g.cfg) {
		return cfg, fmt.Errorf("%w: the foreign agent in the gateway, but for its mobile nodes and networks", ErrRestart)
	}
	if err := cfg.CheckForeignAgent(); err != nil {
		return cfg, err
	}
	cfg.advertise(g.agent)
	cfg.mobility()
	cfg.prove()
	_, err := gateway.New(cfg.Config, rand.Reader)
	return cfg, err
}

// Reload takes another configuration while the gateway runs: see gateway.Gateway.Reload. It returns how many sessions were closed
// because the configuration does not grant any more what they have. Errors, which leave all as it was: those of CheckReload, and what
// the host says about routes.
func (g *Gateway) Reload(cfg GatewayConfig) (closed int, err error) {
	if cfg, err = g.reloadable(cfg); err != nil {
		return 0, err
	}
	g.reloading.Lock()
	defer g.reloading.Unlock()
	// Clients of both configurations have routes until the old one is gone.
	fresh, both := cfg.ClientPrefixes(), slices.Clone(g.prefixes)
	for _, p := range fresh {
		if !slices.Contains(both, p) {
			both = append(both, p)
		}
	}
	if err := g.route(both); err != nil {
		return 0, errors.Join(err, g.route(g.prefixes))
	}
	type result struct {
		closed int
		err    error
	}
	r := ask(g, func(now link.Instant) *result {
		n, err := g.machine.Reload(now, cfg.Config)
		if err == nil {
			g.prover.credential, g.prover.verifier = cfg.Credential, cfg.Verifier
		}
		return &result{n, err}
	})
	switch {
	case r == nil:
		return 0, errors.Join(errBusy, g.route(g.prefixes))
	case r.err != nil:
		return 0, errors.Join(r.err, g.route(g.prefixes))
	}
	g.prefixes = fresh
	if err := g.route(fresh); err != nil {
		return r.closed, err
	}
	g.log.Info("VPN gateway has another configuration", zap.Int("peers", len(cfg.Peers)), zap.Int("sessions_closed", r.closed))
	return r.closed, nil
}

// route leads the prefixes into the device.
func (g *Gateway) route(prefixes []netip.Prefix) error {
	return g.host.Apply(link.Settings{Device: g.device.Name(), MTU: g.mtu(), Routes: prefixes, Forward: true})
}
