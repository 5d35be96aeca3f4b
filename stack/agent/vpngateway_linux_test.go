package agent

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/interop/charon"
	"mipvpn/stack/simnet"
	"mipvpn/stack/underlay"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
)

// realNetwork is the gateway on the kernel: an outside host, our gateway, and a host inside that echoes TCP and UDP.
type realNetwork struct {
	outside, gate, inside *os.File
	gateway               *Gateway
}

func newRealNetwork(t *testing.T) *realNetwork {
	t.Helper()
	return newRealNetworkAt(t, simnet.LabGateway)
}

// The ends of the wire outside in IPv6.
var (
	outside6 = netip.MustParsePrefix("2001:db8::77/64")
	gateway6 = netip.MustParsePrefix("2001:db8::10/64")
)

// newRealNetworkAt has the gateway listen on one of its outer addresses.
func newRealNetworkAt(t *testing.T, address netip.Addr) *realNetwork {
	t.Helper()
	n, cfg := newRealWires(t), gatewayConfig(t)
	cfg.Address = address
	n.serve(t, cfg)
	return n
}

// newRealWires is the network without the gateway.
func newRealWires(t *testing.T) *realNetwork {
	t.Helper()
	n := &realNetwork{outside: netnstest.New(t), gate: netnstest.New(t), inside: netnstest.New(t)}
	netnstest.Wire(t, n.outside, "eth0", netip.MustParsePrefix("192.0.2.77/24"), n.gate, "out", netip.MustParsePrefix("192.0.2.10/24"))
	for _, end := range []struct {
		ns   *os.File
		name string
		at   netip.Prefix
	}{{n.outside, "eth0", outside6}, {n.gate, "out", gateway6}} {
		netnstest.Inside(t, end.ns, func() error {
			l, err := netlink.LinkByName(end.name)
			if err != nil {
				return err
			}
			return netlink.AddrAdd(l, &netlink.Addr{IPNet: netnstest.IPNet(end.at), Flags: 0x02}) // IFA_F_NODAD
		})
	}
	netnstest.Wire(t, n.inside, "eth0", netip.MustParsePrefix("10.0.1.20/24"), n.gate, "in", netip.MustParsePrefix("10.0.1.30/24"))
	netnstest.Inside(t, n.inside, func() error {
		return netlink.RouteAdd(&netlink.Route{Dst: netnstest.IPNet(simnet.LabInnerPool), Gw: simnet.LabGatewayInner.AsSlice()})
	})
	netnstest.Inside(t, n.inside, func() error { return echoReal(t) })
	return n
}

// serve starts the gateway.
func (n *realNetwork) serve(t *testing.T, cfg GatewayConfig) {
	t.Helper()
	host, err := underlay.NewHost(underlay.Options{Namespace: n.gate})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = host.Close() })
	n.gateway = startGateway(t, host, cfg)
}

// echoReal serves TCP and UDP on the service's address in the namespace it is called in.
func echoReal(t *testing.T) error {
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(service))
	if err != nil {
		return err
	}
	t.Cleanup(func() { l.Close() })
	u, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(service))
	if err != nil {
		return err
	}
	t.Cleanup(func() { u.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	go func() {
		p := make([]byte, 65536)
		for {
			n, from, err := u.ReadFromUDPAddrPort(p)
			if err != nil {
				return
			}
			_, _ = u.WriteToUDPAddrPort(p[:n], from)
		}
	}()
	return nil
}

// stream sends n octets over TCP from the outside host to the inside one and wants them back.
func (n *realNetwork) stream(t *testing.T, octets int) {
	t.Helper()
	var c *net.TCPConn
	netnstest.Inside(t, n.outside, func() (err error) {
		c, err = net.DialTCP("tcp4", nil, net.TCPAddrFromAddrPort(service))
		return err
	})
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	sent := make([]byte, octets)
	_, _ = rand.Read(sent)
	written := make(chan error, 1)
	go func() {
		_, err := c.Write(sent)
		written <- errors.Join(err, c.CloseWrite())
	}()
	got, err := io.ReadAll(c)
	if err := errors.Join(err, <-written); err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d of %d octets came back, the same: %v; %v; drops %v", len(got), len(sent), bytes.Equal(got, sent), err, n.gateway.Drops().Snapshot())
	}
	if from := c.LocalAddr().(*net.TCPAddr).AddrPort().Addr(); !simnet.LabInnerPool.Contains(from) {
		t.Errorf("the stream left from %v, not from the inner address", from)
	}
}

// datagram sends one datagram and wants it back.
func (n *realNetwork) datagram(t *testing.T, octets int) {
	t.Helper()
	var c *net.UDPConn
	netnstest.Inside(t, n.outside, func() (err error) {
		c, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(service))
		return err
	})
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	sent := make([]byte, octets)
	_, _ = rand.Read(sent)
	got := make([]byte, 65536)
	if _, err := c.Write(sent); err != nil {
		t.Fatal(err)
	}
	k, err := c.Read(got)
	if err != nil || !bytes.Equal(got[:k], sent) {
		t.Fatalf("a datagram of %d octets: %d came back, %v", octets, k, err)
	}
}

// Shows: IKE-5, IKE-6, IKE-9, GDL-3. charon is the client of our gateway on the kernel: TCP and UDP through the TUN device
// at both ends, rekeying from either side, DELETE from either side.
func TestGatewayServesCharon(t *testing.T) {
	if err := charon.Available(); err != nil {
		t.Skip(err)
	}
	n := newRealNetwork(t)
	d, err := charon.Start(charon.Options{Configuration: "testdata/charon-client", Dir: t.TempDir(),
		Launch:  charon.In(n.outside),
		Secrets: []charon.Secret{{Name: "gateway", Owners: []string{"laptop0@corp.example", "gateway.corp.example"}, Key: []byte("key 0")}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("charon:\n%s", d.Tail(150))
		}
	})
	swanctl := func(args ...string) {
		t.Helper()
		if _, err := d.Swanctl(args...); err != nil {
			t.Fatal(err)
		}
	}
	traffic := func() {
		t.Helper()
		n.datagram(t, 1)
		n.datagram(t, 1300)
		n.stream(t, 300_000)
	}
	swanctl("--initiate", "--child", "enterprise")
	traffic()
	sessions := n.gateway.Sessions()
	if len(sessions) != 1 || sessions[0].Identity != identity(t, "laptop0@corp.example") {
		t.Fatalf("sessions %+v", sessions)
	}
	t.Log("charon rekeys")
	swanctl("--rekey", "--child", "enterprise")
	traffic()
	swanctl("--rekey", "--ike", "company")
	traffic()
	t.Log("the gateway rekeys")
	newest := func() (id childKey) {
		n.command(t, func(link.Instant) error {
			for key, c := range n.gateway.children.byKey {
				if c.in.SPI() == n.gateway.routes.of(sessions[0].Address).inbound {
					id = key
				}
			}
			return nil
		})
		return id
	}
	before := newest()
	n.command(t, func(now link.Instant) error { return n.gateway.machine.RekeyChild(now, before.session, before.id) })
	for deadline := time.Now().Add(20 * time.Second); newest() == before; {
		n.datagram(t, 100)
		if time.Now().After(deadline) {
			t.Fatal("the child SA was not rekeyed")
		}
	}
	traffic()
	n.command(t, func(now link.Instant) error { return n.gateway.machine.RekeyIKE(now, before.session) })
	traffic()
	swanctl("--terminate", "--ike", "company")
	if s := n.gateway.Sessions(); len(s) != 0 {
		t.Errorf("after DELETE: %+v", s)
	}
	swanctl("--initiate", "--child", "enterprise")
	traffic()
	if s := n.gateway.Sessions(); len(s) != 1 || s[0].Address != sessions[0].Address {
		t.Errorf("connected again as %+v, before as %+v", s, sessions)
	}
	if err := n.gateway.Close(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		out, err := d.Swanctl("--list-sas")
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(out) == "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("charon still has\n%s", out)
		}
	}
}

// command runs f on the gateway's loop.
func (n *realNetwork) command(t *testing.T, f func(link.Instant) error) {
	t.Helper()
	result := make(chan error, 1)
	if !n.gateway.loop.post(func(now link.Instant) { result <- f(now) }) {
		t.Fatal("the gateway is too busy")
	}
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}

// Shows: IKE-6. Our own client on the kernel reaches the inside as well: the driver of the simulation, unchanged; outside in IPv4 and
// IPv6, with ESP as protocol 50, in UDP and in TCP.
func TestGatewayServesOurClientOnTheKernel(t *testing.T) {
	for family, address := range map[string]netip.Addr{"IPv4": simnet.LabGateway, "IPv6 alone": gateway6.Addr(), "IPv6": gateway6.Addr()} {
		for name, change := range map[string]func(*ike.InitiatorConfig){
			"as it comes":          func(*ike.InitiatorConfig) {},
			"encapsulation in UDP": func(cfg *ike.InitiatorConfig) { cfg.ForceUDPEncapsulation = true },
			"encapsulation in TCP": func(cfg *ike.InitiatorConfig) {
				cfg.TCP, cfg.Remote = true, netip.AddrPortFrom(cfg.Remote.Addr(), esp.PortNATT)
			},
		} {
			t.Run(family+", "+name, func(t *testing.T) {
				n, serving := newRealWires(t), gatewayConfig(t)
				if serving.Address = address; family == "IPv6" {
					serving.Address, serving.Additional = simnet.LabGateway, []netip.Addr{address}
				}
				n.serve(t, serving)
				host, err := underlay.NewHost(underlay.Options{Namespace: n.outside})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = host.Close() })
				list, err := host.Interfaces()
				if err != nil || len(list) == 0 {
					t.Fatalf("interfaces %+v, %v", list, err)
				}
				own := list[0].Address.Addr()
				if address.Is6() {
					own = outside6.Addr()
				}
				c := newVPNClient(t, host, list[0].Index, own, 0, func(cfg *ike.InitiatorConfig) {
					cfg.Remote = netip.AddrPortFrom(address, esp.PortIKE)
					change(cfg)
				})
				if strings.HasSuffix(name, "TCP") {
					c.dial(list[0].Index)
				}
				c.up()
				n.datagram(t, 1)
				n.datagram(t, 1300)
				n.stream(t, 3_000_000)
			})
		}
	}
}
