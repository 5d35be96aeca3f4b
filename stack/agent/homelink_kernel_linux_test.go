package agent

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/wire"
	"mipvpn/stack/simnet"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// neighbourOf returns the link-layer address that the namespace's neighbour table has for addr, as text, "" for none.
func neighbourOf(t *testing.T, ns *os.File, addr netip.Addr) (hw string) {
	t.Helper()
	netnstest.Inside(t, ns, func() error {
		l, err := netlink.LinkByName("home0")
		if err != nil {
			return err
		}
		list, err := netlink.NeighList(l.Attrs().Index, netlink.FAMILY_V4)
		for _, n := range list {
			if a, ok := netip.AddrFromSlice(n.IP.To4()); ok && a == addr && len(n.HardwareAddr) == 6 {
				hw = n.HardwareAddr.String()
			}
		}
		return err
	})
	return hw
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		tick := time.NewTimer(20 * time.Millisecond)
		<-tick.C
	}
}

// Shows: AGT-1 (proxy ARP and gratuitous ARP on a real kernel's home link: a neighbour that knows the mobile node at home sends to
// the home agent from the registration on, and to the mobile node's own interface when it is back).
func TestKernelHomeLink(t *testing.T) {
	laptopNS, server, peer := netnstest.New(t), netnstest.New(t), netnstest.New(t)
	// The laptop is at home as any host is: by its kernel, with its home address on the interface.
	netnstest.Bridge(t, "home0", netnstest.End{Namespace: laptopNS, Address: netip.PrefixFrom(homeLinkNode, 24)},
		netnstest.End{Namespace: server, Address: netip.PrefixFrom(homeLinkAgent, 24)}, netnstest.End{Namespace: peer, Address: netip.PrefixFrom(homeLinkPeer.Addr(), 24)})
	netnstest.Wire(t, laptopNS, "eth0", officeAddr, server, "office0", netip.MustParsePrefix("10.0.2.1/24"))
	a := startHomeAgent(t, kernelHost(t, server), onHomeLink(t, "home0"))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("drops at the home agent: %v", a.Drops().Snapshot())
		}
	})
	service := listen(t, peer, homeLinkPeer)
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := service.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = service.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	// reach has a datagram go to the peer and back, from the home address.
	reach := func() bool {
		c := listen(t, laptopNS, netip.AddrPortFrom(homeLinkNode, 0))
		defer c.Close()
		if _, err := c.WriteToUDPAddrPort([]byte("hello"), homeLinkPeer); err != nil {
			return false
		}
		_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
		n, from, err := c.ReadFromUDPAddrPort(make([]byte, 100))
		return err == nil && n == 5 && from == homeLinkPeer
	}
	hardware := func(ns *os.File) (hw string) {
		netnstest.Inside(t, ns, func() error {
			l, err := netlink.LinkByName("home0")
			if err == nil {
				hw = l.Attrs().HardwareAddr.String()
			}
			return err
		})
		return hw
	}
	eventually(t, "the laptop at home reaches its neighbour", reach)
	if got, want := neighbourOf(t, peer, homeLinkNode), hardware(laptopNS); got != want {
		t.Fatalf("the neighbour has the mobile node at %q, want its own interface %q", got, want)
	}

	// Away: the interface at home is gone, the office's carries the tunnel.
	home := netip.PrefixFrom(homeLinkNode, 24)
	netnstest.Inside(t, laptopNS, func() error {
		l, err := netlink.LinkByName("home0")
		if err == nil {
			err = netlink.LinkSetDown(l)
		}
		if err == nil {
			err = netlink.AddrDel(l, &netlink.Addr{IPNet: netnstest.IPNet(home)})
		}
		if err != nil {
			return err
		}
		return netnstest.Route(netip.PrefixFrom(homeLinkAgent, 32), netip.MustParseAddr("10.0.2.1"))
	})
	host := kernelHost(t, laptopNS)
	cfg := laptop(t, mobilenode.EncapsulationIPIP)
	cfg.HomeAgent, cfg.HomeAddress = homeLinkAgent, homeLinkNode
	n := coLocated(t, host, netnstest.Index(t, laptopNS, "eth0"), officeAddr.Addr(), cfg)
	t.Cleanup(func() { _ = host.Apply(link.Settings{}) })
	n.up(homeLinkNetwork)
	agentHardware := hardware(server)
	eventually(t, "gratuitous ARP leads the neighbour to the home agent", func() bool { return neighbourOf(t, peer, homeLinkNode) == agentHardware })
	eventually(t, "the laptop away reaches its neighbour", reach)
	// Proxy ARP: a neighbour that knows nothing asks.
	netnstest.Inside(t, peer, func() error {
		l, err := netlink.LinkByName("home0")
		if err != nil {
			return err
		}
		return netlink.NeighDel(&netlink.Neigh{LinkIndex: l.Attrs().Index, IP: homeLinkNode.AsSlice()})
	})
	eventually(t, "proxy ARP leads the neighbour to the home agent", func() bool { return reach() && neighbourOf(t, peer, homeLinkNode) == agentHardware })

	// Back: the mobile node announces itself and deregisters from its home address (RFC 5944 §4.6).
	if err := host.Apply(link.Settings{}); err != nil {
		t.Fatal(err)
	}
	netnstest.Inside(t, laptopNS, func() error { return netnstest.SetUp("home0", home) })
	index := netnstest.Index(t, laptopNS, "home0")
	own, err := host.(link.HomeLinkHost).OpenHomeLink(index, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = own.Close() })
	if err := own.Announce(homeLinkNode, own.Hardware()); err != nil {
		t.Fatal(err)
	}
	// What it has announced gets lost at the neighbour: there the home agent still has the address.
	hw, err := net.ParseMAC(agentHardware)
	if err != nil {
		t.Fatal(err)
	}
	if err := own.Announce(homeLinkNode, packet.HardwareAddr(hw)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the neighbour takes the home agent for the mobile node", func() bool { return neighbourOf(t, peer, homeLinkNode) == agentHardware })
	atHome := coLocated(t, host, index, homeLinkNode, cfg)
	atHome.deregister()
	if e, ok := atHome.wait(30 * time.Second).(mobilenode.Deregistered); !ok {
		t.Fatalf("not deregistered: %+v", e)
	}
	eventually(t, "the home agent's gratuitous ARP leads the neighbour to the mobile node again", func() bool { return neighbourOf(t, peer, homeLinkNode) == hardware(laptopNS) && reach() })
	if a.Table().Len() != 0 {
		t.Error("a binding is left")
	}
}

// Requests that are broadcast on the home link reach the home agent by the kernel's own sockets, by the network's broadcast address and by
// 255.255.255.255, and a virtual home network's by the device.
//
// Shows: MIP-9, AGT-1 (dynamic home agent address resolution with a real kernel)
func TestKernelHomeAgentResolution(t *testing.T) {
	server, peer := netnstest.New(t), netnstest.New(t)
	netnstest.Bridge(t, "home0", netnstest.End{Namespace: server, Address: netip.PrefixFrom(homeLinkAgent, 24)},
		netnstest.End{Namespace: peer, Address: netip.PrefixFrom(homeLinkPeer.Addr(), 24)})
	startHomeAgent(t, kernelHost(t, server), onHomeLink(t, "home0"))
	netnstest.Inside(t, peer, func() error { return netnstest.Route(simnet.LabHomeNetwork, homeLinkAgent) })
	c := listen(t, peer, netip.AddrPortFrom(homeLinkPeer.Addr(), 0))
	cfg := laptop(t, mobilenode.EncapsulationIPIP)
	cfg.CareOfAddress, cfg.DynamicHomeAgent = homeLinkPeer.Addr(), mobilenode.HomeAgentResolved
	for _, to := range []struct{ home, directed, datagram netip.Addr }{
		{homeLinkNode, netip.MustParseAddr("10.1.0.255"), netip.MustParseAddr("10.1.0.255")},
		{homeLinkNode, netip.MustParseAddr("10.1.0.255"), limitedBroadcast},
		{simnet.LabHomeAddress, netip.MustParseAddr("10.0.8.255"), netip.MustParseAddr("10.0.8.255")},
	} {
		cfg.HomeAddress, cfg.HomeAgent = to.home, to.directed
		m, err := mobilenode.NewMachine(cfg, constant{})
		if err != nil {
			t.Fatal(err)
		}
		clock := kernelHost(t, peer)
		found := func() bool {
			if m.State() == mobilenode.StateIdle {
				m.Register(clock.Now())
			} else {
				m.HandleTimeout(clock.Now())
			}
			for q, ok := m.PollTransmit(); ok; q, ok = m.PollTransmit() {
				if _, err := c.WriteToUDPAddrPort(q.Payload, netip.AddrPortFrom(to.datagram, q.To.Port())); err != nil {
					t.Fatal(err)
				}
			}
			buf := make([]byte, 1000)
			_ = c.SetReadDeadline(time.Now().Add(time.Second))
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil || from != netip.AddrPortFrom(homeLinkAgent, wire.Port) {
				return false
			}
			_ = m.HandleReply(clock.Now(), buf[:n]) // one to an earlier request says nothing
			e, _ := m.PollEvent()
			r, ok := e.(mobilenode.Refused)
			return ok && r.Code == wire.CodeUnknownHomeAgent && r.HomeAgent == homeLinkAgent
		}
		eventually(t, "the home agent answers what is sent to "+to.datagram.String()+" for "+to.directed.String(), found)
	}
}
