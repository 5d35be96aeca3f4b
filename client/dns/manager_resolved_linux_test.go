package dns

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"

	"mipvpn/detect/resolve"
	"mipvpn/detect/resolve/bustest"
	"mipvpn/detect/resolve/query"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
)

// Shows: HST-3 (beside the real NetworkManager that tells the real systemd-resolved of each network's servers and domains: neither takes the
// other's settings away, and the network's servers are asked nothing about the enterprise's names, also where the network calls itself by them)
func TestNetworkManagerBesideResolved(t *testing.T) { insideNamespaces(t, managerBesideResolved) }

func managerBesideResolved(t *testing.T, program string) {
	here, err := os.Open("/proc/thread-self/ns/net")
	must(t, err)
	defer here.Close()
	cafe := netnstest.New(t)
	netnstest.Wire(t, here, "eth0", netip.Prefix{}, cafe, "eth0", netip.MustParsePrefix("192.168.1.1/24"))
	var cafes []*asked
	netnstest.Inside(t, cafe, func() error {
		for n := range 2 {
			address := netip.AddrFrom4([4]byte{192, 168, 1, byte(1 + n)})
			if err := netnstest.SetUp("eth0", netip.PrefixFrom(address, 24)); err != nil && n > 0 {
				return err
			}
			cafes = append(cafes, listenReal(t, address.String()+":53", "192.0.2.80"))
		}
		return nil
	})
	must(t, netnstest.SetUp("lo", netip.MustParsePrefix("10.0.1.53/32")))
	company := listenReal(t, "10.0.1.53:53", "10.0.1.20")

	bus := bustest.Start(t)
	runResolved(t, bus, program)
	ours, err := os.ReadFile("../../configs/desktop/NetworkManager.conf")
	must(t, err)
	manager := bustest.RunNetworkManager(t, bus, here, map[string]string{
		"NetworkManager/system-connections/hotel.nmconnection": hotel, "NetworkManager/conf.d/10-test.conf": "[main]\ndns=systemd-resolved\nrc-manager=unmanaged\n",
	}, map[string]string{"NetworkManager/conf.d/90-mipvpn.conf": string(ours)})
	eth0, err := netlink.LinkByName("eth0")
	must(t, err)

	f, err := Listen(OSSockets{}, clockOnly{}, forwarderAddr, noOutside{}, rand.Reader, zap.NewNop())
	must(t, err)
	f.Set(Routing{Domains: query.Domains{"corp.example."}, Inside: []netip.Addr{netip.MustParseAddr("10.0.1.53")}})
	r := &Resolved{Bus: bus.Connect, Link: OwnLink{}}
	hints, changed := hinted()
	stop, err := r.Watch(changed)
	must(t, err)
	defer stop()
	set := Plan{Server: forwarderAddr, Domains: query.Domains{"corp.example."}, Search: true}
	_, err = r.Set(set)
	must(t, err)
	servers := &resolve.SystemServers{Bus: bus.Connect, Own: []netip.Addr{forwarderAddr}}

	for _, tc := range []struct{ command, server, search string }{
		{"connection up hotel", "192.168.1.1", "hotel.example"},
		{"device modify eth0 ipv4.dns 192.168.1.2 ipv4.dns-search cafe.example", "192.168.1.2", "cafe.example"},
		{"device modify eth0 ipv4.dns-search corp.example", "192.168.1.2", ""},
		{"device modify eth0 ipv4.dns-search b.corp.example,pub.example", "192.168.1.2", "pub.example"},
		{"device reapply eth0", "192.168.1.1", "hotel.example"},
		{"connection down hotel", "", ""},
		{"general reload", "", ""},
		{"connection up hotel", "192.168.1.1", "hotel.example"},
		{"device modify eth0 ipv4.dns-search b.corp.example,pub.example", "192.168.1.1", "pub.example"},
	} {
		manager.Command(strings.Fields(tc.command)...)
		// What the client does at each hint, until NetworkManager's word is systemd-resolved's.
		limit := time.After(time.Minute)
		for {
			if _, err := r.Set(set); err != nil {
				t.Fatal(err)
			}
			found, err := servers.Servers(t.Context(), link.Interface{Index: eth0.Attrs().Index, Name: "eth0"})
			if err == nil && fmt.Sprint(found) == fmt.Sprint(strings.Fields(tc.server)) {
				break
			}
			select {
			case <-hints:
			case <-limit:
				t.Fatalf("%s: after a minute eth0 has %v, %v, expected %q", tc.command, found, err, tc.server)
			}
		}
		if changed, err := r.Set(set); err != nil || changed {
			t.Errorf("%s: our settings are not as they were: %v, %v", tc.command, changed, err)
		}
		names := map[string]string{"wiki.corp.example.": "NOERROR 10.0.1.20", "wiki.b.corp.example.": "NOERROR 10.0.1.20"}
		if tc.server != "" {
			names["www.example.com."] = "NOERROR 192.0.2.80"
		}
		if tc.search != "" {
			names["wiki.corp.example."+tc.search+"."] = "NXDOMAIN "
		}
		for name, want := range names {
			if got := askStub(t, name); got != want {
				t.Errorf("%s: %s: %s, expected %s", tc.command, name, got, want)
			}
		}
	}
	manager.Stop()
	if got := askStub(t, "last.corp.example."); got != "NOERROR 10.0.1.20" {
		t.Errorf("after NetworkManager's end: %s", got)
	}
	for n, a := range cafes {
		for _, name := range a.list() {
			if strings.Contains(name, "corp.example") {
				t.Errorf("the network's server %d was asked about %s", n, name)
			}
		}
		if !slices.Contains(a.list(), "www.example.com.") {
			t.Errorf("the network's server %d was asked about %v alone: nothing was tested", n, a.list())
		}
	}
	must(t, r.Clear())
	must(t, f.Close())
	conn, err := bus.Connect(t.Context())
	must(t, err)
	defer conn.Close()
	after, err := otherDomains(t.Context(), conn.Object(resolvedService, resolvedPath))
	if want := []wireDomain{{"b.corp.example", false}, {"pub.example", false}}; err != nil || !slices.Equal(after[int32(eth0.Attrs().Index)], want) {
		t.Errorf("after Clear eth0 has the domains %v, %v, expected %v", after, err, want)
	}
	if !slices.Contains(company.list(), "wiki.b.corp.example.") {
		t.Errorf("asked inside: %v", company.list())
	}
}
