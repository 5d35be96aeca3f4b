package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"mipvpn/client"
	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/client/e2e"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
	"mipvpn/stack/underlay"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// oneBox is a company whose agents are one process on one host, between the laptop outside and the correspondent.
type oneBox struct {
	t                          *testing.T
	laptop, box, correspondent *os.File
	cfg                        *configuration
	agents                     map[string]running
	hosts                      []link.Host
	client                     *client.Client
}

var echoService = netip.AddrPortFrom(simnet.LabCorrespondent, 7000)

// newOneBox makes the namespaces and starts the roles in the box, with what they hand over in memory or by the kernel.
func newOneBox(t *testing.T, inMemory bool) *oneBox {
	t.Helper()
	return newOneBoxOf(t, inMemory, threeRoles)
}

// newOneBoxOf is newOneBox with other roles than threeRoles, and the foreign agent.
func newOneBoxOf(t *testing.T, inMemory bool, roles string) *oneBox {
	t.Helper()
	b := &oneBox{t: t, laptop: netnstest.New(t), box: netnstest.New(t), correspondent: netnstest.New(t), agents: make(map[string]running)}
	netnstest.Wire(t, b.laptop, "eth0", netip.MustParsePrefix("203.0.113.50/24"), b.box, "out", netip.MustParsePrefix("203.0.113.1/24"))
	netnstest.Wire(t, b.laptop, "eth1", netip.Prefix{}, b.box, "visit0", netip.MustParsePrefix("172.16.5.1/24"))
	netnstest.Wire(t, b.correspondent, "eth0", netip.MustParsePrefix("10.0.1.20/24"), b.box, "in", netip.MustParsePrefix("10.0.1.10/24"))
	netnstest.Inside(t, b.box, func() error {
		for _, a := range []string{"192.0.2.10/32", "192.0.2.20/32", "192.0.2.40/32"} {
			if err := netnstest.SetUp("out", netip.MustParsePrefix(a)); err != nil {
				return err
			}
		}
		return nil
	})
	all := netip.MustParsePrefix("0.0.0.0/0")
	netnstest.Inside(t, b.laptop, func() error { return netnstest.Route(all, netip.MustParseAddr("203.0.113.1")) })
	netnstest.Inside(t, b.correspondent, func() error { return netnstest.Route(all, simnet.LabInternalHA) })
	b.serve()

	b.cfg = loadRoles(t, roles+foreignAgentRole)
	exchange := agent.NewExchange()
	for place, r := range b.cfg.roles() {
		h := b.kernelHost(place)
		if inMemory {
			h = exchange.Host(h)
		}
		b.hosts = append(b.hosts, h)
		b.start(r.name)
	}
	return b
}

// kernelHost makes a host as the program's kernelHosts does, in the box.
func (b *oneBox) kernelHost(place int) link.Host {
	b.t.Helper()
	h, err := underlay.NewHost(underlay.Options{Settings: numbers(place), Namespace: b.box})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = h.Close() })
	return h
}

// start starts a role by its name.
func (b *oneBox) start(name string) {
	b.t.Helper()
	for place, r := range b.cfg.roles() {
		if r.name != name {
			continue
		}
		a, err := r.start(b.hosts[place], zap.NewNop())
		if err != nil {
			b.t.Fatal(err)
		}
		b.agents[name] = a
		b.t.Cleanup(func() {
			if err := a.Close(); err != nil {
				b.t.Error(err)
			}
			if b.t.Failed() {
				b.t.Logf("%s dropped %v", name, a.Drops().Snapshot())
			}
		})
	}
}

// stop ends a role by its name.
func (b *oneBox) stop(name string) {
	b.t.Helper()
	if err := b.agents[name].Close(); err != nil {
		b.t.Fatal(err)
	}
}

// serve echoes TCP and UDP at the correspondent.
func (b *oneBox) serve() {
	b.t.Helper()
	netnstest.Inside(b.t, b.correspondent, func() error {
		l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(echoService))
		if err != nil {
			return err
		}
		b.t.Cleanup(func() { l.Close() })
		u, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(echoService))
		if err != nil {
			return err
		}
		b.t.Cleanup(func() { u.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					_, _ = io.Copy(c, c)
					c.Close()
				}()
			}
		}()
		go func() {
			p := make([]byte, 65536)
			for {
				n, from, err := u.ReadFromUDPAddrPort(p)
				if err != nil {
					return
				}
				_, _ = u.WriteToUDPAddrPort(p[:n], from)
			}
		}()
		return nil
	})
}

// connect starts the laptop and waits until it is connected in the mode.
func (b *oneBox) connect(mode, iface string, change func(*config.Config)) {
	b.t.Helper()
	drops := new(packet.Drops)
	h, err := underlay.NewHost(underlay.Options{Namespace: b.laptop, Drops: drops})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = h.Close() })
	cfg := e2e.ClientConfig()
	cfg.Detection.Period, cfg.Interfaces.Use = 0, []string{iface}
	if change != nil {
		change(cfg)
	}
	if b.client, err = client.Start(h, cfg, zaptest.NewLogger(b.t, zaptest.Level(zap.WarnLevel)), client.WithDrops(drops)); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		if b.t.Failed() {
			b.t.Logf("the laptop dropped %v", drops.Snapshot())
		}
		if err := errors.Join(b.client.Down(context.Background()), b.client.Close()); err != nil {
			b.t.Error(err)
		}
	})
	b.await(mode)
}

// await waits until the laptop is connected in the mode.
func (b *oneBox) await(mode string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
	defer cancel()
	events, stop := b.client.Subscribe()
	defer stop()
	for {
		s, err := b.client.Status(ctx)
		if err != nil {
			b.t.Fatalf("not connected in mode %s: %v", mode, err)
		}
		if s.State == control.StateConnected && s.Mode == mode {
			return
		}
		select {
		case <-events:
		case <-ctx.Done():
			b.t.Fatalf("not connected in mode %s: %s in mode %q, problems %+v", mode, s.State, s.Mode, s.Problems)
		}
	}
}

// stream sends octets to the correspondent over TCP and wants them back.
func (b *oneBox) stream(octets int) {
	b.t.Helper()
	var c *net.TCPConn
	netnstest.Inside(b.t, b.laptop, func() (err error) {
		c, err = net.DialTCP("tcp4", nil, net.TCPAddrFromAddrPort(echoService))
		return err
	})
	defer c.Close()
	if got := c.LocalAddr().(*net.TCPAddr).AddrPort().Addr(); got != simnet.LabHomeAddress {
		b.t.Errorf("the connection is from %v", got)
	}
	if err := c.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
		b.t.Fatal(err)
	}
	sent := make([]byte, octets)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(sent)
	written := make(chan error, 1)
	go func() {
		_, err := c.Write(sent)
		written <- errors.Join(err, c.CloseWrite())
	}()
	got, err := io.ReadAll(c)
	if err := errors.Join(err, <-written); err != nil || !bytes.Equal(got, sent) {
		b.t.Fatalf("%d of %d octets came back, the same: %t; %v", len(got), octets, bytes.Equal(got, sent), err)
	}
}

// datagram sends a datagram and wants it back.
func (b *oneBox) datagram(octets int) {
	b.t.Helper()
	var c *net.UDPConn
	netnstest.Inside(b.t, b.laptop, func() (err error) {
		c, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(echoService))
		return err
	})
	defer c.Close()
	sent, got := make([]byte, octets), make([]byte, 65536)
	random := rand.NewChaCha8([32]byte{2})
	_, _ = random.Read(sent)
	for range 5 { // the first may be lost while addresses are resolved and the path MTU is learnt
		if _, err := c.Write(sent); err != nil {
			b.t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
			b.t.Fatal(err)
		}
		if n, err := c.Read(got); err == nil && bytes.Equal(got[:n], sent) {
			return
		}
	}
	b.t.Errorf("a datagram of %d octets did not come back", octets)
}

// traffic has TCP and UDP of all sizes go both ways.
func (b *oneBox) traffic() {
	b.t.Helper()
	for _, n := range []int{1, 1000, 1300, 1400, 4000} {
		b.datagram(n)
	}
	b.stream(3_000_000)
}

// mostBesideData is how many packets of signalling, and fragments of the datagrams of 4000 octets, may go by the kernel in a test's time.
const mostBesideData = 100

// devicePackets counts the packets that have gone through the devices that stand between roles, those of x-HA and gateway.
func (b *oneBox) devicePackets() (n uint64) {
	b.t.Helper()
	netnstest.Inside(b.t, b.box, func() error {
		for _, name := range []string{"mipxha0", "mipgw0"} {
			l, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			s := l.Attrs().Statistics
			n += s.RxPackets + s.TxPackets
		}
		return nil
	})
	return n
}

// Shows: AGT-7, DESIGN §4 (i-HA, x-HA, gateway and foreign agent in one process on one host with the real kernel: TUN devices, routing
// tables, marks; user data between them in memory, and as well by the kernel).
func TestRolesOnOneHost(t *testing.T) {
	udp := func(c *config.Config) {
		c.Internal.Encapsulation, c.External.Encapsulation, c.Gateway.ForceUDPEncapsulation = config.EncapsulationUDP, config.EncapsulationUDP, true
	}
	ip := func(c *config.Config) {
		c.Internal.Encapsulation, c.External.Encapsulation = config.EncapsulationIPIP, config.EncapsulationIPIP
	}
	for _, c := range []struct {
		name, mode, iface string
		change            func(*config.Config)
	}{
		{"cvc over UDP", "cvc", "eth0", udp}, {"cvc over IP", "cvc", "eth0", ip}, {"fvc", "fvc", "eth1", nil},
	} {
		for _, inMemory := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, in memory %t", c.name, inMemory), func(t *testing.T) {
				b := newOneBox(t, inMemory)
				b.connect(c.mode, c.iface, c.change)
				before := b.devicePackets()
				b.traffic()
				between := b.devicePackets() - before
				if inMemory && between > mostBesideData {
					t.Errorf("%d packets went through the devices between the roles", between)
				} else if !inMemory && between < 1000 {
					t.Errorf("%d packets went through the devices between the roles, want all", between)
				}
			})
		}
	}
}

// Shows: AGT-7 (a role that stops leaves the others, and may come back).
func TestRolesStopAlone(t *testing.T) {
	b := newOneBox(t, true)
	b.connect("cvc", "eth0", nil)
	b.traffic()
	b.stop("foreign_agent")
	b.traffic()
	b.stop("home_agent.internal")
	netnstest.Inside(t, b.box, func() error {
		forward, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
		if strings.TrimSpace(string(forward)) != "1" {
			t.Errorf("the host forwards: %q after one role of three has stopped", forward)
		}
		return err
	})
	b.start("home_agent.internal")
	if err := errors.Join(b.client.Down(t.Context()), b.client.Up(t.Context())); err != nil {
		t.Fatal(err)
	}
	b.await("cvc")
	b.traffic()
}
