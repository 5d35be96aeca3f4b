//go:build linux

package underlay

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/vishvananda/netlink"

	"mipvpn/detect/hint"
	"mipvpn/detect/linkmon"
	"mipvpn/detect/resolve"
	"mipvpn/detect/resolve/bustest"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
)

// visited is the network of the DHCP server, its router and name server at host B of the pair.
var visited = netip.MustParsePrefix("192.168.7.0/24")

// serveDHCP runs a DHCP server on host B that leases one address of the visited network, that in leases, to be renewed once after a second
// (RFC 2131 §4.4.5), and refuses any other. It tells of each request that renews it, from which address it came.
func serveDHCP(t *testing.T, p *pair, leases *atomic.Pointer[netip.Addr]) (renewed <-chan netip.Addr) {
	t.Helper()
	router := visited.Addr().Next()
	netnstest.Inside(t, p.nsB, func() error { return netnstest.SetUp("eth0", netip.PrefixFrom(router, visited.Bits())) })
	renewals, renewal := make(chan netip.Addr, 1), time.Second
	answer := func(conn net.PacketConn, peer net.Addr, m *dhcpv4.DHCPv4) {
		kind, leased := dhcpv4.MessageTypeOffer, *leases.Load()
		switch m.MessageType() {
		case dhcpv4.MessageTypeDiscover:
		case dhcpv4.MessageTypeRequest:
			kind = dhcpv4.MessageTypeAck
			for _, asked := range []net.IP{m.RequestedIPAddress(), m.ClientIPAddr} {
				if a, ok := netip.AddrFromSlice(asked.To4()); ok && !a.IsUnspecified() && a != leased {
					kind = dhcpv4.MessageTypeNak
				}
			}
			if from, ok := netip.AddrFromSlice(m.ClientIPAddr.To4()); ok && !from.IsUnspecified() {
				renewal = time.Hour // the test has seen enough
				select {
				case renewals <- from:
				default:
				}
			}
		default:
			return
		}
		r, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(kind), dhcpv4.WithServerIP(router.AsSlice()), dhcpv4.WithYourIP(leased.AsSlice()),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(router.AsSlice())), dhcpv4.WithRouter(router.AsSlice()), dhcpv4.WithDNS(router.AsSlice()),
			dhcpv4.WithNetmask(net.CIDRMask(visited.Bits(), 32)), dhcpv4.WithLeaseTime(7200), dhcpv4.WithOption(dhcpv4.OptRenewTimeValue(renewal)),
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
	return renewals
}

// roamed waits until the interface of host A is as wanted, and returns it with what Compare says about it.
func roamed(t *testing.T, p *pair, hints <-chan struct{}, before []link.Interface, wanted func(link.Interface) bool) (after []link.Interface, why string) {
	t.Helper()
	limit := time.After(time.Minute)
	for {
		after, err := p.a.Interfaces()
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range after {
			if i.Index != p.indexA || !wanted(i) {
				continue
			}
			for _, c := range linkmon.Compare(before, after) {
				if c.Index == p.indexA {
					why = c.Reason
				}
			}
			return after, why
		}
		select {
		case <-hints:
		case <-limit:
			t.Fatalf("after a minute the interfaces are %+v", after)
		}
	}
}

// Shows: HST-2, HST-3, DET-2, DET-11 (under the kill switch, with the visited network's addresses routed into the tunnel, the real
// NetworkManager gets its lease by DHCP and renews it; the client learns the network's servers and domain from it; when the carrier goes and
// comes, as at a roam, the client learns of it although the address stays, and of the other network that had the name of the first)
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
	leased := visited.Addr().Next().Next()
	var leases atomic.Pointer[netip.Addr]
	leases.Store(&leased)
	renewed := serveDHCP(t, p, &leases)
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

	// What becomes of an interface at a roam: the carrier goes and comes, and DHCP is asked again or not.
	hints := make(chan struct{}, 1)
	stop, err := p.a.Watch(func() {
		select {
		case hints <- struct{}{}:
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	router := visited.Addr().Next()
	at, _ := roamed(t, p, hints, nil, func(i link.Interface) bool { return i.Up && i.Address.Addr() == leased && i.Gateway == router })
	// carrier waits until NetworkManager knows of it, too: what it is told to do meanwhile fails.
	carrier := func(want string) {
		limit := time.Now().Add(time.Minute)
		for manager.Command("--get-values", "WIRED-PROPERTIES.CARRIER", "device", "show", "eth0") != want {
			if time.Now().After(limit) {
				t.Fatalf("to NetworkManager the carrier of eth0 is not %s after a minute", want)
			}
		}
	}
	flap := func(before []link.Interface) {
		set := func(set func(netlink.Link) error) {
			netnstest.Inside(t, p.nsB, func() error {
				eth0, err := netlink.LinkByName("eth0")
				if err != nil {
					return err
				}
				return set(eth0)
			})
		}
		set(netlink.LinkSetDown)
		roamed(t, p, hints, before, func(i link.Interface) bool { return !i.Up })
		carrier("off")
		set(netlink.LinkSetUp)
		carrier("on")
	}
	changes := at[slices.IndexFunc(at, func(i link.Interface) bool { return i.Index == p.indexA })].CarrierChanges
	flap(at)
	same, why := roamed(t, p, hints, at, func(i link.Interface) bool {
		return i.Up && i.CarrierChanges >= changes+2 && i.Address.Addr() == leased && i.Gateway == router
	})
	if why != "carrier flapped" {
		t.Errorf("at a roam with the address kept the client sees %q", why)
	}
	next := leased.Next()
	leases.Store(&next)
	flap(same)
	manager.Command("connection", "up", "hotel") // which it does by itself when it has associated with another access point of that name
	_, why = roamed(t, p, hints, same, func(i link.Interface) bool { return i.Up && i.Address.Addr() == next && i.Gateway == router })
	if want := fmt.Sprintf("carrier flapped, address %v/%d, was %v/%d", next, visited.Bits(), leased, visited.Bits()); why != want {
		t.Errorf("at a roam to another network the client sees %q, expected %q", why, want)
	}
	if after := kept(t, p.a); after != before {
		t.Errorf("after the roams:\n%s\nbefore:\n%s", after, before)
	}
}
