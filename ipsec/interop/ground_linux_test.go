package interop

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"

	"mipvpn/ipsec/interop/charon"
	"mipvpn/ipsec/interop/debian"
	"mipvpn/tun/hostnet/netnstest"
)

// Addresses of the ground beside those of the lab: the client's second one, those behind two NATs, and the NATs' outer ones.
var (
	otherAddr  = netip.MustParseAddr("192.0.2.78")
	natAddrs   = [2]netip.Addr{netip.MustParseAddr("10.99.1.2"), netip.MustParseAddr("10.99.2.2")}
	natOuter   = [2]netip.Addr{netip.MustParseAddr("203.0.113.2"), netip.MustParseAddr("198.51.100.2")}
	poolPrefix = netip.MustParsePrefix("10.0.9.0/24")
	company    = netip.MustParsePrefix("10.0.0.0/16")
)

// ground is what cases of one peer in one role are played on, one after the other: the client's namespace, two NATs, the
// gateway's namespace and, where the peer is the gateway, a host behind it.
type ground struct {
	t            testing.TB
	client, gate *os.File
	daemon       *charon.Daemon
	dir          string
}

// newGround lays it out, and starts the peer where its role has it. The error is of the peer's start.
func newGround(t testing.TB, p peer, r role) (*ground, error) {
	t.Helper()
	g := &ground{t: t, client: netnstest.New(t), gate: netnstest.New(t), dir: t.TempDir()}
	for _, ns := range []*os.File{g.client, g.gate} {
		netnstest.Inside(t, ns, func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0) })
	}
	netnstest.Wire(t, g.client, "eth0", netip.PrefixFrom(clientAddr, 24), g.gate, "out", netip.PrefixFrom(gatewayAddr, 24))
	for i, inner := range natAddrs {
		g.addNAT(i, inner, natOuter[i])
	}
	netnstest.Inside(t, g.client, func() error {
		for i, inner := range natAddrs {
			rule := netlink.NewRule()
			rule.Src, rule.Table, rule.Family = netnstest.IPNet(netip.PrefixFrom(inner, 32)), natTable+i, netlink.FAMILY_V4
			if err := netlink.RuleAdd(rule); err != nil {
				return fmt.Errorf("add rule: %w", err)
			}
		}
		return os.WriteFile("/proc/sys/net/ipv4/conf/eth0/promote_secondaries", []byte("1"), 0)
	})
	g.settle(t)
	where, extra := g.client, daemonExtra
	if r == initiator {
		where, extra = g.gate, daemonExtra+gatewayExtra
		g.addInside()
	}
	d, err := p.start(charon.Options{Configuration: "../../configs/strongswan", ExtraDaemon: extra, Bare: true,
		Dir: g.dir, Launch: charon.In(where)})
	if err != nil {
		return nil, err
	}
	g.daemon = d
	t.Cleanup(func() {
		// It is not asked to end: one that still has an SA, of a failed case, would wait for answers.
		if err := d.Kill(); err != nil {
			t.Error(err)
		}
	})
	return g, nil
}

// daemonExtra has charon do EAP-MSCHAPv2 inside EAP-TTLS. Its TLS 1.2 is without Extended Master Secret, so that crypto/tls
// needs the directive at the top of authentication_linux_test.go. It lets charon answer faster than on the Internet, keep its name servers to itself, and read no files of the machine.
const daemonExtra = `
charon {
	retransmit_timeout = 1.0
	retransmit_tries = 4
	fragment_size = 700
	plugins {
		eap-ttls {
			phase2_method = mschapv2
		}
		resolve {
			file = /run/resolv.conf
		}
		stroke {
			load = no
		}
		tpm {
			load = no
		}
		pkcs11 {
			load = no
		}
		forecast {
			load = no
		}
		farp {
			load = no
		}
		dhcp {
			load = no
		}
		ha {
			load = no
		}
		tnc-tnccs {
			load = no
		}
		eap-tnc {
			load = no
		}
		led {
			load = no
		}
		lookip {
			load = no
		}
		error-notify {
			load = no
		}
		connmark {
			load = no
		}
	}
}
`

// gatewayExtra keeps charon as a gateway from telling clients of addresses at once when an interface comes up, from another
// address than the one they know, which does not pass their NATs.
const gatewayExtra = `
charon {
	plugins {
		kernel-netlink {
			roam_events = no
		}
	}
}
`

// addNAT puts a NAPT between the client and the gateway. What the client sends from the address behind it goes there.
func (g *ground) addNAT(i int, inner, outer netip.Addr) {
	g.t.Helper()
	nat := netnstest.New(g.t)
	near, far := inner.Prev(), outer.Prev()
	netnstest.Wire(g.t, g.client, natName(i), netip.PrefixFrom(inner, 24), nat, "inner", netip.PrefixFrom(near, 24))
	netnstest.Wire(g.t, nat, "outer", netip.PrefixFrom(outer, 24), g.gate, fmt.Sprintf("out%d", i), netip.PrefixFrom(far, 24))
	netnstest.Inside(g.t, nat, func() error {
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
			return err
		}
		if err := netnstest.Route(netip.PrefixFrom(gatewayAddr, 32), far); err != nil {
			return err
		}
		return masquerade("outer")
	})
}

// natTable is the routing table for what the client sends from the address behind the first NAT; the next one is the second's.
const natTable = 101

// natName is the client's interface to a NAT.
func natName(i int) string { return fmt.Sprintf("nat%d", i) }

// settle brings the client's interfaces, addresses and routes to where they are at the beginning of each case.
func (g *ground) settle(t testing.TB) {
	t.Helper()
	netnstest.Inside(t, g.client, func() error {
		for name, addrs := range map[string][]netip.Addr{"eth0": {clientAddr, otherAddr}, natName(0): natAddrs[:1], natName(1): natAddrs[1:]} {
			l, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			if err := netlink.LinkSetUp(l); err != nil {
				return err
			}
			for _, a := range addrs {
				if err := netlink.AddrReplace(l, &netlink.Addr{IPNet: netnstest.IPNet(netip.PrefixFrom(a, 24))}); err != nil {
					return fmt.Errorf("address %v: %w", a, err)
				}
			}
		}
		// What has the address of a NAT's network goes there; all else too, when the gateway's own network is not there.
		anywhere := netnstest.IPNet(netip.PrefixFrom(netip.IPv4Unspecified(), 0))
		for i, inner := range natAddrs {
			for _, r := range []netlink.Route{{Table: natTable + i}, {Priority: natTable + i}} {
				r.Dst, r.Gw = anywhere, inner.Prev().AsSlice()
				if err := netlink.RouteReplace(&r); err != nil {
					return fmt.Errorf("route by NAT %d: %w", i, err)
				}
			}
		}
		return nil
	})
}

// readdress gives the client's first interface its addresses anew, so that the first one is the preferred one.
func (g *ground) readdress(t testing.TB) {
	t.Helper()
	g.leave(t, "eth0", otherAddr)
	g.settle(t)
}

// leave takes an interface of the client down, or one of its addresses away.
func (g *ground) leave(t testing.TB, name string, addr netip.Addr) {
	t.Helper()
	netnstest.Inside(t, g.client, func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if addr.IsValid() {
			return netlink.AddrDel(l, &netlink.Addr{IPNet: netnstest.IPNet(netip.PrefixFrom(addr, 24))})
		}
		return netlink.LinkSetDown(l)
	})
}

// masquerade makes the calling thread's namespace a NAPT for what leaves by the interface.
func masquerade(out string) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	table := c.AddTable(&nftables.Table{Name: "nat", Family: nftables.TableFamilyIPv4})
	chain := c.AddChain(&nftables.Chain{Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
	name := make([]byte, 16)
	copy(name, out)
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
		&expr.Masq{},
	}})
	if err := c.Flush(); err != nil {
		return fmt.Errorf("the NAPT: %w (does the kernel have nf_tables and nft_masq?)", err)
	}
	return nil
}

// addInside puts a host with an echo service behind the gateway.
func (g *ground) addInside() {
	g.t.Helper()
	inside := netnstest.New(g.t)
	netnstest.Wire(g.t, inside, "eth0", netip.PrefixFrom(insideAddr, 24), g.gate, "in", netip.PrefixFrom(innerAddr, 24))
	netnstest.Inside(g.t, g.gate, func() error {
		if err := netnstest.SetUp("in", netip.PrefixFrom(company6.Addr().Next(), company6.Bits())); err != nil {
			return err
		}
		return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
	})
	netnstest.Inside(g.t, inside, func() error {
		if err := netnstest.Route(poolPrefix, innerAddr); err != nil {
			return err
		}
		conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(echoService))
		if err != nil {
			return err
		}
		g.t.Cleanup(func() { conn.Close() })
		go echo(conn)
		return nil
	})
}

// peer is an implementation that is not ours.
type peer struct {
	name  string
	start func(charon.Options) (*charon.Daemon, error)
}

var (
	strongSwan59 = peer{"strongSwan 5.9", charon.Start}
	strongSwan60 = peer{"strongSwan 6.0", startIn(debian.StrongSwan60)}
	strongSwan61 = peer{"strongSwan 6.1", startIn(debian.StrongSwanTesting)}
)

// startIn starts charon out of a folder, which is made once.
func startIn(f debian.Folder) func(charon.Options) (*charon.Daemon, error) {
	prepare := sync.OnceValues(f.Prepare)
	return func(o charon.Options) (*charon.Daemon, error) {
		root, err := prepare()
		if err != nil {
			return nil, err
		}
		o.Root = root
		return charon.Start(o)
	}
}
