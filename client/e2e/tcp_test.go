package e2e

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// overTCP lets the VPN go over TCP where UDP does not pass, straight from an interface.
func overTCP(c *config.Config) {
	straight(c)
	c.Gateway.TCP, c.Gateway.TCPPort = config.TCPAuto, 4500
}

// onlyTCP has a network lose all but TCP until stop is called.
func onlyTCP(on *simnet.Wire) (stop func()) {
	return on.Intercept(func(f simnet.Frame) []simnet.Relay {
		if ip := packet.IPv4(f.Packet); ip.Valid() && ip.Protocol() != packet.ProtocolTCP {
			return nil
		}
		return []simnet.Relay{f.Relay()}
	})
}

// secondCafe adds a café with the addresses of inside to the lab.
func secondCafe(at **simnet.Wire, inside string) func(*simnet.Lab) {
	return func(l *simnet.Lab) {
		*at, _ = l.AddCafe("second-cafe", netip.MustParseAddr("192.0.2.50"), netip.MustParsePrefix(inside), simnet.NATConfig{})
	}
}

// carriedIn reports whether user data passes in mode vc, with ESP encapsulated so.
func carriedIn(how string) func(control.Status) bool {
	return func(s control.Status) bool {
		return s.State == control.StateConnected && s.Mode == "vc" && layerOf(s, "vpn").Encapsulation == how
	}
}

// Shows: DET-18, IKE-6, MOD-vc. Neither home agent answers and UDP does not pass at all: vc is tried, over TCP, and user data passes.
// When UDP passes again the SAs go over to it, and TCP is left. Nothing ever leaves in the clear.
func TestOnlyTCPPasses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 620, Client: overTCP, Gateway: mobike})
		clear := watchClear(w)
		unblock := onlyTCP(w.Cafe)
		w.Plug(w.Wlan0, w.Cafe)
		before, err := w.Until(20*time.Second, carriedIn("esp-in-tcp"))
		if err != nil {
			t.Fatal(err)
		}
		use(t, w)
		k := talk(t, w, 100*time.Millisecond)
		k.works(t, 10*time.Minute)
		unblock()
		k.reset()
		after, err := w.Until(5*time.Minute, carriedIn("esp-in-udp"))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, gap := k.counts(); gap > 2*time.Second {
			t.Errorf("nothing passed for %v", gap)
		}
		k.works(t, 10*time.Second)
		if spis(before) != spis(after) {
			t.Errorf("SPIs %s in TCP, %s in UDP", spis(before), spis(after))
		}
		clear.none(t)
	})
}

// Shows: IKE-6, IKE-7, MOD-keep, MEC-C. A session lives on through a roam from where UDP passes to where TCP alone does, between two of
// those, also where the laptop has the same address in both, and back to UDP: under the same IKE SA.
func TestRoamsOverTCP(t *testing.T) {
	t.Parallel()
	for name, inside := range map[string]string{"another address": "192.168.7.50/24", "the same address": "192.168.1.100/24"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var second *simnet.Wire
				w := world(t, Options{Seed: 621, Client: overTCP, Gateway: mobike, Lab: secondCafe(&second, inside)})
				j := Watch(w.External()...)
				w.Plug(w.Wlan0, w.Campus)
				first, err := w.UntilMode(20*time.Second, "vc")
				if err != nil {
					t.Fatal(err)
				}
				s, err := StartSession(w)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(5 * time.Second)
				stop, stopSecond := onlyTCP(w.Cafe), onlyTCP(second)
				defer stopSecond()
				for _, to := range []struct {
					at  *simnet.Wire
					how string
				}{{w.Cafe, "esp-in-tcp"}, {second, "esp-in-tcp"}, {w.Cafe, "esp-in-tcp"}, {w.Campus, ""}} {
					w.Unplug(w.Wlan0)
					w.Plug(w.Wlan0, to.at)
					now, err := w.Until(30*time.Second, func(s control.Status) bool {
						how := layerOf(s, "vpn").Encapsulation
						return s.State == control.StateConnected && s.Mode == "vc" && (how == to.how || to.how == "" && how != "esp-in-tcp")
					})
					if err != nil {
						t.Fatalf("%s: %v; layers %+v", to.how, err, now.Layers)
					}
					if spis(first) != spis(now) {
						t.Errorf("SPIs %s at first, now %s", spis(first), spis(now))
					}
					time.Sleep(5 * time.Second)
				}
				stop()
				up, down, err := s.Finish()
				if err != nil {
					t.Error(err)
				}
				if up < 100*chunk || down < 100*chunk {
					t.Errorf("%d octets up, %d down", up, down)
				}
				judge(t, j)
			})
		})
	}
}

// Shows: DET-18, MOD-keep, MOD-vc. A session that began inside lives on where TCP alone passes, and comes back.
func TestFromInsideToTCP(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 622, Client: overTCP, Gateway: mobike})
		j := Watch(w.External()...)
		connected(t, w, officePlace)
		s, err := StartSession(w)
		if err != nil {
			t.Fatal(err)
		}
		defer onlyTCP(w.Cafe)()
		for range 2 {
			time.Sleep(5 * time.Second)
			w.Plug(w.Wlan0, w.Cafe)
			if _, err := w.Until(30*time.Second, carriedIn("esp-in-tcp")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
			w.Plug(w.Wlan0, w.Office)
			if _, err := w.UntilMode(30*time.Second, "c"); err != nil {
				t.Fatal(err)
			}
		}
		up, down, err := s.Finish()
		if err != nil {
			t.Error(err)
		}
		if up < 100*chunk || down < 100*chunk {
			t.Errorf("%d octets up, %d down", up, down)
		}
		judge(t, j)
	})
}

// Shows: IKE-6, MOD-keep, MOD-vc. UDP ceases to pass where the laptop is, without any change of network: the silence is noticed, and the
// session goes on over TCP.
func TestUDPCeasesToPass(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 623, Client: overTCP, Gateway: mobike})
		j := Watch(w.External()...)
		w.Plug(w.Wlan0, w.Cafe)
		if _, err := w.Until(20*time.Second, carriedIn("esp-in-udp")); err != nil {
			t.Fatal(err)
		}
		s, err := StartSession(w)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		unblock := onlyTCP(w.Cafe)
		if _, err := w.Until(30*time.Second, carriedIn("esp-in-tcp")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		unblock()
		if _, err := w.Until(3*time.Minute, carriedIn("esp-in-udp")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		up, down, err := s.Finish()
		if err != nil {
			t.Error(err)
		}
		if up < 100*chunk || down < 100*chunk {
			t.Errorf("%d octets up, %d down", up, down)
		}
		judge(t, j)
	})
}
