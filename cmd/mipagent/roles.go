package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/foreignagent"
	"mipvpn/mipv4/homeagent"
	"mipvpn/stack/agent"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// running is an agent that has been started.
type running interface {
	// Done is closed when the agent has failed; Err says why.
	Done() <-chan struct{}
	Err() error
	// Drops counts the packets that were not passed on.
	Drops() *packet.Drops
	Close() error
	// reload checks what the configuration says of the role, and changes nothing. take has the role take it: what is not changed goes
	// on.
	reload(c *configuration) (take func() error, err error)
}

// role is one table of the configuration, ready to be started.
type role struct {
	name  string
	start starter
}

// starter starts a role.
type starter = func(link.Host, *zap.Logger) (running, error)

// hostMaker makes the host for the role with that place among roles; done gives it back.
type hostMaker func(place int) (host link.Host, done func() error, err error)

// roles returns what the configuration names, in the order in which it is started.
func (c *configuration) roles() []role { return c.prepared }

// prepare makes the roles of the tables and checks them as far as that can be done without a host.
func (c *configuration) prepare() error {
	for _, t := range []struct {
		name  string
		there bool
		make  func() (starter, error)
	}{
		{"home_agent.internal", c.HomeAgent.Internal != nil, func() (starter, error) {
			return c.homeAgent(c.HomeAgent.Internal, true)
		}},
		{"home_agent.external", c.HomeAgent.External != nil, func() (starter, error) {
			return c.homeAgent(c.HomeAgent.External, false)
		}},
		{"foreign_agent", c.ForeignAgent != nil, c.foreignAgent},
		{"gateway", c.Gateway != nil, c.gateway},
	} {
		if !t.there {
			continue
		}
		start, err := t.make()
		if err != nil {
			return &tableError{t.name, err}
		}
		c.prepared = append(c.prepared, role{t.name, start})
	}
	if len(c.prepared) == 0 {
		return errors.New("no role is configured: valid are the tables [home_agent.internal], [home_agent.external], [foreign_agent] and [gateway]")
	}
	if i, e := c.HomeAgent.Internal, c.HomeAgent.External; i != nil && e != nil && i.Address == e.Address {
		return &tableError{"home_agent.external", fmt.Errorf("both home agents have the address %v: they must differ (RFC 5265 §3.5)", e.Address)}
	}
	return nil
}

// defaultBindings is how many simultaneous bindings a home agent keeps of a mobile node where the file does not say: the two of a
// switch between interfaces, and room for what could not be taken back. 1 turns them off.
const defaultBindings = 4

// runningHomeAgent is a home agent, which takes another configuration while it runs.
type runningHomeAgent struct {
	*agent.HomeAgent
	internal bool
	store    io.Closer // nil for none
}

// Close implements running.
func (r runningHomeAgent) Close() error {
	err := r.HomeAgent.Close()
	if r.store != nil {
		err = errors.Join(err, r.store.Close())
	}
	return err
}

// homeAgentTable returns the table of one of the home agents.
func (c *configuration) homeAgentTable(internal bool) *homeAgentTable {
	if internal {
		return c.HomeAgent.Internal
	}
	return c.HomeAgent.External
}

func (r runningHomeAgent) reload(c *configuration) (take func() error, err error) {
	t := c.homeAgentTable(r.internal)
	if t.Cluster != nil {
		return nil, fmt.Errorf("%w: the table cluster", agent.ErrRestart)
	}
	cfg, err := c.homeAgentConfig(t, r.internal)
	if err != nil {
		return nil, err
	}
	return reloadOf(r.HomeAgent, cfg)
}

// homeAgent prepares the role of a home agent's table.
func (c *configuration) homeAgent(t *homeAgentTable, internal bool) (starter, error) {
	cfg, err := c.homeAgentConfig(t, internal)
	if err != nil {
		return nil, err
	}
	if t.Cluster != nil {
		if t.Store != nil {
			return nil, errors.New("store and cluster exclude each other: in a cluster the bindings are in etcd")
		}
		return c.clustered(cfg, internal, t.Cluster)
	}
	if path := c.storePath(t, internal); path != "" {
		return stored(cfg, internal, path), nil
	}
	return func(h link.Host, log *zap.Logger) (running, error) {
		a, err := agent.StartHomeAgent(h, cfg, log)
		if err != nil {
			return nil, err
		}
		return runningHomeAgent{a, internal, nil}, nil
	}, nil
}

// homeAgentConfig makes the home agent's configuration of its table.
func (c *configuration) homeAgentConfig(t *homeAgentTable, internal bool) (agent.HomeAgentConfig, error) {
	var none agent.HomeAgentConfig
	device := "mipxha0"
	if internal {
		device = "mipha0"
	}
	cfg := agent.HomeAgentConfig{
		Config: homeagent.Config{
			Address: t.Address, HomeNetworks: t.HomeNetworks, Internal: internal,
			DynamicAddresses: t.DynamicAddresses, AddressHold: time.Duration(t.AddressHold),
			RedirectTo: t.RedirectTo, RedirectFrom: t.RedirectFrom,
			TrustedNetworks: t.TrustedNetworks, RefusedNetworks: t.RefusedNetworks,
			MaxLifetime: time.Duration(t.MaxLifetime), Tolerance: time.Duration(t.TimestampTolerance),
			SimultaneousBindings: orDefault(t.SimultaneousBindings, defaultBindings), MaxBindings: t.MaxBindings, MaxRequests: t.MaxRequests,
			RequireReverseTunnel: t.RequireReverseTunnel,
			NoUDPTunnel:          isFalse(t.UDPTunnel), NoForcedUDPTunnel: isFalse(t.ForcedUDPTunnel),
			KeepAlive: time.Duration(t.KeepAlive), AllowRelayedCoLocated: t.AllowRelayedCoLocated,
			NoRevocation: isFalse(t.Revocation), Broadcasts: t.Broadcasts,
			ZeroOverhead: homeagent.ZeroOverhead{Vendor: t.ZeroOverheadVendor, Destinations: t.ZeroOverheadGateways},
		},
		Device: orDefault(t.Device, device), PermittedGateways: t.PermittedGateways, HomeLink: t.HomeLink,
	}
	cfg.Encapsulations = t.offered()
	var err error
	if cfg.RADIUS, err = c.agentRADIUS(t.RADIUS, t.Address); err != nil {
		return none, err
	}
	if cfg.ZeroOverhead.Granted() && len(cfg.ZeroOverhead.Destinations) == 0 {
		cfg.ZeroOverhead.Destinations = t.PermittedGateways
	}
	if internal && cfg.ZeroOverhead.Granted() {
		return none, errors.New("zero_overhead_vendor belongs to an external home agent: inside there is no VPN gateway to switch to")
	}
	if internal && len(t.TrustedNetworks) == 0 {
		return none, errors.New("trusted_networks is missing: without it every registration request would be dropped (RFC 5265 §4.3)")
	}
	nodes, err := c.mobileNodes(t)
	if err != nil {
		return none, err
	}
	if cfg.MobileNodes, err = c.served(nodes, cfg.HomeNetworks, internal); err != nil {
		return none, err
	}
	for _, f := range t.ForeignAgents {
		a, err := c.security(f.association)
		if err != nil {
			return none, fmt.Errorf("foreign_agent %v: %w", f.Address, err)
		}
		cfg.ForeignAgents = append(cfg.ForeignAgents, homeagent.ForeignAgent{Address: f.Address, Association: a})
	}
	if err := cfg.Check(); err != nil {
		return none, err
	}
	return cfg, nil
}

// name names the mobile node for people.
func (n mobileNodeTable) name() string {
	if n.NAI != "" {
		return strconv.Quote(n.NAI)
	}
	return n.HomeAddress.String()
}

// mobileSecurity makes the security association of a mobile node with its home agent.
func (c *configuration) mobileSecurity(n mobileNodeTable) (*auth.SecurityAssociation, error) {
	replay, err := auth.ParseReplayProtection(orDefault(n.ReplayProtection, auth.Timestamps.String()))
	if err != nil {
		return nil, err
	}
	n.association.replay = replay
	return c.security(n.association)
}

// runningForeignAgent is a foreign agent, which takes another configuration while it runs.
type runningForeignAgent struct{ *agent.ForeignAgent }

func (r runningForeignAgent) reload(c *configuration) (take func() error, err error) {
	cfg, err := c.foreignAgentConfig()
	if err != nil {
		return nil, err
	}
	return reloadOf(r.ForeignAgent, cfg)
}

// foreignAgent prepares the role of the table [foreign_agent].
func (c *configuration) foreignAgent() (starter, error) {
	cfg, err := c.foreignAgentConfig()
	if err != nil {
		return nil, err
	}
	return func(h link.Host, log *zap.Logger) (running, error) {
		a, err := agent.StartForeignAgent(h, cfg, log)
		if err != nil {
			return nil, err
		}
		return runningForeignAgent{a}, nil
	}, nil
}

// foreignAgentConfig makes the foreign agent's configuration of its table.
func (c *configuration) foreignAgentConfig() (agent.ForeignAgentConfig, error) {
	var none agent.ForeignAgentConfig
	t := c.ForeignAgent
	cfg := agent.ForeignAgentConfig{
		Interface: t.Interface,
		Config: foreignagent.Config{
			Address: t.Address, CareOfAddress: t.CareOfAddress, PermittedHomeAgents: t.PermittedHomeAgents,
			MaxLifetime: time.Duration(t.MaxLifetime), MaxVisitors: t.MaxVisitors,
			NoEncapsulatingDelivery: isFalse(t.EncapsulatingDelivery), RegistrationRequired: t.RegistrationRequired,
			Revocation: t.Revocation, Challenge: t.Challenge, ChallengeWindow: t.ChallengeWindow,
			Interval: time.Duration(t.Interval), AdvertisementLifetime: time.Duration(t.AdvertisementLifetime), NAI: t.NAI,
		},
	}
	cfg.Encapsulations, cfg.UDPTunnel, cfg.BehindNAT = t.offered(), foreignagent.UDPTunnel(t.UDPTunnel), t.BehindNAT
	var err error
	if cfg.RADIUS, err = c.agentRADIUS(t.RADIUS, t.CareOfAddress); err != nil {
		return none, err
	}
	cfg.Challenge = cfg.Challenge || cfg.RADIUS != nil // there is nothing to check otherwise
	if t.Interface == "" {
		return none, errors.New("interface is missing: the name of the interface that mobile nodes visit")
	}
	if isFalse(t.Advertise) {
		cfg.Interval = -1
	}
	if cfg.HomeAgents, err = c.peers("home_agent", t.HomeAgents); err != nil {
		return none, err
	}
	if cfg.MobileNodes, err = c.peers("mobile_node", t.MobileNodes); err != nil {
		return none, err
	}
	check := cfg.Config
	if !check.Address.IsValid() {
		check.Address = netip.AddrFrom4([4]byte{192, 0, 2, 1}) // the interface's will do
	}
	if _, err := foreignagent.New(check, link.Instant{}, nil); err != nil {
		return none, err
	}
	return cfg, nil
}

func (c *configuration) peers(name string, tables []peerTable) ([]foreignagent.Peer, error) {
	var peers []foreignagent.Peer
	for _, t := range tables {
		a, err := c.security(t.association)
		if err != nil {
			return nil, fmt.Errorf("%s %v: %w", name, t.Address, err)
		}
		peers = append(peers, foreignagent.Peer{Address: t.Address, Association: a})
	}
	return peers, nil
}

func isFalse(b *bool) bool { return b != nil && !*b }

// runRoles starts the roles and runs them until ctx ends or one fails. Each time that reload yields, the file is read again.
func runRoles(ctx context.Context, c *configuration, makeHost hostMaker, reload <-chan os.Signal, log *zap.Logger) (err error) {
	ended := make(chan error, len(c.roles()))
	roles := make(map[string]running)
	for i, r := range c.roles() {
		host, done, e := makeHost(i)
		if e != nil {
			return fmt.Errorf("[%s]: %w", r.name, e)
		}
		defer func() { err = errors.Join(err, done()) }()
		a, e := r.start(host, log.Named(r.name))
		if e != nil {
			return fmt.Errorf("[%s]: %w", r.name, e)
		}
		roles[r.name] = a
		defer func() {
			err = errors.Join(err, a.Close())
			log.Named(r.name).Info("agent ends", zap.Any("dropped", a.Drops().Snapshot()))
		}()
		go func() {
			select {
			case <-a.Done():
				ended <- fmt.Errorf("[%s]: %w", r.name, a.Err())
			case <-ctx.Done():
			}
		}()
	}
	var reloading sync.Mutex // SIGHUP and the control socket may ask at once
	again := func() error {
		reloading.Lock()
		defer reloading.Unlock()
		return c.reload(roles, log)
	}
	stop, err := serveControl(c, newControlServer(roles, again), log)
	if err != nil {
		return err
	}
	defer stop()
	if err := notifyReady(); err != nil {
		log.Warn("the roles run", zap.Error(err))
	}
	for {
		select {
		case err = <-ended:
			return err
		case <-ctx.Done():
			return nil
		case <-reload:
			if err := again(); err != nil {
				log.Error("the configuration is not taken, the old one stays", zap.Error(err))
			}
		}
	}
}
