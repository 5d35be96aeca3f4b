package e2e

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"mipvpn/client"
	"mipvpn/client/control"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
	"mipvpn/tun/hostnet/netnstest"
)

// kernelHome is a company in namespaces of the kernel: a home link, whose router is the i-HA too, and an office. The laptop has an
// interface on each.
type kernelHome struct {
	laptop, server, neighbour, correspondent *os.File
	client                                   *client.Client
}

var (
	homeRouter   = netip.MustParseAddr("10.0.8.1")
	officeRouter = netip.MustParseAddr("10.0.2.1")
	officeLaptop = netip.MustParsePrefix("10.0.2.50/24")
)

func newKernelHome(t *testing.T) *kernelHome {
	t.Helper()
	k := &kernelHome{laptop: netnstest.New(t), server: netnstest.New(t), neighbour: netnstest.New(t), correspondent: netnstest.New(t)}
	netnstest.Bridge(t, "home0", netnstest.End{Namespace: k.laptop, Address: netip.MustParsePrefix("10.0.8.150/24")},
		netnstest.End{Namespace: k.server, Address: netip.PrefixFrom(homeRouter, 24)}, netnstest.End{Namespace: k.neighbour, Address: netip.PrefixFrom(homeNeighbour, 24)})
	netnstest.Wire(t, k.laptop, "office0", officeLaptop, k.server, "office0", netip.PrefixFrom(officeRouter, 24))
	netnstest.Wire(t, k.server, "core0", netip.PrefixFrom(simnet.LabInternalHA, 24), k.correspondent, "eth0", netip.PrefixFrom(simnet.LabCorrespondent, 24))
	everywhere := netip.MustParsePrefix("0.0.0.0/0")
	netnstest.Inside(t, k.correspondent, func() error { return netnstest.Route(everywhere, simnet.LabInternalHA) })
	netnstest.Inside(t, k.neighbour, func() error { return netnstest.Route(everywhere, homeRouter) })
	k.move(t, "home0")

	cfg := internalConfig()
	cfg.HomeLink, cfg.Broadcasts = "home0", true
	a, err := agent.StartHomeAgent(kernelHost(t, k.server), cfg, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	laptop := ClientConfig()
	laptop.External.Address = netip.Addr{} // nobody is outside here
	laptop.Internal.HomeLink, laptop.Internal.Broadcasts = []netip.Prefix{simnet.LabHomeNetwork}, true
	laptop.Internal.Groups = []netip.Prefix{netip.MustParsePrefix("239.192.0.0/14")}
	if k.client, err = client.Start(kernelHost(t, k.laptop), laptop, zaptest.NewLogger(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(k.client.Down(context.Background()), k.client.Close()); err != nil {
			t.Error(err)
		}
	})
	return k
}

// move has the laptop's one interface go down and the other come up, with its default route.
func (k *kernelHome) move(t *testing.T, to string) {
	t.Helper()
	netnstest.Inside(t, k.laptop, func() error {
		router := map[string]netip.Addr{"home0": homeRouter, "office0": officeRouter}
		for name := range router {
			l, err := netlink.LinkByName(name)
			if err == nil && name != to {
				err = netlink.LinkSetDown(l)
			}
			if err != nil {
				return err
			}
		}
		l, err := netlink.LinkByName(to)
		if err == nil {
			err = netlink.LinkSetUp(l)
		}
		for end := time.Now().Add(30 * time.Second); err == nil && l.Attrs().OperState != netlink.OperUp; l, err = netlink.LinkByName(to) {
			if time.Now().After(end) {
				return errors.New(to + " gets no carrier")
			}
		}
		if err != nil {
			return err
		}
		// By its interface, as those who configure networks do: else the router's address counts as the enterprise's.
		return netlink.RouteReplace(&netlink.Route{Dst: netnstest.IPNet(netip.MustParsePrefix("0.0.0.0/0")), Gw: router[to].AsSlice(), LinkIndex: l.Attrs().Index})
	})
}

// until waits until the laptop is connected in mode c with the care-of address.
func (k *kernelHome) until(t *testing.T, careOf netip.Addr) control.Layer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	events, stop := k.client.Subscribe()
	defer stop()
	for {
		s, err := k.client.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(s.Layers); s.State == control.StateConnected && s.Mode == "c" && n > 0 && s.Layers[n-1].CareOf == careOf {
			return s.Layers[n-1]
		}
		select {
		case <-events:
		case <-ctx.Done():
			t.Fatalf("state %s, mode %q, layers %+v, want mode c at %v; problems %v", s.State, s.Mode, s.Layers, careOf, s.Problems)
		}
	}
}

// echo answers datagrams at the address in the namespace, and returns how to send one there from the home address and have it back.
func (k *kernelHome) echo(t *testing.T, ns *os.File, at netip.AddrPort) func() {
	t.Helper()
	server := k.listen(t, ns, at)
	go func() {
		p := make([]byte, 2048)
		for {
			n, from, err := server.ReadFromUDPAddrPort(p)
			if err != nil {
				return
			}
			if from.Addr().Unmap() == simnet.LabHomeAddress {
				_, _ = server.WriteToUDPAddrPort(p[:n], from)
			}
		}
	}()
	near := k.listen(t, k.laptop, netip.AddrPortFrom(simnet.LabHomeAddress, 0))
	return func() {
		t.Helper()
		p := make([]byte, 2048)
		for end := time.Now().Add(time.Minute); time.Now().Before(end); {
			_, _ = near.WriteToUDPAddrPort([]byte("echo"), at)
			_ = near.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			if n, from, err := near.ReadFromUDPAddrPort(p); err == nil && from == at && string(p[:n]) == "echo" {
				return
			}
		}
		t.Fatalf("%v does not answer", at)
	}
}

func (k *kernelHome) listen(t *testing.T, ns *os.File, at netip.AddrPort) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	netnstest.Inside(t, ns, func() (err error) {
		c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
		return err
	})
	t.Cleanup(func() { c.Close() })
	return c
}

// Shows: MOD-home, AGT-1 (on real kernels: at home, to the office and back, the neighbour on the home link and the correspondent
// behind its router reached throughout from one socket).
func TestAtHomeOnTheKernel(t *testing.T) {
	k := newKernelHome(t)
	if l := k.until(t, simnet.LabHomeAddress); l.Encapsulation != "none" {
		t.Errorf("at home: %+v", l)
	}
	neighbour := k.echo(t, k.neighbour, netip.AddrPortFrom(homeNeighbour, 7))
	correspondent := k.echo(t, k.correspondent, netip.AddrPortFrom(simnet.LabCorrespondent, 7))
	both := func() {
		t.Helper()
		neighbour()
		correspondent()
	}
	both()
	k.move(t, "office0")
	if l := k.until(t, officeLaptop.Addr()); l.Encapsulation == "none" {
		t.Errorf("in the office: %+v", l)
	}
	both()
	k.move(t, "home0")
	k.until(t, simnet.LabHomeAddress)
	both()
}
