package e2e

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client"
	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/stack/simnet"
)

const (
	externalName = "x-ha.example.net"
	gatewayName  = "gw.example.net"
)

// zone is what a network's name server answers, and may be changed.
type zone struct {
	mu   sync.Mutex
	data map[string][]netip.Addr
}

func (z *zone) set(external, gateway []netip.Addr) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.data = map[string][]netip.Addr{externalName + ".": external, gatewayName + ".": gateway}
}

func (z *zone) answers(name string) []netip.Addr {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.data[name]
}

func only(list ...netip.Addr) []netip.Addr { return list }

// endpointsWorld is the lab with a client that knows the x-HA and the gateway by name, and a name server at the café.
func endpointsWorld(t *testing.T, seed uint64) (*World, *zone, *NameServer) {
	t.Helper()
	var lab *simnet.Lab
	resolver := NewResolver(func() *simnet.Host { return lab.Laptop })
	w := world(t, Options{
		Seed: seed, Lab: func(l *simnet.Lab) { lab = l }, Start: []client.Option{resolver.Option()},
		Client: func(c *config.Config) {
			c.External.Address, c.External.Name = netip.Addr{}, externalName
			c.Gateway.Address, c.Gateway.Name = netip.Addr{}, gatewayName
		},
	})
	z := new(zone)
	s, err := StartNameServer(w.CafeNAT, netip.MustParseAddr("192.168.1.1"), z.answers)
	if err != nil {
		t.Fatal(err)
	}
	return w, z, s
}

// Shows: HST-3 (home agent and gateway by name: resolved through the interface concerned with its own servers, the next address
// after one that does not answer, the last known one where there is nobody to ask; inside without any of it)
func TestPeersByName(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, z, s := endpointsWorld(t, 71)
		w.Plug(w.Eth0, w.Office) // whose name server does not answer
		if _, err := w.UntilMode(10*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		nobody := netip.MustParseAddr("192.0.2.99")
		z.set(only(simnet.LabExternalHA), only(simnet.LabGateway))
		w.Plug(w.Eth0, w.Cafe)
		if _, err := w.UntilMode(20*time.Second, "cvc"); err != nil {
			t.Fatal(err)
		}
		if n := len(s.Asked()); n != 2 {
			t.Errorf("asked %v", s.Asked())
		}
		w.Plug(w.Eth0, w.Hotspot) // no address, nobody to ask: what is known is used
		if _, err := w.UntilMode(20*time.Second, "fvc"); err != nil {
			t.Fatal(err)
		}
		w.Plug(w.Eth0, w.Office)
		if _, err := w.UntilMode(20*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		z.set(only(nobody, simnet.LabExternalHA), only(nobody, simnet.LabGateway))
		w.Plug(w.Eth0, w.Cafe)
		if _, err := w.UntilMode(20*time.Second, "cvc"); err != nil {
			t.Fatal(err)
		}
	})
}

// Shows: HST-3 (several addresses are tried in order, also when the first ones never answer; a name that is not there is a
// problem that names it, and is asked for again)
func TestAddressesInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, z, _ := endpointsWorld(t, 72)
		w.Plug(w.Eth0, w.Cafe)
		unresolved := func(s control.Status) bool {
			return slices.ContainsFunc(s.Problems, func(p control.Problem) bool {
				return strings.Contains(p.String(), externalName) && strings.Contains(p.Message, "is not resolved")
			})
		}
		if _, err := w.Until(time.Minute, unresolved); err != nil {
			t.Fatal(err)
		}
		nobody := netip.MustParseAddr("192.0.2.99")
		z.set(only(nobody, simnet.LabExternalHA), only(nobody, simnet.LabGateway))
		s, err := w.UntilMode(10*time.Minute, "cvc")
		if err != nil {
			t.Fatal(err)
		}
		if unresolved(s) {
			t.Errorf("problems %v", s.Problems)
		}
	})
}

// Shows: HST-3 (names that were answered with a captive portal's address are asked for again, without any change of the
// connection)
func TestNamesCorrected(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, z, _ := endpointsWorld(t, 74)
		portal := netip.MustParseAddr("192.168.1.1")
		z.set(only(portal), only(portal))
		w.Plug(w.Eth0, w.Cafe)
		time.Sleep(3 * time.Minute)
		z.set(only(simnet.LabExternalHA), only(portal))
		s, err := w.Until(10*time.Minute, func(s control.Status) bool { return s.Mode == "cvc" })
		if err != nil {
			t.Fatal(err)
		}
		if s.State == control.StateConnected {
			t.Error("connected with the gateway's name pointed at the portal")
		}
		time.Sleep(time.Minute)
		z.set(only(simnet.LabExternalHA), only(simnet.LabGateway))
		if _, err := w.UntilMode(20*time.Minute, "cvc"); err != nil {
			t.Fatal(err)
		}
	})
}

// Shows: HST-3, HST-2 (DNS answers that point the home agent and the gateway elsewhere gain nothing: no connection, no traffic of
// the enterprise's outside ESP, not to the address that the gateway's name was pointed at either; in an honest network all
// is well again. TunnelCrack's ServerIP attack)
func TestNamesPointElsewhere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, z, _ := endpointsWorld(t, 73)
		judge := Watch(w.External()...)
		defer judge.Stop()
		attacker := netip.MustParseAddr("192.168.1.1")
		z.set(only(simnet.LabExternalHA), only(simnet.LabGateway))
		w.Plug(w.Eth0, w.Cafe)
		if _, err := w.UntilMode(20*time.Second, "cvc"); err != nil {
			t.Fatal(err)
		}
		sent := int64(0)
		for _, lie := range [][2]netip.Addr{
			{attacker, attacker},
			{simnet.LabExternalHA, attacker},
			{simnet.LabExternalHA, simnet.LabCorrespondent}, // an address of the enterprise's
			{simnet.LabCorrespondent, simnet.LabGateway},
			{simnet.LabExternalHA, simnet.LabExternalHA}, // a peer that there is, of another kind
		} {
			if err := w.Client.Down(t.Context()); err != nil { // forget the tunnel that there is
				t.Fatal(err)
			}
			z.set(only(lie[0]), only(lie[1]))
			if err := w.Client.Up(t.Context()); err != nil {
				t.Fatal(err)
			}
			probe, err := StartProbe(w)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			n, back, _ := probe.Counts()
			if sent += n; back != 0 {
				t.Errorf("%d packets came back with the names pointed at %v", back, lie)
			}
			if err := probe.Close(); err != nil {
				t.Fatal(err)
			}
			s, err := w.Client.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if s.State == control.StateConnected {
				t.Errorf("connected with the names pointed at %v", lie)
			}
		}
		z.set(only(simnet.LabExternalHA), only(simnet.LabGateway))
		w.Unplug(w.Eth0)
		w.Plug(w.Eth0, w.Cafe)
		if _, err := w.UntilMode(2*time.Minute, "cvc"); err != nil {
			t.Fatal(err)
		}
		probe, err := StartProbe(w)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if _, back, _ := probe.Counts(); back == 0 {
			t.Error("nothing comes through")
		}
		if err := probe.Close(); err != nil {
			t.Fatal(err)
		}
		if leaks, frames := judge.Leaks(); len(leaks) != 0 || frames == 0 || sent < 1000 {
			t.Errorf("%d packets sent, %d of %d frames leaked", sent, len(leaks), frames)
		}
	})
}
