package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// pinged returns what a ping came to, a word a layer: "+" before those that answered, "-" before those that did not, "!" before
// those that were not asked.
func pinged(t *testing.T, w *World) (control.Ping, string) {
	t.Helper()
	p, err := w.Client.Ping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, l := range p.Layers {
		mark := "!"
		switch {
		case l.Answered:
			mark = "+"
		case l.Asked:
			mark = "-"
		}
		if l.Asked == (l.Outcome != "") || l.Answered != (l.RoundTrip > 0) || l.Method == "" {
			t.Errorf("%+v", l)
		}
		words = append(words, fmt.Sprintf("%s%s/%s", mark, l.Kind, l.Role))
	}
	return p, strings.Join(words, " ")
}

// Each layer is measured by itself, and what breaks shows in the layers that stand on it.
func TestPing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 90})
		if _, err := w.Client.Ping(t.Context()); err != nil {
			t.Errorf("without a network: %v", err)
		}
		connected(t, w, cafePlace)
		const whole = "+underlay/router +underlay/x-HA +x-mip/x-HA +vpn/gateway +i-mip/i-HA"
		p, words := pinged(t, w)
		if words != whole || p.Mode != "cvc" || p.Interface != w.Wlan0.Name() || p.State != control.StateConnected || p.Schema != control.Schema {
			t.Errorf("in the café: %s, %+v", words, p)
		}
		for i, l := range p.Layers[1:] {
			if before := p.Layers[i]; l.RoundTrip < before.RoundTrip-0.001 && !(l.Kind == before.Kind) && l.Kind != "vpn" {
				t.Errorf("%s answers within %v ms, %s beneath it only within %v ms", l.Role, l.RoundTrip, before.Role, before.RoundTrip)
			}
		}
		if _, again := pinged(t, w); again != whole {
			t.Errorf("again: %s", again)
		}

		w.Firewall.SetFirewall(simnet.Rule{Verdict: simnet.Accept}) // what is said of the company's own firewall does not matter here
		w.CafeNAT.SetFirewall(simnet.Rule{Protocol: packet.ProtocolICMP}, simnet.Rule{Verdict: simnet.Accept})
		if _, words := pinged(t, w); words != "-underlay/router -underlay/x-HA +x-mip/x-HA +vpn/gateway +i-mip/i-HA" {
			t.Errorf("where the café lets no ICMP through: %s", words)
		}
	})
}

// Inside, nothing but the underlay and i-MIP is asked, and what goes to the i-HA goes through the gate.
//
// Shows: DET-4 (a ping from the home address in the clear needs a live proof, too)
func TestPingInside(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 91})
		connected(t, w, officePlace)
		if p, words := pinged(t, w); words != "+underlay/router +i-mip/i-HA" || p.Mode != "c" {
			t.Errorf("in the office: %s, %+v", words, p)
		}
		before, err := w.Client.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w.Firewall.SetFirewall(simnet.Rule{}) // the i-HA is out of reach from now on
		deadline := time.Now().Add(5 * time.Minute)
		for {
			p, words := pinged(t, w)
			if strings.Contains(words, "!i-mip") {
				if strings.Contains(words, "+i-mip") || p.Layers[len(p.Layers)-1].Outcome == "" {
					t.Errorf("%s: %+v", words, p)
				}
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the proof has run out, and still: %s", words)
			}
			time.Sleep(time.Second)
		}
		after, err := w.Client.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if limit := int64(before.Monitor * 1000); after.Exposure >= limit {
			t.Errorf("plaintext passed on a proof %d ms old, the limit is %d", after.Exposure, limit)
		}
	})
}

// Where a network's own addresses are the company's, its router is not asked without a proof of inside: nothing tells it from a host of
// the company's. Shows: DET-3
func TestPingGuardsTheEnterprise(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 95, Client: func(c *config.Config) {
			c.Enterprise.Prefixes = append(c.Enterprise.Prefixes, netip.MustParsePrefix("192.168.1.0/24"))
		}})
		connected(t, w, cafePlace)
		p, words := pinged(t, w)
		if words != "!underlay/router +underlay/x-HA +x-mip/x-HA +vpn/gateway +i-mip/i-HA" || !strings.Contains(p.Layers[0].Outcome, "no proof of being inside") {
			t.Errorf("%s, %+v", words, p.Layers[0])
		}
	})
}

// A foreign agent is the router of an interface without an address: what lies behind it is asked through x-MIP.
func TestPingThroughForeignAgent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 92})
		connected(t, w, hotspotPlace)
		if p, words := pinged(t, w); words != "!underlay/router +x-mip/x-HA +vpn/gateway +i-mip/i-HA" || p.Mode != "fvc" {
			t.Errorf("%s, %+v", words, p)
		}
	})
}

// Without an x-HA the gateway is asked straight, and by IKE.
func TestPingWithoutExternal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, _ := straightWorld(t, 93, func(o *Options) {
			o.Client = func(c *config.Config) {
				straight(c)
				c.External = config.HomeAgent{}
			}
		})
		w.Plug(w.Wlan0, w.Cafe)
		reach(t, w, "vc")
		if _, words := pinged(t, w); words != "+underlay/router +underlay/gateway +vpn/gateway +i-mip/i-HA" {
			t.Errorf("%s", words)
		}
		w.CafeNAT.SetFirewall(simnet.Rule{ToHost: true, Verdict: simnet.Accept}, simnet.Rule{})
		if _, words := pinged(t, w); words != "+underlay/router -underlay/gateway -vpn/gateway -i-mip/i-HA" {
			t.Errorf("behind a router that leads nowhere: %s", words)
		}
	})
}

// A ping is refused while the client is down and while another one is under way; one that is given up ends by itself.
func TestPingRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 94})
		connected(t, w, cafePlace)
		w.CafeNAT.SetFirewall(simnet.Rule{})
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan error, 1)
		go func() {
			_, err := w.Client.Ping(ctx)
			first <- err
		}()
		synctest.Wait()
		if _, err := w.Client.Ping(t.Context()); !errors.Is(err, control.ErrRefused) {
			t.Errorf("beside another one: %v", err)
		}
		cancel()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("given up: %v", err)
		}
		time.Sleep(5 * time.Second)
		if _, words := pinged(t, w); strings.Contains(words, "+") {
			t.Errorf("in a café without a way out: %s", words)
		}
		if err := w.Client.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Client.Ping(t.Context()); !errors.Is(err, control.ErrRefused) {
			t.Errorf("down: %v", err)
		}
	})
}
