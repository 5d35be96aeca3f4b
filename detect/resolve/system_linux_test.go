package resolve

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/godbus/dbus/v5"

	"mipvpn/detect/resolve/bustest"
	"mipvpn/tun/link"
)

func one(s string) []netip.Addr { return []netip.Addr{netip.MustParseAddr(s)} }

// Shows: HST-3 (the servers of an interface: systemd-resolved before NetworkManager before leases before resolv.conf, over
// a real bus)
func TestSystemServers(t *testing.T) {
	root := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	own := netip.MustParseAddr("10.11.12.13")
	s := &SystemServers{Root: root, Own: []netip.Addr{own}, ResolvConf: func() ([]byte, error) {
		return []byte("nameserver 10.11.12.13\nnameserver 127.0.0.53\nnameserver 192.0.2.5\n"), nil
	}}
	check := func(when string, want []netip.Addr) {
		t.Helper()
		got, err := s.Servers(t.Context(), link.Interface{Index: 3, Name: "wlan0"})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v", when, got, err)
		}
	}
	check("resolv.conf alone", one("192.0.2.5"))
	write("var/lib/dhcp/dhclient.leases", "lease {\ninterface \"wlan0\";\noption domain-name-servers 192.0.2.4;\n}\n")
	check("a lease of dhclient", one("192.0.2.4"))
	write("run/systemd/netif/leases/3", "DNS=192.0.2.3\n")
	check("a lease of systemd-networkd", one("192.0.2.3"))

	bus := bustest.Start(t)
	s.Bus = bus.Connect
	check("a bus without services", one("192.0.2.3"))
	bustest.StartNetworkManager(t, bus, map[string][]netip.Addr{"eth0": one("192.0.2.99"), "wlan0": append(one("2001:db8::2"), one("192.0.2.2")...)})
	check("NetworkManager", append(one("192.0.2.2"), one("2001:db8::2")...))
	resolved := bustest.StartResolved(t, bus, nil)
	check("systemd-resolved that knows no such link", append(one("192.0.2.2"), one("2001:db8::2")...))
	resolved.SetLink(3, bustest.Link{Servers: []netip.Addr{own}})
	check("systemd-resolved that knows only our own", append(one("192.0.2.2"), one("2001:db8::2")...))
	resolved.SetLink(3, bustest.Link{Servers: append([]netip.Addr{own, netip.MustParseAddr("2001:db8::1")}, one("192.0.2.1")...)})
	check("systemd-resolved", append(one("2001:db8::1"), one("192.0.2.1")...))

	dead := errors.New("no bus here")
	s.Bus = func(context.Context) (*dbus.Conn, error) { return nil, dead }
	check("a dead bus", one("192.0.2.3"))
	s.Root, s.ResolvConf = t.TempDir(), nil
	if got, err := s.Servers(t.Context(), link.Interface{Index: 3, Name: "wlan0"}); got != nil || !errors.Is(err, dead) {
		t.Errorf("nothing: %v, %v", got, err)
	}
	s.Bus = nil
	if got, err := s.Servers(t.Context(), link.Interface{Index: 3, Name: "../wlan0"}); got != nil || err != nil {
		t.Errorf("nothing, with a name that is a path: %v, %v", got, err)
	}
}
