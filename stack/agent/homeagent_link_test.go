package agent

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/stack/simnet"
)

var (
	homeLinkNetwork = netip.MustParsePrefix("10.1.0.0/24")
	homeLinkAgent   = netip.MustParseAddr("10.1.0.2")
	homeLinkNode    = netip.MustParseAddr("10.1.0.50")
	homeLinkPeer    = netip.MustParseAddrPort("10.1.0.7:7")
)

// onHomeLink returns the configuration of an i-HA whose home network is a link.
func onHomeLink(t testing.TB, iface string) HomeAgentConfig {
	cfg := internal(t)
	cfg.Address, cfg.HomeNetworks, cfg.HomeLink = homeLinkAgent, []netip.Prefix{homeLinkNetwork, simnet.LabHomeNetwork}, iface
	cfg.TrustedNetworks = []netip.Prefix{simnet.LabEnterprise, homeLinkNetwork}
	cfg.MobileNodes = append(cfg.MobileNodes, homeagent.MobileNode{HomeAddress: homeLinkNode, Associations: internal(t).MobileNodes[0].Associations})
	return cfg
}

// homeLinkLab returns a lab with a home network that is a link, a host on it for the home agent, and another one.
func homeLinkLab(t *testing.T) (l *simnet.Lab, server, peer *simnet.Host) {
	l = simnet.NewLab(1)
	t.Cleanup(func() { _ = l.Close() })
	homeWire := l.NewWire(simnet.WireConfig{Name: "home", Snoops: true, Impairment: simnet.Impairment{Latency: time.Millisecond}})
	join := func(h *simnet.Host, address, gateway string) {
		cfg := simnet.NICConfig{Name: "home0", Address: netip.MustParsePrefix(address)}
		if gateway != "" {
			cfg.Gateway = netip.MustParseAddr(gateway)
		}
		h.AddNIC(cfg).Attach(homeWire)
	}
	join(l.Firewall, "10.1.0.1/24", "")
	server = l.NewHost("home-agent")
	join(server, "10.1.0.2/24", "10.1.0.1")
	peer = l.NewHost("peer")
	join(peer, "10.1.0.7/24", "10.1.0.1")
	l.Firewall.AddRoute(simnet.Route{Prefix: simnet.LabEnterprise, Via: netip.MustParseAddr("10.0.1.1")})
	return l, server, peer
}

// Shows: AGT-1 (an on-link home network: hosts there reach the mobile node that is away, nobody answers for one that is not
// registered).
func TestHomeLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, server, peer := homeLinkLab(t)
		a := startHomeAgent(t, server, onHomeLink(t, "home0"))
		plug(l, l.Office)
		cfg := laptop(t, mobilenode.EncapsulationIPIP)
		cfg.HomeAgent, cfg.HomeAddress = homeLinkAgent, homeLinkNode
		n := coLocated(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), cfg)
		if _, err := peer.Ping(homeLinkNode, 100, time.Second); err == nil {
			t.Error("somebody answers for a mobile node without a binding")
		}
		n.up(homeLinkNetwork)
		seen := echo(t, peer, homeLinkPeer)
		for _, size := range []int{1, 1400, 4000} {
			if !exchange(t, l.Laptop, homeLinkNode, homeLinkPeer, size) {
				t.Fatalf("%d octets did not come back; drops at the agent %v, at the laptop %v", size, a.Drops().Snapshot(), n.drops.Snapshot())
			}
			if from := <-seen; from.Addr() != homeLinkNode {
				t.Errorf("the peer saw %v", from)
			}
		}
		for _, from := range []*simnet.Host{peer, l.Correspondent} {
			if _, err := from.Ping(homeLinkNode, 100, time.Second); err != nil {
				t.Errorf("from %s: %v", from.Name(), err)
			}
		}
		n.deregister()
		if e, ok := n.wait(5 * time.Second).(mobilenode.Deregistered); !ok {
			t.Fatalf("not deregistered: %+v", e)
		}
		if _, err := peer.Ping(homeLinkNode, 100, time.Second); err == nil {
			t.Error("somebody answers for a mobile node that has deregistered")
		}
	})
}

// What cannot be a home link is refused, with what to do.
func TestHomeLinkRefused(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		for iface, want := range map[string]string{"eth7": `interface "eth7" is not there`, "eth0": "in none of the home networks"} {
			cfg := internal(t)
			cfg.HomeLink = iface
			a, err := StartHomeAgent(l.InternalHA, cfg, zap.NewNop())
			if err == nil {
				_ = a.Close()
				t.Fatalf("%s was taken", iface)
			}
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want it to say %q", iface, err, want)
			}
		}
	})
}
