package foreignagent

import (
	"errors"
	"fmt"
	"slices"

	"mipvpn/tun/link"
)

// ErrRestart means that a change of the configuration takes a new Machine.
var ErrRestart = errors.New("foreignagent: this change takes a restart")

// Reload takes another configuration. Visitors stay, also beyond a lower limit, but for those of home agents that are no longer
// permitted: these are dropped, and their number is returned. Errors, which change nothing: ErrConfig, and ErrRestart for other
// addresses of the agent or other encapsulations.
func (m *Machine) Reload(now link.Instant, cfg Config) (dropped int, err error) {
	cfg, err = cfg.check()
	if err != nil {
		return 0, err
	}
	if cfg.Address != m.cfg.Address || cfg.CareOfAddress != m.cfg.CareOfAddress || !slices.Equal(cfg.OwnAddresses, m.cfg.OwnAddresses) {
		return 0, fmt.Errorf("%w: the agent's address is %v and its care-of address %v, found %v and %v", ErrRestart, m.cfg.Address, m.cfg.CareOfAddress, cfg.Address, cfg.CareOfAddress)
	}
	if cfg.Encapsulations != m.cfg.Encapsulations || cfg.UDPTunnel != m.cfg.UDPTunnel {
		return 0, fmt.Errorf("%w: encapsulations offered are %+v, UDP tunnels %d, found %+v, %d", ErrRestart, m.cfg.Encapsulations, m.cfg.UDPTunnel, cfg.Encapsulations, cfg.UDPTunnel)
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
