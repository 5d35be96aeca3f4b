package agent

import (
	"bytes"
	"crypto/rand"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/discovery"
	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/stack"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

func association(t testing.TB, spi uint32) *auth.SecurityAssociation {
	t.Helper()
	a, err := auth.New(auth.Parameters{SPI: spi, Key: bytes.Repeat([]byte{byte(spi)}, 16)})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func observed() (*zap.Logger, *observer.ObservedLogs) {
	core, logs := observer.New(zap.DebugLevel)
	return zap.New(core), logs
}

// internal returns the configuration of the lab's i-HA, with the association of the laptop made anew.
func internal(t testing.TB) HomeAgentConfig {
	return HomeAgentConfig{Config: homeagent.Config{
		Address: simnet.LabInternalHA, HomeNetworks: []netip.Prefix{simnet.LabHomeNetwork},
		Internal: true, TrustedNetworks: []netip.Prefix{simnet.LabEnterprise},
		MobileNodes: []homeagent.MobileNode{{HomeAddress: simnet.LabHomeAddress, Associations: []*auth.SecurityAssociation{association(t, 1001)}}},
	}}
}

// external returns that of the x-HA.
func external(t testing.TB) HomeAgentConfig {
	return HomeAgentConfig{Config: homeagent.Config{
		Address: simnet.LabExternalHA, HomeNetworks: []netip.Prefix{simnet.LabExternalHomeNetwork},
		MobileNodes: []homeagent.MobileNode{{HomeAddress: simnet.LabExternalHomeAddress, Associations: []*auth.SecurityAssociation{association(t, 2001)}}},
	}}
}

func startHomeAgent(t *testing.T, host link.Host, cfg HomeAgentConfig) *HomeAgent {
	t.Helper()
	a, err := StartHomeAgent(host, cfg, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// node is one Mobile IPv4 layer of the laptop with its TUN device.
type node struct {
	t        *testing.T
	host     link.Host
	machine  *mobilenode.Machine
	loop     *loop
	attached stack.Attachment
	device   link.Device
	drops    packet.Drops
	events   chan mobilenode.Event
}

// newNode makes the layer of the home address on the host. attach says how it reaches its home agent.
func newNode(t *testing.T, host link.Host, cfg mobilenode.Config, attach func(n *node) (stack.Attachment, error)) *node {
	t.Helper()
	n := &node{t: t, host: host, events: make(chan mobilenode.Event, 100)}
	cfg.ReverseTunnel = true
	var err error
	if n.machine, err = mobilenode.NewMachine(cfg, rand.Reader); err != nil {
		t.Fatal(err)
	}
	if n.device, err = host.OpenDevice("", 1500); err != nil {
		t.Fatal(err)
	}
	if n.attached, err = attach(n); err != nil {
		t.Fatal(err)
	}
	n.loop = newLoop(host, n.machine, n.drain)
	t.Cleanup(func() {
		n.loop.close()
		_ = n.attached.Close()
		_ = n.device.Close()
	})
	return n
}

// coLocated makes the layer with the interface's own address as its care-of address.
func coLocated(t *testing.T, host link.Host, index int, careOf netip.Addr, cfg mobilenode.Config) *node {
	t.Helper()
	cfg.CareOfAddress = careOf
	return newNode(t, host, cfg, func(n *node) (stack.Attachment, error) {
		under, err := host.Underlay(index, careOf)
		if err != nil {
			return nil, err
		}
		return stack.AttachCoLocated(under, cfg.HomeAddress, cfg.HomeAgent, &n.drops, n.replied, n.deliver)
	})
}

// agentOn solicits on the segment of the interface and returns the segment and the advertisement that answers.
func agentOn(t *testing.T, host link.Host, index int) (*stack.Segment, stack.Advertisement, *discovery.Advertisement) {
	t.Helper()
	heard := make(chan stack.Advertisement, 100)
	var drops packet.Drops
	s, err := stack.OpenSegment(host, index, &drops, func(a stack.Advertisement) {
		select {
		case heard <- a:
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Solicit(netip.Addr{}, discovery.AppendSolicitation(nil)); err != nil {
		t.Fatal(err)
	}
	select {
	case a := <-heard:
		ad, err := discovery.ParseAdvertisement(a.Message)
		if err != nil {
			t.Fatal(err)
		}
		return s, a, ad
	case <-time.After(10 * time.Second):
		t.Fatal("no advertisement")
		return nil, stack.Advertisement{}, nil
	}
}

// viaForeignAgent makes the layer with the care-of address of the foreign agent that has advertised itself.
func viaForeignAgent(t *testing.T, host link.Host, s *stack.Segment, a stack.Advertisement, ad *discovery.Advertisement, cfg mobilenode.Config) *node {
	t.Helper()
	cfg.ForeignAgent, cfg.CareOfAddress = a.Source, ad.CareOfAddresses[0]
	return newNode(t, host, cfg, func(n *node) (stack.Attachment, error) {
		return stack.AttachViaForeignAgent(s, cfg.HomeAddress, a.Source, a.Hardware, 1500, n.replied, n.deliver)
	})
}

func (n *node) replied(p []byte) {
	n.loop.post(func(now link.Instant) { _ = n.machine.HandleReply(now, p) })
}

func (n *node) deliver(b *packet.Batch) { _ = n.device.Write(b) }

func (n *node) drain() {
	for t, ok := n.machine.PollTransmit(); ok; t, ok = n.machine.PollTransmit() {
		_ = n.attached.Send(t.Payload)
	}
	for e, ok := n.machine.PollEvent(); ok; e, ok = n.machine.PollEvent() {
		n.events <- e
	}
}

func (n *node) register()   { n.loop.post(n.machine.Register) }
func (n *node) deregister() { n.loop.post(n.machine.Deregister) }

// wait returns the next event, nil when none comes within d.
func (n *node) wait(d time.Duration) mobilenode.Event {
	select {
	case e := <-n.events:
		return e
	case <-time.After(d):
		return nil
	}
}

// up registers, and carries what the host routes into the given prefixes.
func (n *node) up(routes ...netip.Prefix) mobilenode.VerifiedReply {
	n.t.Helper()
	n.register()
	e, ok := n.wait(10 * time.Second).(mobilenode.Accepted)
	if !ok {
		n.t.Fatalf("not accepted: %+v", e)
	}
	return n.carry(e, routes...)
}

// carry carries what the host routes into the given prefixes by the tunnel that was granted.
func (n *node) carry(e mobilenode.Accepted, routes ...netip.Prefix) mobilenode.VerifiedReply {
	n.t.Helper()
	carrier, err := n.attached.Carrier(e.Reply.Tunnel())
	if err != nil {
		n.t.Fatal(err)
	}
	home := e.Reply.HomeAddress()
	if err := n.host.Apply(link.Settings{Device: n.device.Name(), Address: home, Routes: routes, Shielded: []netip.Addr{home}}); err != nil {
		n.t.Fatal(err)
	}
	go func() {
		path := carrier(link.Protected)
		for {
			b := packet.GetBatch()
			if n.device.Read(b) != nil {
				b.Release()
				return
			}
			_ = path.Send(b)
		}
	}()
	return e.Reply
}

// echo runs a UDP echo service on the host until the test ends and returns the sources that it has seen.
func echo(t *testing.T, host *simnet.Host, at netip.AddrPort) <-chan netip.AddrPort {
	t.Helper()
	c, err := host.ListenUDP(at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	seen := make(chan netip.AddrPort, 1000)
	go func() {
		buf := make([]byte, 65536)
		for {
			k, from, err := c.ReadFromAddrPort(buf)
			if err != nil {
				return
			}
			seen <- from
			_, _ = c.WriteToAddrPort(buf[:k], from)
		}
	}()
	return seen
}

// exchange sends size octets from the host's home address to an echo service and wants them back.
func exchange(t *testing.T, host *simnet.Host, home netip.Addr, to netip.AddrPort, size int) bool {
	t.Helper()
	c, err := host.ListenUDP(netip.AddrPortFrom(home, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sent := make([]byte, size)
	_, _ = rand.Read(sent)
	if _, err := c.WriteToAddrPort(sent, to); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 65536)
	k, from, err := c.ReadFromAddrPort(buf)
	return err == nil && from == to && bytes.Equal(buf[:k], sent)
}
