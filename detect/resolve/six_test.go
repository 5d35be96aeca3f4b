//go:build linux

package resolve

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/detect/nat64"
	"mipvpn/detect/resolve/query"
	"mipvpn/stack/underlay"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
)

// serve6 is the name server of a network with IPv6 alone and a DNS64 (RFC 6147): on the address, which may be link-local.
func serve6(t *testing.T, ns *os.File, at netip.Addr) {
	t.Helper()
	var conn net.PacketConn
	netnstest.Inside(t, ns, func() error {
		scope, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		u := net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, Port))
		if at.IsLinkLocalUnicast() {
			u.Zone = scope.Name
		}
		conn, err = (&net.ListenConfig{}).ListenPacket(t.Context(), "udp6", u.String())
		return err
	})
	t.Cleanup(func() { conn.Close() })
	records := map[string]string{"gw.corp.example. AAAA": "2001:db8:9::10", "gw.corp.example. A": "192.0.2.10",
		"ipv4only.arpa. A": "192.0.0.170", "ipv4only.arpa. AAAA": "64:ff9b::c000:aa"}
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var q, a dns.Msg
			if q.Unpack(buf[:n]) != nil {
				continue
			}
			a.SetReply(&q)
			kind := dns.TypeToString[q.Question[0].Qtype]
			if addr, ok := records[strings.ToLower(q.Question[0].Name)+" "+kind]; ok {
				if rr, err := dns.NewRR(q.Question[0].Name + " 60 IN " + kind + " " + addr); err == nil {
					a.Answer = []dns.RR{rr}
				}
			}
			if p, err := a.Pack(); err == nil {
				_, _ = conn.WriteTo(p, from)
			}
		}
	}()
}

// Shows: HST-3, DET-18 (IPv6 only). Names are resolved in a network that has IPv6 alone, by its own name servers, one of which has
// a link-local address: IPv6 and IPv4 addresses, and the prefix of its NAT64.
func TestAddressesOverIPv6(t *testing.T) {
	laptop, router := netnstest.New(t), netnstest.New(t)
	netnstest.Wire(t, laptop, "eth0", netip.Prefix{}, router, "eth0", netip.Prefix{})
	for ns, list := range map[*os.File][]string{laptop: {"2001:db8::5/64", "fe80::5/64"}, router: {"2001:db8::1/64", "fe80::1/64"}} {
		netnstest.Inside(t, ns, func() error {
			l, err := netlink.LinkByName("eth0")
			for _, a := range list {
				if err == nil {
					err = netlink.AddrAdd(l, &netlink.Addr{IPNet: netnstest.IPNet(netip.MustParsePrefix(a)), Flags: unix.IFA_F_NODAD})
				}
			}
			return err
		})
	}
	host, err := underlay.NewHost(underlay.Options{Namespace: laptop})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Close() })
	prefix := netip.MustParsePrefix("64:ff9b::/96")
	local := netip.MustParseAddr("fe80::1")
	serve6(t, router, netip.MustParseAddr("2001:db8::1"))
	serve6(t, router, local)
	i := link.Interface{Index: netnstest.Index(t, laptop, "eth0"), Name: "eth0", Address6: netip.MustParsePrefix("2001:db8::5/64")}
	ours, theirs := netip.MustParseAddr("192.0.2.53"), local.WithZone("wlan0")
	for _, servers := range [][]netip.Addr{
		{netip.MustParseAddr("2001:db8::1")}, {local}, {local.WithZone("eth0")}, {ours, theirs, netip.MustParseAddr("2001:db8::1")},
	} {
		r := New(host, fixedServers{"eth0": servers}, rand.Reader)
		for range 2 {
			if got, err := r.Addresses6(t.Context(), i, "gw.corp.example"); err != nil || !slices.Equal(got, []netip.Addr{netip.MustParseAddr("2001:db8:9::10")}) {
				t.Errorf("%v: %v, %v", servers, got, err)
			}
			if got, err := r.Addresses(t.Context(), i, "gw.corp.example"); err != nil || !slices.Equal(got, one("192.0.2.10")) {
				t.Errorf("%v: IPv4: %v, %v", servers, got, err)
			}
		}
		if _, err := r.Addresses6(t.Context(), i, "nobody.example"); !errors.Is(err, query.ErrNoAddress) {
			t.Errorf("a name without an address: %v", err)
		}
		found, _, err := nat64.Learn(t.Context(), func(ctx context.Context, m []byte) ([]byte, error) { return r.Exchange(ctx, i, m) })
		if err != nil || !slices.Equal(found, []netip.Prefix{prefix}) {
			t.Errorf("%v: prefixes %v, %v", servers, found, err)
		}
	}
	r := New(host, fixedServers{"eth0": {ours, theirs}}, rand.Reader)
	if _, err := r.Addresses6(t.Context(), i, "gw.corp.example"); !errors.Is(err, query.ErrNoServers) {
		t.Errorf("servers that are not reached from here: %v", err)
	}
	if got, err := r.Addresses6(t.Context(), i, "2001:db8::7"); err != nil || got[0] != netip.MustParseAddr("2001:db8::7") {
		t.Errorf("an address: %v, %v", got, err)
	}
}
