package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"

	"go.uber.org/zap"

	"mipvpn/mipv4/foreignagent"
	"mipvpn/mipv4/homeagent"
	"mipvpn/tun/link"
)

// ErrEnded means that an agent has ended and cannot be asked.
var ErrEnded = errors.New("agent: the agent has ended")

// asked has a question answered on a loop and waits for that. It must not be called on the loop. ok is false when the loop has
// ended.
func asked[T any](l *loop, question func(link.Instant) T) (v T, ok bool) {
	answer := make(chan T, 1)
	l.deliver(func(now link.Instant) { answer <- question(now) })
	select {
	case v = <-answer:
		return v, true
	case <-l.done:
		return v, false
	}
}

// Bindings returns the bindings whose home addresses are in a network, with the zero Prefix all.
func (a *HomeAgent) Bindings(within netip.Prefix) []homeagent.Entry {
	list, _ := asked(a.loop, func(now link.Instant) []homeagent.Entry { return a.machine.Bindings(now, within) })
	return list
}

// Len returns how many bindings there are.
func (a *HomeAgent) Len() int {
	n, _ := asked(a.loop, func(link.Instant) int { return a.machine.Len() })
	return n
}

// Drop takes all bindings of a home address back and returns how many there were.
func (a *HomeAgent) Drop(home netip.Addr) int {
	n, _ := asked(a.loop, func(now link.Instant) int { return a.machine.Drop(now, home) })
	return n
}

// Registrations returns what has become of registration requests so far.
func (a *HomeAgent) Registrations() Registrations { return a.registrations.snapshot() }

// TunnelTraffic returns what has come out of the tunnels, and what went into them.
func (a *HomeAgent) TunnelTraffic() (in, out Traffic) { return a.traffic.snapshot() }

// CheckReload returns the error that Reload of the configuration would return before it changes anything, nil for none: homeagent.ErrConfig,
// ErrRestart for what is for good (addresses, device, the kind of agent, RADIUS servers, whether zero-overhead tunnelling is
// granted).
func (a *HomeAgent) CheckReload(cfg HomeAgentConfig) error {
	_, err := a.reloadable(cfg)
	return err
}

// reloadable returns the configuration as the agent would have it, or why it cannot be taken.
func (a *HomeAgent) reloadable(cfg HomeAgentConfig) (HomeAgentConfig, error) {
	if err := errors.Join(cfg.checkSwitching(), cfg.checkBroadcasts()); err != nil {
		return cfg, err
	}
	if cfg.Device != a.cfg.Device || cfg.HomeLink != a.cfg.HomeLink || cfg.ZeroOverhead.Granted() != a.cfg.ZeroOverhead.Granted() ||
		cfg.Broadcasts != a.cfg.Broadcasts {
		return cfg, fmt.Errorf("%w: the device, the home link, and whether zero-overhead tunnelling and broadcasts are granted", ErrRestart)
	}
	if !reflect.DeepEqual(cfg.RADIUS, a.cfg.RADIUS) {
		return cfg, fmt.Errorf("%w: other RADIUS servers", ErrRestart)
	}
	cfg.AAA = cfg.RADIUS != nil
	return cfg, forGood(cfg.Config.CheckReload(a.cfg.Config), homeagent.ErrRestart)
}

// forGood returns the error of a machine, as ErrRestart where it is the machine's own word for that.
func forGood(err, restart error) error {
	if errors.Is(err, restart) {
		return fmt.Errorf("%w: %w", ErrRestart, err)
	}
	return err
}

// Reload takes another configuration while the agent runs (homeagent.Machine.Reload): bindings stay but for those of mobile nodes
// that are no longer served, whose number is returned. Errors, which leave all as it was: those of CheckReload, and what the host says
// about routes.
func (a *HomeAgent) Reload(cfg HomeAgentConfig) (dropped int, err error) {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	if cfg, err = a.reloadable(cfg); err != nil {
		return 0, err
	}
	// Mobile nodes of both configurations have routes until the old one is gone.
	old, both := a.networks, slices.Clone(a.networks)
	for _, p := range cfg.HomeNetworks {
		if !slices.Contains(both, p) {
			both = append(both, p)
		}
	}
	if err := a.routeHome(both); err != nil {
		return 0, errors.Join(err, a.routeHome(old))
	}
	type result struct {
		dropped int
		err     error
	}
	r, ok := asked(a.loop, func(now link.Instant) result {
		n, err := a.machine.Reload(now, cfg.Config)
		if err == nil {
			policy := newPolicy(cfg.PermittedGateways)
			a.policy.Store(&policy)
		}
		return result{n, err}
	})
	switch {
	case !ok:
		return 0, ErrEnded
	case r.err != nil:
		return 0, errors.Join(r.err, a.routeHome(old))
	}
	a.trusted = cfg.TrustedNetworks
	if err := a.routeHome(cfg.HomeNetworks); err != nil {
		return r.dropped, err
	}
	a.log.Info("home agent has another configuration", zap.Int("mobile_nodes", len(cfg.MobileNodes)), zap.Int("bindings_dropped", r.dropped))
	return r.dropped, nil
}

// routeHome leads the networks into the device.
func (a *HomeAgent) routeHome(networks []netip.Prefix) error {
	if err := a.host.Apply(link.Settings{Device: a.device.Name(), MTU: a.mtu, Taken: a.taken(), Routes: a.homeLink.virtual(networks), Forward: true}); err != nil {
		return err
	}
	a.networks = slices.Clone(networks)
	a.setDomains(networks)
	a.resolution.set(a.homeLink.virtual(networks))
	return nil
}

// VisitorList returns the registrations of home addresses in a network, with the zero Prefix all.
func (h *homeward) VisitorList(within netip.Prefix) []foreignagent.Entry {
	list, _ := asked(h.loop, func(now link.Instant) []foreignagent.Entry { return h.machine.Visitors(now, within) })
	return list
}

// Visitors returns the number of registrations that are in force.
func (h *homeward) Visitors() int { return h.table.Len() }

// Drop strikes all registrations of a home address off and returns how many there were.
func (h *homeward) Drop(home netip.Addr) int {
	n, _ := asked(h.loop, func(now link.Instant) int { return h.machine.Drop(now, home) })
	return n
}

// Registrations returns what has become of registration messages so far.
func (h *homeward) Registrations() Registrations { return h.registrations.snapshot() }

// TunnelTraffic returns what has come out of the tunnels from home agents, and what went into them.
func (h *homeward) TunnelTraffic() (in, out Traffic) { return h.traffic.snapshot() }

// CheckReload returns the error that Reload of the configuration would return, nil for none, and changes nothing: foreignagent.ErrConfig,
// ErrRestart for what is for good (addresses, the interface, RADIUS servers). An agent that has ended has Reload return ErrEnded.
func (a *ForeignAgent) CheckReload(cfg ForeignAgentConfig) error {
	_, err := a.reloadable(cfg)
	return err
}

// reloadable returns the configuration as the agent would have it, or why it cannot be taken.
func (a *ForeignAgent) reloadable(cfg ForeignAgentConfig) (ForeignAgentConfig, error) {
	if cfg.Interface != a.cfg.Interface {
		return cfg, fmt.Errorf("%w: the interface is %s, found %s", ErrRestart, a.cfg.Interface, cfg.Interface)
	}
	if !reflect.DeepEqual(cfg.RADIUS, a.cfg.RADIUS) {
		return cfg, fmt.Errorf("%w: other RADIUS servers", ErrRestart)
	}
	cfg.AAA = cfg.RADIUS != nil
	if !cfg.Address.IsValid() {
		cfg.Address, cfg.Prefix = a.cfg.Address, a.cfg.Prefix
	}
	return cfg, forGood(cfg.Config.CheckReload(a.cfg.Config), foreignagent.ErrRestart)
}

// Reload takes another configuration while the agent runs (foreignagent.Machine.Reload): visitors stay but for those of home agents
// that are no longer permitted, whose number is returned. Errors, which leave all as it was, are those of CheckReload.
func (a *ForeignAgent) Reload(cfg ForeignAgentConfig) (dropped int, err error) {
	if cfg, err = a.reloadable(cfg); err != nil {
		return 0, err
	}
	type result struct {
		dropped int
		err     error
	}
	r, ok := asked(a.loop, func(now link.Instant) result {
		n, err := a.machine.Reload(now, cfg.Config)
		return result{n, err}
	})
	switch {
	case !ok:
		return 0, ErrEnded
	case r.err != nil:
		return 0, r.err
	}
	a.log.Info("foreign agent has another configuration", zap.Int("visitors_dropped", r.dropped))
	return r.dropped, nil
}

// VisitorList returns the registrations of home addresses in a network through the foreign agent in the gateway, with the zero
// Prefix all.
func (g *Gateway) VisitorList(within netip.Prefix) []foreignagent.Entry {
	if g.agent == nil {
		return nil
	}
	return g.agent.VisitorList(within)
}

// Drop strikes all registrations of a home address through the foreign agent in the gateway off and returns how many there were.
func (g *Gateway) Drop(home netip.Addr) int {
	if g.agent == nil {
		return 0
	}
	return g.agent.Drop(home)
}

// Registrations returns what has become of registration messages at the foreign agent in the gateway so far.
func (g *Gateway) Registrations() Registrations {
	if g.agent == nil {
		return Registrations{}
	}
	return g.agent.Registrations()
}

// TunnelTraffic returns what has come out of the tunnels from home agents to the foreign agent in the gateway, and what went into
// them.
func (g *Gateway) TunnelTraffic() (in, out Traffic) {
	if g.agent == nil {
		return Traffic{}, Traffic{}
	}
	return g.agent.TunnelTraffic()
}
