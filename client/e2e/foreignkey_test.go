package e2e

import (
	"bytes"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/mipv4/foreignagent"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
)

// Foreign agents and the laptop share a key: each registers with the other's proof of it, in both places and through renewals. An agent
// that has another key is not registered through, nor one that has none.
//
// Shows: MIP-2, AGT-4 (Mobile-Foreign authentication, RFC 5944 §3.5.3, §3.6.2.1: the whole client)
func TestForeignAssociation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const spi = 5001
		key := bytes.Repeat([]byte{0x33}, 16)
		w := world(t, Options{Seed: 76, Client: func(c *config.Config) {
			c.ForeignAgent = config.ForeignAgent{SPI: spi, Algorithm: config.AlgorithmHMACMD5, Key: bytes.Clone(key),
				Networks: []netip.Prefix{netip.PrefixFrom(simnet.LabInternalFAVisited, 24), netip.PrefixFrom(simnet.LabExternalFAVisited, 32)}}
		}})
		shares := func(key []byte) func(*agent.ForeignAgentConfig) {
			return func(c *agent.ForeignAgentConfig) {
				for _, home := range []netip.Addr{simnet.LabHomeAddress, simnet.LabExternalHomeAddress} {
					c.MobileNodes = append(c.MobileNodes, foreignagent.Peer{Address: home, Association: association(spi, key)})
				}
			}
		}
		restart := func(change func(*agent.ForeignAgentConfig)) {
			t.Helper()
			if err := w.RestartInternalFA(change); err != nil {
				t.Fatal(err)
			}
			if err := w.RestartExternalFA(change); err != nil {
				t.Fatal(err)
			}
		}
		restart(shares(key))
		k := talk(t, w, 500*time.Millisecond)
		for _, at := range []place{places[1], places[3]} {
			w.Plug(w.Wlan0, at.wire(w))
			mended(t, w, k, 20*time.Second, at.mode)
			time.Sleep(12 * time.Minute)
			if s, err := w.Client.Status(t.Context()); err != nil || s.Mode != at.mode {
				t.Fatalf("%s: mode %q after a while, problems %v, %v", at.name, s.Mode, s.Problems, err)
			}
		}
		for name, change := range map[string]func(*agent.ForeignAgentConfig){"another key": shares([]byte("another key, not")), "no key": nil} {
			w.Unplug(w.Wlan0)
			restart(change)
			for _, at := range []place{places[1], places[3]} {
				w.Plug(w.Wlan0, at.wire(w))
				time.Sleep(time.Minute)
				if s, err := w.Client.Status(t.Context()); err != nil || s.State == control.StateConnected {
					t.Errorf("%s, %s: state %v, mode %q, %v", at.name, name, s.State, s.Mode, err)
				}
			}
		}
		restart(shares(key))
		mended(t, w, k, time.Minute, "fvc")
	})
}
