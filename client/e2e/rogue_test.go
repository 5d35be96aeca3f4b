package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike"
	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/foreignagent"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// settles checks that the client comes back to the mode by itself and that the conversation goes on.
func settles(t *testing.T, w *World, s *conversation, mode string, within time.Duration) {
	t.Helper()
	if _, err := w.UntilMode(within, mode); err != nil {
		t.Fatal(err)
	}
	s.pass(t, s.near, s.far, 5000)
	s.pass(t, s.far, s.near, 5000)
}

// Shows: HST-1, DET-2, DET-3, MOD-keep (a café's DHCP server that hands out what it likes: addresses of the office, of the core network
// with impostors of the i-HA and of the correspondent on the link (TunnelCrack's LocalNet), the home addresses themselves, the gateway's and the
// x-HA's networks (ServerIP), another one each second)
func TestRogueDHCP(t *testing.T) {
	t.Parallel()
	pool := func(first, router string) *simnet.AddressPool {
		return &simnet.AddressPool{First: netip.MustParsePrefix(first), Gateway: netip.MustParseAddr(router)}
	}
	sets := map[string][]*simnet.AddressPool{
		"the office's network":         {pool("10.0.2.100/24", "10.0.2.1")},
		"the core network":             {pool("10.0.1.150/24", "10.0.1.1")},
		"the whole enterprise":         {pool("10.0.77.1/16", "10.0.77.254")},
		"the i-HoA":                    {pool("10.0.8.100/24", "10.0.8.1")},
		"the x-HoA":                    {pool("198.51.100.100/24", "198.51.100.1")},
		"the gateway's and the x-HA's": {pool("192.0.2.150/24", "192.0.2.1")},
		"a whole half of the Internet": {pool("129.0.0.1/1", "192.168.1.1")},
		"no router":                    {{First: netip.MustParsePrefix("10.0.1.150/24")}},
	}
	var all []*simnet.AddressPool
	for _, name := range []string{"the office's network", "the core network", "the i-HoA", "the x-HoA", "no router", "the gateway's and the x-HA's"} {
		all = append(all, sets[name]...)
	}
	sets["another one each second"] = all
	for name, pools := range sets {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 190, Log: zap.NewNop(), Client: probeSoon})
				j := Watch(w.External()...)
				talk(t, w, 50*time.Millisecond)
				connected(t, w, cafePlace)
				s := converse(t, w)
				// On the link, somebody has the addresses of the enterprise, of the agents and of each router, and answers on all.
				h := w.NewHost("impostor")
				var heard, fooled atomic.Int64
				for i, at := range []string{"10.0.1.20/24", "10.0.1.10/24", "10.0.1.1/24", "10.0.2.1/24", "10.0.77.254/16", "10.0.8.1/24", "192.0.2.10/24", "192.0.2.20/24", "198.51.100.1/24"} {
					h.AddNIC(simnet.NICConfig{Name: fmt.Sprint("eth", i), Address: netip.MustParsePrefix(at)}).Attach(w.Cafe)
				}
				for _, port := range []uint16{talkPort, sessionPort, 434, 500, 4500} {
					c, err := h.ListenUDP(netip.AddrPortFrom(netip.Addr{}, port))
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					go func() {
						buf := make([]byte, 4096)
						for {
							n, from, err := c.ReadFromAddrPort(buf)
							if err != nil {
								return
							}
							heard.Add(1)
							if bytes.Contains(buf[:n], Canary) {
								fooled.Add(1)
							}
							_, _ = c.WriteToAddrPort(buf[:n], from) // reflected
						}
					}()
				}
				for i := range 40 {
					w.Cafe.SetPool(pools[i%len(pools)])
					if i < len(pools) || len(pools) > 1 {
						w.Wlan0.RenewLease()
					}
					time.Sleep(time.Second)
					if now := w.Wlan0.Address(); now != pools[i%len(pools)].First {
						t.Fatalf("the laptop has %v, want %v", now, pools[i%len(pools)].First)
					}
					if st, err := w.Client.Status(context.Background()); err != nil || st.Proof.Verdict == control.VerdictInside || st.Mode == "c" {
						t.Fatalf("lease %v: mode %q, verdict %s, %v", pools[i%len(pools)].First, st.Mode, st.Proof.Verdict, err)
					}
				}
				for _, c := range h.NICs() {
					c.Detach()
				}
				own := cafeRange
				w.Cafe.SetPool(&own)
				w.Wlan0.RenewLease()
				settles(t, w, s, "cvc", 45*time.Second)
				s.end(t)
				t.Logf("the impostor heard %d datagrams", heard.Load())
				if n := fooled.Load(); n != 0 {
					t.Errorf("the impostor read %d of the enterprise's packets", n)
				}
				judge(t, j)
			})
		})
	}
}

// Shows: HST-1, MOD-keep (routes that DHCP's option 121, or an ICMP redirect, puts on the laptop (TunnelVision): to the enterprise, to
// its hosts one by one, to half of the Internet, to the agents, by a router of the attacker's that swallows what it gets)
func TestPushedRoutes(t *testing.T) {
	t.Parallel()
	for _, at := range []place{cafePlace, officePlace} {
		t.Run("at the "+at.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 191, Log: zap.NewNop(), Client: probeSoon})
				j := Watch(w.External()...)
				last := readableOn(w)
				talk(t, w, 50*time.Millisecond)
				connected(t, w, at)
				s := converse(t, w)
				trap := netip.PrefixFrom(w.Wlan0.Address().Masked().Addr().Next().Next().Next(), w.Wlan0.Address().Bits()) // .3
				nic := w.NewHost("trap").AddNIC(simnet.NICConfig{Name: "eth0", Address: trap})
				nic.Attach(at.wire(w))
				var swallowed atomic.Int64 // what it gets to read
				at.wire(w).Tap(func(f simnet.Frame) {
					if f.Destination == nic.Hardware() && !f.Plaintext && !isRegistration(packet.IPv4(f.Packet)) && readable(f.Packet) {
						swallowed.Add(1)
					}
				})
				for _, p := range []string{"10.0.0.0/16", "10.0.0.0/17", "10.0.1.20/32", "10.0.1.10/32", "0.0.0.0/1", "128.0.0.0/1", "192.0.2.20/32", "192.0.2.10/32"} {
					route := netip.MustParsePrefix(p)
					w.Laptop.AddRoute(simnet.Route{Prefix: route, Via: trap.Addr()})
					time.Sleep(7 * time.Second)
					w.Laptop.RemoveRoute(route)
					settles(t, w, s, at.mode, 90*time.Second)
				}
				s.end(t)
				if n := swallowed.Load(); n != 0 {
					t.Errorf("the attacker's router read %d packets", n)
				}
				if n := last.Load(); at.mode == "cvc" && n != 0 {
					t.Errorf("%d packets in the clear", n)
				}
				judge(t, j)
			})
		})
	}
}

// Shows: DET-2, MOD-keep (somebody answers ARP for the router by turns: each time another epoch, and nothing in the clear outside)
func TestRogueARP(t *testing.T) {
	t.Parallel()
	for _, at := range []place{cafePlace, officePlace} {
		t.Run("at the "+at.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 192, Log: zap.NewNop(), Client: probeSoon})
				j := Watch(w.External()...)
				talk(t, w, 50*time.Millisecond)
				connected(t, w, at)
				s := converse(t, w)
				events, stop := w.Client.Subscribe()
				epochs := make(chan int, 1)
				go func() {
					n := 0
					for e := range events {
						if e.Kind == "interface" {
							n++
						}
					}
					epochs <- n
				}()
				router := w.Wlan0.Address().Masked().Addr().Next() // .1
				nic := w.NewHost("spoofer").AddNIC(simnet.NICConfig{Name: "eth0"})
				nic.Attach(at.wire(w))
				var stolen atomic.Int64 // user data in the clear that the spoofer gets
				at.wire(w).Tap(func(f simnet.Frame) {
					if f.Destination == nic.Hardware() && (f.Plaintext || !isRegistration(packet.IPv4(f.Packet)) && readable(f.Packet)) {
						stolen.Add(1)
					}
				})
				for i := range 60 {
					by := nic
					if i%2 == 1 {
						by = nil
					}
					at.wire(w).Spoof(router, by)
					time.Sleep(500*time.Millisecond + time.Duration(i)*50*time.Millisecond)
				}
				at.wire(w).Spoof(router, nil)
				settles(t, w, s, at.mode, 2*time.Minute)
				s.end(t)
				stop()
				if n := <-epochs; n < 60 {
					t.Errorf("%d epochs for 60 changes of the router's link-layer address", n)
				}
				// Through a router that answers nothing there is no new proof.
				if n := stolen.Load(); n != 0 {
					t.Errorf("the spoofer read %d packets of user data", n)
				}
				judge(t, j)
			})
		})
	}
}

// Shows: MOD-fvc, DET-15, MOD-keep (a foreign agent of an attacker's that swallows registrations, and advertisements of agents that do not
// exist; where the true one is heard, too, service comes back when they are gone at the latest)
func TestRogueForeignAgents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 193, Log: zap.NewNop(), Client: probeSoon})
		j := Watch(w.External()...)
		talk(t, w, 100*time.Millisecond)
		connected(t, w, hotspotPlace)
		s := converse(t, w)
		h := w.NewHost("rogue-fa")
		uplink := h.AddNIC(simnet.NICConfig{Name: "eth0", Address: netip.MustParsePrefix("192.0.2.66/24"), Gateway: netip.MustParseAddr("192.0.2.1")})
		uplink.Attach(w.Internet)
		visited := h.AddNIC(simnet.NICConfig{Name: "visit0", Address: netip.MustParsePrefix("172.16.5.2/24")})
		visited.Attach(w.Hotspot)
		fa, err := agent.StartForeignAgent(h, agent.ForeignAgentConfig{
			Config: foreignagent.Config{CareOfAddress: netip.MustParseAddr("192.0.2.66")}, Interface: "visit0",
		}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		uplink.Detach() // it takes registrations and nothing comes of them
		// And the true one's advertisements with other sources, 40 for each.
		stop := w.Hotspot.Intercept(func(f simnet.Frame) []simnet.Relay {
			out := []simnet.Relay{f.Relay()}
			ip := packet.IPv4(f.Packet)
			if f.Sender != "x-fa/visit0" || ip.Protocol() != packet.ProtocolICMP {
				return out
			}
			for i := range 40 {
				b := packet.From(ip.Payload())
				packet.PushIPv4(b, packet.IPv4Fields{TTL: 1, Protocol: packet.ProtocolICMP, Src: netip.AddrFrom4([4]byte{172, 16, 5, byte(100 + i)}), Dst: ip.Dst()})
				r := f.Relay()
				r.Packet = bytes.Clone(b.Bytes())
				b.Release()
				r.Source[5] = byte(i)
				out = append(out, r)
			}
			return out
		})
		w.Plug(w.Wlan0, w.Hotspot) // anew
		time.Sleep(2 * time.Minute)
		stop()
		visited.Detach()
		settles(t, w, s, "fvc", 2*time.Minute)
		s.end(t)
		if err := fa.Close(); err != nil {
			t.Error(err)
		}
		judge(t, j)
	})
}

// The most that a name server's answer can do: the client talks to somebody else's home agents and gateway, which do not have
// the keys.
//
// Shows: HST-3, IKE-8 (what is pointed elsewhere is found out: nothing is proven, nothing is set up, nothing leaks)
func TestAgentsElsewhere(t *testing.T) {
	t.Parallel()
	elsewhere := netip.MustParseAddr("192.0.2.66")
	for name, change := range map[string]func(*config.Config){
		"gateway": func(c *config.Config) { c.Gateway.Address = elsewhere },
		"i-HA":    func(c *config.Config) { c.Internal.Address = elsewhere },
		"x-HA":    func(c *config.Config) { c.External.Address = elsewhere },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 194, Log: zap.NewNop(), Client: change})
				h := w.NewHost("elsewhere")
				h.AddNIC(simnet.NICConfig{Name: "eth0", Address: netip.PrefixFrom(elsewhere, 24), Gateway: netip.MustParseAddr("192.0.2.1")}).Attach(w.Internet)
				// It claims everything that can be claimed, and trusts everybody.
				ha := internalConfig()
				ha.Address, ha.TrustedNetworks = elsewhere, []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
				ha.MobileNodes[0].Associations = []*auth.SecurityAssociation{association(InternalSPI, otherKey)}
				external := externalConfig().MobileNodes[0]
				external.Associations = []*auth.SecurityAssociation{association(ExternalSPI, otherKey)}
				ha.MobileNodes = append(ha.MobileNodes, external)
				ha.HomeNetworks = append(ha.HomeNetworks, simnet.LabExternalHomeNetwork)
				false1, err := agent.StartHomeAgent(h, ha, zap.NewNop())
				if err != nil {
					t.Fatal(err)
				}
				defer false1.Close()
				false2, err := agent.StartGateway(h, agent.GatewayConfig{Address: elsewhere, Config: gateway.Config{
					IKE:   ike.Config{LocalID: identity(GatewayIdentity)},
					Peers: []gateway.Peer{{Identity: identity(LaptopIdentity), PSK: []byte("a guess of the attacker's, as good as any")}},
					Pool:  simnet.LabInnerPool, Networks: []netip.Prefix{simnet.LabEnterprise},
				}}, zap.NewNop())
				if err != nil {
					t.Fatal(err)
				}
				defer false2.Close()
				clear, j := watchClear(w), Watch(w.External()...)
				k := talk(t, w, 100*time.Millisecond)
				w.Plug(w.Wlan0, w.Cafe)
				outdoors(t, w, 90*time.Second)
				s, err := w.Client.Status(context.Background())
				if err != nil || s.State == control.StateConnected {
					t.Errorf("state %s, mode %q, %v", s.State, s.Mode, err)
				}
				if _, ok := problem(s, map[string]string{"gateway": "VPN gateway 192.0.2.66", "i-HA": "i-HA 192.0.2.66", "x-HA": "x-HA 192.0.2.66"}[name]); !ok {
					t.Errorf("nothing is said about the %s: %v", name, s.Problems)
				}
				if _, answered, _ := k.counts(); answered != 0 {
					t.Errorf("%d packets were answered", answered)
				}
				clear.none(t)
				judge(t, j)
			})
		})
	}
}
