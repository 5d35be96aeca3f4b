package e2e

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/control"
	"mipvpn/stack/simnet"
)

// behaviours are the three that RFC 4787 knows, of mapping and of filtering.
var behaviours = []simnet.Dependence{simnet.EndpointIndependent, simnet.AddressDependent, simnet.AddressAndPortDependent}

// Shows: MOD-cvc, GDL-7, MOD-keep (RFC 4787: every mapping and filtering; RFC 3519 §4.9: keepalives hold it)
func TestEveryNAT(t *testing.T) {
	t.Parallel()
	for _, mapping := range behaviours {
		for _, filtering := range behaviours {
			t.Run(mapping.String()+" mapping, "+filtering.String()+" filtering", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := world(t, Options{Seed: 60, Lab: func(l *simnet.Lab) {
						// The least that the RFC allows (REQ-5), and shorter than the idle time below; the keepalive of RFC 3519 comes
						// every 110 s.
						l.CafeNAT.SetNAT(simnet.NATConfig{Outside: l.CafeOutside, Mapping: mapping, Filtering: filtering, Timeout: 2 * time.Minute})
					}})
					j := Watch(w.External()...)
					connected(t, w, cafePlace)
					c := converse(t, w)
					c.pass(t, c.near, c.far, 100_000)
					c.pass(t, c.far, c.near, 100_000)
					time.Sleep(10 * time.Minute)
					// The correspondent is the first to speak again: it is heard only when every mapping has been held.
					if took := c.pass(t, c.far, c.near, 1000); took > time.Second {
						t.Errorf("the correspondent was heard only after %v", took)
					}
					c.pass(t, c.near, c.far, 100_000)
					c.end(t)
					if st, err := w.Client.Status(context.Background()); err != nil || len(st.Problems) != 0 || st.Mode != "cvc" {
						t.Errorf("mode %q, problems %v, %v", st.Mode, st.Problems, err)
					}
					judge(t, j)
				})
			})
		}
	}
}

// Shows: MOD-keep (over a bad café)
func TestBadWires(t *testing.T) {
	t.Parallel()
	wlan := simnet.Impairment{Latency: 2 * time.Millisecond, Jitter: time.Millisecond}
	for _, c := range []struct {
		name   string
		impair func(*simnet.Impairment)
		share  float64 // of what is written, at least, that arrives in time
	}{
		{"5 % loss", func(i *simnet.Impairment) { i.Loss = 0.05 }, 0.5},
		{"reordering", func(i *simnet.Impairment) { i.Reorder, i.ReorderDelay = 0.2, 10*time.Millisecond }, 0.9},
		{"duplication", func(i *simnet.Impairment) { i.Duplicate = 0.3 }, 0.9},
		{"all three", func(i *simnet.Impairment) { i.Loss, i.Reorder, i.Duplicate = 0.03, 0.1, 0.1 }, 0.5},
		{"200 ms and jitter", func(i *simnet.Impairment) { i.Latency, i.Jitter = 100*time.Millisecond, 50*time.Millisecond }, 0.7},
	} {
		for _, at := range []place{cafePlace, hotspotPlace} {
			t.Run(c.name+" at the "+at.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := world(t, Options{Seed: 61})
					j := Watch(w.External()...)
					bad := wlan
					c.impair(&bad)
					at.wire(w).Impair(bad)
					w.Plug(w.Wlan0, at.wire(w))
					if _, err := w.UntilMode(time.Minute, at.mode); err != nil {
						t.Fatal(err)
					}
					s, err := StartSession(w)
					if err != nil {
						t.Fatal(err)
					}
					time.Sleep(8 * time.Second)
					up, down, err := s.Finish()
					if err != nil {
						t.Error(err)
					}
					written := float64(8*time.Second/pace) * chunk
					if float64(up) < c.share*written || float64(down) < c.share*written {
						t.Errorf("%d octets up, %d down, of %.0f each", up, down, written)
					}
					if st, err := w.Client.Status(context.Background()); err != nil || st.State != control.StateConnected {
						t.Errorf("state %s, %v", st.State, err)
					}
					judge(t, j)
				})
			})
		}
	}
}

// Shows: MOD-cvc, MOD-keep (an access network with a small MTU)
func TestSmallMTU(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var narrow *simnet.Wire
		var wlan1 *simnet.NIC
		w := world(t, Options{Seed: 62, Lab: func(l *simnet.Lab) {
			narrow = l.NewWire(simnet.WireConfig{
				Name: "narrow", MTU: 1280, Impairment: simnet.Impairment{Latency: 2 * time.Millisecond},
				Pool: &simnet.AddressPool{First: netip.MustParsePrefix("192.168.2.100/24"), Gateway: netip.MustParseAddr("192.168.2.1")},
			})
			l.CafeNAT.AddNIC(simnet.NICConfig{Name: "lan1", Address: netip.MustParsePrefix("192.168.2.1/24"), MTU: 1280}).Attach(narrow)
			wlan1 = l.Laptop.AddNIC(simnet.NICConfig{Name: "wlan1", Automatic: true, Wireless: true, MTU: 1280})
		}})
		j := Watch(append(w.External(), narrow)...)
		w.Plug(wlan1, narrow)
		if _, err := w.UntilMode(20*time.Second, "cvc"); err != nil {
			t.Fatal(err)
		}
		var largest atomic.Int64
		narrow.Tap(func(f simnet.Frame) { largest.Store(max(largest.Load(), int64(len(f.Packet)))) })
		c := converse(t, w)
		c.pass(t, c.near, c.far, 1<<20)
		c.pass(t, c.far, c.near, 1<<20)
		// And over to a café without that limit, and back.
		w.Plug(w.Eth0, w.Cafe)
		if _, err := w.Until(20*time.Second, func(s control.Status) bool { return s.Interface == "eth0" && s.State == control.StateConnected }); err != nil {
			t.Fatal(err)
		}
		c.pass(t, c.near, c.far, 1<<18)
		w.Unplug(w.Eth0)
		if _, err := w.Until(20*time.Second, func(s control.Status) bool { return s.Interface == "wlan1" && s.State == control.StateConnected }); err != nil {
			t.Fatal(err)
		}
		c.pass(t, c.near, c.far, 1<<18)
		c.pass(t, c.far, c.near, 1<<18)
		c.end(t)
		if n := largest.Load(); n > 1280 || n < 1200 {
			t.Errorf("the largest packet on the wire has %d octets", n)
		}
		judge(t, j)
	})
}

// conversation is a TCP connection between the laptop and the correspondent, silent until pass is called.
type conversation struct {
	near, far net.Conn
}

func converse(t *testing.T, w *World) *conversation {
	t.Helper()
	to := netip.AddrPortFrom(simnet.LabCorrespondent, sessionPort)
	l, err := w.Correspondent.ListenTCP(to)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := &conversation{}
	if c.near, err = w.Laptop.DialTCP(to, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if c.far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return c
}

// pass sends n octets with the canary and checks that they arrive; it returns how long that took.
func (c *conversation) pass(t *testing.T, from, to net.Conn, n int) time.Duration {
	t.Helper()
	began := time.Now()
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(i * i >> 8)
	}
	for i := 0; i+len(Canary) < n; i += 500 {
		copy(out[i:], Canary)
	}
	written := make(chan error, 1)
	go func() {
		_, err := from.Write(out)
		written <- err
	}()
	in := make([]byte, n)
	if err := to.SetReadDeadline(began.Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(to, in); err != nil {
		t.Fatal(err)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(in, out) {
		t.Error("what arrived is not what was sent")
	}
	return time.Since(began)
}

func (c *conversation) end(t *testing.T) {
	t.Helper()
	if err := errors.Join(c.near.Close(), c.far.Close()); err != nil {
		t.Error(err)
	}
}
