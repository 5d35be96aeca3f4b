package e2e

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client"
	"mipvpn/client/config"
	"mipvpn/stack/simnet"
)

// Of the x-HA its home network is known alone. The laptop asks there through a network without a NAT, and uses what it has found in all
// others, those too that it could not have asked through. Inside nothing waits for it.
//
// Shows: MIP-9, MIP-4 (dynamic home agent address resolution, RFC 5944 §3.6.1.2, §3.8.2.1: the whole client)
func TestHomeNetworkAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &kept{}
		alone := func(c *config.Config) {
			c.External.Address, c.External.Network = netip.Addr{}, simnet.LabExternalHomeNetwork
		}
		w := world(t, Options{Seed: 77, Client: alone, Start: []client.Option{client.WithHomes(store)}})
		k := talk(t, w, 500*time.Millisecond)
		w.Plug(w.Wlan0, w.Office)
		mended(t, w, k, 20*time.Second, "c")
		w.Plug(w.Wlan0, w.Campus)
		mended(t, w, k, 20*time.Second, "cvc")
		for _, at := range places[2:] {
			w.Plug(w.Wlan0, at.wire(w))
			mended(t, w, k, 20*time.Second, at.mode)
		}
		if s, err := w.Client.Status(t.Context()); err != nil || s.Layers[1].Remote != simnet.LabExternalHA {
			t.Errorf("layers %+v, %v", s.Layers, err)
		}
		again := world(t, Options{Seed: 79, Client: alone, Start: []client.Option{client.WithHomes(store)}}) // after a restart
		connected(t, again, places[2])
	})
}

// A home agent that was found and does not answer any more is looked for again.
//
// Shows: MIP-9 (RFC 5944 §3.6.1.2)
func TestHomeNetworkAskedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 78, Client: func(c *config.Config) {
			c.External.Address, c.External.Network = netip.MustParseAddr("192.0.2.77"), simnet.LabExternalHomeNetwork
		}})
		k := talk(t, w, 500*time.Millisecond)
		w.Plug(w.Wlan0, w.Campus)
		mended(t, w, k, time.Minute, "cvc")
	})
}
