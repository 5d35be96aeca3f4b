package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zaptest"

	"mipvpn/client"
	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// connected plugs the wireless interface in and waits for the mode.
func connected(t *testing.T, w *World, at place) {
	t.Helper()
	w.Plug(w.Wlan0, at.wire(w))
	if _, err := w.UntilMode(20*time.Second, at.mode); err != nil {
		t.Fatal(err)
	}
}

// Shows: MOD-cvc (RFC 7296 §2.4: a dead gateway is noticed), MOD-keep (the session outlives it)
func TestGatewayDiesAndComesBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		die, back func(*testing.T, *World)
		silent    bool // the client has to notice by itself
	}{
		{"cable", func(_ *testing.T, w *World) { w.GatewayOuter.Detach() }, func(_ *testing.T, w *World) { w.GatewayOuter.Attach(w.Internet) }, true},
		{"crash", func(t *testing.T, w *World) {
			w.GatewayOuter.Detach() // so that no Delete gets out
			if err := w.VPNGateway.Close(); err != nil {
				t.Fatal(err)
			}
			w.VPNGateway = nil
		}, func(t *testing.T, w *World) {
			w.GatewayOuter.Attach(w.Internet)
			restartGateway(t, w)
		}, true},
		{"orderly end", func(t *testing.T, w *World) {
			if err := w.VPNGateway.Close(); err != nil {
				t.Fatal(err)
			}
			w.VPNGateway = nil
		}, restartGateway, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 30})
				clear := watchClear(w)
				k := talk(t, w, 100*time.Millisecond)
				connected(t, w, cafePlace)
				s := converse(t, w)
				s.pass(t, s.near, s.far, 100_000)
				c.die(t, w)
				// Nothing comes back for up to 40 s until the gateway is asked, and ten requests take 98 s.
				heldBack(t, w, 140*time.Second, complaint{"VPN gateway 192.0.2.10", "", "gateway"})
				c.back(t, w)
				mended(t, w, k, 2*time.Minute, "cvc")
				s.pass(t, s.near, s.far, 100_000)
				s.pass(t, s.far, s.near, 100_000)
				s.end(t)
				clear.none(t)
			})
		})
	}
}

// Shows: MOD-cvc (a gateway that has forgotten everything is found out while it answers nothing)
func TestGatewayLosesItsStateUnnoticed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 31})
		clear := watchClear(w)
		k := talk(t, w, 100*time.Millisecond)
		connected(t, w, cafePlace)
		w.GatewayOuter.Detach()
		restartGateway(t, w)
		w.GatewayOuter.Attach(w.Internet)
		k.reset()
		if _, err := w.Until(3*time.Minute, func(s control.Status) bool { return s.State != control.StateConnected }); err != nil {
			t.Fatal(err)
		}
		mended(t, w, k, time.Minute, "cvc")
		clear.none(t)
	})
}

// Shows: MOD-c, MOD-cvc, MOD-keep (bindings that an agent has lost are made anew)
func TestHomeAgentRestarts(t *testing.T) {
	t.Parallel()
	internal := restartInternal(nil)
	for _, c := range []struct {
		name    string
		at      place
		restart func(*testing.T, *World)
		within  time.Duration // until user data flows again
	}{
		// Inside, the next re-registration makes the binding anew: T_MONITOR - N.
		{"i-HA inside", officePlace, internal, 35 * time.Second},
		{"i-HA behind the office's foreign agent", place{"office FA", func(w *World) *simnet.Wire { return w.OfficeFA }, "f"}, internal, 35 * time.Second},
		// Through the VPN, it is noticed that nothing comes back.
		{"i-HA outside", cafePlace, internal, time.Minute},
		{"x-HA", cafePlace, restartExternal, time.Minute},
		{"x-HA behind the hotspot's foreign agent", hotspotPlace, restartExternal, time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 32})
				clear := watchClear(w)
				k := talk(t, w, time.Second)
				connected(t, w, c.at)
				time.Sleep(10 * time.Second)
				k.reset()
				c.restart(t, w)
				time.Sleep(c.within)
				if _, _, gap := k.counts(); gap < 2*time.Second {
					t.Errorf("longest time without an answer is %v: the restart lost nothing, so that nothing was tested", gap)
				} else {
					t.Logf("%v without an answer", gap)
				}
				mended(t, w, k, time.Second, c.at.mode)
				if n := clear.on(w.External()...); n != 0 {
					t.Errorf("%d frames of user data in the clear on external wires", n)
				}
			})
		})
	}
}

// Shows: DET-2 (an interface that vanishes at any moment of a registration ends in no crash and no plaintext)
func TestInterfaceVanishesDuringRegistration(t *testing.T) {
	t.Parallel()
	moments := []time.Duration{0}
	for _, base := range []time.Duration{20 * time.Millisecond, 2001 * time.Millisecond} { // the address comes; IKE starts
		for i := range 12 {
			moments = append(moments, base+time.Duration(i)*8*time.Millisecond/3)
		}
	}
	for _, c := range []struct {
		name string
		gone func(*World)
		back func(*World, *simnet.Wire)
	}{
		{"cable pulled", func(w *World) { w.Wlan0.Detach() }, func(w *World, wire *simnet.Wire) { w.Wlan0.Attach(wire) }},
		{"card pulled", func(w *World) { w.Wlan0.Remove() }, func(w *World, wire *simnet.Wire) { w.Eth0.Attach(wire) }},
		{"address gone", func(w *World) { w.Wlan0.SetAddress(netip.Prefix{}, netip.Addr{}) }, func(w *World, wire *simnet.Wire) { w.Eth0.Attach(wire) }},
	} {
		for _, at := range []place{officePlace, cafePlace, hotspotPlace} {
			if c.name == "address gone" && at.mode == "fvc" {
				continue // there is none
			}
			t.Run(c.name+" at the "+at.name, func(t *testing.T) {
				for _, m := range moments {
					synctest.Test(t, func(t *testing.T) {
						w := world(t, Options{Seed: 33})
						clear := watchClear(w)
						talk(t, w, 50*time.Millisecond)
						w.Plug(w.Wlan0, at.wire(w))
						time.Sleep(m)
						before := clear.on()
						c.gone(w)
						synctest.Wait()
						time.Sleep(3 * time.Second)
						s, err := w.Client.Status(context.Background())
						if err != nil || s.State != control.StateBlocked || len(s.Problems) == 0 || clear.on() != before || before != 0 && at.mode != "c" {
							t.Fatalf("gone after %v: state %s, problems %v, %d frames in the clear before and %d after, %v", m, s.State, s.Problems, before, clear.on()-before, err)
						}
						c.back(w, at.wire(w))
						if _, err := w.UntilMode(20*time.Second, at.mode); err != nil {
							t.Fatalf("gone after %v: %v", m, err)
						}
						if n := clear.on(w.External()...); n != 0 {
							t.Fatalf("gone after %v: %d frames in the clear", m, n)
						}
					})
				}
			})
		}
	}
}

// brokenHost is the laptop with a TUN device that can be made to fail.
type brokenHost struct {
	*simnet.Host
	mu       sync.Mutex
	devices  []*brokenDevice
	refuse   error
	refusals int
}

// OpenDevice implements link.Host.
func (h *brokenHost) OpenDevice(name string, mtu int) (link.Device, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refuse != nil {
		h.refusals++
		return nil, h.refuse
	}
	d, err := h.Host.OpenDevice(name, mtu)
	if err != nil {
		return nil, err
	}
	b := &brokenDevice{Device: d, fail: make(chan struct{})}
	h.devices = append(h.devices, b)
	return b, nil
}

type brokenDevice struct {
	link.Device
	once sync.Once
	fail chan struct{}
}

var errDevice = errors.New("input/output error")

// Read implements link.Device: it fails once the device is broken.
func (d *brokenDevice) Read(b *packet.Batch) error {
	got := make(chan error, 1)
	in := packet.GetBatch()
	go func() { got <- d.Device.Read(in) }()
	select {
	case err := <-got:
		for _, p := range in.Bufs {
			b.Append(p)
		}
		in.Forget()
		return err
	case <-d.fail:
		_ = d.Device.Close() // ends the reader
		<-got
		in.Release()
		return errDevice
	}
}

func (d *brokenDevice) breakDown() { d.once.Do(func() { close(d.fail) }) }

// Shows: MOD-c, MOD-cvc (a TUN device that fails: nothing leaks, the client says so and can be brought up again)
func TestDeviceFails(t *testing.T) {
	t.Parallel()
	for _, at := range []place{officePlace, cafePlace} {
		t.Run(at.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 34, Client: func(c *config.Config) { c.UpAtStart = false }})
				h := &brokenHost{Host: w.Laptop}
				if err := w.Client.Close(); err != nil {
					t.Fatal(err)
				}
				var err error
				if w.Client, err = client.Start(h, ClientConfig(), zaptest.NewLogger(t)); err != nil {
					t.Fatal(err)
				}
				connected(t, w, at)
				clear := watchClear(w)
				h.devices[0].breakDown()
				s, err := w.Until(5*time.Second, func(s control.Status) bool { return s.State == control.StateDown })
				if err != nil || len(s.Problems) != 1 || !strings.Contains(s.Problems[0].String(), errDevice.Error()) ||
					!strings.Contains(s.Problems[0].Advice, "mipvpn up") {
					t.Fatalf("problems %v, %v", s.Problems, err)
				}
				// A device cannot be had at first.
				h.refuse = fmt.Errorf("open /dev/net/tun: %w", errDevice)
				if err := w.Client.Up(context.Background()); !errors.Is(err, errDevice) {
					t.Errorf("got %v, want %v", err, errDevice)
				}
				h.refuse = nil
				if err := w.Client.Up(context.Background()); err != nil {
					t.Fatal(err)
				}
				k := talk(t, w, 100*time.Millisecond)
				mended(t, w, k, 20*time.Second, at.mode)
				if n := clear.on(w.External()...); n != 0 {
					t.Errorf("%d frames of user data in the clear on external wires", n)
				}
			})
		})
	}
}

// Shows: DET-9, DET-12, DET-18 (both home agents gone and back, in every mode)
func TestBothHomeAgentsGoneForAWhile(t *testing.T) {
	t.Parallel()
	for _, at := range places {
		t.Run(at.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 35})
				k := talk(t, w, time.Second)
				connected(t, w, at)
				k.works(t, 5*time.Second)
				if err := errors.Join(w.InternalAgent.Close(), w.ExternalAgent.Close()); err != nil {
					t.Fatal(err)
				}
				clear := watchClear(w)
				time.Sleep(61 * time.Second) // T_MONITOR
				before := clear.on()
				time.Sleep(15 * time.Minute)
				if n := clear.on() - before; n != 0 {
					t.Errorf("%d frames of user data in the clear behind T_MONITOR", n)
				}
				s, err := w.Client.Status(context.Background())
				if _, ok := problem(s, "x-HA"); err != nil || s.State != control.StateBlocked || !ok {
					t.Errorf("state %s, problems %v, %v", s.State, s.Problems, err)
				}
				restartInternal(nil)(t, w)
				restartExternal(t, w)
				// The x-HA may be the first to be heard: then the i-HA is found at the next probe (DET-9).
				mended(t, w, k, 11*time.Minute, at.mode)
			})
		})
	}
}
