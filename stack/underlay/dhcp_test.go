//go:build linux

package underlay

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"

	"mipvpn/detect/hint"
	"mipvpn/detect/resolve"
	"mipvpn/detect/resolve/bustest"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
)

// visited is the network of the DHCP server, its router and name server at host B of the pair.
var visited = netip.MustParsePrefix("192.168.7.0/24")

// serveDHCP runs a DHCP server on host B that leases one address of the visited network, to be renewed after a second (RFC 2131 §4.4.5). It
// tells of each request that renews it, from which address it came.
func serveDHCP(t *testing.T, p *pair) (leased netip.Addr, renewed <-chan netip.Addr) {
	t.Helper()
	router := visited.Addr().Next()
	leased = router.Next()
	netnstest.Inside(t, p.nsB, func() error { return netnstest.SetUp("eth0", netip.PrefixFrom(router, visited.Bits())) })
	renewals := make(chan netip.Addr, 100)
	answer := func(conn net.PacketConn, peer net.Addr, m *dhcpv4.DHCPv4) {
		kind := dhcpv4.MessageTypeOffer
		switch m.MessageType() {
		case dhcpv4.MessageTypeDiscover:
		case dhcpv4.MessageTypeRequest:
			kind = dhcpv4.MessageTypeAck
			if from, ok := netip.AddrFromSlice(m.ClientIPAddr.To4()); ok && !from.IsUnspecified() {
				select {
				case renewals <- from:
				default: // the test has seen enough
				}
			}
		default:
			return
		}
		r, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(kind), dhcpv4.WithServerIP(router.AsSlice()), dhcpv4.WithYourIP(leased.AsSlice()),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(router.AsSlice())), dhcpv4.WithRouter(router.AsSlice()), dhcpv4.WithDNS(router.AsSlice()),
			dhcpv4.WithNetmask(net.CIDRMask(visited.Bits(), 32)), dhcpv4.WithLeaseTime(3600), dhcpv4.WithOption(dhcpv4.OptRenewTimeValue(time.Second)),
			dhcpv4.WithOption(dhcpv4.OptDomainName("hotel.example")))
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = conn.WriteTo(r.ToBytes(), peer) // an answer that is lost is asked for again
	}
	var server *server4.Server
	netnstest.Inside(t, p.nsB, func() (err error) {
		server, err = server4.NewServer("eth0", &net.UDPAddr{IP: net.IPv4zero, Port: dhcpv4.ServerPort}, answer)
		return err
	})
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve()
	}()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	return leased, renewals
}

// Shows: HST-2, HST-3, DET-11 (under the kill switch, with the visited network's addresses routed into the tunnel, the real NetworkManager gets
// its lease by DHCP and renews it; the client learns the network's servers and domain from it)
func TestNetworkManagerDHCP(t *testing.T) {
	p := newPair(t)
	dev, err := p.a.OpenDevice("mip0", 1380)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	err = p.a.Apply(link.Settings{
		Device: "mip0", Address: homeA, MTU: 1380, Routes: []netip.Prefix{homes, visited}, Shielded: []netip.Addr{homeA}, KillSwitch: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	before := kept(t, p.a)
	leased, renewed := serveDHCP(t, p)
	const hotel = "[connection]\nid=hotel\nuuid=5d2f1d6a-7d3e-4a3e-9c0b-0f3a6e1f7a03\ntype=ethernet\ninterface-name=eth0\n" +
		"[ipv4]\nmethod=auto\n[ipv6]\nmethod=disabled\n"
	bus := bustest.Start(t)
	manager := bustest.RunNetworkManager(t, bus, p.nsA, map[string]string{"NetworkManager/system-connections/hotel.nmconnection": hotel},
		map[string]string{"NetworkManager/conf.d/90-mipvpn.conf": packagedFile(t, "NetworkManager.conf")})
	manager.Command("connection", "up", "hotel")
	if got := manager.Command("--get-values", "IP4.ADDRESS", "device", "show", "eth0"); got != fmt.Sprintf("%v/%d", leased, visited.Bits()) {
		t.Errorf("NetworkManager has %s of DHCP, expected %v", got, leased)
	}
	select {
	case from := <-renewed:
		if from != leased {
			t.Errorf("the lease of %v was renewed, expected %v", from, leased)
		}
	case <-time.After(time.Minute):
		t.Error("the lease was not renewed within a minute")
	}
	eth0 := link.Interface{Index: p.indexA, Name: "eth0"}
	domain, err := (&hint.SystemLeases{Bus: bus.Connect, Root: t.TempDir()}).Domain(t.Context(), eth0)
	if err != nil || domain != "hotel.example" {
		t.Errorf("the domain of the lease: %q, %v", domain, err)
	}
	servers, err := (&resolve.SystemServers{Bus: bus.Connect, Root: t.TempDir()}).Servers(t.Context(), eth0)
	if want := []netip.Addr{visited.Addr().Next()}; err != nil || !slices.Equal(servers, want) {
		t.Errorf("the servers of the lease: %v, %v, expected %v", servers, err, want)
	}
	if after := kept(t, p.a); after != before {
		t.Errorf("with a lease:\n%s\nbefore:\n%s", after, before)
	}
}
