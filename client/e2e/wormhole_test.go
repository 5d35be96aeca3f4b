package e2e

import (
	"context"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/mipv4/foreignagent"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// A wormhole is an attacker at the laptop's side and an accomplice inside, with a tunnel between them: one host here, with
// an interface on each network. Each of these gives the laptop's i-HA registrations a way in and returns how to cut it.
var wormholes = []struct {
	name string
	mode string // that the laptop is brought to use
	// seen says that the i-HA sees another source address than the care-of address, so that refuse_nat helps.
	seen bool
	dig  func(*testing.T, *World) (at *simnet.Wire, cut func())
}{
	// The accomplice sends what it is given from an address of its own.
	{"relay from the accomplice's address", "c", true, digRelay},
	// The attacker's DHCP server gives the laptop the accomplice's address.
	{"relay of whole packets, with the accomplice's address on the laptop", "c", false, digPackets},
	// The attacker is a foreign agent whose care-of address is the accomplice's.
	{"foreign agent", "f", false, digForeignAgent},
}

func digRelay(t *testing.T, w *World) (*simnet.Wire, func()) {
	t.Helper()
	h := w.NewHost("wormhole")
	office := h.AddNIC(simnet.NICConfig{Name: "office0", Address: netip.MustParsePrefix("10.0.2.66/24"), Gateway: netip.MustParseAddr("10.0.2.1")})
	cafe := h.AddNIC(simnet.NICConfig{Name: "cafe0", Address: netip.MustParsePrefix("192.168.1.66/24")})
	office.Attach(w.Office)
	cafe.Attach(w.Cafe)
	h.SetRouter(true)
	h.SetNAT(simnet.NATConfig{Outside: office})
	stop := w.Cafe.Intercept(func(f simnet.Frame) []simnet.Relay {
		r := f.Relay()
		if strings.HasPrefix(f.Sender, "laptop/") && packet.IPv4(f.Packet).Dst() == simnet.LabInternalHA {
			r.Destination = cafe.Hardware()
		}
		return []simnet.Relay{r}
	})
	return w.Cafe, func() {
		stop()
		office.Detach()
	}
}

func digPackets(t *testing.T, w *World) (*simnet.Wire, func()) {
	t.Helper()
	h := w.NewHost("wormhole")
	office := h.AddNIC(simnet.NICConfig{Name: "office0", Address: officeRange.First, Gateway: officeRange.Gateway})
	office.Attach(w.Office)
	ifaces, err := h.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	firewall := ifaces[0].GatewayHardware
	a := NewAdversary(w, 1)
	a.Begin(AttackLease)
	in := w.Cafe.Intercept(func(f simnet.Frame) []simnet.Relay {
		if strings.HasPrefix(f.Sender, "laptop/") && packet.IPv4(f.Packet).Dst() == simnet.LabInternalHA {
			return []simnet.Relay{{On: w.Office, Source: office.Hardware(), Destination: firewall, Packet: f.Packet}}
		}
		return []simnet.Relay{f.Relay()}
	})
	out := w.Office.Intercept(func(f simnet.Frame) []simnet.Relay {
		if f.Destination == office.Hardware() {
			return []simnet.Relay{{On: w.Cafe, Source: a.router.Hardware(), Destination: w.Wlan0.Hardware(), Packet: f.Packet}}
		}
		return []simnet.Relay{f.Relay()}
	})
	t.Cleanup(a.Close)
	return w.Cafe, func() {
		in()
		out()
		office.Detach()
	}
}

func digForeignAgent(t *testing.T, w *World) (*simnet.Wire, func()) {
	t.Helper()
	trap := w.NewWire(simnet.WireConfig{Name: "trap", BSSID: packet.HardwareAddr{0x02, 0xb5, 0, 0, 0, 9}})
	h := w.NewHost("wormhole")
	office := h.AddNIC(simnet.NICConfig{Name: "office0", Address: netip.MustParsePrefix("10.0.2.66/24"), Gateway: netip.MustParseAddr("10.0.2.1")})
	visited := h.AddNIC(simnet.NICConfig{Name: "trap0", Address: netip.MustParsePrefix("172.20.0.1/24")})
	office.Attach(w.Office)
	visited.Attach(trap)
	fa, err := agent.StartForeignAgent(h, agent.ForeignAgentConfig{
		Config: foreignagent.Config{CareOfAddress: netip.MustParseAddr("10.0.2.66")}, Interface: visited.Name(),
	}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fa.Close(); err != nil {
			t.Error(err)
		}
	})
	return trap, office.Detach
}

// What cannot be stopped: the i-HA's reply is authentic, it answers the laptop's own request, and the i-HA vouches for the
// address that it saw. Whoever has a host in the company's network and stands in the laptop's way can make the laptop's
// network a part of the company's. What holds nevertheless is that it lasts no longer than the relaying and T_MONITOR, and
// that a pinned mode with a VPN, or a network that is listed as outside, is not deceived.
//
// Shows: DET-4 (bounded by T_MONITOR from the last relayed proof on), MOD-switch (a pinned VPN mode stops plaintext at once)
func TestWormholeIsBounded(t *testing.T) {
	t.Parallel()
	for _, hole := range wormholes {
		t.Run(hole.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 130, Log: zap.NewNop(), Client: probeSoon})
				at, cut := hole.dig(t, w)
				last, k := plaintextOn(w, at), talk(t, w, 50*time.Millisecond)
				w.Plug(w.Wlan0, at)
				if _, err := w.UntilMode(20*time.Second, hole.mode); err != nil {
					t.Fatal(err)
				}
				k.works(t, 45*time.Second) // with renewals
				if last() == 0 {
					t.Fatal("nothing in the clear outside: the wormhole does nothing, so that nothing is tested")
				}
				// A pin helps at once, and the sessions go on.
				ctx := context.Background()
				pin := map[string]string{"c": "cvc", "f": "fvc"}[hole.mode]
				if err := w.Client.SetMode(ctx, pin); err != nil {
					t.Fatal(err)
				}
				pinned := w.Elapsed()
				if _, err := w.UntilMode(20*time.Second, pin); err != nil {
					t.Fatal(err)
				}
				k.works(t, 30*time.Second)
				if end := last(); end > pinned {
					t.Errorf("user data in the clear %v after the pin", end-pinned)
				}
				if err := w.Client.SetMode(ctx, "auto"); err != nil {
					t.Fatal(err)
				}
				if _, err := w.UntilMode(90*time.Second, hole.mode); err != nil {
					t.Fatal(err)
				}
				time.Sleep(40 * time.Second)
				cut()
				end := w.Elapsed()
				time.Sleep(2 * time.Minute)
				s, err := w.Client.Status(ctx)
				if at := last(); err != nil || at < end || at > end+time.Minute || s.Mode == hole.mode || s.Exposure >= 60000 {
					t.Errorf("user data in the clear until %v after the wormhole's end, mode %q, exposure %d ms, %v", at-end, s.Mode, s.Exposure, err)
				}
			})
		})
	}
}

// push has the correspondent send the canary to the laptop every interval, unasked, until the test ends.
func push(t *testing.T, w *World, interval time.Duration) {
	t.Helper()
	from, err := w.Correspondent.ListenUDP(netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_, _ = from.WriteToAddrPort(Canary, netip.AddrPortFrom(simnet.LabHomeAddress, discardPort)) // arrives or not
			case <-done:
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(done)
		<-ended
		if err := from.Close(); err != nil {
			t.Error(err)
		}
	})
}

// discardPort is a port of the laptop's that nothing answers on but an ICMP error.
const discardPort = 9

// Shows: DET-3, DET-14 (with detection.refuse_nat a relay that the i-HA can see proves nothing and raises an alarm), DET-17 (on a network
// that is listed as outside, with suppress_outside, no request can be relayed at all)
func TestWormholeThatIsRefused(t *testing.T) {
	t.Parallel()
	listed := func(c *config.Config) {
		c.Detection.SuppressOutside = true
		c.Detection.OutsideNetworks = []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")}
	}
	type rule struct {
		client func(*config.Config)
		ha     func(*agent.HomeAgentConfig)
		alarm  string
		// downlink says that the i-HA takes the relay for the laptop's place until the client has replaced the binding through
		// the VPN, and sends there in the clear meanwhile.
		downlink bool
	}
	for name, c := range map[string]rule{
		"refuse_nat":       {client: func(c *config.Config) { c.Detection.RefuseNAT = true }, alarm: "i_ha_behind_nat", downlink: true},
		"listed network":   {client: listed},
		"listed, not kept": {client: func(c *config.Config) { listed(c); c.Detection.SuppressOutside = false }, alarm: "i_ha_reachable_outside", downlink: true},
		"i-HA without UDP tunnelling": {client: func(*config.Config) {}, ha: func(c *agent.HomeAgentConfig) { c.NoUDPTunnel = true },
			alarm: `129 "administratively prohibited"`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 131, Log: zap.NewNop(), InternalHA: c.ha, Client: func(cfg *config.Config) {
					probeSoon(cfg)
					c.client(cfg)
				}})
				at, _ := digRelay(t, w)
				var downlink atomic.Int64
				at.Tap(func(f simnet.Frame) {
					if f.Sender == "wormhole/cafe0" && !isRegistration(packet.IPv4(f.Packet)) && readable(f.Packet) {
						downlink.Add(1)
					}
				})
				clear, r, k := watchClear(w), watchRegistrations(w), talk(t, w, 200*time.Millisecond)
				push(t, w, 50*time.Millisecond)
				w.Plug(w.Wlan0, at)
				if _, err := w.UntilMode(20*time.Second, "cvc"); err != nil {
					t.Fatal(err)
				}
				outdoors(t, w, 65*time.Second) // with a probe
				k.works(t, 5*time.Second)
				s, err := w.Client.Status(context.Background())
				p, ok := problem(s, "i-HA")
				if err != nil || ok != (c.alarm != "") || p.Code != c.alarm {
					t.Errorf("problems %v, %v; want %q", s.Problems, err, c.alarm)
				}
				clear.none(t)
				if n := downlink.Load(); n > 0 != c.downlink {
					t.Errorf("%d packets to the laptop came out of the wormhole in the clear", n)
				} else {
					t.Logf("%d packets to the laptop came out of the wormhole in the clear", n)
				}
				if n := len(r.replies(simnet.LabInternalHA, w.Cafe)); (n == 0) != (name == "listed network") {
					t.Errorf("%d relayed replies", n)
				}
			})
		})
	}
}

// Shows: DET-3, GDL-7 (a NAT inside, between laptop and i-HA, is no hindrance by default; where it is refused the VPN is used)
func TestNATInside(t *testing.T) {
	t.Parallel()
	for _, refuse := range []bool{false, true} {
		name, mode := "by default", "c"
		if refuse {
			name, mode = "refuse_nat", "cvc"
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var branch *simnet.Wire
				w := world(t, Options{Seed: 132, Log: zap.NewNop(), Client: func(c *config.Config) { c.Detection.RefuseNAT = refuse },
					Lab: func(l *simnet.Lab) {
						branch = l.NewWire(simnet.WireConfig{Name: "branch", Pool: &simnet.AddressPool{
							First: netip.MustParsePrefix("172.30.0.100/24"), Gateway: netip.MustParseAddr("172.30.0.1"),
						}})
						h := l.NewHost("branch-nat")
						out := h.AddNIC(simnet.NICConfig{Name: "wan0", Address: netip.MustParsePrefix("10.0.2.9/24"), Gateway: netip.MustParseAddr("10.0.2.1")})
						out.Attach(l.Office)
						h.AddNIC(simnet.NICConfig{Name: "lan0", Address: netip.MustParsePrefix("172.30.0.1/24")}).Attach(branch)
						h.SetRouter(true)
						h.SetNAT(simnet.NATConfig{Outside: out, Filtering: simnet.AddressAndPortDependent})
					}})
				k := talk(t, w, 100*time.Millisecond)
				w.Plug(w.Eth0, branch)
				if _, err := w.UntilMode(20*time.Second, mode); err != nil {
					t.Fatal(err)
				}
				k.works(t, 3*time.Minute)
				if s, err := w.Client.Status(context.Background()); err != nil || s.Mode != mode {
					t.Errorf("mode %q, %v", s.Mode, err)
				}
			})
		})
	}
	// Without a NAT the rule changes nothing.
	t.Run("refuse_nat without a NAT", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := world(t, Options{Seed: 133, Log: zap.NewNop(), Client: func(c *config.Config) { c.Detection.RefuseNAT = true }})
			k := talk(t, w, 100*time.Millisecond)
			connected(t, w, officePlace)
			k.works(t, 3*time.Minute)
		})
	})
}
