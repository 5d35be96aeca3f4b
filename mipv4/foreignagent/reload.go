package foreignagent

import (
	"errors"
	"fmt"
	"slices"

	"mipvpn/tun/link"
)

// ErrRestart means that a change of the configuration takes a new Machine.
var ErrRestart = errors.New("foreignagent: this change takes a restart")

// CheckReload returns the error that Reload of the configuration c returns at a Machine that was made with the configuration running,
// nil for none. Errors: ErrConfig, and ErrRestart for other addresses of the agent or other encapsulations.
func (c Config) CheckReload(running Config) (err error) {
	if running, err = running.check(); err == nil {
		_, err = c.reloadable(running)
	}
	return err
}

// reloadable returns the configuration with its defaults, or why a Machine with the configuration running cannot take it.
func (c Config) reloadable(running Config) (Config, error) {
	cfg, err := c.check()
	switch {
	case err != nil:
		return Config{}, err
	case cfg.Address != running.Address || cfg.CareOfAddress != running.CareOfAddress || !slices.Equal(cfg.OwnAddresses, running.OwnAddresses):
		return Config{}, fmt.Errorf("%w: the agent's address is %v and its care-of address %v, found %v and %v", ErrRestart, running.Address, running.CareOfAddress, cfg.Address, cfg.CareOfAddress)
	case cfg.Encapsulations != running.Encapsulations || cfg.UDPTunnel != running.UDPTunnel:
		return Config{}, fmt.Errorf("%w: encapsulations offered are %+v, UDP tunnels %d, found %+v, %d", ErrRestart, running.Encapsulations, running.UDPTunnel, cfg.Encapsulations, cfg.UDPTunnel)
	}
	return cfg, nil
}

// Reload takes another configuration. Visitors stay, also beyond a lower limit, but for those of home agents that are no longer
// permitted: these are dropped, and their number is returned. Errors, which change nothing, are those of Config.CheckReload.
func (m *Machine) Reload(now link.Instant, cfg Config) (dropped int, err error) {
	if cfg, err = cfg.reloadable(m.cfg); err != nil {
		return 0, err
	}
	interval := m.cfg.Interval
	m.cfg = cfg
	m.mobileNodes, m.homeAgents = associations(cfg.MobileNodes), associations(cfg.HomeAgents)
	if cfg.Interval != interval {
		m.advertiser.start(cfg.Interval, now.Boot)
	}
	for key, r := range m.registrations {
		if m.permitted(key.homeAgent) {
			continue
		}
		m.removeAllPending(r)
		if r.visitor != nil {
			m.strike(now, r)
			dropped++
		}
		m.tidy(r)
	}
	return dropped, nil
}
