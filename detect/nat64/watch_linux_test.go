package nat64

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/net/icmp"

	"mipvpn/tun/hostnet/netnstest"
)

// Shows: IKE-6. A router's advertisements on a wire, one with a hop limit that a router on the way would leave.
func TestWatch(t *testing.T) {
	host, router := netnstest.New(t), netnstest.New(t)
	netnstest.Wire(t, host, "eth0", netip.Prefix{}, router, "eth0", netip.Prefix{})
	at := netnstest.Index(t, router, "eth0")
	var c *icmp.PacketConn
	netnstest.Inside(t, router, func() (err error) {
		c, err = icmp.ListenPacket("ip6:ipv6-icmp", "::")
		return err
	})
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	go func() {
		good := advertisement(t, "26020258"+"0064ff9b0000000000000000")
		bad := advertisement(t, "26020258"+"20010db80000000000000000")
		all := &net.IPAddr{IP: net.IPv6linklocalallnodes, Zone: strconv.Itoa(at)}
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			// Both fail until the interface has an address.
			_ = c.IPv6PacketConn().SetMulticastHopLimit(64)
			_, _ = c.WriteTo(bad, all)
			_ = c.IPv6PacketConn().SetMulticastHopLimit(hopLimit)
			_, _ = c.WriteTo(good, all)
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
			}
		}
	}()
	heard := make(chan []Advertised, 1000)
	done := make(chan error, 1)
	index := netnstest.Index(t, host, "eth0")
	go func() {
		netnstest.Inside(t, host, func() error {
			done <- Watch(ctx, index, func(list []Advertised) { heard <- list })
			return nil
		})
	}()
	for range 3 {
		select {
		case got := <-heard:
			if !slices.Equal(got, []Advertised{{WellKnown, 600 * time.Second}}) {
				t.Errorf("heard %v", got)
			}
		case err := <-done:
			t.Fatalf("ended: %v", err)
		case <-ctx.Done():
			t.Fatal("heard nothing")
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}
