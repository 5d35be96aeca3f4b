//go:build linux

package hostnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// cafe is a laptop in a network whose router is an attacker.
type cafe struct {
	*hostile
	attacker *os.File
}

// cafeNet is the network, router the attacker's address in it, evil another of its addresses, server that of the VPN gateway.
var (
	cafeNet = netip.MustParsePrefix("192.168.1.2/24")
	router  = netip.MustParseAddr("192.168.1.1")
	evil    = netip.MustParseAddr("192.168.1.66")
	server  = netip.MustParseAddr("192.0.2.10")
)

func newCafe(t *testing.T) *cafe {
	c := &cafe{&hostile{t: t, ns: netnstest.New(t), network: New(Options{}), sockets: make(map[socketKey]int)}, netnstest.New(t)}
	withoutTests6(t, c.ns)
	withoutTests6(t, c.attacker)
	netnstest.Wire(t, c.ns, "eth0", cafeNet, c.attacker, "eth0", netip.PrefixFrom(router, 24))
	c.inside = netnstest.Enter(t, c.ns)
	c.gateHW = hardware(t, c.attacker, "eth0")
	netnstest.Inside(t, c.ns, func() error { return netnstest.Route(everything, router) })
	awaitCarrier(t, c.ns, "eth0")
	c.wire = newTap(t, c.attacker, "eth0")
	c.openMip0()
	t.Cleanup(func() {
		for _, fd := range c.sockets {
			unix.Close(fd)
		}
	})
	return c
}

// eventually runs f in the laptop until it reports true.
func (c *cafe) eventually(what string, f func() (bool, error)) {
	c.t.Helper()
	err := c.inside(func() error {
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
			if ok, err := f(); ok || err != nil {
				return err
			}
		}
		return errors.New("it does not come to pass")
	})
	if err != nil {
		c.t.Fatalf("%s: %v", what, err)
	}
}

// by returns where an application's datagram to dst goes.
func (c *cafe) by(dst netip.Addr) string {
	c.t.Helper()
	if dst.Is4() && !dst.IsMulticast() { // as if it answered ARP
		c.do(func() error { return neighbour("eth0", dst, c.gateHW) })
	}
	benign := []sendFunc{frameProbe(cafeNet.Addr(), outside, 9, unix.ETH_P_IP, protectedMark)}
	p := probe{name: fmt.Sprintf("an application to %v", dst), send: func(h *hostile, payload string) error {
		err := udpProbe(dst, 0, 0)(h, payload)
		if errors.Is(err, unix.ENETUNREACH) {
			return nil
		}
		return err
	}, benign: benign}
	if c.passed(p) {
		return "the wire"
	}
	p.where, p.benign = onMip0, []sendFunc{udpFromProbe("mip0", netip.Addr{}, enterprise, 0, 0)}
	if c.passed(p) {
		return "the tunnel"
	}
	return "nowhere"
}

// Shows: HST-1, HST-2 (what an attacker in the laptop's network can do to its routes, against split and full tunnels)
func TestAdversaries(t *testing.T) {
	ldap, mail := netip.MustParseAddr("10.0.1.20"), netip.MustParseAddr("10.0.200.9")
	const tunnel, wire, nowhere = "the tunnel", "the wire", "nowhere"
	for _, attack := range []struct {
		name string
		do   func(c *cafe)
		// full is where packets to destinations go in a full tunnel, where that differs from a split one.
		split, full, local map[netip.Addr]string
	}{
		{
			"none", func(*cafe) {},
			map[netip.Addr]string{ldap: tunnel, outside: wire, evil: wire},
			map[netip.Addr]string{outside: tunnel, evil: tunnel},
			map[netip.Addr]string{outside: tunnel, evil: wire},
		},
		{
			"TunnelVision: option 121 for the enterprise's networks and for everything", func(c *cafe) {
				c.routes(router, "10.0.0.0/16", "10.0.1.0/24", "10.0.1.20/32", "0.0.0.0/1", "128.0.0.0/1", "192.0.2.9/32")
			},
			map[netip.Addr]string{ldap: tunnel, mail: tunnel, outside: wire},
			map[netip.Addr]string{outside: tunnel},
			map[netip.Addr]string{outside: tunnel},
		},
		{
			"TunnelCrack, LocalNet: the network claims the enterprise's addresses", func(c *cafe) { c.address("10.0.1.7/24"); c.address("10.0.200.7/8") },
			map[netip.Addr]string{ldap: tunnel, mail: tunnel, netip.MustParseAddr("10.1.1.1"): wire},
			map[netip.Addr]string{netip.MustParseAddr("10.1.1.1"): tunnel},
			map[netip.Addr]string{netip.MustParseAddr("10.1.1.1"): wire, ldap: tunnel, mail: tunnel, outside: tunnel}, // a private neighbour, and not the enterprise's
		},
		{
			"TunnelCrack, LocalNet: the network claims the Internet's addresses", func(c *cafe) { c.address("192.0.2.7/24"); c.address("203.0.113.7/2") },
			map[netip.Addr]string{ldap: tunnel, outside: wire},
			map[netip.Addr]string{outside: tunnel, netip.MustParseAddr("203.0.113.9"): tunnel, netip.MustParseAddr("224.0.1.1"): tunnel},
			map[netip.Addr]string{outside: tunnel, netip.MustParseAddr("203.0.113.9"): tunnel, evil: wire},
		},
		{
			"TunnelCrack, ServerIP: the VPN gateway seems to have a victim's address, and the route to it is the attacker's", func(c *cafe) {
				c.routes(router, "192.0.2.10/32")
			},
			map[netip.Addr]string{ldap: tunnel, server: wire}, // not the enterprise's
			map[netip.Addr]string{server: tunnel},
			map[netip.Addr]string{server: tunnel},
		},
		{
			"another program's policy rule", func(c *cafe) {
				c.do(foreignRules)
				c.routes(router, "10.0.0.0/16")
			},
			map[netip.Addr]string{ldap: nowhere, mail: nowhere, outside: wire},
			map[netip.Addr]string{ldap: nowhere, outside: nowhere},
			map[netip.Addr]string{ldap: nowhere, outside: nowhere, evil: wire},
		},
		{
			"forged ARP: the router's address is at the attacker's", func(c *cafe) {
				hw := net.HardwareAddr{2, 0, 0, 0, 0, 0x66}
				if err := netnstest.Do(c.attacker, func() error { return sendARP("eth0", hw, router, cafeNet.Addr()) }); err != nil {
					c.t.Fatal(err)
				}
			},
			map[netip.Addr]string{ldap: tunnel, outside: wire},
			map[netip.Addr]string{outside: tunnel},
			map[netip.Addr]string{outside: tunnel},
		},
		{
			"a router advertisement for the enterprise's IPv6 prefix and for everything", func(c *cafe) { c.advertise() },
			map[netip.Addr]string{ldap: tunnel, enterprise6: nowhere, outside6: wire},
			map[netip.Addr]string{ldap: tunnel, enterprise6: nowhere, outside6: nowhere},
			map[netip.Addr]string{ldap: tunnel, enterprise6: nowhere, outside6: nowhere},
		},
	} {
		for _, mode := range []struct {
			name     string
			settings link.Settings
			want     map[netip.Addr]string
		}{{"split", lined, attack.split}, {"full", whole, attack.full}, {"full, with local", local, attack.local}} {
			for _, first := range []bool{true, false} { // before the client is up, and while it is
				c := newCafe(t)
				if first {
					attack.do(c)
				}
				apply(t, c.ns, c.network, mode.settings)
				if !first {
					attack.do(c)
					netnstest.Inside(t, c.ns, func() error { return c.network.Cover([]string{"eth0"}) }) // as when the client hears of it
				}
				for dst, want := range mode.want {
					if got := c.by(dst); got != want {
						t.Errorf("%s, %s, before the client %v: an application's packets to %v go to %s, want %s", attack.name, mode.name, first, dst, got, want)
					}
				}
			}
		}
	}
}

func (c *cafe) do(f func() error) {
	c.t.Helper()
	if err := c.inside(f); err != nil {
		c.t.Fatal(err)
	}
}

// routes adds routes as a DHCP client does for options 121, 33 and 249.
func (c *cafe) routes(by netip.Addr, list ...string) {
	c.t.Helper()
	c.do(func() error {
		var errs []error
		for _, p := range prefixes(list...) {
			errs = append(errs, netnstest.Route(p, by))
		}
		return errors.Join(errs...)
	})
}

// address adds an address to eth0 as a DHCP client does.
func (c *cafe) address(p string) {
	c.t.Helper()
	c.do(func() error { return netnstest.SetUp("eth0", netip.MustParsePrefix(p)) })
}

// sendARP sends a reply that says that addr is at hw (RFC 826), to the host at `to`.
func sendARP(name string, hw net.HardwareAddr, addr, to netip.Addr) error {
	fd, err := packetSocket(name, unix.ETH_P_ARP, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	p := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, hw...)
	p = append(p, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 2)
	p = append(append(append(p, hw...), addr.AsSlice()...), 0, 0, 0, 0, 0, 0)
	_, err = unix.Write(fd, append(p, to.AsSlice()...))
	return err
}

// advertise sends a router advertisement (RFC 4861 §4.2) with the enterprise's prefix as on the link and for addresses, and
// waits until the laptop has taken it.
func (c *cafe) advertise() {
	c.t.Helper()
	ra := []byte{134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0}
	ra = append(ra, 3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x0e, 0x10, 0, 0, 0, 0) // RFC 4861 §4.6.2: on-link, autonomous, an hour
	ra = append(ra, netip.MustParseAddr("fd00:e::").AsSlice()...)
	if err := netnstest.Do(c.attacker, func() error {
		l, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255); err != nil {
			return err
		}
		to := &unix.SockaddrInet6{Addr: netip.MustParseAddr("ff02::1").As16(), ZoneId: uint32(l.Index)}
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); { // until there is a link-local address to send from
			if err = unix.Sendto(fd, ra, 0, to); !errors.Is(err, unix.EADDRNOTAVAIL) {
				return err
			}
		}
		return err
	}); err != nil {
		c.t.Fatal(err)
	}
	c.eventually("the laptop takes the router advertisement", func() (bool, error) {
		routes, err := netlink.RouteList(nil, netlink.FAMILY_V6)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return false, err
		}
		var prefix, by bool
		for _, r := range routes {
			prefix = prefix || r.Dst != nil && r.Dst.String() == "fd00:e::/64"
			if gw, ok := netip.AddrFromSlice(r.Gw); ok && gw.IsLinkLocalUnicast() {
				by = neighbour("eth0", gw, c.gateHW) == nil
			}
		}
		if !prefix || !by {
			return false, nil
		}
		return true, addSource6()
	})
}

// addSource6 gives the laptop an IPv6 address to send from.
func addSource6() error {
	l, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	return addAddress6(l, netip.MustParsePrefix("2001:db8:2::2/64"))
}

// redirect has the attacker, as the router, tell the laptop by ICMP (RFC 792) to send what is for dst to evil.
func (c *cafe) redirect(dst netip.Addr) {
	c.t.Helper()
	p := append([]byte{5, 1, 0, 0}, evil.AsSlice()...)
	about := ipv4(cafeNet.Addr(), dst, 0, 0, "") // an echo reply, of which the kernel needs no socket
	about[9], about[10], about[11] = packet.ProtocolICMP, 0, 0
	binary.BigEndian.PutUint16(about[10:], packet.Checksum(about[:20], 0))
	p = append(p, append(about[:20:20], make([]byte, 8)...)...)
	binary.BigEndian.PutUint16(p[2:], packet.Checksum(p, 0))
	if err := netnstest.Do(c.attacker, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, p, 0, &unix.SockaddrInet4{Addr: cafeNet.Addr().As4()})
	}); err != nil {
		c.t.Fatal(err)
	}
}

// nextHop returns the neighbour that the laptop sends what bears the mark by.
func (c *cafe) nextHop(dst netip.Addr, mark uint32) (hop netip.Addr) {
	c.t.Helper()
	c.do(func() error {
		routes, err := netlink.RouteGetWithOptions(dst.AsSlice(), &netlink.RouteGetOptions{Mark: mark})
		if err != nil {
			return err
		}
		hop, _ = netip.AddrFromSlice(routes[0].Gw)
		return nil
	})
	return hop
}

// Shows: HST-1 (ICMP redirects move neither the enterprise's packets nor the client's own; without the client they do)
func TestRedirectsAreIgnored(t *testing.T) {
	c := newCafe(t)
	c.do(func() error {
		return errors.Join(sysctlChanges{"net/ipv4/conf/all/accept_redirects": "1", "net/ipv4/conf/eth0/accept_redirects": "1"}.write(), neighbour("eth0", evil, net.HardwareAddr{2, 0, 0, 0, 0, 0x66}), neighbour("eth0", router, c.gateHW))
	})
	c.redirect(outside)
	c.eventually("a redirect has its effect", func() (bool, error) {
		routes, err := netlink.RouteGet(outside.AsSlice())
		return err == nil && net.IP(evil.AsSlice()).Equal(routes[0].Gw), err
	})
	apply(t, c.ns, c.network, lined)
	other := netip.MustParseAddr("192.0.2.99")
	c.redirect(other)
	c.redirect(enterprise)
	// The redirects have been handled once the laptop answers what came behind them.
	c.settle()
	if hop := c.nextHop(other, protectedMark); hop.Unmap() != router {
		t.Errorf("after a redirect the client's own packets go by %v, want %v", hop, router)
	}
	if got := c.by(enterprise); got != "the tunnel" {
		t.Errorf("after a redirect packets to the enterprise go to %s", got)
	}
}

// settle waits until the laptop has handled everything that the attacker has sent so far: it answers an ARP request.
func (c *cafe) settle() {
	c.t.Helper()
	if err := netnstest.Do(c.attacker, func() error { return sendARPRequest("eth0", router, cafeNet.Addr()) }); err != nil {
		c.t.Fatal(err)
	}
	p := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(c.wire.fd, p, 0)
		if err != nil && !errors.Is(err, unix.EINTR) {
			c.t.Fatalf("wait for the answer to ARP: %v", err)
		}
		if n >= 42 && binary.BigEndian.Uint16(p[12:]) == unix.ETH_P_ARP && p[21] == 2 && strings.HasPrefix(string(p[28:32]), string(cafeNet.Addr().AsSlice())) {
			return
		}
	}
}

// sendARPRequest asks who has the address.
func sendARPRequest(name string, from, addr netip.Addr) error {
	fd, err := packetSocket(name, unix.ETH_P_ARP, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	l, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	p := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, l.HardwareAddr...)
	p = append(p, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1)
	p = append(append(append(p, l.HardwareAddr...), from.AsSlice()...), 0, 0, 0, 0, 0, 0)
	_, err = unix.Write(fd, append(p, addr.AsSlice()...))
	return err
}
