package homeagent

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"mipvpn/mipv4/auth"
	"mipvpn/tun/link"
)

// ErrRestart means that a change of the configuration takes a new Machine.
var ErrRestart = errors.New("homeagent: this change takes a restart")

// CheckReload returns the error that Reload of the configuration c returns at a Machine that was made with the configuration running,
// nil for none. Errors: ErrConfig, and ErrRestart for another address, another kind of home agent or other encapsulations.
func (c Config) CheckReload(running Config) error {
	_, err := c.reloadable(running)
	return err
}

// reloadable returns the configuration with its defaults, or why a Machine with the configuration running cannot take it.
func (c Config) reloadable(running Config) (Config, error) {
	cfg, err := c.check()
	switch {
	case err != nil:
		return Config{}, err
	case cfg.Address != running.Address || cfg.Internal != running.Internal:
		return Config{}, fmt.Errorf("%w: the home agent's address is %v, internal %t; found %v, internal %t", ErrRestart, running.Address, running.Internal, cfg.Address, cfg.Internal)
	case cfg.Encapsulations != running.Encapsulations:
		return Config{}, fmt.Errorf("%w: encapsulations offered are %+v, found %+v", ErrRestart, running.Encapsulations, cfg.Encapsulations)
	}
	return cfg, nil
}

// Reload takes another configuration and returns how many bindings were dropped by it: those of mobile nodes that are no longer
// served, or whose home address is another one now or is not in the pool any more. All other bindings stay as they were granted, also where the mobile node has other keys now: those count from its next
// request on (Drop takes a binding away at once). Errors, which change nothing, are those of Config.CheckReload.
func (m *Machine) Reload(now link.Instant, cfg Config) (dropped int, err error) {
	if cfg, err = cfg.reloadable(m.cfg); err != nil {
		return 0, err
	}
	cfg.Durable = m.cfg.Durable // the driver's, for good
	before := m.cfg
	m.cfg = cfg
	if !slices.Equal(before.DynamicAddresses, cfg.DynamicAddresses) {
		m.homes.ranges, m.homes.freed = cfg.DynamicAddresses, nil
		if len(cfg.DynamicAddresses) > 0 {
			m.homes.next = cfg.DynamicAddresses[0].Addr()
		}
	}
	served := make(map[Identity]bool, len(cfg.MobileNodes))
	for _, c := range cfg.MobileNodes {
		served[c.Identity()] = true
	}
	retire := func(n *node) {
		if served[n.identity()] {
			return
		}
		dropped += m.drop(now, n)
		if m.retired == nil {
			m.retired = make(map[Identity]*node)
		}
		m.retired[n.identity()] = n // what it has sent must not be taken again when it comes back
		if n.nai != "" {
			delete(m.nais, n.nai)
			m.releaseHome(n)
		} else {
			delete(m.nodes, n.home)
		}
	}
	for _, n := range m.nodes {
		retire(n)
	}
	for _, n := range m.nais { // those without a home address
		retire(n)
	}
	for _, c := range cfg.MobileNodes {
		n, d := m.serve(now, c)
		dropped += d
		if len(m.unclaimed) > 0 {
			m.claim(now, n)
		}
	}
	m.agents = make(map[netip.Addr]*auth.SecurityAssociation, len(cfg.ForeignAgents))
	for _, f := range cfg.ForeignAgents {
		m.agents[f.Address] = f.Association
	}
	return dropped, nil
}
