package agent

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"go.uber.org/zap"

	"mipvpn/ipsec/radius"
	"mipvpn/mipv4/foreignagent"
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
	// RADIUS are the servers that Mobile-AAA authentications are checked by (Config.AAA), nil for none. They are asked from the care-of
	// address.
	RADIUS *radius.Config
	// Random is where random numbers come from, read by one goroutine; nil for crypto/rand.
	Random io.Reader
}

// ForeignAgent is a running foreign agent.
type ForeignAgent struct {
	homeward
	cfg        ForeignAgentConfig
	frames     link.Frames
	visited    link.Sender
	visitedMTU int
	guard      link.Flow
	authority  *authority    // nil without RADIUS
	ready      chan struct{} // closed when all of the above is there: receivers drop before
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
	cfg.AAA = cfg.RADIUS != nil
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	m, err := foreignagent.New(cfg.Config, host.Now(), cfg.Random)
	if err != nil {
		return nil, err
	}
	a := &ForeignAgent{
		homeward: homeward{log: log, clock: host, drops: new(packet.Drops), machine: m, table: m.Table(), careOf: cfg.CareOfAddress, address: cfg.Address, offered: cfg.Encapsulations,
			errors: newLimiter(errorsPerSecond, errorBurst, host.Now().Boot), notices: make(notices)},
		cfg: cfg, visitedMTU: iface.MTU, ready: make(chan struct{}), life: newLife(),
	}
	a.tell = a.toStation
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
	if a.cfg.Address != a.cfg.CareOfAddress { // where the flow for replies does this too
		// Requests are taken from frames, which tell the link-layer address; this flow keeps the host from answering them
		// with ICMP port unreachable.
		spec := link.FlowSpec{Protocol: packet.ProtocolUDP, Port: wire.Port}
		if a.guard, err = visited.Open(spec, whenReady(a.ready, a.drops, (*packet.Batch).Release)); err != nil {
			return err
		}
	}
	if err := a.openAuthority(under); err != nil {
		return err
	}
	if err := a.openHome(under, a.ready, a.receiveTunnelled); err != nil {
		return err
	}
	if a.frames, err = host.OpenFrames(iface.Index, whenReady(a.ready, a.drops, a.receiveFrames)); err != nil {
		return err
	}
	// What goes to a mobile node on its link is not this host's to protect: the mobile node's own layers do that.
	a.visited = a.frames.Out(link.Protected)
	a.loop = newLoop(host, both{a.machine, a.authority}, a.drain)
	close(a.ready)
	return nil
}

// Drops returns the counters of packets that were not passed on.
func (a *ForeignAgent) Drops() *packet.Drops { return a.drops }

// Table returns the visitor list.
func (a *ForeignAgent) Table() *foreignagent.Table { return a.table }

// Close ends the agent and gives back what it opened. It returns the first error.
func (a *ForeignAgent) Close() error {
	return a.close(func() error {
		var errs []error
		if a.frames != nil {
			errs = append(errs, a.frames.Close())
		}
		errs = append(errs, a.closeHome(), a.authority.close())
		if a.guard != nil {
			errs = append(errs, a.guard.Close())
		}
		if a.loop != nil {
			a.loop.close()
		}
		return errors.Join(errs...)
	})
}

// drain sends what the machine has to send and logs its events.
func (a *ForeignAgent) drain() {
	a.authority.serve(a.clock.Now(), a.machine.PollQuestion)
	for t, ok := a.machine.PollTransmit(); ok; t, ok = a.machine.PollTransmit() {
		var err error
		switch t.To {
		case foreignagent.ToHomeAgent:
			err = a.udp.Send(t.Remote, t.Payload)
		case foreignagent.ToMobileNode:
			a.registrations.sent(t.Payload)
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
	a.logEvents()
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
	p.Hardware = t.Station.Hardware
	return a.visited.Send(packet.One(p))
}

// toStation sends an ICMP error to a visitor. It takes ownership.
func (a *ForeignAgent) toStation(v *foreignagent.Visitor, e *packet.Buf) {
	e.Hardware = v.Station.Hardware
	if err := a.visited.Send(packet.One(e)); err != nil {
		a.drops.Count(packet.DropSendFailed, 1)
	}
}
