package main

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/client/e2e"
	"mipvpn/stack/simnet"
)

// TestBadInput gives a whole client, on a simulated network, what can be wrong in a company's set-up, and looks at it the
// way a person does, with the text of `mipvpn status` over the control protocol: a clear message that names the peer, the
// standard's code and what to do; the state detecting, connecting or blocked; and not one packet of user data in the clear.
func TestBadInput(t *testing.T) {
	wrong := bytes.Repeat([]byte{0x99}, 16)
	tests := []struct {
		name   string
		client func(*config.Config)
		lab    func(*simnet.Lab)
		inside bool // plugged in at the office, not at the café
		during func(*e2e.World)
		say    []string // parts of what is to be read
	}{
		{name: "wrong key at the i-HA", inside: true, client: func(c *config.Config) { c.Internal.Key = wrong },
			say: []string{"i-HA 10.0.1.10", `131 "mobile node failed authentication"`, "compare key, SPI and algorithm"}},
		{name: "wrong SPI at the i-HA", inside: true, client: func(c *config.Config) { c.Internal.SPI = 4711 },
			say: []string{"i-HA 10.0.1.10", `131 "mobile node failed authentication"`, "compare key, SPI and algorithm"}},
		{name: "wrong algorithm at the i-HA", inside: true, client: func(c *config.Config) { c.Internal.Algorithm = config.AlgorithmHMACSHA256 },
			say: []string{"i-HA 10.0.1.10", "compare key, SPI and algorithm"}},
		{name: "wrong key at the x-HA", client: func(c *config.Config) { c.External.Key = wrong },
			say: []string{"x-HA 192.0.2.20", `131 "mobile node failed authentication"`, "compare key, SPI and algorithm"}},
		{name: "unreachable agents", lab: func(l *simnet.Lab) { l.Cafe.Impair(simnet.Impairment{Loss: 1}) },
			say: []string{"neither home agent answered within 2s"}},
		{name: "home address that no agent knows", inside: true, client: func(c *config.Config) { c.Internal.HomeAddress = simnet.LabHomeAddress.Next() },
			say: []string{"the i-HA did not prove inside within 2s"}}, // which stays silent: it shares nothing with that node
		{name: "no gateway", client: func(c *config.Config) { c.Gateway.Address = simnet.LabExternalHA.Next() },
			say: []string{"VPN gateway 192.0.2.21", "the peer does not answer", "UDP 500 and 4500"}},
		{name: "wrong pre-shared key", client: func(c *config.Config) { c.Gateway.PSK = []byte("a guess that is not right") },
			say: []string{"VPN gateway 192.0.2.10", "AUTHENTICATION_FAILED", "psk_file"}},
		{name: "identity that the gateway does not know", client: func(c *config.Config) { c.Gateway.LocalIdentity = "stranger@corp.example" },
			say: []string{"VPN gateway 192.0.2.10", "AUTHENTICATION_FAILED", "local_identity"}},
		{name: "another gateway than the one expected", client: func(c *config.Config) { c.Gateway.RemoteIdentity = "another.corp.example" },
			say: []string{"VPN gateway 192.0.2.10", "remote_identity"}},
		{name: "interface that vanishes in the middle of a registration",
			during: func(w *e2e.World) { time.Sleep(time.Millisecond); w.Unplug(w.Eth0) },
			say:    []string{"eth0", "not known"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, err := e2e.NewWorld(e2e.Options{Seed: 11, Client: tc.client, Lab: tc.lab})
				if err != nil {
					t.Fatal(err)
				}
				defer func() {
					if err := w.Close(); err != nil {
						t.Error(err)
					}
				}()
				var clear, seen atomic.Int64
				for _, wire := range []*simnet.Wire{w.Office, w.Cafe, w.Core, w.Internet} {
					wire.Tap(func(f simnet.Frame) {
						seen.Add(1)
						if f.Plaintext && strings.HasPrefix(f.Sender, "laptop/") {
							clear.Add(1)
						}
					})
				}
				where := w.Cafe
				if tc.inside {
					where = w.Office
				}
				probe, err := e2e.StartProbe(w)
				if err != nil {
					t.Fatal(err)
				}
				defer func() {
					if err := probe.Close(); err != nil {
						t.Error(err)
					}
				}()
				w.Plug(w.Eth0, where)
				if tc.during != nil {
					tc.during(w)
				}
				said := ""
				for range 180 { // three minutes, looked at every second
					time.Sleep(time.Second)
					s, text := look(t, w)
					if !slices.Contains([]control.State{control.StateDetecting, control.StateConnecting, control.StateBlocked}, s.State) ||
						slices.Contains([]string{"c", "f"}, s.Mode) {
						t.Fatalf("state %s in mode %q:\n%s", s.State, s.Mode, text)
					}
					said += text
				}
				for _, part := range tc.say {
					if !strings.Contains(said, part) {
						_, text := look(t, w)
						t.Errorf("nothing says %q; in the end there is\n%s", part, text)
					}
				}
				if n := clear.Load(); n != 0 || seen.Load() == 0 && tc.during == nil {
					t.Errorf("%d of %d frames were user data in the clear", n, seen.Load())
				}
			})
		})
	}
}

// look asks the client over the control protocol and returns its status as a document and as a person reads it.
func look(t *testing.T, w *e2e.World) (control.Status, string) {
	t.Helper()
	near, far := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		control.NewServer(w.Client, everybody(t), nil).ServeConn(t.Context(), far, control.Peer{UID: 0})
	}()
	c := control.NewClient(near)
	s, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := writeStatus(&text, screen{width: 80, height: 24}, s); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(text.String(), "\n"); n >= 24 {
		t.Errorf("%d lines do not fit a screen with a prompt:\n%s", n, &text)
	}
	text.Reset()
	if err := writeStatus(&text, screen{}, s); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	<-ended
	return s, fmt.Sprintf("%s\n", &text)
}
