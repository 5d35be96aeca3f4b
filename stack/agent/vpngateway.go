package agent

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	"mipvpn/ipsec/credential"
	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/pki"
	"mipvpn/mipv4/foreignagent"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// espRoom is the most octets that ESP puts in front of a packet: SPI, sequence number and IV (RFC 4303 §2).
const espRoom = 16

// GatewayConfig is the configuration of a VPN gateway and of its place on a host.
//
// It speaks IKEv2 on UDP ports 500 and 4500 (RFC 7296 §2.23), carries ESP as IP protocol 50 (RFC 4303) and in UDP port
// 4500 (RFC 3948), and forwards between its clients and the networks behind it through a TUN device, into which the host
// routes the clients' addresses.
type GatewayConfig struct {
	gateway.Config
	// Address is the outer address, one of the host's, that clients connect to.
	Address netip.Addr
	// Additional are further outer addresses of the host, of either IP version, on which it is reached as on Address. Clients with
	// MOBIKE are told of them (RFC 4555 §3.4), if IKE.MOBIKE is set, and may move to them.
	Additional []netip.Addr
	// TCPPort is the port on which IKE and ESP are taken in TCP too (RFC 9329), 0 for 4500; NoTCP has that not be done. A
	// host that is no link.StreamHost does without.
	TCPPort uint16
	NoTCP   bool
	// Device is the name of the TUN device, empty for the system's choice.
	Device string
	// ForeignAgent is the foreign agent of Mobile IPv4 in the gateway (draft-ietf-mobileip-vpn-problem-solution-01 appendix B), which
	// Config.Agent says who may use; nil for none. Its CareOfAddress, to which home agents tunnel and mobile nodes send their
	// requests, is an inside address of the host, and PermittedHomeAgents are to be named. Of the rest Prefix, MaxLifetime,
	// MaxVisitors, MaxPending, NAI, Extensions, HomeAgents and MobileNodes count.
	ForeignAgent *foreignagent.Config
	// Credential proves the gateway to clients that come by certificates or EAP: it signs for Config.Certificates, which is taken
	// from it when nil, and inside EAP-TLS and EAP-TTLS. It is not closed here. nil for pre-shared keys alone.
	Credential *credential.Credential
	// Verifier checks clients' certificates. Config.Authorities are taken from its anchors when empty.
	Verifier *pki.Verifier
	// RADIUSSource is the address that RADIUS requests come from, one of the host's; the zero Addr for Address. The servers
	// know the gateway by it.
	RADIUSSource netip.Addr
	// Account is told of the sessions' beginnings and ends, nil for nobody. It is called by the gateway's own goroutine and must
	// not block.
	Account func(AccountingRecord)
	// AccountInterval is the time between the interim records of a session, 0 for none.
	AccountInterval time.Duration
	// Random is where random numbers come from, read by one goroutine; nil for crypto/rand.
	Random io.Reader
}

// Gateway is a running VPN gateway.
type Gateway struct {
	host    link.Host
	cfg     GatewayConfig
	log     *zap.Logger
	drops   packet.Drops
	machine *gateway.Gateway
	notices notices

	loop    *loop
	prover  *prover
	radius  link.Flow     // nil without RADIUS
	agent   *gatewayAgent // nil without a foreign agent
	boot    string
	device  link.Device
	outers  map[netip.Addr]*outer // by address: not changed once it runs
	streams streams
	ready   chan struct{} // closed when all of the above is there: receivers drop before
	reader  sync.WaitGroup
	life

	inbound  esp.Table
	noted    traffic
	waiting  []*child               // of the loop: those that wait beside an older one, the longest first
	routes   routeTable[netip.Addr] // by inner address
	children children               // of the loop, like accounts and unproven
	accounts accounts
	unproven unproven
	rejected map[string]uint64 // messages by kind

	reloading sync.Mutex
	prefixes  []netip.Prefix // that the host routes here; under reloading
}

// StartGateway starts a VPN gateway on the host. Its address must be one of the host's, on which no other program speaks
// IKE. Errors: an unusable configuration (gateway.ErrConfig, ike.ErrConfig), or what the host says about flows, device
// and settings.
func StartGateway(host link.Host, cfg GatewayConfig, log *zap.Logger) (*Gateway, error) {
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	cfg.mobility()
	cfg.prove()
	fa, err := newGatewayAgent(host, &cfg, log, cfg.Random)
	if err != nil {
		return nil, err
	}
	m, err := gateway.New(cfg.Config, cfg.Random)
	if err != nil {
		return nil, err
	}
	g := &Gateway{host: host, cfg: cfg, log: log, machine: m, notices: make(notices), ready: make(chan struct{}),
		agent: fa, life: newLife(), children: newChildren(), outers: make(map[netip.Addr]*outer),
		prover: newProver(&cfg), boot: newBoot(),
		accounts: accounts{interval: cfg.AccountInterval, open: make(map[gateway.SessionID]*account)}, rejected: make(map[string]uint64)}
	g.accounts.tell = g.account
	if err := g.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("agent: start VPN gateway %v: %w", cfg.Address, err), g.Close())
	}
	log.Info("VPN gateway runs", zap.Stringer("address", cfg.Address), zap.Stringer("identity", cfg.IKE.LocalID),
		zap.Stringer("pool", cfg.Pool), zap.Stringers("networks", cfg.Networks), zap.String("device", g.device.Name()),
		zap.Int("peers", len(cfg.Peers)))
	return g, nil
}

// open opens what the gateway needs on the host. What has been opened when it fails is for Close.
func (g *Gateway) open() error {
	g.loop = newLoop(g.host, gatewayTimers{g}, g.drain)
	for _, address := range append([]netip.Addr{g.cfg.Address}, g.cfg.Additional...) {
		if err := g.openOuter(address); err != nil {
			return err
		}
	}
	var err error
	if err = g.openRADIUS(); err != nil {
		return err
	}
	mtu := g.mtu()
	if g.device, err = g.host.OpenDevice(g.cfg.Device, mtu); err != nil {
		return err
	}
	g.prefixes = g.cfg.ClientPrefixes()
	if err := g.route(g.prefixes); err != nil {
		return err
	}
	if err := g.listen(); err != nil {
		return err
	}
	if err := g.openAgent(); err != nil {
		return err
	}
	close(g.ready)
	takeFrom(g.device, taker{forward: g.forward, head: espRoom, tail: packet.Tailroom, super: true})
	g.reader.Go(g.read)
	return nil
}

// mtu returns the largest inner packet that ESP in UDP carries, whatever of its algorithms a peer chooses: to larger ones the host answers
// by itself (RFC 1191).
func (g *Gateway) mtu() int {
	overhead := 0
	for _, e := range g.cfg.IKE.Proposals.ChildCiphers() {
		overhead = max(overhead, esp.Overhead(e))
	}
	mtu := g.from(g.cfg.Address).natt.Path(link.Protected).MTU
	for _, address := range g.cfg.Additional {
		mtu = min(mtu, g.from(address).natt.Path(link.Protected).MTU)
	}
	return mtu - overhead
}

// Drops returns the counters of packets that were not passed on.
func (g *Gateway) Drops() *packet.Drops { return &g.drops }

// Sessions returns the connected clients, nil when the gateway is too busy to say or closed.
func (g *Gateway) Sessions() []gateway.Session {
	return ask(g, func(link.Instant) []gateway.Session { return g.machine.Sessions() })
}

// Close tells the clients that the gateway leaves, ends it and gives back what it opened; the host's network is as before.
// It returns the first error.
func (g *Gateway) Close() error {
	return g.close(func() error {
		var errs []error
		if g.loop != nil && len(g.outers) == 1+len(g.cfg.Additional) && len(g.from(g.cfg.Address).flows()) == 3 {
			said := make(chan struct{})
			// The second entry runs once what the first one made has been sent.
			if g.loop.post(func(now link.Instant) { g.machine.Close(now) }) && g.loop.post(func(link.Instant) { close(said) }) {
				<-said
			}
		}
		for _, o := range g.outers {
			for _, f := range o.flows() {
				errs = append(errs, f.Close())
			}
		}
		if g.radius != nil {
			errs = append(errs, g.radius.Close())
		}
		if g.agent != nil {
			errs = append(errs, g.agent.closeHome())
		}
		errs = append(errs, g.closeStreams())
		if g.device != nil {
			errs = append(errs, g.host.Apply(link.Settings{}), g.device.Close())
		}
		g.reader.Wait()
		if g.loop != nil {
			g.loop.close()
		}
		g.prover.close()
		return errors.Join(errs...)
	})
}
