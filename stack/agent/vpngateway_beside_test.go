package agent

import (
	"net/netip"
	"testing"
	"time"

	"mipvpn/ipsec/ike"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// besideAnother has a client with a tunnel, for which packets come all the time, authenticate anew beside it from its other
// interface (RFC 7296 §2.8.3). The gateway's last message is on its way for a while; what the client is sent through the new SA
// meanwhile, it cannot open. f is given the second tunnel; arrived counts what has come out of each since it was asked last.
func besideAnother(t *testing.T, f func(g *Gateway, second *vpnClient, down *downlink, arrived func() (of1, of2 int))) {
	t.Helper()
	inside(t, func(t *testing.T, l *simnet.Lab) {
		g := startGateway(t, l.Gateway, gatewayConfig(t))
		l.Eth0.SetAddress(netip.MustParsePrefix("192.0.2.77/24"), netip.MustParseAddr("192.0.2.1"))
		l.Plug(l.Eth0, l.Internet)
		l.Plug(l.Wlan0, l.Cafe)
		time.Sleep(100 * time.Millisecond)
		first := newVPNClient(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), 0, nil)
		inner := first.up()
		second := newVPNClient(t, l.Laptop, l.Wlan0.Index(), l.Wlan0.Address().Addr(), 0, func(cfg *ike.InitiatorConfig) { cfg.WantedAddress = inner })
		counts := make(chan *vpnClient, 10000)
		for _, c := range []*vpnClient{first, second} {
			c.command(func(link.Instant) error {
				c.tap = func(packet.IPv4) { counts <- c }
				return nil
			})
		}
		second.holding.Store(true)
		f(g, second, startDownlink(t, l, inner, 5*time.Millisecond), func() (of1, of2 int) {
			for len(counts) > 0 {
				if <-counts == first {
					of1++
				} else {
					of2++
				}
			}
			return of1, of2
		})
	})
}

// begin begins the second tunnel up to the gateway's last message, after which two sessions have child SAs, and returns that.
func (c *vpnClient) begin(g *Gateway) ike.Datagram {
	c.t.Helper()
	c.command(c.machine.Start)
	for timeout := time.After(time.Minute); ; {
		select {
		case d := <-c.held:
			if ask(g, func(link.Instant) int { return len(g.children.bySession) }) == 2 {
				return d
			}
			c.command(func(now link.Instant) error { return c.machine.HandleDatagram(now, d) })
		case <-timeout:
			c.t.Fatal("no IKE_AUTH response")
		}
	}
}

// take takes the message at last.
func (c *vpnClient) take(d ike.Datagram) {
	c.t.Helper()
	c.holding.Store(false)
	c.command(func(now link.Instant) error { return c.machine.HandleDatagram(now, d) })
	next[ike.ChildInstalled](c)
}

// Shows: IKE-5, IKE-8 (RFC 7296 §2.8.3: make before break). What comes for a client that authenticates anew goes through the older
// tunnel until the client has sent through the newer one, so that nothing is lost while the gateway's last message is on its way.
func TestGatewayWaitsToBeHeard(t *testing.T) {
	besideAnother(t, func(g *Gateway, second *vpnClient, down *downlink, arrived func() (int, int)) {
		response := second.begin(g)
		arrived()
		time.Sleep(besideFor / 2)
		if old, anew := arrived(); old < 90 || anew != 0 {
			t.Errorf("while the message is on its way %d packets come through the older tunnel and %d through the newer one", old, anew)
		}
		second.take(response)
		second.sendDummy()
		time.Sleep(100 * time.Millisecond)
		arrived()
		time.Sleep(besideFor)
		if old, anew := arrived(); old != 0 || anew < 190 {
			t.Errorf("after the client was heard %d packets come through the older tunnel and %d through the newer one", old, anew)
		}
		if sent, lost := down.end(); lost != 0 {
			t.Errorf("%d of %d packets are lost", lost, sent)
		}
	})
}

// Shows: IKE-5, IKE-8. A client that sends nothing is sent to through the newer tunnel after a second, since the older one may lead
// nowhere any more.
func TestGatewayWaitsASecond(t *testing.T) {
	besideAnother(t, func(g *Gateway, second *vpnClient, down *downlink, arrived func() (int, int)) {
		second.take(second.begin(g))
		time.Sleep(besideFor + 100*time.Millisecond)
		arrived()
		time.Sleep(besideFor)
		if old, anew := arrived(); old != 0 || anew < 190 {
			t.Errorf("after a second %d packets come through the older tunnel and %d through the newer one", old, anew)
		}
		if sent, lost := down.end(); lost != 0 {
			t.Errorf("%d of %d packets are lost", lost, sent)
		}
	})
}

// sendDummy sends a dummy packet (RFC 4303 §2.6) through the child SA in use.
func (c *vpnClient) sendDummy() {
	c.t.Helper()
	c.command(func(link.Instant) error {
		r := c.out.Load()
		p := r.out.Dummy(64)
		defer p.Release()
		return c.natt.Send(netip.AddrPort{}, p.Bytes())
	})
}
