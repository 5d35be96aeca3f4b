package agent

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"go.uber.org/zap"

	"mipvpn/mipv4/foreignagent"
	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// ForeignAgentConfig is the configuration of a foreign agent and of its place on a host.
type ForeignAgentConfig struct {
	foreignagent.Config
	// Interface is the name of the interface that mobile nodes visit. Config.Address and Config.Prefix are taken from it
	// where they are not set. The host must not forward packets from it by itself.
	Interface string
	// Random is where random numbers come from, read by one goroutine; nil for crypto/rand.
	Random io.Reader
}

// ForeignAgent is a running foreign agent.
type ForeignAgent struct {
	cfg     ForeignAgentConfig
	log     *zap.Logger
	clock   link.Clock
	drops   packet.Drops
	machine *foreignagent.Machine
	table   *foreignagent.Table
	errors  *limiter
	notices notices

	loop            *loop
	frames          link.Frames
	visited         link.Sender
	visitedMTU      int
	udp, ipip, icmp link.Flow
	guard           link.Flow
	out             tunnelPath
	ready           chan struct{} // closed when all of the above is there: receivers drop before
	life
}

// StartForeignAgent starts a foreign agent on the host. Errors: an unusable configuration (foreignagent.ErrConfig), or what
// the host says about the interface, frames and flows.
func StartForeignAgent(host link.Host, cfg ForeignAgentConfig, log *zap.Logger) (*ForeignAgent, error) {
	iface, err := interfaceByName(host, cfg.Interface)
	if err != nil {
		return nil, fmt.Errorf("agent: start foreign agent: %w", err)
	}
	if !cfg.Address.IsValid() {
		cfg.Address, cfg.Prefix = iface.Address.Addr(), max(iface.Address.Bits(), 0)
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	m, err := foreignagent.New(cfg.Config, host.Now(), cfg.Random)
	if err != nil {
		return nil, err
	}
	a := &ForeignAgent{
		cfg: cfg, log: log, clock: host, machine: m, table: m.Table(), visitedMTU: iface.MTU,
		errors: newLimiter(errorsPerSecond, errorBurst, host.Now().Boot), notices: make(notices),
		ready: make(chan struct{}), life: newLife(),
	}
	if err := a.open(host, iface); err != nil {
		return nil, errors.Join(fmt.Errorf("agent: start foreign agent %v: %w", cfg.Address, err), a.Close())
	}
	log.Info("foreign agent runs", zap.String("interface", iface.Name), zap.Stringer("address", cfg.Address),
		zap.Stringer("care_of_address", cfg.CareOfAddress))
	return a, nil
}

func interfaceByName(host link.Host, name string) (link.Interface, error) {
	all, err := host.Interfaces()
	if err != nil {
		return link.Interface{}, err
	}
	var names []string
	for _, i := range all {
		if i.Name == name {
			return i, nil
		}
		names = append(names, i.Name)
	}
	return link.Interface{}, fmt.Errorf("interface %q is not there, found %q", name, names)
}

// open opens what the agent needs on the host. What has been opened when it fails is for Close.
func (a *ForeignAgent) open(host link.Host, iface link.Interface) error {
	under, err := host.Underlay(0, a.cfg.CareOfAddress)
	if err != nil {
		return err
	}
	visited, err := host.Underlay(iface.Index, a.cfg.Address)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		flow *link.Flow
		link link.Link
		spec link.FlowSpec
		recv link.Receiver
	}{
		// Requests are taken from frames, which tell the link-layer address; this flow keeps the host from answering them
		// with ICMP port unreachable.
		{&a.guard, visited, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: wire.Port}, (*packet.Batch).Release},
		{&a.icmp, under, link.FlowSpec{Protocol: packet.ProtocolICMP}, a.receiveICMP},
		{&a.ipip, under, link.FlowSpec{Protocol: packet.ProtocolIPIP}, a.receiveIPIP},
		{&a.udp, under, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: wire.Port}, a.receiveUDP},
	} {
		if f.flow == &a.guard && a.cfg.Address == a.cfg.CareOfAddress {
			continue // the flow for replies does that too
		}
		if *f.flow, err = f.link.Open(f.spec, whenReady(a.ready, &a.drops, f.recv)); err != nil {
			return err
		}
	}
	a.out = pathOf(a.ipip, tunnel.IPIP)
	if a.frames, err = host.OpenFrames(iface.Index, whenReady(a.ready, &a.drops, a.receiveFrames)); err != nil {
		return err
	}
	// What goes to a mobile node on its link is not this host's to protect: the mobile node's own layers do that.
	a.visited = a.frames.Out(link.Protected)
	a.loop = newLoop(host, a.machine, a.drain)
	close(a.ready)
	return nil
}

// Drops returns the counters of packets that were not passed on.
func (a *ForeignAgent) Drops() *packet.Drops { return &a.drops }

// Table returns the visitor list.
func (a *ForeignAgent) Table() *foreignagent.Table { return a.table }

// Close ends the agent and gives back what it opened. It returns the first error.
func (a *ForeignAgent) Close() error {
	return a.close(func() error {
		var errs []error
		if a.frames != nil {
			errs = append(errs, a.frames.Close())
		}
		for _, f := range []link.Flow{a.udp, a.ipip, a.icmp, a.guard} {
			if f != nil {
				errs = append(errs, f.Close())
			}
		}
		if a.loop != nil {
			a.loop.close()
		}
		return errors.Join(errs...)
	})
}

// post has a message handled by the machine, or counts it as dropped.
func (a *ForeignAgent) post(f func(link.Instant)) {
	if !a.loop.post(f) {
		a.drops.Count(packet.DropQueueFull, 1)
	}
}

// drain sends what the machine has to send and logs its events.
func (a *ForeignAgent) drain() {
	for t, ok := a.machine.PollTransmit(); ok; t, ok = a.machine.PollTransmit() {
		var err error
		switch t.To {
		case foreignagent.ToHomeAgent:
			err = a.udp.Send(t.Remote, t.Payload)
		case foreignagent.ToMobileNode:
			p := packet.From(t.Payload)
			packet.PushUDP(p, t.Local, t.Remote)
			err = a.sendFrame(p, t, packet.ProtocolUDP, replyTTL)
		case foreignagent.Advertise:
			err = a.sendFrame(packet.From(t.Payload), t, packet.ProtocolICMP, advertisementTTL)
		}
		if err != nil {
			a.report("send", a.clock.Now(), "message could not be sent", t.Remote, err)
		}
	}
	for e, ok := a.machine.PollEvent(); ok; e, ok = a.machine.PollEvent() {
		level := a.log.Info
		if e.Kind == foreignagent.Renewed {
			level = a.log.Debug
		}
		level("visitor "+e.Kind.String(), zap.Stringer("home_address", e.Visitor.Home), zap.Stringer("home_agent", e.Visitor.HomeAgent),
			zap.Stringer("hardware", e.Visitor.Hardware), zap.Bool("co_located", e.Visitor.CoLocated), zap.Uint16("lifetime_s", e.Lifetime))
	}
}

const (
	replyTTL         = 64
	advertisementTTL = 1 // RFC 5944 §2.1
)

// sendFrame sends the payload in p on the visited link. It takes ownership.
func (a *ForeignAgent) sendFrame(p *packet.Buf, t foreignagent.Transmit, protocol, ttl uint8) error {
	packet.PushIPv4(p, packet.IPv4Fields{
		DontFragment: true, TTL: ttl, Protocol: protocol, Src: t.Local.Addr(), Dst: t.Remote.Addr(),
	})
	p.Hardware = t.Hardware
	return a.visited.Send(packet.One(p))
}

// report logs a message that was denied or dropped, at most one of a kind now and then.
func (a *ForeignAgent) report(kind string, now link.Instant, message string, peer netip.AddrPort, err error) {
	if suppressed, due := a.notices.due(kind, now.Boot); due {
		a.log.Warn(message, zap.Stringer("peer", peer), zap.Error(err), zap.Int("suppressed", suppressed))
	}
}

// reportMessage logs what became of a registration message that was not relayed.
func (a *ForeignAgent) reportMessage(now link.Instant, what string, peer netip.AddrPort, err error) {
	var denied *foreignagent.Denied
	if errors.As(err, &denied) {
		a.report(fmt.Sprintf("denied %d", denied.Code), now, "registration denied", peer, err)
		return
	}
	a.report(what, now, what+" dropped", peer, err)
}
