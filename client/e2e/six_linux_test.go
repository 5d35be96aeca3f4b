package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"golang.org/x/sys/unix"

	"mipvpn/client"
	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/detect/nat64"
	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
)

// The networks with IPv6 of the kernel's lab.
var (
	sixLaptop  = netip.MustParsePrefix("2001:db8:6::5/64")
	sixRouter  = netip.MustParsePrefix("2001:db8:6::1/64")
	gateway6   = netip.MustParsePrefix("2001:db8::10/64")
	internet6  = netip.MustParsePrefix("2001:db8::1/64")
	prefix64   = netip.MustParsePrefix("2001:db8:64::/96")
	pool64     = netip.MustParseAddr("203.0.113.64")
	translated = netip.MustParseAddr("2001:db8:64::c000:20a") // simnet.LabGateway behind prefix64
)

// canary is in every packet of the conversation.
const canary = "ZANZIBAR-CANARY"

// sixLab is a lab in namespaces of the kernel: a laptop; the Internet with the x-HA, a café with IPv4 and a network with IPv6 alone; the
// gateway on IPv4 and IPv6; inside, the i-HA and the correspondent.
type sixLab struct {
	laptop, internet, gate, inside *os.File
	clear                          atomic.Int64 // frames outside with the canary
}

// quietIPv6 has the calling thread's namespace do without duplicate address detection.
func quietIPv6() error {
	for _, name := range []string{"all", "default"} {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/accept_dad", []byte("0"), 0); err != nil {
			return err
		}
	}
	return nil
}

// address6 gives an interface an IPv6 address.
func address6(ns *os.File, name string, at netip.Prefix) error {
	return netnstest.Do(ns, func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return netlink.AddrAdd(l, &netlink.Addr{IPNet: netnstest.IPNet(at), Flags: unix.IFA_F_NODAD})
	})
}

func newSixLab(t *testing.T, further []netip.Addr) *sixLab {
	t.Helper()
	l := &sixLab{laptop: netnstest.New(t), internet: netnstest.New(t), gate: netnstest.New(t), inside: netnstest.New(t)}
	everywhere4, everywhere6 := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")
	for _, ns := range []*os.File{l.laptop, l.internet, l.gate} {
		netnstest.Inside(t, ns, quietIPv6)
	}
	netnstest.Inside(t, l.internet, func() error {
		return errors.Join(os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0), os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0),
			netnstest.SetUp("lo", netip.PrefixFrom(simnet.LabExternalHA, 32)))
	})
	netnstest.Wire(t, l.internet, "inet0", netip.MustParsePrefix("192.0.2.1/24"), l.gate, "out", netip.PrefixFrom(simnet.LabGateway, 24))
	netnstest.Wire(t, l.gate, "in", netip.PrefixFrom(simnet.LabGatewayInner, 24), l.inside, "eth0", netip.PrefixFrom(simnet.LabInternalHA, 24))
	for _, err := range []error{address6(l.internet, "inet0", internet6), address6(l.gate, "out", gateway6)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	netnstest.Inside(t, l.gate, func() error {
		return errors.Join(netnstest.Route(everywhere4, netip.MustParseAddr("192.0.2.1")), netnstest.Route(everywhere6, internet6.Addr()))
	})
	netnstest.Inside(t, l.inside, func() error {
		return errors.Join(netnstest.SetUp("eth0", netip.PrefixFrom(simnet.LabCorrespondent, 24)), netnstest.Route(simnet.LabInnerPool, simnet.LabGatewayInner))
	})
	l.agents(t, further)
	l.echo(t)
	return l
}

// agents starts the agents.
func (l *sixLab) agents(t *testing.T, further []netip.Addr) {
	t.Helper()
	own, err1 := message.NewIdentity(GatewayIdentity)
	laptop, err2 := message.NewIdentity(LaptopIdentity)
	internal, err3 := agent.StartHomeAgent(kernelHost(t, l.inside), internalConfig(), zap.NewNop())
	external, err4 := agent.StartHomeAgent(kernelHost(t, l.internet), externalConfig(), zap.NewNop())
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	gate, err := agent.StartGateway(kernelHost(t, l.gate), agent.GatewayConfig{Address: simnet.LabGateway, Additional: further, Config: gateway.Config{
		IKE: ike.Config{LocalID: own, MOBIKE: &ike.MOBIKE{}}, Peers: []gateway.Peer{{Identity: laptop, PSK: bytes.Clone(psk)}},
		Pool: simnet.LabInnerPool, Networks: []netip.Prefix{simnet.LabEnterprise},
	}}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(gate.Close(), internal.Close(), external.Close()); err != nil {
			t.Error(err)
		}
	})
}

// echo is the correspondent.
func (l *sixLab) echo(t *testing.T) {
	t.Helper()
	var c *net.UDPConn
	netnstest.Inside(t, l.inside, func() (err error) {
		c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(simnet.LabCorrespondent, 7)))
		return err
	})
	t.Cleanup(func() { c.Close() })
	go func() {
		p := make([]byte, 2048)
		for {
			n, from, err := c.ReadFromUDPAddrPort(p)
			if err != nil {
				return
			}
			if from.Addr().Unmap() == simnet.LabHomeAddress {
				_, _ = c.WriteToUDPAddrPort(p[:n], from)
			}
		}
	}()
}

// tap counts frames with the canary on the Internet's end of a wire.
func (l *sixLab) tap(t *testing.T, name string) {
	t.Helper()
	var f *os.File
	netnstest.Inside(t, l.internet, func() error {
		i, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		all := uint16(unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8)
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, int(all))
		if err != nil {
			return err
		}
		f = os.NewFile(uintptr(fd), "tap")
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: i.Index})
	})
	t.Cleanup(func() { f.Close() })
	go func() {
		p := make([]byte, 65536)
		for {
			n, err := f.Read(p)
			if err != nil {
				return
			}
			if bytes.Contains(p[:n], []byte(canary)) {
				l.clear.Add(1)
			}
		}
	}()
}

// plugCafe and plugSix plug the laptop's eth0 into the café, and its eth1 into the network with IPv6 alone.
func (l *sixLab) plugCafe(t *testing.T) {
	t.Helper()
	netnstest.Wire(t, l.internet, "cafe0", netip.MustParsePrefix("192.168.1.1/24"), l.laptop, "eth0", netip.MustParsePrefix("192.168.1.100/24"))
	netnstest.Inside(t, l.laptop, func() error {
		return netnstest.Route(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("192.168.1.1"))
	})
	l.tap(t, "cafe0")
}

func (l *sixLab) plugSix(t *testing.T) {
	t.Helper()
	netnstest.Wire(t, l.internet, "six0", netip.Prefix{}, l.laptop, "eth1", netip.Prefix{})
	if err := errors.Join(address6(l.internet, "six0", sixRouter), address6(l.laptop, "eth1", sixLaptop)); err != nil {
		t.Fatal(err)
	}
	netnstest.Inside(t, l.laptop, func() error { return netnstest.Route(netip.MustParsePrefix("::/0"), sixRouter.Addr()) })
	l.tap(t, "six0")
}

// cafe takes the café's carrier away, or gives it back.
func (l *sixLab) cafe(t *testing.T, up bool) {
	t.Helper()
	netnstest.Inside(t, l.internet, func() error {
		i, err := netlink.LinkByName("cafe0")
		if err == nil && up {
			err = netlink.LinkSetUp(i)
		} else if err == nil {
			err = netlink.LinkSetDown(i)
		}
		return err
	})
}

// sixServers are the name servers of the network with IPv6 alone.
type sixServers struct{}

// Servers implements resolve.Servers.
func (sixServers) Servers(_ context.Context, i link.Interface) ([]netip.Addr, error) {
	if i.Name == "eth1" {
		return []netip.Addr{sixRouter.Addr()}, nil
	}
	return nil, nil
}

// start starts the client.
func (l *sixLab) start(t *testing.T, change func(*config.Config), names client.Names) *client.Client {
	t.Helper()
	cfg := ClientConfig()
	cfg.Mechanisms.EndpointUpdate = config.MechanismAuto
	change(cfg)
	c, err := client.Start(kernelHost(t, l.laptop), cfg, zaptest.NewLogger(t), client.WithNames(names))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.Down(context.Background()), c.Close()); err != nil {
			t.Error(err)
		}
	})
	return c
}

// until waits until the client is connected in the mode through the gateway's address.
func until(t *testing.T, c *client.Client, mode string, gateway netip.Addr) control.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	events, stop := c.Subscribe()
	defer stop()
	for {
		s, err := c.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if s.State == control.StateConnected && s.Mode == mode && remoteOf(s) == gateway {
			return s
		}
		select {
		case <-events:
		case <-ctx.Done():
			t.Fatalf("state %s, mode %q by %v, want %s by %v; problems %v", s.State, s.Mode, remoteOf(s), mode, gateway, s.Problems)
		}
	}
}

// remoteOf returns the gateway's address in a status.
func remoteOf(s control.Status) netip.Addr {
	for _, layer := range s.Layers {
		if layer.Kind == "vpn" {
			return layer.Remote
		}
	}
	return netip.Addr{}
}

// talk opens a socket on the i-HoA, and returns what sends and wants an answer, again and again as programs do.
func (l *sixLab) talk(t *testing.T) func() {
	t.Helper()
	var c *net.UDPConn
	netnstest.Inside(t, l.laptop, func() (err error) {
		c, err = net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(simnet.LabHomeAddress, 0)), net.UDPAddrFromAddrPort(netip.AddrPortFrom(simnet.LabCorrespondent, 7)))
		return err
	})
	t.Cleanup(func() { c.Close() })
	n := 0
	return func() {
		t.Helper()
		buf := make([]byte, 2048)
		pace := time.NewTicker(20 * time.Millisecond) // while the tunnel moves, errors come at once
		defer pace.Stop()
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-pace.C {
			n++
			text := fmt.Sprintf("%s %d %s", canary, n, strings.Repeat("x", n*37%900))
			if _, err := c.Write([]byte(text)); err != nil && !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.EPERM) {
				t.Fatal(err)
			}
			if err := c.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if k, err := c.Read(buf); err == nil && string(buf[:k]) == text {
				return
			}
		}
		t.Fatal("the correspondent does not answer")
	}
}

// Shows: DET-18 (IPv6 only), IKE-6, MOD-vc, HST-2. From a cold start in a network with IPv6 alone, under the kill switch, in split and
// full tunnels: at the gateway's IPv6 address, in UDP and in TCP, and through the network's NAT64 at the IPv4 one; and where there is
// IPv4, over which nobody answers. IPv4 inside is as ever.
func TestIPv6AloneOnTheKernel(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*config.Config)
		nat64   bool
		gateway netip.Addr
		four    bool
		told    bool // the prefix by routers, and not by name servers
		reason  string
	}{
		"IPv6": {func(cfg *config.Config) { cfg.Gateway.Address6 = gateway6.Addr() }, false, gateway6.Addr(), false, false, "IPv6 alone"},
		"TCP": {func(cfg *config.Config) {
			cfg.Gateway.Address6, cfg.Gateway.TCP, cfg.Gateway.TCPPort = gateway6.Addr(), config.TCPOnly, 4500
		}, false, gateway6.Addr(), false, false, "IPv6 alone"},
		"NAT64":                  {func(cfg *config.Config) { cfg.Enterprise.Tunnel = config.TunnelFull }, true, translated, false, false, "IPv6 alone"},
		"NAT64, told by routers": {func(*config.Config) {}, true, translated, false, true, "IPv6 alone"},
		"IPv4 that is silent":    {func(cfg *config.Config) { cfg.Gateway.Address6 = gateway6.Addr() }, false, gateway6.Addr(), true, false, "the x-HA does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newSixLab(t, []netip.Addr{gateway6.Addr()})
			if c.nat64 {
				startNAT64(t, l.internet, prefix64, pool64)
			}
			l.plugSix(t)
			if c.four { // nobody has the router's address
				netnstest.Inside(t, l.laptop, func() error {
					return errors.Join(netnstest.SetUp("eth1", netip.MustParsePrefix("192.168.9.5/24")), netnstest.Route(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("192.168.9.1")))
				})
			}
			if c.nat64 && !c.told {
				serveDNS64(t, l.internet, sixRouter.Addr(), prefix64)
			}
			names := client.Names{Servers: sixServers{}}
			if c.told {
				names = client.Names{Routers: func(ctx context.Context, _ int, f func([]nat64.Advertised)) error {
					f([]nat64.Advertised{{Prefix: prefix64, Lifetime: time.Hour}})
					<-ctx.Done()
					return ctx.Err()
				}}
			}
			node := l.start(t, c.change, names)
			s := until(t, node, "vc", c.gateway)
			if !strings.Contains(s.ModeReason, c.reason) {
				t.Errorf("the mode's reason is %q", s.ModeReason)
			}
			// The IPv6 header instead of IPv4's 20 octets; ESP with AES-GCM-16 at most 8+8+3+2+16, IP in IP; UDP behind the NAT64.
			want := 40 + 37 + 20
			if c.nat64 {
				want += 8
			}
			if s.PathMTU == nil || name != "TCP" && s.PathMTU.Overhead != want {
				t.Errorf("path MTU %+v, want an overhead of %d", s.PathMTU, want)
			}
			say := l.talk(t)
			for range 20 {
				say()
			}
			if n := l.clear.Load(); n != 0 {
				t.Errorf("%d frames in the clear", n)
			}
		})
	}
}

// Shows: DET-18, IKE-6, IKE-7, MOD-keep. A session that began in a café goes on in a network with IPv6 alone, and back: the same socket
// and the same IKE SA, which moves to the gateway's IPv6 address, or to its IPv4 one through a NAT64.
func TestMovesToIPv6AloneOnTheKernel(t *testing.T) {
	for name, c := range map[string]struct {
		further []netip.Addr
		change  func(*config.Config)
		gateway netip.Addr
	}{
		"IPv6":  {[]netip.Addr{gateway6.Addr()}, func(cfg *config.Config) { cfg.Gateway.Address6 = gateway6.Addr() }, gateway6.Addr()},
		"NAT64": {nil, func(*config.Config) {}, translated},
	} {
		t.Run(name, func(t *testing.T) {
			l := newSixLab(t, c.further)
			startNAT64(t, l.internet, prefix64, pool64)
			l.plugCafe(t)
			node := l.start(t, c.change, client.Names{Servers: sixServers{}})
			tunnels := new(atomic.Int64)
			events, stop := node.Subscribe()
			defer stop()
			go func() {
				for e := range events {
					if e.Kind == "vpn" && strings.Contains(e.Message, "IKE SA with gateway") {
						tunnels.Add(1)
					}
				}
			}()
			until(t, node, "vc", simnet.LabGateway)
			say := l.talk(t)
			say()
			before := tunnels.Load()
			l.plugSix(t)
			serveDNS64(t, l.internet, sixRouter.Addr(), prefix64)
			for range 2 {
				l.cafe(t, false)
				until(t, node, "vc", c.gateway)
				for range 5 {
					say()
				}
				l.cafe(t, true)
				until(t, node, "vc", simnet.LabGateway)
				for range 5 {
					say()
				}
			}
			if n := tunnels.Load(); n != before {
				t.Errorf("%d further IKE SAs were set up", n-before)
			}
			if n := l.clear.Load(); n != 0 {
				t.Errorf("%d frames in the clear", n)
			}
		})
	}
}
