package agent

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike"
	"mipvpn/stack/simnet"
)

// TestGatewayReloads shows that a client's traffic goes on through a reload that leaves it what it has, that a client of a new
// pool is routed to, and that one whose pool is gone is told and gets an address of the new one.
func TestGatewayReloads(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		cfg := gatewayConfig(t)
		g := startGateway(t, l.Gateway, cfg)
		plug(l, l.Cafe)
		client := newVPNClient(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), 1, func(*ike.InitiatorConfig) {})
		inner := client.up()
		seen := echo(t, l.Correspondent, service)
		conn, err := l.Laptop.ListenUDP(netip.AddrPortFrom(inner, 0))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		exchange := func() error {
			if _, err := conn.WriteToAddrPort([]byte("datagram"), service); err != nil {
				return err
			}
			if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
				return err
			}
			if _, _, err := conn.ReadFromAddrPort(make([]byte, 100)); err != nil {
				return err
			}
			<-seen
			return nil
		}
		if err := exchange(); err != nil {
			t.Fatal(err)
		}
		more := cfg
		more.Policies = []gateway.Policy{{Name: "staff", Pool: netip.MustParsePrefix("10.0.20.0/24"), Networks: cfg.Networks}}
		if closed, err := g.Reload(more); err != nil || closed != 0 {
			t.Fatalf("%d closed, %v", closed, err)
		}
		if err := exchange(); err != nil {
			t.Errorf("after a reload that changes nothing for this client: %v", err)
		}
		if len(g.prefixes) != 2 {
			t.Errorf("routes %v", g.prefixes)
		}
		bad, moved := cfg, cfg
		bad.Networks = nil
		moved.Address = netip.MustParseAddr("192.0.2.11")
		if _, err := g.Reload(bad); !errors.Is(err, gateway.ErrConfig) {
			t.Errorf("%v", err)
		}
		if _, err := g.Reload(moved); !errors.Is(err, ErrRestart) {
			t.Errorf("%v", err)
		}
		if err := exchange(); err != nil {
			t.Errorf("after reloads that were refused: %v", err)
		}
		other := cfg
		other.Pool = netip.MustParsePrefix("10.0.10.0/24")
		if closed, err := g.Reload(other); err != nil || closed != 1 {
			t.Errorf("%d closed, %v", closed, err)
		}
		time.Sleep(time.Second)
		if s := g.Sessions(); len(s) != 0 || exchange() == nil {
			t.Errorf("sessions %+v, and the client's packets pass", s)
		}
		if len(g.prefixes) != 1 || g.prefixes[0] != other.Pool {
			t.Errorf("routes %v", g.prefixes)
		}
	})
}
