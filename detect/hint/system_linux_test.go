package hint

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"

	"mipvpn/detect/resolve/bustest"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Shows: DET-11 (the DHCP domain, from whatever manages the interface)
func TestSystemLeases(t *testing.T) {
	root := t.TempDir()
	s := &SystemLeases{Root: root}
	eth0 := link.Interface{Index: 3, Name: "eth0"}
	check := func(name, want string) {
		t.Helper()
		if got, err := s.Domain(t.Context(), eth0); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
	}
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	check("nothing", "")
	write("var/lib/dhcp/dhclient.leases", "lease {\n interface \"eth0\";\n option domain-name \"dhclient.example\";\n}\n")
	check("dhclient, one file", "dhclient.example")
	write("var/lib/dhcp/dhclient.eth0.leases", "lease {\n interface \"eth0\";\n option domain-name \"eth0.example\";\n}\n")
	check("dhclient, a file an interface", "eth0.example")
	write("run/systemd/netif/leases/3", "DOMAINNAME=networkd.example\n")
	check("systemd-networkd", "networkd.example")
	bus := bustest.Start(t)
	s.Bus = bus.Connect
	check("a bus without NetworkManager", "networkd.example")
	bustest.StartNetworkManagerLeases(t, bus, map[string]map[string]any{
		"eth0": {"domain_name": "manager.example", "lease_time": uint32(43200)}, "eth1": {}, "eth2": {"domain_name": 7}, "eth4": nil})
	check("NetworkManager", "manager.example")
	for _, name := range []string{"eth1", "eth2", "eth3", "eth4"} {
		if got, err := s.Domain(t.Context(), link.Interface{Index: 9, Name: name}); got != "" || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	dead := errors.New("no bus here")
	s.Bus = func(context.Context) (*dbus.Conn, error) { return nil, dead }
	check("a dead bus", "networkd.example")
	s.Root = t.TempDir()
	if got, err := s.Domain(t.Context(), eth0); got != "" || !errors.Is(err, dead) {
		t.Errorf("nothing: %q, %v", got, err)
	}
	s.Bus = nil
	if got, err := s.Domain(t.Context(), link.Interface{Index: 3, Name: "../eth0"}); got != "" || err != nil {
		t.Errorf("a name that is a path: %q, %v", got, err)
	}
}

// Shows: DET-11 (DHCPINFORM, with a DHCP server in another namespace)
func TestInform(t *testing.T) {
	laptop, router := netnstest.New(t), netnstest.New(t)
	netnstest.Wire(t, laptop, "eth0", netip.MustParsePrefix("10.0.2.100/24"), router, "lan0", netip.MustParsePrefix("10.0.2.1/24"))
	asked := make(chan dhcpv4.MessageType, 16)
	var server *server4.Server
	netnstest.Inside(t, router, func() (err error) {
		server, err = server4.NewServer("lan0", &net.UDPAddr{IP: net.IPv4zero, Port: dhcpv4.ServerPort}, func(conn net.PacketConn, _ net.Addr, m *dhcpv4.DHCPv4) {
			asked <- m.MessageType()
			r, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(dhcpv4.MessageTypeAck), dhcpv4.WithOption(dhcpv4.OptDomainName("corp.example")))
			if err != nil {
				t.Error(err)
				return
			}
			to := &net.UDPAddr{IP: m.ClientIPAddr, Port: dhcpv4.ClientPort} // RFC 2131 §4.1: to ciaddr
			if _, err := conn.WriteTo(r.ToBytes(), to); err != nil {
				t.Error(err)
			}
		})
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
	s := &SystemLeases{Root: t.TempDir(), Inform: true}
	netnstest.Inside(t, laptop, func() error {
		n, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		i := link.Interface{Index: n.Index, Name: "eth0", Up: true, Hardware: packet.HardwareAddr(n.HardwareAddr), Address: netip.MustParsePrefix("10.0.2.100/24")}
		domain, err := s.Domain(t.Context(), i)
		if err != nil || domain != "corp.example" {
			t.Errorf("%q, %v", domain, err)
		}
		// Nobody answers on loopback; a context ends the wait.
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		i.Name, i.Address = "lo", netip.MustParsePrefix("127.0.0.1/8")
		if domain, err := s.Domain(ctx, i); domain != "" || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without a server: %q, %v", domain, err)
		}
		return nil
	})
	if got := <-asked; got != dhcpv4.MessageTypeInform {
		t.Errorf("the server was asked by %v", got)
	}
}
