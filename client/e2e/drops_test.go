package e2e

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// The host's drops and the client's own are one set of counters, all of which the status shows.
func TestDropsOfTheHostShowInStatus(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 31})
		drops := w.Laptop.Drops()
		c, err := w.Laptop.ListenUDP(netip.AddrPortFrom(simnet.LabHomeAddress, probePort))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.WriteToAddrPort(Canary, netip.AddrPortFrom(simnet.LabCorrespondent, probePort)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second) // no interface is plugged in
		if n := drops.Of(packet.DropNoPath); n != 1 {
			t.Errorf("the client counted %d packets as %v, want 1", n, packet.DropNoPath)
		}
		drops.Count(packet.DropTooBig, 3) // as the underlay does
		s, err := w.Client.Status(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if d := s.Counters.Drops; len(d) != 2 || d[packet.DropTooBig.String()] != 3 || d[packet.DropNoPath.String()] != 1 {
			t.Errorf("the status shows drops %v", d)
		}
	})
}
