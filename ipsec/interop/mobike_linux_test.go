package interop

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/interop/charon"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
)

// IPv6 addresses of client and gateway on the wire between them.
var (
	clientAddr6  = netip.MustParseAddr("2001:db8:2::77")
	gatewayAddr6 = netip.MustParseAddr("2001:db8:2::10")
)

// nowhere is an address of the client that leads nowhere.
var nowhere = netip.MustParseAddr("10.99.9.2")

// mobileGame brings up a case with MOBIKE and our client, which has sockets on all its addresses and starts from the first.
func mobileGame(t *testing.T, p peer, gateways []string, addresses ...netip.Addr) (*game, *client) {
	t.Helper()
	r := &recorder{TB: t}
	on, err := newGround(t, p, initiator)
	if unavailable(err) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	for ns, a := range map[string]netip.Addr{"out": gatewayAddr6, "eth0": clientAddr6} {
		file := on.gate
		if ns == "eth0" {
			file = on.client
		}
		netnstest.Inside(t, file, func() error {
			l, err := netlink.LinkByName(ns)
			if err != nil {
				return err
			}
			addr := &netlink.Addr{IPNet: netnstest.IPNet(netip.PrefixFrom(a, 64)), Flags: 0x02} // IFA_F_NODAD
			return netlink.AddrAdd(l, addr)
		})
	}
	// charon tells in IKE_AUTH which addresses it has, as far as the kernel has told it.
	eventually(r, "charon knows its IPv6 address", func() (bool, string) {
		log := on.daemon.Tail(100)
		return strings.Contains(log, fmt.Sprintf("%v appeared on out", gatewayAddr6)), log
	})
	netnstest.Inside(t, on.client, func() error { return netnstest.SetUp("lo", netip.PrefixFrom(nowhere, 32)) })
	c := Case{name: "mobike", peer: p, role: initiator, auth: allAuthentications()[0], suite: allTransforms()[0], nat: noNAT, sizes: usual, config: plain, ppk: noPPK, move: stays}
	g := newGame(r, on, c)
	g.load()
	s := c.connection()
	maps.Copy(s, g.tell())
	s["local_addrs"] = gateways
	g.call(r, "load-conn", charon.Section{connection: s})
	cfg := g.initiatorConfig()
	g.prove(&cfg)
	cfg.MOBIKE = &ike.MOBIKE{Addresses: addresses[:1]}
	cfg.Local = netip.AddrPortFrom(addresses[0], cfg.Local.Port())
	ours := newClient(r, on.client, cfg, addresses[1:]...)
	g.ours, g.traffic = ours.endpoint, ours.data
	ours.start()
	if g.up = wait[ike.Established](ours); !g.up.MOBIKE || g.up.Local.Port() != 4500 {
		t.Fatalf("established with %+v", g.up)
	}
	wait[ike.ChildInstalled](ours)
	g.exchange()
	return g, ours
}

// seenAt waits until charon has the client at the address.
func (g *game) seenAt(a netip.Addr) {
	g.Helper()
	eventually(g.recorder, fmt.Sprint("charon has the client at ", a), func() (bool, string) {
		sas := g.sas(g.recorder)
		return len(sas) == 1 && sas[0].String("remote-host") == a.String(), fmt.Sprint(sas)
	})
}

// Shows: IKE-7, IKE-6 (strongSwan as gateway). Our client moves to IPv6 and back, and away from a path that leads
// nowhere; traffic passes after each.
func TestMOBIKEClientMoves(t *testing.T) {
	for _, p := range []peer{strongSwan59, strongSwan60} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			g, c := mobileGame(t, p, []string{gatewayAddr.String(), gatewayAddr6.String()},
				clientAddr, otherAddr, clientAddr6, nowhere)
			for _, to := range []struct {
				name      string
				addresses []netip.Addr
				want      netip.Addr // as charon sees it
			}{
				{"to IPv6", []netip.Addr{clientAddr6}, clientAddr6},
				{"to IPv4 again", []netip.Addr{otherAddr}, otherAddr},
				{"to IPv6, with another address", []netip.Addr{clientAddr6, clientAddr}, clientAddr6},
				{"where nothing passes, with another address", []netip.Addr{nowhere, clientAddr}, clientAddr},
			} {
				var before childKey
				c.command(func(link.Instant) error { before = c.using; return nil })
				began := time.Now()
				c.command(func(now link.Instant) error { return c.machine.SetAddresses(now, to.addresses) })
				for {
					if u := wait[ike.EndpointChanged](c).Update; u.Proven() {
						if u.Remote().Addr() == gatewayAddr || u.Remote().Addr() == gatewayAddr6 {
							break
						}
					}
				}
				g.seenAt(to.want)
				t.Logf("%s: %v", to.name, time.Since(began).Round(time.Millisecond))
				g.follow(before) // see roam
				g.exchange()
			}
		})
	}
}
