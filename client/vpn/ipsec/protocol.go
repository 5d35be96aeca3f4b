package ipsec

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/client/secret"
	"mipvpn/client/vpn"
	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/stack"
	"mipvpn/tun/link"
)

// Protocol is IPsec with a client's configuration, which may change until an Access is opened.
type Protocol struct {
	cfg *config.Config
	proofs
	redirection redirection
	patience    patience
	known       map[netip.Addr]*acquaintance // gateways by address
}

var _ vpn.Protocol = (*Protocol)(nil)

// New returns IPsec with the configuration, which it keeps. Passwords and PINs come from the desk.
func New(cfg *config.Config, desk *secret.Desk) *Protocol {
	return &Protocol{cfg: cfg, proofs: proofs{desk: desk}, known: make(map[netip.Addr]*acquaintance)}
}

// Name implements vpn.Protocol.
func (*Protocol) Name() string { return "ipsec" }

// Open implements vpn.Protocol.
func (p *Protocol) Open(g vpn.Ground) (vpn.Access, error) {
	a := &access{Ground: g, cfg: p.cfg, protocol: p, stop: make(chan struct{})}
	var err error
	a.flows, err = stack.OpenVPN(g.Bearers[0].Link, a.gatewayOf(g.Bearers[0]), g.Drops, func(m stack.Message) {
		g.Run(func(now link.Instant) { a.handleMessage(now, m) })
	})
	if err != nil {
		return nil, err
	}
	stood := g.Bearers[:1:1]
	for _, b := range g.Bearers[1:] {
		if err := a.flows.Stand(b.Link, a.gatewayOf(b)); err != nil {
			g.Log.Warn("a way to the VPN gateway is left out", zap.Error(err))
			continue
		}
		stood = append(stood, b)
	}
	a.Bearers = stood
	a.flows.OnLifeOver(func() { g.Run(a.noteSpent) })
	return a, nil
}

// access is the way to one gateway: the flows of IKE and ESP, which all tunnels share.
type access struct {
	vpn.Ground
	cfg      *config.Config
	protocol *Protocol
	flows    *stack.VPN
	tunnels  []*tunnel
	home     netip.Addr // for the foreign agent in the gateway to serve, the zero Addr for none
	used     *tunnel
	spared   int // how many times rarer tunnels send of their own accord, 0 and 1 for as configured
	closed   bool
	leaving  []draining
	// background are the goroutines of TCP, which end when stop is closed.
	background sync.WaitGroup
	stop       chan struct{}
}

// Dial implements vpn.Access. Only the first tunnel may tell the gateway to forget all others (RFC 7296 §2.4): beside one that
// may live, a second must not.
func (a *access) Dial(now link.Instant, first bool, ticket vpn.Ticket) (vpn.Tunnel, error) {
	cfg, err := a.ikeConfig()
	if err != nil {
		return nil, err
	}
	cfg.InitialContact = first
	cfg.RequestTicket = a.cfg.Gateway.Park == config.ParkResume
	cfg.Ticket, _ = ticket.(*ike.Ticket)
	t := &tunnel{access: a, first: first, children: make(map[ike.ChildID]*child), at: cfg.Local.Addr(), outer: cfg.Local.Addr()}
	cfg.SentESP = t.sentESP
	t.pretends = cfg.ForceUDPEncapsulation
	if t.machine, err = ike.NewInitiator(cfg, a.Random); err != nil {
		return nil, err
	}
	t.machine.Spare(now, a.spared)
	if t.startTCP(now) {
		if err := t.machine.Start(now); err != nil {
			return nil, err
		}
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.warnOfOwn(now)
	a.tunnels = append(a.tunnels, t)
	return t, nil
}

// ikeConfig returns the IKE machine's configuration.
func (a *access) ikeConfig() (ike.InitiatorConfig, error) {
	g := a.cfg.Gateway
	local, err := message.NewIdentity(g.LocalIdentity)
	if err != nil {
		return ike.InitiatorConfig{}, err
	}
	remote, err := message.NewIdentity(g.RemoteIdentity)
	if err != nil {
		return ike.InitiatorConfig{}, err
	}
	subnets := g.RemoteSubnets
	if len(subnets) == 0 {
		subnets = a.cfg.Enterprise.Prefixes
	}
	selectors := make([]esp.Selector, 0, len(subnets))
	for _, p := range subnets {
		selectors = append(selectors, esp.PrefixSelector(p))
	}
	c := ike.InitiatorConfig{
		Config: ike.Config{
			LocalID:  local,
			Liveness: g.Liveness, Dead: g.Dead, Keepalive: g.KeepAlive, KeepaliveLimit: g.KeepAliveLimit,
			Lifetimes:     ike.Lifetimes{IKE: g.IKELifetime, Child: g.ChildLifetime, Bytes: g.ChildOctets, Packets: g.ChildPackets},
			Fragmentation: ike.Fragmentation{Off: g.Datagram == 0, Size: g.Datagram},
			SPIInUse:      a.spiInUse,
			ReplayWindow:  g.ReplayWindow, TFCPadding: g.TFCPadding,
			MOBIKE:         &ike.MOBIKE{Addresses: a.addresses(), Peers: a.gatewayFrom},
			Retransmission: ike.Retransmission{InitTries: initTries(g)},
		},
		Local: netip.AddrPortFrom(a.Bearers[0].Link.Addr(), esp.PortIKE), Remote: netip.AddrPortFrom(a.gatewayOf(a.Bearers[0]), esp.PortIKE),
		RemoteID: remote, RequestAddress: true, RequestDNS: g.RequestDNS, RequestSubnets: true,
		MaxPuzzle:       maxPuzzle,
		FollowRedirects: true, RedirectedFrom: a.redirected(),
		RequestDomains:  g.RequestDNS && a.cfg.DNS.Used() && a.cfg.DNS.GatewayDomains,
		RemoteSelectors: selectors, ForceUDPEncapsulation: g.ForceUDPEncapsulation || a.pretendsNAT(),
	}
	if c.Proposals, err = ike.ProposalsOf(g.Profile); err != nil {
		return c, err
	}
	c.Proposals.RequireAdditional = c.Proposals.RequireAdditional || g.RequireHybrid
	if len(g.PPK) > 0 {
		c.PPK, c.RequirePPK = &ike.PPK{ID: g.PPKID, Key: g.PPK}, g.RequirePPK
	}
	if a.home.IsValid() {
		c.GatewayAgent, c.UseGatewayAgent, c.WantedAddress = true, true, a.home
	}
	return c, a.authenticate(&c)
}

// Offer implements vpn.Access.
func (a *access) Offer(home netip.Addr) { a.home = home }

// initTries is how often the first request is sent: about 11 s where there is another gateway to try.
func initTries(g config.Gateway) int {
	if len(g.Fallback) > 0 {
		return 5
	}
	return 0
}

// spiInUse reports whether a child SA of any tunnel receives under the SPI.
func (a *access) spiInUse(spi uint32) bool {
	for _, t := range a.tunnels {
		for _, c := range t.children {
			if c.open.SPI() == spi {
				return true
			}
		}
	}
	return false
}

// handleMessage hands a message to the tunnel that it is for: each knows its IKE SAs by their SPIs.
func (a *access) handleMessage(now link.Instant, m stack.Message) {
	if a.closed {
		return
	}
	for _, t := range a.tunnels {
		d := ike.Datagram{Local: m.Local, Remote: m.Remote, TCP: m.TCP, Payload: m.Payload}
		err := t.machine.HandleDatagram(now, d)
		if r := t.tcp.rival; r != nil && m.TCP {
			err = r.HandleDatagram(now, d)
		}
		if errors.Is(err, ike.ErrUnknownSPI) {
			continue
		}
		if err != nil {
			a.Log.Debug("IKE message rejected", zap.Error(err))
		} else {
			t.heardFrom(now, m)
		}
		return
	}
	a.Log.Debug("IKE message for no IKE SA of ours")
}

// noteSpent tells the IKE machines which child SAs have come to the end of their lifetimes in octets, packets or sequence
// numbers.
func (a *access) noteSpent(now link.Instant) {
	for _, t := range a.tunnels {
		for _, c := range t.children {
			if c.open.Spent() || c.seal.Spent() {
				t.machine.HandleSpent(now, c.open.SPI(), c.open.Exhausted() || c.seal.Exhausted())
			}
		}
	}
}

// Use implements vpn.Access.
func (a *access) Use(t vpn.Tunnel) {
	a.used, _ = t.(*tunnel)
	a.apply()
}

// apply has packets leave through the current child SA of the tunnel in use.
func (a *access) apply() {
	if a.used != nil {
		if c := a.used.children[a.used.current]; c != nil {
			if err := a.flows.Follow(a.used.local, a.used.remote, a.used.endpoints); err != nil {
				a.Log.Warn("the VPN stays where it was before", zap.Error(err))
			}
			a.flows.Use(c.seal, c.overhead, c.udp)
			if a.used.tcp.used {
				a.flows.UseStream(a.used.tcp.stream)
			} else {
				a.flows.UseStream(nil)
			}
			return
		}
	}
	a.flows.Use(nil, 0, false)
	a.flows.UseStream(nil)
}

// Link implements vpn.Access.
func (a *access) Link(address netip.Addr) *stack.PacketLink { return a.flows.Link(address) }

// Close implements vpn.Access.
func (a *access) Close() error {
	for _, t := range a.tunnels {
		t.tcp.gone = true
		t.leaveTCP()
	}
	a.closed, a.tunnels, a.used = true, nil, nil
	close(a.stop)
	a.background.Wait()
	if err := a.flows.Close(); err != nil {
		return fmt.Errorf("ipsec: close the flows to %v: %w", a.Gateway, err)
	}
	return nil
}
