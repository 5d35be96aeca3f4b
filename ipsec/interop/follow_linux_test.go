package interop

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"mipvpn/ipsec/ike"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
)

// followPort is the port that our client goes over to.
const followPort = 50123

// follows has our client find out whether charon follows it, while data goes on, and returns what it has found out.
func (l *lab) follows(c *client) ike.Following {
	l.t.Helper()
	c.listen(netip.AddrPortFrom(clientAddr, followPort))
	c.command(func(now link.Instant) error { return c.machine.ProveFollowing(now, followPort) })
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		c.data()
		select {
		case h := <-c.events:
			c.seen = append(c.seen, h.Event)
			if f, ok := h.Event.(ike.Following); ok {
				return f
			}
		default:
		}
	}
	l.t.Fatalf("nothing was found out; so far %+v", c.seen)
	return ike.Following{}
}

// has waits until charon has the client at the endpoint.
func (l *lab) has(at netip.AddrPort) {
	l.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		out, err := l.daemon.Swanctl("--list-sas")
		if err != nil {
			l.t.Fatal(err)
		}
		if strings.Contains(out, fmt.Sprintf("@ %v[%d]", at.Addr(), at.Port())) {
			return
		}
		if time.Now().After(deadline) {
			l.t.Fatalf("charon has the client elsewhere than at %v:\n%s", at, out)
		}
	}
}

// Shows: MEC-C (strongSwan 5.9 without MOBIKE as gateway: mode vc). Our client finds out that it follows packets, and moves to another address and back
// under the same IKE SA, with the SAs rekeyed in between by either end.
func TestCharonFollows(t *testing.T) {
	l := newLab(t, "connections { mobile { mobike = no } }", "")
	netnstest.Inside(t, l.outside, func() error { return netnstest.SetUp("lo", netip.PrefixFrom(otherAddr, 32)) })
	c := l.connect(func(cfg *ike.InitiatorConfig) { cfg.MOBIKE = &ike.MOBIKE{Addresses: []netip.Addr{clientAddr}} })
	c.listen(netip.AddrPortFrom(otherAddr, 4500))
	if f := l.follows(c); f != (ike.Following{Follows: true, IKE: true, ESP: true}) {
		t.Fatalf("%+v", f)
	}
	l.has(netip.AddrPortFrom(clientAddr, followPort))
	for _, to := range []netip.Addr{otherAddr, clientAddr} {
		c.command(func(now link.Instant) error { return c.machine.SetAddresses(now, []netip.Addr{to}) })
		l.has(netip.AddrPortFrom(to, 4500))
		c.data()
		c.command(func(now link.Instant) error { return c.machine.RekeyIKE(now) })
		wait[ike.IKERekeyed](c)
		c.data()
	}
}
