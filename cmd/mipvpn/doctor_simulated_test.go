package main

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/client/e2e"
	"mipvpn/mipv4/wire"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// examined has the doctor look at the mobile node of a simulated world.
func examined(t *testing.T, w *e2e.World, expect string) *report {
	t.Helper()
	near, far := net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan struct{})
	go func() {
		defer close(served)
		control.NewServer(w.Client, everybody(t), nil).ServeConn(ctx, far, control.Peer{})
	}()
	c := control.NewClient(near)
	r := &report{Schema: control.Schema, Expect: expect, Result: checkOK}
	err := r.daemon(ctx, c)
	if cerr := c.Close(); cerr != nil {
		t.Error(cerr)
	}
	cancel()
	<-served
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *report) named(prefix string) []finding {
	var out []finding
	for _, k := range r.Checks {
		if strings.HasPrefix(k.Name, prefix) {
			out = append(out, k)
		}
	}
	return out
}

// Shows: DET-14 (the doctor on the whole system: outside with a firewall in order and one that lets registrations in, inside,
// and with neither home agent)
func TestDoctorOnTheSimulatedNetwork(t *testing.T) {
	cafe := netip.MustParsePrefix("192.168.1.0/24")
	for _, c := range []struct {
		name    string
		options e2e.Options
		place   func(*e2e.World) *simnet.Wire
		mode    string // to be waited for, empty for none
		change  func(*e2e.World)
		expect  string
		result  grade
		check   string
		found   grade
	}{
		{name: "outside", place: func(w *e2e.World) *simnet.Wire { return w.Cafe }, mode: "cvc", expect: "outside", result: checkOK, check: "firewall", found: checkOK},
		{name: "outside, listed, the firewall lets registrations in and the i-HA trusts everybody", options: e2e.Options{
			Client: func(c *config.Config) {
				c.Detection.OutsideNetworks, c.Detection.SuppressOutside = []netip.Prefix{cafe}, true
			},
			InternalHA: func(c *agent.HomeAgentConfig) {
				c.TrustedNetworks = append(c.TrustedNetworks, cafe, netip.MustParsePrefix("192.0.2.0/24"))
			},
		}, place: func(w *e2e.World) *simnet.Wire { return w.Cafe }, mode: "cvc", change: func(w *e2e.World) {
			w.Firewall.SetFirewall(
				simnet.Rule{In: w.FirewallCore, Verdict: simnet.Accept}, simnet.Rule{In: w.FirewallOffice, Verdict: simnet.Accept},
				simnet.Rule{Destination: netip.PrefixFrom(simnet.LabInternalHA, 32), Protocol: packet.ProtocolUDP, DestinationPort: wire.Port, Verdict: simnet.Accept})
		}, expect: "outside", result: checkFailed, check: "firewall on wlan0", found: checkFailed},
		{name: "inside, taken for outside", place: func(w *e2e.World) *simnet.Wire { return w.Office }, mode: "c", expect: "outside", result: checkFailed, check: "expect outside", found: checkFailed},
		{name: "inside", place: func(w *e2e.World) *simnet.Wire { return w.Office }, mode: "c", expect: "inside", result: checkOK, check: "expect inside", found: checkOK},
		{name: "outside, taken for inside", place: func(w *e2e.World) *simnet.Wire { return w.Cafe }, mode: "cvc", expect: "inside", result: checkFailed, check: "expect inside", found: checkFailed},
		{name: "UDP 434 blocked", place: func(w *e2e.World) *simnet.Wire { return w.Cafe }, change: func(w *e2e.World) {
			w.CafeNAT.SetFirewall(simnet.Rule{Protocol: packet.ProtocolUDP, DestinationPort: wire.Port}, simnet.Rule{Verdict: simnet.Accept})
		}, result: checkFailed, check: "home agents", found: checkFailed},
		{name: "waived", options: e2e.Options{Client: func(c *config.Config) { c.Detection.WaiveTNC = true }},
			place: func(w *e2e.World) *simnet.Wire { return w.Office }, mode: "c", result: checkOK, check: "TNC", found: checkWarning},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.options.Seed = 450
				w, err := e2e.NewWorld(c.options)
				if err != nil {
					t.Fatal(err)
				}
				defer func() {
					if err := w.Close(); err != nil {
						t.Error(err)
					}
				}()
				if c.change != nil && c.mode == "" {
					c.change(w)
				}
				w.Plug(w.Wlan0, c.place(w))
				if c.mode != "" {
					if _, err := w.UntilMode(20*time.Second, c.mode); err != nil {
						t.Fatal(err)
					}
					if c.change != nil {
						c.change(w)
					}
				}
				r := examined(t, w, c.expect)
				if r.Result != c.result {
					t.Errorf("%s, want %s", r.Result, c.result)
				}
				if k := r.named(c.check); len(k) != 1 || k[0].Result != c.found {
					t.Errorf("%s: %+v, want %s", c.check, k, c.found)
				}
				if t.Failed() {
					t.Logf("%+v", r.Checks)
				}
			})
		})
	}
}
