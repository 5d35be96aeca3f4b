package ipsec

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Shows: IKE-6 (what is learned of NATs). It is known by network, replaced by what is learned later, and bounded.
func TestPatience(t *testing.T) {
	var p patience
	p.learn("", time.Minute)
	p.learn("cafe", time.Minute)
	p.learn("library", 40*time.Second)
	p.learn("cafe", 30*time.Second)
	for network, want := range map[string]time.Duration{"": 0, "cafe": 30 * time.Second, "library": 40 * time.Second, "hotel": 0} {
		if got := p.of(network); got != want {
			t.Errorf("%q: %v, want %v", network, got, want)
		}
	}
	for i := range 2 * maxNetworks {
		p.learn("cafe", time.Minute)
		p.learn(fmt.Sprint(i), time.Minute)
	}
	if len(p.networks) != maxNetworks || p.of("library") != 0 || p.of("cafe") != time.Minute {
		t.Errorf("%d networks, %v of the first, %v of the one that is always visited", len(p.networks), p.of("library"), p.of("cafe"))
	}
}

// keepalives counts what leaves the laptop for a network that is no more than a keepalive.
func keepalives(w *simnet.Wire, from *simnet.NIC) (count func() int, stop func()) {
	var n atomic.Int64
	own := from.Address().Addr()
	stop = w.Intercept(func(f simnet.Frame) []simnet.Relay {
		if ip := packet.IPv4(f.Packet); ip.Valid() && ip.Protocol() == packet.ProtocolUDP && ip.Src() == own &&
			len(packet.UDP(ip.Payload()).Payload()) == 1 {
			n.Add(1)
		}
		return []simnet.Relay{f.Relay()}
	})
	return func() int { return int(n.Load()) }, stop
}

// Shows: IKE-6 (learned intervals of keepalives). Behind a NAT whose mappings live for 60 s an idle tunnel comes to send keepalives
// less often, never too rarely for long, and knows that network again when it comes back to it. When the NAT has become less patient the
// loss is noticed, and the interval goes back. User data passes all the time.
func TestKeepalivesAreLearnedByNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := worldOf(t, func(c *config.Config) {
			c.Gateway.KeepAlive, c.Gateway.KeepAliveLimit, c.Gateway.Liveness = 20*time.Second, 110*time.Second, 5*time.Minute
		}, func(g *agent.GatewayConfig) { g.IKE.Liveness = 47 * time.Second })
		nat := func(patience time.Duration) {
			a.lab.CafeNAT.SetNAT(simnet.NATConfig{Outside: a.lab.CafeOutside, Filtering: simnet.AddressAndPortDependent, Timeout: patience})
		}
		nat(time.Minute)
		a.named(a.lab.Eth0, "the café")
		known := func() (d time.Duration) {
			a.do(func(link.Instant) { d = a.access.(*access).protocol.patience.of("the café") })
			return d
		}
		a.stand(a.bearer(a.lab.Eth0))
		a.dial()
		time.Sleep(2 * time.Hour)
		learned := known()
		if learned <= 25*time.Second || learned > time.Minute || !a.exchange() {
			t.Errorf("learned %v in two hours behind a NAT of a minute", learned)
		}

		// In another network nothing is known, and nothing of the café forgotten.
		cafe := a.bearer(a.lab.Eth0)
		library := a.library()
		a.plug(a.lab.Wlan0, library)
		count, stop := keepalives(library, a.lab.Wlan0)
		a.stand(a.bearer(a.lab.Wlan0))
		time.Sleep(time.Minute)
		stop()
		if n := count(); n < 2 || known() != learned {
			t.Errorf("%d keepalives in a minute of a new network; %v known of the café", n, known())
		}
		count, stop = keepalives(a.lab.Cafe, a.lab.Eth0)
		a.stand(cafe)
		time.Sleep(learned - time.Second)
		if n := count(); n != 0 {
			t.Errorf("%d keepalives in %v, although the café is known", n, learned)
		}
		time.Sleep(10 * time.Minute)
		stop()
		if n := count(); n < int(10*time.Minute/(110*time.Second)) {
			t.Errorf("%d keepalives in ten minutes", n)
		}

		nat(22 * time.Second)
		time.Sleep(2 * time.Hour)
		if got := known(); got > 22*time.Second || !a.exchange() {
			t.Errorf("%v known of a NAT of 22 s, %v before", got, learned)
		}
		if ups, _, closed := a.count(); ups != 1 || len(closed) != 0 {
			t.Errorf("up %d times, closed %v", ups, closed)
		}
	})
}
