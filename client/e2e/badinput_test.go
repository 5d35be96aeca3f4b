package e2e

import (
	"bytes"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike/message"
	"mipvpn/mipv4/foreignagent"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
)

// associations with another key, another SPI.
var (
	otherKey = bytes.Repeat([]byte{0x99}, 16)

	cafePlace    = place{"café", func(w *World) *simnet.Wire { return w.Cafe }, "cvc"}
	officePlace  = place{"office", func(w *World) *simnet.Wire { return w.Office }, "c"}
	hotspotPlace = place{"hotspot", func(w *World) *simnet.Wire { return w.Hotspot }, "fvc"}
)

// fault is something wrong at the other end, and its mending while the client goes on.
type fault struct {
	name string
	at   place
	// What is wrong from the start.
	lab                    func(*simnet.Lab)
	client                 func(*config.Config)
	internalHA, externalHA func(*agent.HomeAgentConfig)
	gateway                func(*agent.GatewayConfig)
	begin                  func(*testing.T, *World)
	// What a person is told, within patience.
	patience time.Duration
	want     complaint
	// mend mends the cause; nil when only another configuration of the client does. within is how long it may take until
	// user data flows in mode.
	mend   func(*testing.T, *World)
	within time.Duration
	mode   string
}

// Shows: MOD-c, MOD-cvc, MOD-fvc (their refusals), DET-18 (the gate stays closed)
func TestFaultsAreToldAndOvercome(t *testing.T) {
	t.Parallel()
	const asTheAgent = "compare key, SPI and algorithm"
	const failedAuthentication = `131 "mobile node failed authentication"`
	var impostor impostor
	for _, f := range []fault{
		{
			name: "wrong key at the i-HA", at: officePlace,
			internalHA: func(c *agent.HomeAgentConfig) { c.MobileNodes[0].Associations[0] = association(InternalSPI, otherKey) },
			patience:   20 * time.Second, want: complaint{"i-HA 10.0.1.10", failedAuthentication, asTheAgent},
			mend: restartInternal(nil), within: 11 * time.Minute, mode: "c",
		},
		{
			name: "wrong SPI at the i-HA", at: cafePlace,
			internalHA: func(c *agent.HomeAgentConfig) { c.MobileNodes[0].Associations[0] = association(4711, internalKey) },
			patience:   20 * time.Second, want: complaint{"i-HA 10.0.1.10", failedAuthentication, asTheAgent},
			mend: restartInternal(nil), within: time.Minute, mode: "cvc",
		},
		{
			name: "i-HA that does not trust the gateway's pool", at: cafePlace,
			internalHA: func(c *agent.HomeAgentConfig) {
				c.TrustedNetworks = []netip.Prefix{netip.MustParsePrefix("10.0.2.0/24")}
			},
			patience: time.Minute, want: complaint{"i-HA 10.0.1.10", "", "trusts the pool"},
			mend: restartInternal(nil), within: time.Minute, mode: "cvc",
		},
		{
			name: "wrong key at the x-HA", at: cafePlace,
			externalHA: func(c *agent.HomeAgentConfig) { c.MobileNodes[0].Associations[0] = association(ExternalSPI, otherKey) },
			patience:   10 * time.Second, want: complaint{"x-HA 192.0.2.20", failedAuthentication, asTheAgent},
			mend: restartExternal, within: time.Minute, mode: "cvc",
		},
		{
			name: "UDP 434 blocked", at: cafePlace,
			lab: func(l *simnet.Lab) {
				l.CafeNAT.SetFirewall(simnet.Rule{Protocol: 17, DestinationPort: 434}, simnet.Rule{Verdict: simnet.Accept})
			},
			patience: 10 * time.Second, want: complaint{"x-HA 192.0.2.20", "", "UDP 434"},
			mend:   func(_ *testing.T, w *World) { w.CafeNAT.SetFirewall(simnet.Rule{Verdict: simnet.Accept}) },
			within: time.Minute, mode: "cvc",
		},
		{
			name: "gateway unreachable", at: cafePlace,
			lab:      func(l *simnet.Lab) { l.GatewayOuter.Detach() },
			patience: 2 * time.Minute, want: complaint{"VPN gateway 192.0.2.10", "", "UDP 500 and 4500"},
			mend:   func(_ *testing.T, w *World) { w.GatewayOuter.Attach(w.Internet) },
			within: time.Minute, mode: "cvc",
		},
		{
			name: "wrong PSK at the gateway", at: cafePlace,
			gateway:  func(c *agent.GatewayConfig) { c.Peers[0].PSK = []byte("another one") },
			patience: 20 * time.Second, want: complaint{"VPN gateway 192.0.2.10", "AUTHENTICATION_FAILED", "psk_file"},
			mend: restartGateway, within: time.Minute, mode: "cvc",
		},
		{
			name: "gateway that shares no algorithm", at: cafePlace,
			begin:    impostor.refuse(message.NoProposalChosen),
			patience: 30 * time.Second, want: complaint{"VPN gateway 192.0.2.10", "NO_PROPOSAL_CHOSEN", "AES-GCM"},
			mend: impostor.leave, within: 2 * time.Minute, mode: "cvc",
		},
		{
			name: "gateway with other networks", at: hotspotPlace,
			gateway:  func(c *agent.GatewayConfig) { c.Networks = []netip.Prefix{netip.MustParsePrefix("172.20.0.0/16")} },
			patience: 20 * time.Second, want: complaint{"VPN gateway 192.0.2.10", "TS_UNACCEPTABLE", "traffic selectors"},
			mend: restartGateway, within: time.Minute, mode: "fvc",
		},
		{
			name: "gateway without a free address", at: cafePlace,
			gateway: func(c *agent.GatewayConfig) {
				c.Pool = netip.MustParsePrefix("10.0.9.5/32")
				c.Peers = append(c.Peers, gateway.Peer{Identity: identity("other@corp.example"), PSK: psk, Address: netip.MustParseAddr("10.0.9.5")})
			},
			patience: 20 * time.Second, want: complaint{"VPN gateway 192.0.2.10", "INTERNAL_ADDRESS_FAILURE", "pool"},
			mend: restartGateway, within: time.Minute, mode: "cvc",
		},
		{
			name: "gateway that proves another identity", at: cafePlace,
			gateway:  func(c *agent.GatewayConfig) { c.IKE.LocalID = identity("somebody.else.example") },
			patience: 20 * time.Second, want: complaint{"VPN gateway 192.0.2.10", "AUTHENTICATION_FAILED", "remote_identity"},
			mend: restartGateway, within: time.Minute, mode: "cvc",
		},
		{
			name: "foreign agent that excludes the x-HA", at: hotspotPlace,
			begin: restartForeign(func(c *foreignagent.Config) {
				c.PermittedHomeAgents = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
			}),
			patience: 10 * time.Second, want: complaint{"x-HA 192.0.2.20", `65 "administratively prohibited"`, "foreign agent"},
			mend: restartForeign(func(*foreignagent.Config) {}), within: 2 * time.Minute, mode: "fvc",
		},
	} {
		t.Run(f.name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { testFault(t, f) }) })
	}
}

func testFault(t *testing.T, f fault) {
	w := world(t, Options{Seed: 20, Lab: f.lab, Client: f.client, InternalHA: f.internalHA, ExternalHA: f.externalHA, Gateway: f.gateway})
	if f.begin != nil {
		f.begin(t, w)
	}
	clear := watchClear(w)
	k := talk(t, w, 100*time.Millisecond)
	w.Plug(w.Wlan0, f.at.wire(w))
	heldBack(t, w, f.patience, f.want)
	clear.none(t)
	if _, answered, _ := k.counts(); answered != 0 {
		t.Errorf("%d packets were answered", answered)
	}
	if f.mend == nil {
		return
	}
	f.mend(t, w)
	mended(t, w, k, f.within, f.mode)
	if n := clear.on(w.External()...); n != 0 {
		t.Errorf("%d frames of user data in the clear on external wires", n)
	}
}

// Shows: MOD-fvc (RFC 5944 §3.7.2.1: the foreign agent's lifetime is a bound)
func TestForeignAgentWithShortLifetime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 21})
		restartForeign(func(c *foreignagent.Config) { c.MaxLifetime = 20 * time.Second })(t, w)
		k := talk(t, w, 100*time.Millisecond)
		w.Plug(w.Wlan0, w.Hotspot)
		s, err := w.UntilMode(20*time.Second, "fvc")
		if err != nil {
			t.Fatal(err)
		}
		if l := s.Layers[1]; l.Kind != "x-mip" || l.Lifetime > 20 {
			t.Errorf("layer %+v, want a lifetime of at most 20 s", l)
		}
		k.reset()
		time.Sleep(2 * time.Minute)
		if sent, answered, gap := k.counts(); answered < sent-20 || gap > 2*time.Second {
			t.Errorf("%d of %d packets were answered, longest gap %v", answered, sent, gap)
		}
	})
}

// Shows: MIP-3
func TestClockOffByADayOutside(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]time.Duration{"ahead": 24 * time.Hour, "behind": -24 * time.Hour} {
		for _, at := range []place{cafePlace, hotspotPlace} {
			t.Run(name+" at the "+at.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := world(t, Options{Seed: 22, Lab: func(l *simnet.Lab) { l.Laptop.StepWall(step) }})
					clear := watchClear(w)
					k := talk(t, w, 100*time.Millisecond)
					w.Plug(w.Wlan0, at.wire(w))
					mended(t, w, k, 20*time.Second, at.mode)
					clear.none(t)
					w.Laptop.StepWall(-step) // set right while in use
					k.works(t, 10*time.Second)
					w.Plug(w.Wlan0, w.Office)
					mended(t, w, k, 20*time.Second, "c")
				})
			})
		}
	}
}

func restartInternal(change func(*agent.HomeAgentConfig)) func(*testing.T, *World) {
	return func(t *testing.T, w *World) {
		t.Helper()
		if err := w.RestartInternalHA(change); err != nil {
			t.Fatal(err)
		}
	}
}

func restartExternal(t *testing.T, w *World) {
	t.Helper()
	if err := w.RestartExternalHA(nil); err != nil {
		t.Fatal(err)
	}
}

func restartForeign(change func(*foreignagent.Config)) func(*testing.T, *World) {
	return func(t *testing.T, w *World) {
		t.Helper()
		if err := w.RestartExternalFA(func(c *agent.ForeignAgentConfig) { change(&c.Config) }); err != nil {
			t.Fatal(err)
		}
	}
}

func restartGateway(t *testing.T, w *World) {
	t.Helper()
	if err := w.RestartGateway(nil); err != nil {
		t.Fatal(err)
	}
}

// impostor stands in the gateway's place and refuses every IKE_SA_INIT (RFC 7296 §2.21.1).
type impostor struct {
	conn *simnet.UDPConn
	done chan struct{}
}

// refuse takes the gateway's place.
func (i *impostor) refuse(reason message.NotifyType) func(*testing.T, *World) {
	return func(t *testing.T, w *World) {
		t.Helper()
		if err := w.VPNGateway.Close(); err != nil {
			t.Fatal(err)
		}
		w.VPNGateway = nil
		var err error
		if i.conn, err = w.Gateway.ListenUDP(netip.AddrPortFrom(simnet.LabGateway, 500)); err != nil {
			t.Fatal(err)
		}
		i.done = make(chan struct{})
		go func() {
			defer close(i.done)
			buf := make([]byte, 4096)
			for {
				n, from, err := i.conn.ReadFromAddrPort(buf)
				if err != nil {
					return
				}
				request, err := message.Parse(buf[:n])
				if err != nil || request.Header.Exchange != message.IKESAInit {
					continue
				}
				answer := message.Message{Header: request.Header, Payloads: []message.Payload{message.Notify{Message: reason}}}
				answer.Header.Flags = message.FlagResponse
				if b, err := answer.Append(nil); err == nil {
					_, _ = i.conn.WriteToAddrPort(b, from)
				}
			}
		}()
	}
}

// leave gives the gateway its place back.
func (i *impostor) leave(t *testing.T, w *World) {
	t.Helper()
	if err := i.conn.Close(); err != nil {
		t.Fatal(err)
	}
	<-i.done
	restartGateway(t, w)
}

func identity(name string) message.Identity {
	id, err := message.NewIdentity(name)
	if err != nil {
		panic(err) // constants of the tests
	}
	return id
}
