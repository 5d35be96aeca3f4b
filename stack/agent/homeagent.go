package agent

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"mipvpn/ipsec/radius"
	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// HomeAgentConfig is the configuration of a home agent and of its place on a host.
type HomeAgentConfig struct {
	homeagent.Config
	// Device is the name of the TUN device, empty for the system's choice.
	Device string
	// PermittedGateways are the VPN gateways that mobile nodes may exchange ESP and IKE with through this home agent, and
	// nothing else with anybody else (RFC 4093 §2.2, REQUIREMENTS AGT-3). Empty lets everything pass.
	PermittedGateways []netip.Addr
	// Store keeps the bindings over the end of the process; nil keeps them in memory alone. It is the caller's to close, after
	// the home agent.
	Store BindingStore
	// HomeLink is the name of the interface on the link of the home networks that its address is in (RFC 5944 §4.6): there this
	// agent answers ARP requests for mobile nodes that are away. The other home networks are virtual: routers lead them here. Empty
	// makes all of them virtual.
	HomeLink string
	// Interface is the name of the interface on which Address is announced when this agent starts: it takes the address from another
	// home agent, whose bindings are in the Store, and has virtual home networks alone. Empty where the address is the host's own.
	Interface string
	// RADIUS are the servers that Mobile-AAA authentications are checked by (Config.AAA), nil for none. They are asked from Address.
	RADIUS *radius.Config
	// Random is where random numbers for them come from, read by one goroutine; nil for crypto/rand.
	Random io.Reader
}

// HomeAgent is a running home agent.
type HomeAgent struct {
	host    link.Host
	cfg     HomeAgentConfig
	log     *zap.Logger
	drops   packet.Drops
	machine *homeagent.Machine
	table   *homeagent.Table
	policy  atomic.Pointer[policy]
	errors  *limiter
	notices notices

	loop            *loop
	saver           *saver // nil without a store
	device          link.Device
	udp, ipip, icmp link.Flow
	alternatives    []link.Flow // of the other forms of tunnels
	out             [numExits]tunnelPath
	authority       *authority // nil without RADIUS
	switching       switching
	homeLink        homeLink
	broadcasting    broadcasting
	resolution      resolution
	taking          taking
	mtu             int // of the device, in octets
	registrations   registrations
	traffic         tunnelTraffic
	reloading       sync.Mutex     // held by Reload
	networks        []netip.Prefix // that are routed into the device
	trusted         []netip.Prefix // the trusted networks of the present configuration
	since           time.Time
	strangers       strangers
	ready           chan struct{} // closed when all of the above is there: receivers drop before
	reader          sync.WaitGroup
	life
}

// tunnelPath is how packets leave by one exit.
type tunnelPath struct {
	path link.Path
	// mtu is the largest inner packet in octets that the first link carries; for the exits of encapsulations only.
	mtu int
}

// StartHomeAgent starts a home agent on the host. Its address must be one of the host's, unless cfg.Interface says that it is taken; the host must not run another
// program on UDP port 434 or tunnels of its own. Errors: an unusable configuration (homeagent.ErrConfig), or what the host
// says about the stored bindings, flows, device and settings.
func StartHomeAgent(host link.Host, cfg HomeAgentConfig, log *zap.Logger) (*HomeAgent, error) {
	if err := errors.Join(cfg.checkSwitching(), cfg.checkBroadcasts()); err != nil {
		return nil, err
	}
	cfg.Durable, cfg.AAA = cfg.Store != nil, cfg.RADIUS != nil
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	m, err := homeagent.New(cfg.Config)
	if err != nil {
		return nil, err
	}
	a := &HomeAgent{
		host: host, cfg: cfg, log: log, machine: m, table: m.Table(),
		errors: newLimiter(errorsPerSecond, errorBurst, host.Now().Boot), notices: make(notices),
		ready: make(chan struct{}), life: newLife(),
	}
	a.trusted, a.since = cfg.TrustedNetworks, host.Now().Wall
	policy := newPolicy(cfg.PermittedGateways)
	a.policy.Store(&policy)
	if err := a.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("agent: start home agent %v: %w", cfg.Address, err), a.Close())
	}
	log.Info("home agent runs", zap.Stringer("address", cfg.Address), zap.Stringers("home_networks", cfg.HomeNetworks),
		zap.Bool("internal", cfg.Internal), zap.String("device", a.device.Name()), zap.Int("mobile_nodes", len(cfg.MobileNodes)))
	if cfg.Internal && len(cfg.TrustedNetworks) == 0 {
		log.Warn("no trusted networks are configured: every registration request will be dropped (RFC 5265 §4.3)")
	}
	return a, nil
}

// open opens what the agent needs on the host. What has been opened when it fails is for Close.
func (a *HomeAgent) open() error {
	if err := a.restore(); err != nil {
		return err
	}
	under, err := a.host.Underlay(0, a.cfg.Address)
	if err != nil {
		return err
	}
	if a.device, err = a.host.OpenDevice(a.cfg.Device, under.MTU()); err != nil {
		return err
	}
	a.mtu = under.MTU()
	if err := a.takeAddress(); err != nil {
		return err
	}
	if err := a.openHomeLink(); err != nil {
		return err
	}
	if err := a.openAuthority(under); err != nil {
		return err
	}
	a.loop = newLoop(a.host, both{linked{a.machine, &a.homeLink.machine, &a.broadcasting.groups}, a.authority}, a.drain)
	for _, f := range []struct {
		flow *link.Flow
		spec link.FlowSpec
		recv link.Receiver
	}{
		{&a.icmp, link.FlowSpec{Protocol: packet.ProtocolICMP}, a.receiveICMP},
		{&a.ipip, link.FlowSpec{Protocol: packet.ProtocolIPIP}, a.receiveIPIP},
		{&a.udp, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: wire.Port, Signalling: link.SignallingMobileIP}, a.receiveUDP},
	} {
		if *f.flow, err = under.Open(f.spec, whenReady(a.ready, &a.drops, f.recv)); err != nil {
			return err
		}
	}
	a.out[exitIPIP], a.out[exitUDP] = pathOf(a.ipip, tunnel.IPIP), pathOf(a.udp, tunnel.UDP)
	if a.alternatives, err = openAlternatives(under, a.cfg.Encapsulations, a.out[:exitForms],
		func(r link.Receiver) link.Receiver { return whenReady(a.ready, &a.drops, r) }, a.receiveData); err != nil {
		return err
	}
	if err := a.openSwitching(under); err != nil {
		return err
	}
	if err := a.openBroadcasts(); err != nil {
		return err
	}
	if err := a.openDiscovery(); err != nil {
		return err
	}
	if err := a.routeHome(a.cfg.HomeNetworks); err != nil {
		return err
	}
	close(a.ready)
	takeFrom(a.device, taker{forward: a.forward, head: max(tunnel.DataHeaderLen, a.cfg.Encapsulations.Options.HeaderLen())})
	a.reader.Go(a.read)
	a.announce()
	a.post(func(link.Instant) {}) // has the loop drain what restore left
	return nil
}

func pathOf(f link.Flow, e tunnel.Encapsulation) tunnelPath {
	p := f.Path(link.Protected)
	return tunnelPath{path: p, mtu: p.MTU - e.Overhead()}
}

// Drops returns the counters of packets that were not passed on.
func (a *HomeAgent) Drops() *packet.Drops { return &a.drops }

// Table returns the bindings.
func (a *HomeAgent) Table() *homeagent.Table { return a.table }

// Close ends the agent and gives back what it opened; the host's network is as before. It returns the first error.
func (a *HomeAgent) Close() error {
	return a.close(func() error {
		var errs []error
		for _, f := range append([]link.Flow{a.udp, a.ipip, a.icmp}, a.alternatives...) {
			if f != nil {
				errs = append(errs, f.Close())
			}
		}
		errs = append(errs, a.authority.close(), a.closeSwitching(), a.closeBroadcasts(), a.closeDiscovery(), a.closeHomeLink(), a.taking.close())
		if a.device != nil {
			errs = append(errs, a.host.Apply(link.Settings{}), a.device.Close())
		}
		a.reader.Wait()
		if a.loop != nil {
			a.loop.close()
		}
		if a.saver != nil {
			a.saver.close()
		}
		return errors.Join(errs...)
	})
}
