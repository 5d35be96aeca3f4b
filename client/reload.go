package client

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/client/roam"
	"mipvpn/mipv4/auth"
	"mipvpn/stack"
)

// A configuration can be changed while the client is up: what is read when it is needed is there at once, and what a value has gone into
// is set up anew, as little of it as possible. The i-HoA stays, and with it every session; packets wait while a registration or a
// tunnel is renewed, as they do when the laptop moves.

// ErrRestart means that values have changed that this daemon cannot take while it runs.
var ErrRestart = errors.New("restart the daemon for another value of")

// ErrAnew means that values have changed with which the session cannot go on.
var ErrAnew = errors.New("connections of applications would end with another value of")

// consequence is what another value of a key is followed by.
type consequence uint16

const (
	// renewHost: routes, addresses and kill switch of the host.
	renewHost consequence = 1 << iota
	renewDNS
	// renewMode: the mode policy.
	renewMode
	// renewPaths: every interface is tried anew, as if it had just been connected.
	renewPaths
	// renewInternal and renewExternal: the registrations with that home agent.
	renewInternal
	renewExternal
	// renewVPN: another tunnel takes the place of the one that is up. renewGateway: with another gateway.
	renewVPN
	renewGateway
	renewMeasuring
	renewPortals
	// renewSession: everything from the device on.
	renewSession
	// needsRestart: the daemon itself.
	needsRestart
	// used: nothing, since it is read when it is needed, here or by the daemon.
	used consequence = 0
)

// consequences are those of keys, or of all other keys of a table; the first that fits counts.
var consequences = []struct {
	key string
	is  consequence
}{
	{"up_at_start", used},
	{"mode", renewMode},
	{"device.mtu", renewHost | renewMeasuring},
	{"device", renewSession},
	{"mtu", renewMeasuring},
	{"enterprise", renewHost | renewDNS | renewPortals},
	{"kill_switch", renewHost},
	{"internal_home_agent.home_address", renewSession},
	{"internal_home_agent.nai", renewSession},
	{"internal_home_agent.home_link", renewSession},
	{"internal_home_agent.broadcasts", renewSession},
	{"internal_home_agent.groups", renewSession},
	{"internal_home_agent", renewInternal | renewPaths},
	{"external_home_agent.nai", renewSession},
	{"external_home_agent.dynamic", renewSession},
	{"external_home_agent", renewExternal | renewPaths},
	{"foreign_agent", renewExternal | renewPaths},
	{"gateway.give_up", used},
	{"gateway.park", used},
	{"gateway.sparing", used},
	{"gateway.fallback", renewGateway},
	{"gateway.return_after", renewGateway},
	{"gateway.address", renewGateway | renewVPN},
	{"gateway.address6", renewGateway | renewVPN},
	{"gateway", renewVPN},
	{"mechanisms", renewPaths | renewVPN},
	{"authentication", renewVPN},
	{"trust", renewVPN},
	{"detection.inside_domains", used},
	{"detection.inside_nais", used},
	{"detection.learn_gateways", used},
	{"detection", renewPaths},
	{"dns", renewDNS},
	{"interfaces", renewPaths | renewDNS},
	{"portal", renewPortals},
	{"hooks", used},
	{"log", used},
	{"metrics", used},
	{"control.socket", needsRestart},
	{"control", used},
}

// consequenceOf returns what another value of the key is followed by. One that is not known needs a restart.
func consequenceOf(key string) consequence {
	for _, c := range consequences {
		if key == c.key || strings.HasPrefix(key, c.key+".") {
			return c.is
		}
	}
	return needsRestart
}

// Reload takes another configuration while the client runs. Then the one before is not used any more and the caller may wipe its secrets;
// where nothing has changed, and with an error, it stays, and cfg is not used. anew allows it to end the session and begin another one where it cannot go on; the enterprise's traffic stays
// blocked meanwhile. What people have answered is kept as far as the question is the same. Errors, which leave all as it was: ErrRestart and ErrAnew with the keys, one that wraps control.ErrRefused for a mode that is not available,
// and what the host says about its settings or about an address to listen on.
func (c *Client) Reload(ctx context.Context, cfg *config.Config, anew bool) (control.Reload, error) {
	var r control.Reload
	err := c.ask(ctx, func() error {
		var err error
		r, err = c.reload(cfg, anew)
		return err
	})
	return r, err
}

func (c *Client) reload(cfg *config.Config, anew bool) (control.Reload, error) {
	r := control.Reload{Schema: control.Schema, Changed: config.Changes(&c.given, cfg), Renewed: []string{}, Warnings: []string{}}
	for _, w := range cfg.Warnings {
		r.Warnings = append(r.Warnings, w.Key+": "+w.Message)
	}
	var all consequence
	var restart, ending []string
	for _, k := range r.Changed {
		is := consequenceOf(k)
		all |= is
		if is&needsRestart != 0 {
			restart = append(restart, k)
		}
		if is&renewSession != 0 {
			ending = append(ending, k)
		}
	}
	switch {
	case len(restart) > 0:
		return control.Reload{}, fmt.Errorf("%w %s; nothing has been changed", ErrRestart, strings.Join(restart, ", "))
	case len(ending) > 0 && c.session != nil && !anew:
		return control.Reload{}, fmt.Errorf("%w %s: `mipvpn reload --anew` does that; nothing has been changed", ErrAnew, strings.Join(ending, ", "))
	case len(r.Changed) == 0:
		return r, nil
	}
	n, err := c.newReload(cfg, all)
	if err != nil {
		return control.Reload{}, err
	}
	c.carryOut(n)
	r.Renewed = append(r.Renewed, n.renewed...)
	c.log.Info("another configuration", zap.Strings("changed", r.Changed), zap.Strings("renewed", r.Renewed))
	c.event(control.Event{Kind: "configuration", Message: "another configuration: " + strings.Join(r.Changed, ", ")})
	return r, nil
}

// reload is one change of the configuration.
type reload struct {
	all    consequence
	given  *config.Config // as it is written
	next   config.Config  // with what has been found out
	before config.Config
	mode   stack.Mode
	associations
	renewed []string
}

// has reports whether any of the consequences is wanted.
func (n *reload) has(any consequence) bool { return n.all&any != 0 }

// newReload makes what can fail of a change. Nothing has changed yet.
func (c *Client) newReload(cfg *config.Config, all consequence) (*reload, error) {
	n := &reload{all: all, given: cfg, next: *cfg, before: *c.cfg}
	if !n.has(renewSession) {
		c.keepFound(&n.next)
	}
	if cfg.Mode != policyAuto {
		var err error
		if n.mode, err = stack.ParseMode(cfg.Mode); err != nil {
			return nil, fmt.Errorf("client: mode policy: %w", err)
		}
	}
	if err := c.tryListen(cfg); err != nil {
		return nil, err
	}
	var err error
	if n.associations, err = newAssociations(cfg); err != nil {
		return nil, err
	}
	if c.session != nil && n.has(renewHost) && !n.has(renewSession) {
		if err := c.applyHost(&n.next, &n.before); err != nil {
			n.associations.wipe()
			return nil, err
		}
	}
	return n, nil
}

// keepFound takes over into another configuration what has been found out about things that it names as the one before did: addresses
// of names, the gateway in use, and home addresses that were assigned.
func (c *Client) keepFound(next *config.Config) {
	was, is := &c.given, c.cfg
	if !next.Internal.HomeAddress.IsValid() {
		next.Internal.HomeAddress = is.Internal.HomeAddress
	}
	if next.HasExternal() && !next.External.HomeAddress.IsValid() {
		next.External.HomeAddress = is.External.HomeAddress
	}
	if next.External.Name == was.External.Name && next.External.Address == was.External.Address && next.External.Network == was.External.Network {
		next.External.Address = is.External.Address
	}
	if next.Gateway.Name == was.Gateway.Name && next.Gateway.Address == was.Gateway.Address {
		next.Gateway.Address = is.Gateway.Address
	}
}

// applyHost gives the host the settings of next, and again those of before where that fails.
func (c *Client) applyHost(next, before *config.Config) error {
	set := func(cfg *config.Config) error {
		settings := LinkSettings(cfg)
		settings.Device = c.session.device.Name()
		return c.host.Apply(settings)
	}
	if err := set(next); err != nil {
		return errors.Join(fmt.Errorf("client: set up the host's network: %w; nothing has been changed", err), set(before))
	}
	return nil
}

// carryOut changes the configuration and does what follows from that.
func (c *Client) carryOut(n *reload) {
	again := c.session != nil && n.has(renewSession)
	if again {
		c.endSession("another configuration")
	}
	if s := c.session; s != nil && n.has(renewInternal) && n.before.Internal.Address != n.next.Internal.Address {
		c.leaveHomeAgents()
		if s.vpn != nil {
			c.leave(s.vpn.inner)
		}
	}
	old := c.associations
	given := c.given
	*c.cfg, c.given = n.next, *n.given
	if p, able := c.protocol.(interface{ Reconfigured(before *config.Config) }); able && n.has(renewVPN|renewGateway|renewSession) {
		p.Reconfigured(&n.before)
	}
	if n.has(renewSession) {
		c.homes.visited, c.homes.settled = nil, false
		c.recallHomes()
	}
	if n.has(renewGateway) || n.has(renewSession) {
		c.ends.begin(n.given.Gateway)
	}
	if n.has(renewExternal) && given.External.Name != n.given.External.Name {
		c.ends.external = endpoint{}
	}
	if n.has(renewInternal | renewExternal | renewSession) {
		c.associations = n.associations
		c.encapsulations.begin()
		defer old.wipe() // once nothing is under way with them any more
	} else {
		n.associations.wipe()
	}
	c.spare()
	c.hints.rules.Domains, c.hints.rules.Realms = c.cfg.Detection.InsideDomains, c.cfg.Detection.InsideNAIs
	if given.Detection.LearnGateways != c.cfg.Detection.LearnGateways {
		c.hints.begin(c.cfg, c.log)
	}
	if n.has(renewMode) {
		c.policy = c.cfg.Mode
		c.event(control.Event{Kind: "mode", Message: "mode policy is now " + c.policy})
	}
	c.renewNames(n, again)
	if c.session == nil {
		c.roam.HandleReload(c.now, c.roamConfig(), false, "another configuration")
		c.roam.HandlePin(c.now, c.pinOf(n))
		if !again {
			return
		}
		n.renewed = append(n.renewed, "session")
		if err := c.up(); err != nil {
			c.log.Error("coming up anew", zap.Error(err))
			c.problem(control.Problem{Message: "coming up with another configuration: " + err.Error(), Advice: "run `mipvpn up` to try again"})
		}
		return
	}
	c.renewLayers(n)
}

// pinOf returns the pin from now on.
func (c *Client) pinOf(n *reload) stack.Mode {
	if n.has(renewMode) {
		return n.mode
	}
	return c.roam.Pin()
}

// renewNames has names resolved as configured now.
func (c *Client) renewNames(n *reload, again bool) {
	if !n.has(renewDNS) || c.names.Host == nil {
		return
	}
	standing := c.dns.forwarder != nil
	switch {
	case c.cfg.DNS.Used() && (standing || c.session != nil):
		c.dnsClose()
		c.dnsUp()
		if s := c.session; s != nil && s.vpn != nil && s.vpn.established {
			c.dnsTold(s.vpn.told.DNS)
			c.dnsNamed(s.vpn.told.Domains)
		}
	case !c.cfg.DNS.Used() && standing:
		if err := c.dnsDown(); err != nil {
			c.problem(control.Problem{Peer: peerDNS, Message: err.Error(), Advice: "run `mipvpn down` to try again"})
		}
	default:
		return
	}
	if !again {
		n.renewed = append(n.renewed, "dns")
	}
}

// renewLayers sets up anew what another configuration asks for while the session goes on.
func (c *Client) renewLayers(n *reload) {
	const why = "another configuration"
	s := c.session
	if n.has(renewHost) {
		n.renewed = append(n.renewed, "host")
		c.permitAgain()
	}
	if n.has(renewPortals | renewHost) {
		c.portalEnd(why)
	}
	if n.has(renewExternal) && n.before.External.HomeAddress != n.next.External.HomeAddress {
		s.external.link.SetCarrier(nil)
		s.external = newExternalLayer(c)
	}
	if n.has(renewVPN | renewGateway) {
		s.stall()
		s.stall = c.watchStall(s)
	}
	c.readInterfaces()
	c.roam.HandleReload(c.now, c.roamConfig(), n.has(renewPaths), why)
	c.roam.HandlePin(c.now, c.pinOf(n))
	if n.has(renewPaths) {
		c.endQuestions()
		n.renewed = append(n.renewed, "registrations")
	}
	c.drainRoam()
	if n.has(renewInternal) {
		c.renewInner()
	}
	if n.has(renewVPN) {
		c.renewTunnel(n.has(renewGateway))
		n.renewed = append(n.renewed, "vpn")
	} else if n.has(renewGateway) {
		c.findGateways(false)
	}
	if n.has(renewMeasuring | renewHost) {
		c.endMeasuring()
		if _, mode := c.roam.Using(); mode != stack.ModeNone {
			c.compose(mode)
		}
	}
	c.tellMechanisms()
}

// permitAgain opens the gate with the proof in use once more: the kernel has another line now, which has no permit of the one before.
func (c *Client) permitAgain() {
	a := c.inUse()
	if _, mode := c.roam.Using(); a == nil || !mode.Plaintext() || !a.proof.Live(c.now.Boot) {
		return
	}
	if err := c.gate.Open(a.proof); err != nil {
		c.log.Warn("the gate refused a proof", zap.String("interface", a.iface.Name), zap.Error(err))
	}
}

// renewInner registers with the i-HA through the VPN anew; data waits for the reply.
func (c *Client) renewInner() {
	v := c.session.vpn
	if v == nil || v.inner == nil {
		return
	}
	if c.outside() {
		c.session.engine.Hold()
		c.story.broke(c.now, "another configuration of the i-HA")
	}
	c.letDrain(v)
	c.registerInner(v)
}

// renewTunnel has a tunnel with the configuration as it is now take the place of the one that there is: set up beside it with the same
// gateway, and after it with another one.
func (c *Client) renewTunnel(elsewhere bool) {
	const why = "another configuration"
	c.wipeTicket()
	c.closeRival(true) // it was begun with the configuration before
	c.preparing, c.retry.delay = false, 0
	v := c.session.vpn
	switch {
	case v != nil && v.established && !elsewhere:
		c.replaceVPN(v, why)
		return
	case v != nil:
		if c.outside() {
			c.session.engine.Hold()
			c.story.broke(c.now, why)
		}
		c.closeVPN(true)
	}
	if elsewhere {
		c.closeAccess()
	}
	c.stopRetry()
	if c.outside() {
		c.openVPN()
	}
}

// roamConfig returns the roam policy's configuration.
func (c *Client) roamConfig() roam.Config {
	cfg := c.cfg
	return roam.Config{NoPlaintext: c.limits.Plaintext != "", Prefer: cfg.Interfaces.Prefer, Probe: cfg.Detection.Probe, Update: updatePolicy(cfg.Mechanisms.EndpointUpdate), NoExternal: !cfg.HasExternal()}
}

// newAssociations makes the mobility security associations of a configuration.
func newAssociations(cfg *config.Config) (associations, error) {
	var a associations
	var err error
	if a.internal, err = association(cfg.Internal); err != nil {
		return a, fmt.Errorf("client: internal home agent: %w", err)
	}
	if cfg.HasExternal() {
		if a.external, err = association(cfg.External); err != nil {
			return a, fmt.Errorf("client: external home agent: %w", err)
		}
	}
	if a.internalAAA, err = aaaOf(cfg.Internal); err != nil {
		return a, fmt.Errorf("client: AAA secret of the internal home agent: %w", err)
	}
	if a.externalAAA, err = aaaOf(cfg.External); err != nil {
		return a, fmt.Errorf("client: AAA secret of the external home agent: %w", err)
	}
	if f := cfg.ForeignAgent; len(f.Key) > 0 {
		if a.foreign, err = association(config.HomeAgent{SPI: f.SPI, Algorithm: f.Algorithm, Key: f.Key}); err != nil {
			return a, fmt.Errorf("client: foreign agents' security association: %w", err)
		}
	}
	return a, nil
}

// wipe clears the keys.
func (a associations) wipe() {
	for _, sa := range []*auth.SecurityAssociation{a.internal, a.external, a.foreign} {
		if sa != nil {
			sa.Wipe()
		}
	}
	for _, s := range []*auth.AAA{a.internalAAA, a.externalAAA} {
		if s != nil {
			s.Wipe()
		}
	}
}
