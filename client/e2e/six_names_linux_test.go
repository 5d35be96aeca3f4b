package e2e

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"mipvpn/client"
	"mipvpn/client/config"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
)

// halfServer is a name server's IPv4 address in the network with IPv6 alone.
var halfServer = netip.MustParsePrefix("192.168.9.1/24")

// bothServers are the name servers of that network: one by IPv4, which comes first, and one by IPv6.
type bothServers struct{}

// Servers implements resolve.Servers.
func (bothServers) Servers(_ context.Context, i link.Interface) ([]netip.Addr, error) {
	if i.Name == "eth1" {
		return []netip.Addr{halfServer.Addr(), sixRouter.Addr()}, nil
	}
	return nil, nil
}

// Shows: DET-18 (IPv6 only). An IPv4 address without a router is attached to nothing: no name server is asked from it, not even one
// that is on its link and comes first. Those that are reached by IPv6 say how the gateway is reached through the network's NAT64.
func TestNobodyIsAskedFromAnAddressWithoutARouter(t *testing.T) {
	l := newSixLab(t, nil)
	startNAT64(t, l.internet, prefix64, pool64)
	l.plugSix(t)
	serveDNS64(t, l.internet, sixRouter.Addr(), prefix64)
	netnstest.Inside(t, l.laptop, func() error { return netnstest.SetUp("eth1", netip.MustParsePrefix("192.168.9.5/24")) })
	var asked atomic.Int64
	netnstest.Inside(t, l.internet, func() error {
		if err := netnstest.SetUp("six0", halfServer); err != nil {
			return err
		}
		c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(halfServer.Addr(), 53)))
		if err != nil {
			return err
		}
		t.Cleanup(func() { c.Close() })
		go func() {
			for p := make([]byte, 2048); ; asked.Add(1) {
				if _, _, err := c.ReadFromUDPAddrPort(p); errors.Is(err, net.ErrClosed) {
					return
				}
			}
		}()
		return nil
	})
	node := l.start(t, func(*config.Config) {}, client.Names{Servers: bothServers{}})
	until(t, node, "vc", translated)
	l.talk(t)()
	if n := asked.Load(); n != 0 {
		t.Errorf("the name server that is reached by IPv4 was asked %d times", n)
	}
	if n := l.clear.Load(); n != 0 {
		t.Errorf("%d frames in the clear", n)
	}
}
