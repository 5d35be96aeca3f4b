package homeagent

import (
	"errors"
	"fmt"
	"net/netip"

	"mipvpn/mipv4/auth"
	"mipvpn/tun/link"
)

// ErrRestart means that a change of the configuration takes a new Machine.
var ErrRestart = errors.New("homeagent: this change takes a restart")

// Reload takes another configuration and returns how many bindings were dropped by it: those of mobile nodes that are no longer
// served. All other bindings stay as they were granted, also where the mobile node has other keys now: those count from its next
// request on (Drop takes a binding away at once). Errors, which change nothing: ErrConfig, and ErrRestart for another address or
// another kind of home agent.
func (m *Machine) Reload(now link.Instant, cfg Config) (dropped int, err error) {
	cfg, err = cfg.check()
	if err != nil {
		return 0, err
	}
	if cfg.Address != m.cfg.Address || cfg.Internal != m.cfg.Internal {
		return 0, fmt.Errorf("%w: the home agent's address is %v, internal %t; found %v, internal %t", ErrRestart, m.cfg.Address, m.cfg.Internal, cfg.Address, cfg.Internal)
	}
	served := make(map[netip.Addr]bool, len(cfg.MobileNodes))
	var added []*node
	for _, c := range cfg.MobileNodes {
		served[c.HomeAddress] = true
		n := m.nodes[c.HomeAddress]
		if n == nil {
			if n = m.retired[c.HomeAddress]; n == nil {
				n = &node{home: c.HomeAddress}
			}
			delete(m.retired, c.HomeAddress)
			m.nodes[c.HomeAddress] = n
			added = append(added, n)
		}
		n.associations = c.Associations // the state of replay protection stays: it is the mobile node's, whatever its keys
	}
	for home, n := range m.nodes {
		if !served[home] {
			dropped += m.drop(now, n)
			delete(m.nodes, home)
			if m.retired == nil {
				m.retired = make(map[netip.Addr]*node)
			}
			m.retired[home] = n // what it has sent must not be taken again when it comes back
		}
	}
	m.agents = make(map[netip.Addr]*auth.SecurityAssociation, len(cfg.ForeignAgents))
	for _, f := range cfg.ForeignAgents {
		m.agents[f.Address] = f.Association
	}
	cfg.Durable = m.cfg.Durable // the driver's, for good
	m.cfg = cfg
	for _, n := range added {
		m.claim(now, n)
	}
	return dropped, nil
}
