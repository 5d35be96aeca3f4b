package agent

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
	"mipvpn/stack/simnet"
	"mipvpn/stack/tcpflow"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// dial opens a TCP connection to the gateway and takes it for IKE and ESP.
func (c *vpnClient) dial(index int) *tcpflow.Flow {
	c.t.Helper()
	conn, err := c.host.(link.StreamHost).DialThrough(context.Background(), index, netip.AddrPortFrom(c.gateway, esp.PortNATT))
	if err != nil {
		c.t.Fatal(err)
	}
	f := tcpflow.New(conn, tcpflow.Options{Originator: true, MTU: 1500, Drops: &c.drops, Receive: func(f *tcpflow.Flow, b *packet.Batch) {
		b.Keep(&c.drops, func(p *packet.Buf) packet.DropReason {
			if esp.Classify(p.Bytes()) == esp.KindESP {
				return packet.NotDropped
			}
			d := ike.Datagram{Local: f.Local(), Remote: p.Peer, TCP: true, Payload: append([]byte(nil), p.Bytes()[esp.MarkerLen:]...)}
			c.loop.post(func(now link.Instant) { _ = c.machine.HandleDatagram(now, d) })
			return packet.Delivered
		})
		c.opened(b)
	}})
	c.tcp.Store(f)
	c.t.Cleanup(func() { _ = f.Close() })
	return f
}

// count returns how many TCP connections the gateway has.
func (g *Gateway) count() int {
	g.streams.mu.Lock()
	defer g.streams.mu.Unlock()
	return len(g.streams.byRemote)
}

// Shows: IKE-6, DET-18. A network that lets only TCP through, with a NAT: IKE and ESP go in one connection, and in another one
// when that has broken, under the same SAs.
func TestGatewayInTCP(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		g := startGateway(t, l.Gateway, gatewayConfig(t))
		var seenOutside onWire
		l.Internet.Tap(seenOutside.see)
		plug(l, l.Cafe)
		l.Cafe.Intercept(func(f simnet.Frame) []simnet.Relay {
			if ip := packet.IPv4(f.Packet); ip.Valid() && ip.Protocol() != packet.ProtocolTCP {
				return nil
			}
			return []simnet.Relay{f.Relay()}
		})
		own := l.Eth0.Address().Addr()
		client := newVPNClient(t, l.Laptop, l.Eth0.Index(), own, 0, func(cfg *ike.InitiatorConfig) {
			cfg.TCP, cfg.Local, cfg.Remote = true, netip.AddrPortFrom(own, 40000), netip.AddrPortFrom(simnet.LabGateway, esp.PortNATT)
			cfg.Liveness = 5 * time.Second
		})
		first := client.dial(l.Eth0.Index())
		inner := client.up()
		seen := echo(t, l.Correspondent, service)
		check := func() {
			t.Helper()
			for _, size := range []int{1, 1372, 4000} {
				if !exchange(t, l.Laptop, inner, service, size) {
					t.Fatalf("%d octets did not come back; drops at the gateway %v, at the laptop %v", size, g.Drops().Snapshot(), client.drops.Snapshot())
				}
				<-seen
			}
			if _, err := l.Correspondent.Ping(inner, 100, time.Second); err != nil {
				t.Errorf("from inside: %v", err)
			}
		}
		check()
		before := g.Sessions()
		if len(before) != 1 || g.count() != 1 {
			t.Fatalf("sessions %+v in %d connections", before, g.count())
		}

		_ = first.Close()
		synctest.Wait()
		second := client.dial(l.Eth0.Index())
		client.command(func(now link.Instant) error { return client.machine.UseTCP(now, second.Local(), second.Remote()) })
		next[ike.EndpointChanged](client)
		time.Sleep(time.Second)
		check()
		if after := g.Sessions(); len(after) != 1 || after[0].ID != before[0].ID || g.count() != 1 {
			t.Errorf("sessions %+v in %d connections", after, g.count())
		}

		// A connection that is replaced while it still stands is closed after a while, and so is the last one when the client goes.
		third := client.dial(l.Eth0.Index())
		client.command(func(now link.Instant) error { return client.machine.UseTCP(now, third.Local(), third.Remote()) })
		time.Sleep(2 * time.Second)
		check()
		if n := g.count(); n != 2 {
			t.Errorf("%d connections", n)
		}
		time.Sleep(streamPatience)
		check()
		if n := g.count(); n != 1 {
			t.Errorf("%d connections after a while", n)
		}
		client.command(func(now link.Instant) error { client.machine.Delete(now); return nil })
		time.Sleep(streamPatience + time.Second)
		if n := g.count(); n != 0 || len(g.Sessions()) != 0 {
			t.Errorf("%d connections without a session", n)
		}
		if native, encapsulated, unprotected := seenOutside.counts(); native+encapsulated+unprotected != 0 {
			t.Errorf("on the Internet: %d ESP, %d ESP in UDP, %d in the clear", native, encapsulated, unprotected)
		}
	})
}

// Shows: IKE-6, IKE-10. Strangers' connections are bounded in number and time, and those that carry nothing of use are closed.
func TestStrangersInTCP(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		g := startGateway(t, l.Gateway, gatewayConfig(t))
		plug(l, l.Cafe)
		to := netip.AddrPortFrom(simnet.LabGateway, esp.PortNATT)
		var all []net.Conn
		for range maxStreamsAddress + 5 {
			c, err := l.Laptop.DialTCP(to, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, c)
		}
		time.Sleep(time.Second)
		if n := g.count(); n != maxStreamsAddress {
			t.Errorf("%d connections from one address, want %d", n, maxStreamsAddress)
		}
		if _, err := all[0].Write([]byte("GET / HTTP/1.1\r\n")); err != nil {
			t.Fatal(err)
		}
		stranger := append([]byte("IKETCP"), make([]byte, 0, 3000)...)
		for i := range streamUseless {
			stranger = append(stranger, 0, 12, 1, 2, 3, byte(i), 0, 0, 0, 1, 9, 9)
		}
		if _, err := all[1].Write(stranger); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if n := g.count(); n != maxStreamsAddress-2 {
			t.Errorf("%d connections after garbage, want two less than %d", n, maxStreamsAddress)
		}
		time.Sleep(streamPatience)
		if n := g.count(); n != 0 {
			t.Errorf("%d connections of strangers are left", n)
		}
		for _, c := range all {
			_ = c.Close()
		}
	})
}
